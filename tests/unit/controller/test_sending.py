"""A run is written as sent in the commit that queues it, where its agent is ready."""

from collections.abc import Sequence

from farhand.domain.job import AllAgents, Argv, JobSpec
from farhand.domain.messages import StartRun
from farhand.domain.run import RunState
from farhand.ports import AddJob, Change, MoveRun, Outcome
from farhand.storage.memory import MemoryStore
from farhand.testing import World, ignore, settle


class ListingStore(MemoryStore):
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[Change]] = []

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        self.asked.append(list(changes))
        return await super().apply(changes)

    def moves(self) -> list[list[RunState]]:
        """Where each commit that moved runs took them, since the last look."""
        asked, self.asked = self.asked, []
        found = [[it.to for it in one if isinstance(it, MoveRun)] for one in asked]
        return [moves for moves in found if moves]


async def test_a_job_is_sent_in_the_commit_that_makes_it() -> None:
    store = ListingStore()
    async with World.start(agents=["web-1", "web-2"], behaviour=ignore, store=store) as world:
        store.moves()
        submitted = await world.submit()
        added = [one for one in store.asked if isinstance(one[0], AddJob)]
        await settle()

        assert [RunState.QUEUED] * 2 == [run.state for run in submitted.runs]
        assert [3] == [len(one) for one in added]
        assert [[RunState.SENT, RunState.SENT]] == store.moves()
        for name in ("web-1", "web-2"):
            assert 1 == len(world.agent(name).orders(StartRun))


async def test_a_job_that_is_released_is_sent_in_the_commit_that_queues_it() -> None:
    store = ListingStore()
    async with World.start(agents=["web-1"], behaviour=ignore, store=store) as world:
        spec = JobSpec(what=Argv(("true",)))
        job = (await world.tenant.jobs.submit(spec, AllAgents(), by="test", hold=True)).job
        store.moves()
        await world.tenant.jobs.release(job.id, by="test")
        await settle()

        assert [[RunState.QUEUED, RunState.SENT]] == store.moves()
        assert 1 == len(world.agent("web-1").orders(StartRun))


async def test_a_run_of_an_agent_that_is_away_waits_for_it() -> None:
    async with World.start(agents=["web-1"], behaviour=ignore) as world:
        agent = world.agent("web-1")
        agent.vanish()
        await settle()
        (run,) = (await world.submit()).runs
        before = (await world.run(run)).state
        await agent.connect()
        await settle()

        assert RunState.QUEUED is before
        assert RunState.SENT is (await world.run(run)).state
        assert 1 == len(agent.orders(StartRun))
