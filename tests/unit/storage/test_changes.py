"""The rules alone, on a ledger in memory; tests/contract/test_store*.py asks whole stores."""

from dataclasses import replace

import pytest

from farhand.domain.run import NEXT, RunState
from farhand.ports import Lost, Moved
from farhand.storage.changes import OPEN, RESTING, Tally
from farhand.storage.memory import MemoryStore
from tests.contract.storing import add, job_id, move, run, run_id


def test_open_and_resting_are_all_states() -> None:
    assert frozenset(RunState) == OPEN | RESTING
    assert frozenset() == OPEN & RESTING


def test_a_tally_counts_who_is_waited_for() -> None:
    counts = {RunState.HELD: 1, RunState.QUEUED: 2, RunState.SENT: 3, RunState.RUNNING: 4}
    resting = {RunState.LOST: 100, RunState.FAILED: 100}

    assert 10 == Tally({**counts, **resting}).open


@pytest.mark.parametrize("before", RunState)
async def test_the_table_of_the_domain_decides_every_move(before: RunState) -> None:
    for after in RunState:
        store = MemoryStore()
        await store.apply([add(1, run(state=before))])
        (outcome,) = await store.apply([move(1, after)])
        events = await store.events(job_id())
        found = await store.run(run_id())

        if after in NEXT[before]:
            assert isinstance(outcome, Moved)
            assert found == outcome.run
        else:
            assert Lost(before) == outcome
            assert replace(run(), state=before) == found
        ended = [event.seq for event in events if event.kind == "end"]
        rests = found is not None and found.state in RESTING
        assert ended == ([1] if before in RESTING else [2] if rests else [])
