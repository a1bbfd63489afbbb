"""The clockwork: late rounds judge nobody, a controller that was away declares nobody lost."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from farhand.boot.clock import SteadyClock
from farhand.controller.sweeper import Sweeper
from farhand.domain.agent import Liveness
from farhand.domain.limits import DEFAULTS
from farhand.domain.messages import HeartbeatReply, HeldRun, HeldState
from farhand.domain.run import Run, RunState
from farhand.errors import DataDirUnwritable, StoreUnavailable
from farhand.ports import Change, OpenSession, Outcome
from farhand.storage.memory import MemoryStore
from farhand.testing import ManualClock, World, hang, settle
from farhand.testing.agent import succeed

DAY = 86_400.0
LEASE = DEFAULTS.lease_s


async def test_a_controller_that_was_down_does_not_declare_everybody_lost() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"], behaviour=hang) as world:
        (run,) = (await world.submit()).runs
        world.agent("web-1").vanish()
        await clock.advance(10)
        clock.jump(3600.0)  # the wall clock went on while this controller was away
        fresh = Sweeper(world.tenant.sessions, world.store, clock, DEFAULTS)
        await fresh.sweep()

        assert RunState.RUNNING is (await world.run(run)).state


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_nobody_is_lost_or_expired_because_the_wall_clock_was_set(jump: float) -> None:
    manual = ManualClock()
    async with World.start(SteadyClock(manual), agents=["web-1", "web-2"]) as world:
        web = world.agent("web-1")
        web.behaviour = hang
        (running,) = (await world.submit(on="web-1")).runs
        world.agent("web-2").vanish()
        await settle()
        (queued,) = (await world.submit(on="web-2")).runs
        manual.jump(jump)
        await manual.advance(30)
        web.beat()
        web.vanish()
        await manual.advance(LEASE * 0.9 - 5)

        assert RunState.RUNNING is (await world.run(running)).state
        assert RunState.QUEUED is (await world.run(queued)).state

        await manual.advance(LEASE * 0.2 + 10)
        lost = await world.run(running)
        await manual.advance(DEFAULTS.queue_ttl_s * 1.1)

        assert RunState.LOST is lost.state
        assert RunState.EXPIRED is (await world.run(queued)).state


@pytest.mark.parametrize("jump", [DAY, -DAY])
async def test_a_wall_clock_that_was_set_across_a_restart_makes_nothing_immortal(
    jump: float,
) -> None:
    manual, store = ManualClock(), MemoryStore()
    async with World.start(manual, agents=["web-1", "web-2"], store=store) as before:
        before.agent("web-1").behaviour = hang
        (running,) = (await before.submit(on="web-1")).runs
        before.agent("web-2").vanish()
        await settle()
        (queued,) = (await before.submit(on="web-2")).runs
    manual.jump(jump)
    async with World.start(manual, store=store, control=before.control) as after:
        await manual.advance(LEASE - 5)
        early = (await after.run(running)).state
        await manual.advance(10)

        assert RunState.RUNNING is early
        assert RunState.LOST is (await after.run(running)).state

        await manual.advance(DEFAULTS.queue_ttl_s)

        assert RunState.EXPIRED is (await after.run(queued)).state


async def test_an_absence_of_the_controller_is_counted_against_nobody() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"], behaviour=hang) as world:
        (run,) = (await world.submit()).runs
        world.agent("web-1").vanish()
        await clock.advance(10)
        clock.stall(3600.0)  # as after SIGSTOP and SIGCONT, or a host that slept
        await clock.advance(LEASE - 5)
        early = (await world.run(run)).state
        await clock.advance(10)

        assert RunState.RUNNING is early
        assert RunState.LOST is (await world.run(run)).state


async def test_a_round_that_is_a_little_late_judges_nobody_and_forgives_nothing() -> None:
    clock = ManualClock()
    async with World.start(clock) as world:
        await clock.advance(LEASE)
        await world.join("web-1", behaviour=hang)
        (run,) = (await world.submit()).runs
        world.agent("web-1").vanish()
        await clock.advance(LEASE - 10)
        clock.stall(12.0)
        await clock.advance(0)
        late = (await world.run(run)).state
        await clock.advance(2)

        assert RunState.RUNNING is late
        assert RunState.LOST is (await world.run(run)).state


class FullStore(MemoryStore):
    """Refuses every write while it is *full*; reads go on."""

    full = False

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        if self.full:
            raise DataDirUnwritable
        return await super().apply(changes)


async def _beating(world: World, clock: ManualClock, name: str, seconds: float) -> None:
    for _ in range(int(seconds // 20)):
        await clock.advance(20)
        world.agent(name).beat()


async def test_nobody_is_lost_because_the_store_could_not_be_written() -> None:
    clock, store = ManualClock(), FullStore()
    async with World.start(clock, agents=["web-1", "web-2"], behaviour=hang, store=store) as world:
        here, cut = (await world.submit()).runs
        away = world.agent("web-2")
        away.held = [HeldRun(run=cut.id, state=HeldState.RUNNING)]
        away.vanish()
        await settle()
        store.full = True
        await _beating(world, clock, "web-1", 3 * LEASE)
        with pytest.raises(DataDirUnwritable):
            await away.connect()
        answered = len(world.agent("web-1").orders(HeartbeatReply))
        store.full = False
        await _beating(world, clock, "web-1", 60)
        await away.connect()
        await settle()

        assert 3 * LEASE // 20 == answered
        assert RunState.RUNNING is (await world.run(here)).state
        assert RunState.RUNNING is (await world.run(cut)).state
        assert ["sent", "running"] == await _told(world, cut)


async def test_who_left_while_the_store_could_not_be_written_is_lost_after_a_lease() -> None:
    clock, store = ManualClock(), FullStore()
    async with World.start(clock, agents=["web-1"], behaviour=hang, store=store) as world:
        (run,) = (await world.submit()).runs
        store.full = True
        world.agent("web-1").leave()
        await clock.advance(2 * LEASE)
        store.full = False
        await clock.advance(2)
        (agent,) = (await world.store.agents()).items
        await clock.advance(LEASE - 7)
        early = (await world.run(run)).state
        await clock.advance(10)

        assert Liveness.OFFLINE is agent.liveness
        assert RunState.RUNNING is early
        assert RunState.LOST is (await world.run(run)).state


class DeafStore(MemoryStore):
    """Keeps the opening of a session, and says that it could not."""

    deaf = False

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = await super().apply(changes)
        if self.deaf and any(isinstance(change, OpenSession) for change in changes):
            raise StoreUnavailable
        return outcomes


async def test_an_agent_whose_coming_was_kept_and_not_answered_is_not_online_for_ever() -> None:
    clock, store = ManualClock(), DeafStore()
    async with World.start(clock, agents=["web-1"], behaviour=hang, store=store) as world:
        (run,) = (await world.submit()).runs
        agent = world.agent("web-1")
        agent.vanish()
        await settle()
        store.deaf = True
        with pytest.raises(StoreUnavailable):
            await agent.connect()
        store.deaf = False
        (before,) = (await store.agents()).items
        await clock.advance(DEFAULTS.inactivity_s * 2 + LEASE)
        (after,) = (await store.agents()).items

        assert (Liveness.ONLINE, Liveness.SUSPECT) == (before.liveness, after.liveness)
        assert RunState.LOST is (await world.run(run)).state


async def _told(world: World, run: Run) -> list[str]:
    """The states that a run came to, in order."""
    events = await world.store.events(run.job, limit=1000)
    return [event.run.state.value for event in events if event.run and event.run_id == run.id]


async def test_old_jobs_are_deleted_and_open_ones_are_not() -> None:
    clock = ManualClock()
    limits = replace(DEFAULTS, retention_s=1000.0, inactivity_s=1e9, lease_s=1e9)
    async with World.start(clock, agents=["web-1"], limits=limits) as world:
        done = (await world.submit()).job.id
        world.agent("web-1").behaviour = hang
        running = (await world.submit()).job.id
        await clock.advance(5000)
        await settle()

        assert None is await world.store.job(done)
        assert None is not await world.store.job(running)


async def test_old_output_goes_before_its_job_does() -> None:
    clock = ManualClock()
    limits = replace(DEFAULTS, output_retention_s=1000.0, inactivity_s=1e9, lease_s=1e9)
    async with World.start(clock, limits=limits) as world:
        await world.join("web-1", behaviour=succeed(b"hello"))
        (run,) = (await world.submit()).runs
        await clock.advance(500)
        before = await world.output(run)
        await clock.advance(600)
        await settle()
        pruned = await world.run(run)

        assert b"hello" == before
        assert (True, RunState.SUCCEEDED) == (pruned.output_pruned, pruned.state)
        assert b"" == await world.output(run)


@pytest.mark.parametrize(("most", "kept"), [(12, ["", "12345", "12345"]), (0, 3 * ["12345"])])
async def test_the_oldest_output_goes_when_there_is_too_much(most: int, kept: list[str]) -> None:
    clock = ManualClock()
    limits = replace(DEFAULTS, output_total_bytes=most, inactivity_s=1e9, lease_s=1e9)
    async with World.start(clock, limits=limits) as world:
        await world.join("web-1", behaviour=succeed(b"12345"))
        runs: list[Run] = []
        for _ in range(3):
            runs += (await world.submit()).runs
            clock.jump(1.0)
        await clock.advance(100)
        await settle()

        assert kept == [(await world.output(run)).decode() for run in runs]
