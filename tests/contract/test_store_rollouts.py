"""What every store tells of rollouts: how waves stand, whom they have, and nothing once pruned."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.domain.job import Argv, JobSpec
from farhand.domain.rollout import HoldWhy, Phase, Rollout, Standing, held
from farhand.domain.run import RunState
from farhand.domain.spread import Gate, Share, Spread
from farhand.ports import AddRuns, Done, EndRollout, Lost, Prune, Pruned, Put, RunFilter
from tests.contract.storing import Opened, add, job_id, move, opened, run, run_id

S = RunState
SPREAD = Spread(
    concurrency=Share(percent=12.5),
    waves=(Share(hosts=1),),
    pause_s=3.0,
    abort_after=Share(hosts=2),
    gate=Gate(spec=JobSpec(what=Argv(("probe", "é")), stdin=b"\xff"), targets="role=probe"),
    retries=2,
    retry_delay_s=1.5,
)
ROLLOUT = Rollout(id=job_id(), spread=SPREAD, sizes=(1, 2), created_at=100.0)


@pytest.fixture(params=["memory", "sqlite", "restarted"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(request.param, tmp_path) as subject:
        yield subject


async def rolling(subject: Opened) -> None:
    first = replace(run(1, state=S.HELD), wave=1)
    others = [replace(run(n, state=S.HELD), wave=2) for n in (2, 3)]
    added = add(1, first, *others)
    job = replace(added.job, rolling=True)
    await subject.apply(replace(added, job=job, documents=(ROLLOUT,)))


async def test_runs_are_counted_by_wave_and_state(subject: Opened) -> None:
    await rolling(subject)
    await subject.apply(move(1, S.QUEUED), move(1, S.SENT), move(1, S.FAILED))
    again = replace(run(4, state=S.HELD), wave=1, retry_of=run_id(1))
    await subject.apply(AddRuns(job=job_id(), runs=(again,), at=200.0))
    store = await subject.look()

    assert [
        Standing(1, {S.FAILED: 1, S.HELD: 1}, retries=1),
        Standing(2, {S.HELD: 2}),
    ] == list(await store.standings(job_id()))
    assert [] == list(await store.standings(job_id(7)))


async def test_a_wave_of_a_job_can_be_listed_page_by_page(subject: Opened) -> None:
    await rolling(subject)
    store = await subject.look()
    which = RunFilter(job=job_id(), wave=2, states=frozenset({S.HELD}))
    first = await store.runs(which, limit=1)
    second = await store.runs(which, cursor=first.next, limit=1)

    assert [run_id(2), run_id(3)] == [first.items[0].id, second.items[0].id]
    assert second.next is None


async def test_a_rollout_is_read_as_it_was_written(subject: Opened) -> None:
    await rolling(subject)
    store = await subject.look()
    found = await store.document(Rollout, job_id())

    assert replace(ROLLOUT, version=1) == found

    kept = held(replace(ROLLOUT, version=1), HoldWhy.HAND, by="ada", now=150.0, message="wait")
    outcomes = await subject.apply(Put(kept), Put(kept))
    store = await subject.look()

    assert [Done(), Lost()] == list(outcomes)
    assert replace(kept, version=2) == await store.document(Rollout, job_id())


async def test_what_is_not_over_is_due_always(subject: Opened) -> None:
    await rolling(subject)
    store = await subject.look()

    assert [job_id()] == [found.id for found in await store.documents_due(Rollout, 100.0)]

    await subject.apply(Put(replace(ROLLOUT, version=1, phase=Phase.DONE)))
    store = await subject.look()

    assert [] == list(await store.documents_due(Rollout, 1e12))


async def test_a_rollout_goes_with_its_job_and_not_before(subject: Opened) -> None:
    await rolling(subject)
    await subject.apply(*(move(n, S.CANCELLED) for n in (1, 2, 3)))
    prune = Prune(before=1000.0, at=1000.0)

    assert [Pruned(0), Done(), Pruned(1)] == list(
        await subject.apply(prune, EndRollout(job=job_id(), at=300.0), prune)
    )
    assert await (await subject.look()).document(Rollout, job_id()) is None
