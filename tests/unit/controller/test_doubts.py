"""What was written without an answer is not forgotten until its agent comes back."""

import asyncio
from collections.abc import Sequence

import pytest

from farhand.controller import doubts
from farhand.controller.ids import new_job
from farhand.domain.job import AllAgents, Argv, JobSpec
from farhand.domain.messages import CancelRun, StartRun
from farhand.domain.run import RunState
from farhand.errors import StoreUnavailable
from farhand.ports import AddJob, CancelJob, Change, MoveRun, Outcome, RequestCancel, RunFilter
from farhand.storage.memory import MemoryStore
from farhand.testing import ManualClock, World, hang, settle


class DeafStore(MemoryStore):
    """Commits changes of *kind*, and says once that it does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.kind: type | None = None

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = await super().apply(changes)
        if self.kind and any(isinstance(change, self.kind) for change in changes):
            self.kind = None
            raise StoreUnavailable("the connection was lost in the middle")
        return outcomes


class LateStore(MemoryStore):
    """Commits jobs when it is let, whether anybody waits for it or not."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self._tasks = tasks

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        if isinstance(changes[0], AddJob):
            return await asyncio.shield(self._tasks.create_task(self._later(changes)))
        return await super().apply(changes)

    async def _later(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        await self.open.wait()
        return await super().apply(changes)


async def states(world: World) -> list[RunState]:
    return [run.state for run in (await world.store.runs(RunFilter())).items]


async def test_a_job_that_was_written_without_an_answer_is_started() -> None:
    clock, store = ManualClock(), DeafStore()
    async with World.start(clock, agents=["web-1"], store=store) as world:
        store.kind = AddJob
        with pytest.raises(StoreUnavailable):
            await world.submit()
        assert [RunState.SENT] == await states(world)
        assert [] == world.agent("web-1").orders(StartRun)
        await clock.advance(2)

        assert [RunState.SUCCEEDED] == await states(world)


async def test_a_release_that_was_written_without_an_answer_starts_its_runs() -> None:
    clock, store = ManualClock(), DeafStore()
    async with World.start(clock, agents=["web-1"], store=store) as world:
        spec, targets = JobSpec(what=Argv(("true",))), AllAgents()
        job = (await world.tenant.jobs.submit(spec, targets, by="test", hold=True)).job.id
        store.kind = MoveRun
        with pytest.raises(StoreUnavailable):
            await world.tenant.jobs.release(job, by="test")
        await clock.advance(2)

        assert [RunState.SUCCEEDED] == await states(world)


@pytest.mark.parametrize("kind", [CancelJob, RequestCancel])
async def test_a_cancel_that_was_written_without_an_answer_is_passed_on(kind: type) -> None:
    clock, store = ManualClock(), DeafStore()
    async with World.start(clock, agents=["web-1"], store=store, behaviour=hang) as world:
        submitted = await world.submit()
        (run,) = submitted.runs
        store.kind = kind
        cancel_job, cancel_run = world.tenant.jobs.cancel_job, world.tenant.jobs.cancel_run
        by_job = kind is CancelJob
        with pytest.raises(StoreUnavailable):
            await (cancel_job(submitted.job.id, by="a") if by_job else cancel_run(run.id, by="a"))
        await clock.advance(2)

        assert [run.id] == [order.run for order in world.agent("web-1").orders(CancelRun)]  # type: ignore[union-attr]


async def test_a_job_whose_caller_hung_up_while_it_was_written_is_started() -> None:
    clock = ManualClock()
    async with asyncio.TaskGroup() as tasks:
        store = LateStore(tasks)
        async with World.start(clock, agents=["web-1"], store=store) as world:
            writing = tasks.create_task(world.submit())
            await settle()
            writing.cancel()
            await clock.advance(5)
            assert [] == await states(world)
            store.open.set()
            await clock.advance(doubts.AGAIN_S)

            assert [RunState.SUCCEEDED] == await states(world)


async def test_what_was_never_written_is_looked_for_twice_and_forgotten() -> None:
    clock = ManualClock()
    async with World.start(clock) as world:
        found = world.tenant.sessions.doubts
        with pytest.raises(StoreUnavailable), found.about(new_job()):
            raise StoreUnavailable
        await clock.advance(doubts.AGAIN_S - 1)
        assert 1 == len(found)
        await clock.advance(3)

        assert 0 == len(found)


async def test_doubts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "MOST", 3)
    async with World.start() as world:
        found = world.tenant.sessions.doubts
        for _ in range(5):
            with pytest.raises(StoreUnavailable), found.about(new_job()):
                raise StoreUnavailable

        assert 3 == len(found)
