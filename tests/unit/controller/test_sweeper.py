"""The clockwork: late rounds judge nobody, a controller that was away declares nobody lost."""

from dataclasses import replace

from farhand.controller.sweeper import Sweeper
from farhand.domain.limits import DEFAULTS
from farhand.domain.run import RunState
from farhand.testing import ManualClock, World, hang, settle


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
