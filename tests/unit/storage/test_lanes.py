from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.agent import Liveness
from farhand.domain.ids import AgentId, RunId
from farhand.domain.run import RunState
from farhand.ports import Append, Change, OpenSession, RemoveAgent, RequestCancel, SetLiveness
from farhand.storage.lanes import OUTPUT, STATE, Lane, Sorter
from tests.contract.storing import add, agent_id, append, join, move, run_id

INLINE = 10
LANE = Lane(bytes_in_all=100, bytes_of_run=50, files=2)


@dataclass(frozen=True)
class Item:
    change: Change


def agent_of(run: RunId) -> AgentId:
    """Runs 1 to 9 are of agent 1, 10 to 19 of agent 2, and so on."""
    return agent_id(1 + int(run[4:]) // 10)


def sort(lane: Lane, *changes: Change) -> tuple[list[Change], list[Change]]:
    now, later = Sorter[Item](lane, INLINE, agent_of).sort(map(Item, changes))
    return [item.change for item in now], [item.change for item in later]


def chunk(n: int, size: int, offset: int = 0) -> Append:
    return append(bytes(size), n=n, offset=offset)


def test_state_goes_before_output_that_needs_a_file() -> None:
    large, small, moved = chunk(1, 11), chunk(2, 10), move(3, RunState.SENT)

    assert ([small, moved], [large]) == sort(STATE, large, small, moved)
    assert ([large, small, moved], []) == sort(OUTPUT, large, small, moved)


def test_a_run_does_not_overtake_itself() -> None:
    changes = (
        chunk(1, 11),
        move(1, RunState.SUCCEEDED),
        chunk(1, 1),
        RequestCancel(run=run_id(1), at=1),
    )
    other = move(2, RunState.SUCCEEDED)

    assert ([other], list(changes)) == sort(STATE, *changes, other)


def test_a_new_session_waits_for_the_output_of_the_old_one() -> None:
    (_, session), (_, other) = join(1), join(2)
    large, moved = chunk(1, 11), move(2, RunState.SENT)
    remove = RemoveAgent(agent=agent_id(1), at=1)
    alive = SetLiveness(agent=agent_id(1), epoch=1, liveness=Liveness.ONLINE, at=1)

    assert ([other], [large, session]) == sort(STATE, large, session, other)
    assert ([moved, alive], [large, remove]) == sort(STATE, moved, alive, large, remove)
    assert ([], [large, session, moved, alive]) == sort(STATE, large, session, moved, alive)


def test_what_belongs_to_no_run_never_waits() -> None:
    joined, _ = join(3)

    assert ([add(2), joined], [chunk(1, 11)]) == sort(STATE, chunk(1, 11), add(2), joined)


def test_one_run_fills_only_so_much_of_a_commit() -> None:
    pieces = [chunk(1, 30, offset) for offset in (0, 30, 60)]
    other = chunk(2, 30)

    assert ([pieces[0], other], pieces[1:]) == sort(LANE, *pieces, other)


def test_all_runs_together_fill_only_so_much_of_a_commit() -> None:
    pieces = [chunk(n, 5) for n in range(1, 30)]

    assert (pieces[:20], pieces[20:]) == sort(LANE, *pieces)


def test_only_so_many_files_are_flushed_for_one_commit() -> None:
    first, second, third, small = chunk(1, 11), chunk(2, 11), chunk(3, 11), chunk(4, 9)
    again = chunk(1, 9, 11)

    assert ([first, second, small, again], [third]) == sort(
        LANE, first, second, third, small, again
    )


def test_a_first_chunk_is_taken_however_large() -> None:
    assert ([chunk(1, 5000)], [chunk(2, 1)]) == sort(LANE, chunk(1, 5000), chunk(2, 1))


changes = st.one_of(
    st.builds(chunk, st.integers(1, 25), st.integers(0, 40), st.integers(0, 20)),
    st.builds(lambda n: move(n, RunState.SENT), st.integers(1, 25)),
    st.builds(lambda n: join(n)[1], st.integers(1, 3)),
    st.builds(lambda n: RemoveAgent(agent=agent_id(n), at=1.0), st.integers(1, 3)),
)


def subjects(change: Change) -> set[str]:
    match change:
        case Append():
            return {change.chunk.run}
        case OpenSession() | RemoveAgent():
            return {
                change.agent,
                *(run_id(n) for n in range(1, 30) if agent_of(run_id(n)) == change.agent),
            }
        case _:
            return {change.run}  # type: ignore[union-attr] # the strategy makes no other


@given(st.lists(changes, max_size=40))
def test_nothing_is_dropped_and_no_subject_overtakes_itself(asked: Sequence[Change]) -> None:
    items = [Item(change) for change in asked]
    for lane in (STATE, LANE):
        now, later = Sorter[Item](lane, INLINE, agent_of).sort(items)
        place = {id(item): n for n, item in enumerate(items)}

        assert sorted(map(id, items)) == sorted(map(id, [*now, *later]))
        for held in later:
            overtaking = [
                item
                for item in now
                if place[id(item)] > place[id(held)]
                and subjects(item.change) & subjects(held.change)
            ]
            assert [] == overtaking
