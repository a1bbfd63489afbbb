from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.agent import Liveness
from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.run import RunState
from farhand.ports import (
    Append,
    CancelJob,
    Change,
    MoveRun,
    OpenSession,
    Prune,
    RemoveAgent,
    RequestCancel,
    SetLiveness,
)
from farhand.storage.lanes import OUTPUT, STATE, Lane, Sorter
from tests.contract.storing import add, agent_id, append, job_id, join, move, run, run_id

INLINE = 10
LANE = Lane(bytes_in_all=100, bytes_of_run=50, files=2)


@dataclass(frozen=True)
class Item:
    change: Change


def owners_of(run: RunId) -> tuple[AgentId, JobId]:
    """Runs 1 to 9 are of agent 1 and job 1, 10 to 19 of agent 2 and job 2, and so on."""
    n = 1 + int(run[4:]) // 10
    return agent_id(n), job_id(n)


def sort(lane: Lane, *changes: Change) -> tuple[list[Change], list[Change]]:
    now, later = Sorter[Item](lane, INLINE, owners_of).sort(map(Item, changes))
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


def test_who_is_met_by_waiting_output_makes_all_behind_wait() -> None:
    large, small, moved = chunk(1, 11), chunk(12, 3), move(13, RunState.SENT)
    new_session = join(1)[1]
    remove = RemoveAgent(agent=agent_id(1), at=1)
    cancel = CancelJob(job=job_id(1), at=1)
    written_again = add(1, run(1))
    for meeting in (new_session, remove, cancel, written_again):
        assert ([small], [large, meeting, moved]) == sort(STATE, large, small, meeting, moved)


def test_a_run_that_is_new_in_this_commit_has_owners_too() -> None:
    written, large = add(9, run(90, job=9, of=7)), chunk(90, 11)
    remove = RemoveAgent(agent=agent_id(7), at=1)
    cancel = CancelJob(job=job_id(9), at=1)
    for meeting in (remove, cancel):
        items = [Item(change) for change in (written, large, meeting)]
        now, later = Sorter[Item](STATE, INLINE, lambda _: ()).sort(items)

        assert (items[:1], items[1:]) == (now, later)


def test_what_belongs_to_others_does_not_wait() -> None:
    large = chunk(1, 11)
    others: list[Change] = [
        *join(2),
        RemoveAgent(agent=agent_id(2), at=1),
        CancelJob(job=job_id(2), at=1),
        add(3, run(30, job=3)),
        SetLiveness(agent=agent_id(1), epoch=1, liveness=Liveness.ONLINE, at=1),
        Prune(before=1, at=1),
    ]

    assert (others, [large]) == sort(STATE, large, *others)


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
    """What a change is about: a run with its owners, or an owner."""
    match change:
        case Append():
            return {change.chunk.run, *owners_of(change.chunk.run)}
        case OpenSession() | RemoveAgent():
            return {change.agent}
        case MoveRun():
            return {change.run, *owners_of(change.run)}
        case _:
            raise AssertionError(change)


def about_the_same(one: Change, other: Change) -> bool:
    common = subjects(one) & subjects(other)
    runs = isinstance(one, Append | MoveRun) and isinstance(other, Append | MoveRun)
    return any(id_.startswith("run_") for id_ in common) if runs else bool(common)


@given(st.lists(changes, max_size=40))
def test_nothing_is_dropped_and_no_subject_overtakes_itself(asked: Sequence[Change]) -> None:
    items = [Item(change) for change in asked]
    for lane in (STATE, LANE):
        now, later = Sorter[Item](lane, INLINE, owners_of).sort(items)
        place = {id(item): n for n, item in enumerate(items)}

        assert sorted(map(id, items)) == sorted(map(id, [*now, *later]))
        for held in later:
            overtaking = [
                item
                for item in now
                if place[id(item)] > place[id(held)] and about_the_same(item.change, held.change)
            ]
            assert [] == overtaking
