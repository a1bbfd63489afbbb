"""Due times: one job each, whatever crashes, overlaps, is missed or set."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from farhand.boot.clock import SteadyClock
from farhand.controller.firing import AT_ONCE, PER_ROUND, Firer
from farhand.controller.schedules import Rules
from farhand.domain.job import AllAgents, Argv, Job, JobSpec, Names, Targets
from farhand.domain.limits import DEFAULTS
from farhand.domain.run import RunState
from farhand.domain.schedule import (
    Cron,
    Firing,
    FiringOutcome,
    Missed,
    Once,
    Overlap,
    Schedule,
    ScheduleState,
    Timing,
)
from farhand.errors import StoreUnavailable
from farhand.ports import AddJob, Change, Outcome, Put
from farhand.storage.memory import MemoryControl, MemoryStore
from farhand.testing import ManualClock, World, hang, settle

SPEC = JobSpec(what=Argv(("true",)))
MINUTELY = Cron("* * * * *")
HOUR = 3_600.0


async def add(
    world: World,
    timing: Timing = MINUTELY,
    *,
    name: str = "backup",
    targets: Targets | None = None,
    by: str = "admin",
    rules: Rules | None = None,
) -> Schedule:
    return await world.tenant.schedules.add(
        name, SPEC, targets or AllAgents(), timing, by=by, rules=rules or Rules()
    )


async def jobs(world: World) -> list[Job]:
    """Oldest first."""
    return list((await world.store.jobs(limit=1_000)).items)[::-1]


async def history(world: World, name: str = "backup") -> list[Firing]:
    """Oldest first."""
    made = await world.tenant.schedules.find(name)
    return list((await world.tenant.schedules.firings(made)).items)[::-1]


def outcomes(firings: Sequence[Firing]) -> list[FiringOutcome]:
    return [firing.outcome for firing in firings]


def firer(world: World) -> Firer:
    return Firer(world.tenant.sessions, world.tenant.jobs, world.enrolment)


async def test_each_due_time_makes_one_job_of_its_owners() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"]) as world:
        made = await add(world)
        await clock.advance(3 * 60)
        told = await jobs(world)
        firings = await history(world)

        assert [("admin", made.id)] * 3 == [(job.by, job.schedule) for job in told]
        assert [job.id for job in told] == [firing.job for firing in firings]
        assert [FiringOutcome.FIRED] * 3 == outcomes(firings)
        assert [60.0, 60.0] == [after.due - before.due for before, after in pairwise(firings)]
        assert all(0 <= firing.at - firing.due < 2 for firing in firings)


async def test_a_job_says_in_the_audit_which_schedule_made_it() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"]) as world:
        made = await add(world)
        await clock.advance(61)
        lines = (await world.store.audit()).items
        told = next(line for line in lines if line.action == "job.submitted")

        assert ("admin", made.id) == (told.by, told.facts["schedule"])


async def test_a_moment_comes_once_and_the_schedule_is_forgotten_with_its_jobs() -> None:
    clock = ManualClock()
    async with World.start(
        clock, agents=["web-1"], limits=replace(DEFAULTS, retention_s=HOUR)
    ) as world:
        made = await add(world, Once(clock.wall() + 10.5))
        await clock.advance(30)
        over = await world.tenant.schedules.find("backup")
        told = await jobs(world)
        await clock.advance(HOUR)

        assert (ScheduleState.OVER, 1) == (over.state, len(told))
        assert await world.store.document(Schedule, made.id) is None
        assert [] == list((await world.store.documents(Firing)).items)


# --- overlaps -----------------------------------------------------------------------------


async def test_a_job_that_is_not_over_lets_the_next_be_left_out() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"], behaviour=hang) as world:
        await add(world)
        await clock.advance(130)
        firings = await history(world)

        assert 1 == len(await jobs(world))
        assert [FiringOutcome.FIRED, FiringOutcome.OVERLAP] == outcomes(firings)
        assert f"{firings[0].job} is not over" == firings[1].message


async def test_jobs_run_beside_each_other_where_that_is_allowed() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"], behaviour=hang) as world:
        await add(world, rules=Rules(overlap=Overlap.ALLOW))
        await clock.advance(130)
        (first, second) = await jobs(world)

        assert (1, 1) == (first.counts[RunState.RUNNING], second.counts[RunState.RUNNING])


async def test_the_job_before_is_ended_where_that_was_asked() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"], behaviour=hang) as world:
        await add(world, rules=Rules(overlap=Overlap.CANCEL))
        await clock.advance(130)
        (first, second) = await jobs(world)

        assert first.cancel_requested
        assert {RunState.RUNNING: 1} == second.counts


# --- what is missed -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missed", "expected"),
    [(Missed.SKIP, [FiringOutcome.MISSED]), (Missed.ONCE, [FiringOutcome.FIRED])],
)
async def test_what_a_controller_that_was_down_missed(
    missed: Missed, expected: list[FiringOutcome]
) -> None:
    clock, store, control = ManualClock(), MemoryStore(), MemoryControl()
    async with World.start(clock, agents=["web-1"], store=store, control=control) as world:
        made = await add(world, Cron("@hourly"), rules=Rules(missed=missed))
    clock.stall((made.next_at or 0.0) - clock.wall() + 2.5 * HOUR)
    async with World.start(clock, agents=["web-2"], store=store, control=control) as world:
        await clock.advance(5)
        firings = await history(world)
        after = await world.tenant.schedules.find("backup")

        assert expected == outcomes(firings)
        assert [((made.next_at or 0.0) + 2 * HOUR, 2)] == [(one.due, one.passed) for one in firings]
        assert (made.next_at or 0.0) + 3 * HOUR == after.next_at


async def test_a_short_absence_misses_nothing() -> None:
    clock, store, control = ManualClock(), MemoryStore(), MemoryControl()
    async with World.start(clock, agents=["web-1"], store=store, control=control) as world:
        made = await add(world, Cron("@hourly"))
    clock.stall((made.next_at or 0.0) - clock.wall() + made.grace_s - 10)
    async with World.start(clock, agents=["web-2"], store=store, control=control) as world:
        await clock.advance(5)

        assert [FiringOutcome.FIRED] == outcomes(await history(world))


# --- crashes and clocks -------------------------------------------------------------------


async def test_two_who_look_at_once_make_one_job() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"]) as world:
        await add(world)
        clock.stall(61)
        await asyncio.gather(*(firer(world).round() for _ in range(3)))

        assert 1 == len(await jobs(world))
        assert 1 == len(await history(world))


async def test_a_schedule_that_is_changed_while_it_fires_keeps_both() -> None:
    clock, store = ManualClock(), _Interrupted()
    async with World.start(clock, agents=["web-1"], store=store) as world:
        made = await add(world)
        store.meanwhile = replace(made, overlap=Overlap.ALLOW)
        await clock.advance(61)
        (job,) = await jobs(world)
        found = await world.tenant.schedules.find("backup")

        assert (Overlap.ALLOW, job.id, 1) == (found.overlap, found.last_job, found.firings)
        assert [job.id] == [firing.job for firing in await history(world)]

        await clock.advance(60)

        assert 2 == len(await jobs(world))


class _Interrupted(MemoryStore):
    """Somebody writes *meanwhile*, just before a job comes."""

    meanwhile: Schedule | None = None

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        if self.meanwhile is not None and any(isinstance(one, AddJob) for one in changes):
            other, self.meanwhile = self.meanwhile, None
            await super().apply([Put(other)])
        return await super().apply(changes)


class _Failing(MemoryStore):
    """Takes no job while it *fails*."""

    fails = False

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        if self.fails:
            raise StoreUnavailable
        return await super().apply(changes)


async def test_an_outage_of_the_store_leaves_it_due() -> None:
    clock, store = ManualClock(), _Failing()
    async with World.start(clock, agents=["web-1"], store=store) as world:
        await add(world)
        store.fails = True
        await clock.advance(61)
        during = await jobs(world)
        store.fails = False
        await clock.advance(20)

        assert [] == during
        assert [FiringOutcome.FIRED] == outcomes(await history(world))


async def test_a_wall_clock_that_jumps_forward_makes_no_storm() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"]) as world:
        await add(world, rules=Rules(missed=Missed.ONCE))
        clock.jump(400 * 86_400)
        await clock.advance(10)

        assert 1 == len(await jobs(world))


async def test_a_wall_clock_that_is_set_back_repeats_nothing() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"]) as world:
        await add(world)
        await clock.advance(5 * 60)
        before = await history(world)
        clock.jump(-4 * 60)
        await clock.advance(4 * 60)
        during = await history(world)
        await clock.advance(60)
        after = await history(world)

        assert (before, 6) == (during, len(after))


async def test_a_clock_that_was_years_ahead_is_forgotten_at_the_next_start() -> None:
    clock, store, control = ManualClock(), MemoryStore(), MemoryControl()
    clock.jump(400 * 86_400)
    async with World.start(clock, agents=["web-1"], store=store, control=control) as world:
        await add(world)
        await clock.advance(61)
    clock.jump(-400 * 86_400)
    async with World.start(clock, agents=["web-2"], store=store, control=control) as world:
        await clock.advance(62)

        assert 2 == len(await jobs(world))


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
async def test_a_running_controller_goes_by_the_time_that_passes(jump: float) -> None:
    manual = ManualClock()
    async with World.start(SteadyClock(manual), agents=["web-1"]) as world:
        await add(world, rules=Rules(overlap=Overlap.ALLOW))
        manual.jump(jump)
        await manual.advance(5 * 60)

        assert 5 == pytest.approx(len(await jobs(world)), abs=1)


# --- what is refused ----------------------------------------------------------------------


async def test_a_job_that_is_refused_is_told_in_the_history() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"]) as world:
        await add(world, targets=Names(("web-1",)))
        gone = await world.tenant.agents.find("web-1")
        await world.tenant.agents.remove(gone.id, by="admin")
        await clock.advance(61)
        (firing,) = await history(world)

        assert (FiringOutcome.REFUSED, "unknown-agent") == (firing.outcome, firing.code)
        assert "web-1" in firing.message
        assert [] == await jobs(world)


async def test_a_frozen_org_begins_nothing_and_ends_nothing() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"], behaviour=hang) as world:
        await add(world, rules=Rules(overlap=Overlap.CANCEL))
        await clock.advance(61)
        await world.tenant.jobs.fleet.freeze("holidays", by="admin")
        await clock.advance(60)
        (job,) = await jobs(world)
        firings = await history(world)
        await world.tenant.jobs.fleet.unfreeze(by="admin")
        await clock.advance(60)

        assert (FiringOutcome.FROZEN, "frozen") == (firings[1].outcome, firings[1].code)
        assert not job.cancel_requested
        assert 2 == len(await jobs(world))


@pytest.mark.parametrize(
    ("expect", "expected"),
    [(None, (FiringOutcome.REFUSED, "count-unnamed")), (1, (FiringOutcome.FIRED, None))],
)
async def test_a_fleet_that_grew_is_for_who_said_how_many_they_were(
    expect: int | None, expected: tuple[FiringOutcome, str | None]
) -> None:
    clock, limits = ManualClock(), replace(DEFAULTS, unnamed_targets=1)
    async with World.start(clock, agents=["web-1"], limits=limits) as world:
        await world.tenant.schedules.add(
            "backup", SPEC, AllAgents(), MINUTELY, by="admin", expect=expect
        )
        await world.join("web-2")
        await clock.advance(61)
        (firing,) = await history(world)

        assert expected == (firing.outcome, firing.code)


async def test_a_schedule_whose_owner_has_no_token_is_paused_until_somebody_takes_it_over() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"]) as world:
        await add(world, by="gone")
        await clock.advance(125)
        found = await world.tenant.schedules.find("backup")
        (firing,) = await history(world)

        assert (ScheduleState.PAUSED, "owner-gone") == (found.state, found.why)
        assert (FiringOutcome.REFUSED, "owner-gone") == (firing.outcome, firing.code)

        await world.tenant.schedules.resume(found.id, by="admin")
        await clock.advance(60)

        assert ["admin"] == [job.by for job in await jobs(world)]


async def test_a_zone_that_is_gone_pauses_its_schedules_and_no_others() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"]) as world:
        made = await add(world, name="broken")
        gone = replace(made, timing=Cron("* * * * *", "Mars/Olympus"))
        await world.store.apply([Put(gone)])
        await add(world)
        await clock.advance(61)

        assert "unknown-zone" == (await world.tenant.schedules.find("broken")).why
        assert 1 == len(await jobs(world))


async def test_a_paused_schedule_makes_no_job() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"]) as world:
        made = await add(world)
        await world.tenant.schedules.pause(made.id, by="admin")
        await clock.advance(300)

        assert [] == await jobs(world)
        assert [] == await history(world)


# --- many ---------------------------------------------------------------------------------


async def test_a_history_is_bounded() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"], limits=replace(DEFAULTS, firings=5)) as world:
        await add(world)
        await clock.advance(25 * 60)

        assert [21, 22, 23, 24, 25] == [firing.number for firing in await history(world)]
        assert 15 >= len((await world.store.documents(Firing)).items)


async def test_many_that_are_due_together_are_taken_some_at_a_time() -> None:
    clock, store = ManualClock(), _Counting()
    async with World.start(clock, store=store, agents=["web-1"]) as world:
        made = await add(world, Once(clock.wall() + 1))
        many = PER_ROUND + 2 * AT_ONCE
        await store.apply([Put(replace(made, id=f"sch_{n}", version=0)) for n in range(many - 1)])
        clock.stall(2)
        await firer(world).round()
        await settle()
        first = len(await world.store.documents_due(Schedule, clock.wall(), limit=many))
        await firer(world).round()

        assert 0 < many - first <= PER_ROUND + AT_ONCE
        assert [] == await world.store.documents_due(Schedule, clock.wall())
        assert many == sum([len((await world.store.documents(Firing, limit=many)).items)])
        assert AT_ONCE == store.most


class _Counting(MemoryStore):
    """Counts how many jobs come together."""

    most = 0
    inside = 0

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        new = sum(isinstance(one, AddJob) for one in changes)
        self.inside += new
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep(0)
            return await super().apply(changes)
        finally:
            self.inside -= new
