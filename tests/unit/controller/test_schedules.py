"""Keeping schedules: names, bounds, changes and owners. What a due time does is in test_firing."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from farhand.controller.schedules import Rules, Schedules
from farhand.domain.job import AllAgents, Argv, JobSpec, Names, Previewed
from farhand.domain.limits import DEFAULTS
from farhand.domain.schedule import (
    Cron,
    Firing,
    Missed,
    Once,
    Overlap,
    Schedule,
    ScheduleName,
    ScheduleState,
    Timing,
)
from farhand.errors import (
    CountMismatch,
    CountUnnamed,
    InvalidCron,
    InvalidJob,
    InvalidName,
    InvalidSchedule,
    OverShare,
    ScheduleExists,
    UnknownAgent,
    UnknownSchedule,
    UnknownZone,
)
from farhand.ports import Done, Drop, Put
from farhand.testing import ManualClock, World

SPEC = JobSpec(what=Argv(("true",)))
MINUTELY = Cron("* * * * *")


async def add(schedules: Schedules, name: str = "backup", timing: Timing = MINUTELY) -> Schedule:
    return await schedules.add(name, SPEC, AllAgents(), timing, by="admin")


async def test_a_schedule_is_found_by_its_name_and_by_its_id() -> None:
    clock = ManualClock()
    async with World.start(clock) as world:
        made = await add(world.tenant.schedules)

        assert made == await world.tenant.schedules.find("backup")
        assert made == await world.tenant.schedules.find(made.id)
        assert ("admin", Overlap.SKIP, Missed.SKIP) == (made.by, made.overlap, made.missed)
        assert DEFAULTS.schedule_grace_s == made.grace_s
        assert clock.wall() < (made.next_at or 0) <= clock.wall() + 60


@pytest.mark.parametrize("name", ["nope", "sch_01h455vb4pex5vsknk084sn02q", "", "a/b", "\0"])
async def test_what_is_not_there_is_not_found(name: str) -> None:
    async with World.start() as world:
        with pytest.raises(UnknownSchedule):
            await world.tenant.schedules.find(name)


async def test_a_name_is_borne_once() -> None:
    async with World.start() as world:
        schedules = world.tenant.schedules
        tried = await asyncio.gather(*(add(schedules) for _ in range(5)), return_exceptions=True)

        assert 4 == sum(isinstance(found, ScheduleExists) for found in tried)
        assert 1 == len((await world.store.documents(Schedule)).items)


async def test_a_name_is_free_again_when_its_schedule_is_gone() -> None:
    async with World.start() as world:
        first = await add(world.tenant.schedules)
        await world.tenant.schedules.remove(first.id, by="admin")
        second = await add(world.tenant.schedules)

        assert first.id != second.id
        with pytest.raises(UnknownSchedule):
            await world.tenant.schedules.find(first.id)


async def test_a_name_whose_schedule_was_lost_can_be_taken() -> None:
    async with World.start() as world:
        first = await add(world.tenant.schedules)
        await world.store.apply([Drop(Schedule, first.id)])
        second = await add(world.tenant.schedules)

        assert second == await world.tenant.schedules.find("backup")


async def test_two_controllers_cannot_give_one_name_twice() -> None:
    async with World.start() as world:
        schedules = world.tenant.schedules
        other = Schedules(world.tenant.sessions, world.enrolment)
        tried = await asyncio.gather(add(schedules), add(other), return_exceptions=True)

        assert 1 == sum(isinstance(found, Schedule) for found in tried)
        assert 1 == len((await world.store.documents(Schedule)).items)


@pytest.mark.parametrize(
    ("name", "timing", "spec", "rules", "error"),
    [
        ("a b", MINUTELY, SPEC, Rules(), InvalidName),
        ("ok", Cron("61 * * * *"), SPEC, Rules(), InvalidCron),
        ("ok", Cron("* * * * *", "Mars/Olympus"), SPEC, Rules(), UnknownZone),
        ("ok", Once(1.0), SPEC, Rules(), InvalidSchedule),
        ("ok", MINUTELY, JobSpec(what=Argv(())), Rules(), InvalidJob),
        ("ok", MINUTELY, SPEC, Rules(grace_s=-1.0), InvalidSchedule),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_written(
    name: str, timing: Timing, spec: JobSpec, rules: Rules, error: type[Exception]
) -> None:
    async with World.start() as world:
        with pytest.raises(error):
            await world.tenant.schedules.add(
                name, spec, AllAgents(), timing, by="admin", rules=rules
            )

        assert [] == list((await world.store.documents(Schedule)).items)
        assert [] == list((await world.store.documents(ScheduleName)).items)


async def test_targets_are_looked_at_when_a_schedule_is_added() -> None:
    async with World.start(
        agents=["a", "b", "c"], limits=replace(DEFAULTS, unnamed_targets=2)
    ) as world:
        add_for = partial(world.tenant.schedules.add, "x", SPEC, timing=MINUTELY, by="admin")
        with pytest.raises(UnknownAgent):
            await add_for(targets=Names(("nobody",)))
        with pytest.raises(InvalidSchedule):
            await add_for(targets=Previewed("pre_1"))
        with pytest.raises(CountUnnamed):
            await add_for(targets=AllAgents())
        with pytest.raises(CountMismatch):
            await add_for(targets=AllAgents(), expect=2)

        assert 3 == (await add_for(targets=AllAgents(), expect=3)).expect


async def test_an_org_has_so_many_schedules_and_no_more() -> None:
    async with World.start(limits=replace(DEFAULTS, schedules=2)) as world:
        schedules = world.tenant.schedules
        first = await add(schedules, "one")
        await add(schedules, "two")
        with pytest.raises(OverShare) as caught:
            await add(schedules, "three")
        await schedules.remove(first.id, by="admin")
        await add(schedules, "three")

        assert {"bound": "schedules", "limit": 2} == caught.value.details


async def test_ten_thousand_are_not_due_and_one_more_is_refused() -> None:
    clock, idle = ManualClock(), Cron("0 0 1 1 *")
    async with World.start(clock, agents=["web-1"]) as world:
        made = await add(world.tenant.schedules, "first", idle)
        numbers = range(DEFAULTS.schedules - 1)
        others = [replace(made, id=f"sch_{n}", name=f"n-{n}", version=0) for n in numbers]
        names = [ScheduleName(id=one.name, schedule=one.id) for one in others]
        await world.store.apply([*map(Put, others), *map(Put, names)])
        other = Schedules(world.tenant.sessions, world.enrolment)  # counts them itself
        with pytest.raises(OverShare):
            await add(other, "one-more")
        await clock.advance(10)

        assert [] == list(await world.store.documents_due(Schedule, clock.wall()))
        assert [] == list((await world.store.jobs()).items)


async def test_an_edit_leaves_what_it_does_not_name() -> None:
    clock = ManualClock()
    async with World.start(clock) as world:
        schedules = world.tenant.schedules
        made = await add(schedules)
        ruled = await schedules.edit(made.id, by="eve", rules=Rules(overlap=Overlap.CANCEL))
        timed = await schedules.edit(made.id, by="eve", timing=Once(clock.wall() + 5))

        assert replace(made, overlap=Overlap.CANCEL, version=2) == ruled
        assert (Overlap.CANCEL, clock.wall() + 5) == (timed.overlap, timed.next_at)
        with pytest.raises(InvalidSchedule):
            await schedules.edit(made.id, by="eve", rules=Rules(grace_s=float("nan")))
        with pytest.raises(InvalidCron):
            await schedules.edit(made.id, by="eve", timing=Cron("nonsense"))


async def test_pausing_and_resuming_twice_changes_nothing() -> None:
    async with World.start() as world:
        schedules = world.tenant.schedules
        made = await add(schedules)
        once = await schedules.pause(made.id, by="admin")
        twice = await schedules.pause(made.id, by="admin")
        back = await schedules.resume(made.id, by="admin")
        again = await schedules.resume(made.id, by="admin")

        assert (ScheduleState.PAUSED, None) == (once.state, once.due_at)
        assert (once, back) == (twice, again)
        assert (ScheduleState.ACTIVE, made.next_at) == (back.state, back.next_at)


async def test_whoever_resumes_a_schedule_without_an_owner_takes_it_over() -> None:
    async with World.start() as world:
        schedules = world.tenant.schedules
        made = await schedules.add("backup", SPEC, AllAgents(), MINUTELY, by="gone")
        await schedules.pause(made.id, by="admin")

        assert "admin" == (await schedules.resume(made.id, by="admin")).by


async def test_whoever_resumes_somebody_elses_schedule_leaves_it_to_them() -> None:
    async with World.start() as world:
        schedules = world.tenant.schedules
        made = await add(schedules)
        await schedules.pause(made.id, by="eve")

        assert "admin" == (await schedules.resume(made.id, by="eve")).by


async def test_every_change_is_audited() -> None:
    async with World.start() as world:
        schedules = world.tenant.schedules
        made = await add(schedules)
        await schedules.edit(made.id, by="b", rules=Rules(missed=Missed.ONCE))
        await schedules.pause(made.id, by="c")
        await schedules.resume(made.id, by="d")
        await schedules.remove(made.id, by="e")
        told = [(line.by, line.action) for line in (await world.store.audit()).items]

        assert [
            ("e", "schedule.removed"),
            ("d", "schedule.resumed"),
            ("c", "schedule.paused"),
            ("b", "schedule.changed"),
            ("admin", "schedule.added"),
        ] == [line for line in told if line[1].startswith("schedule.")]


async def test_an_edit_wins_against_who_writes_meanwhile() -> None:
    async with World.start() as world:
        schedules = world.tenant.schedules
        made = await add(schedules)
        other = Schedules(world.tenant.sessions, world.enrolment)
        await asyncio.gather(
            *(
                each.edit(made.id, by="admin", rules=rules)
                for each, rules in (
                    (schedules, Rules(overlap=Overlap.ALLOW)),
                    (other, Rules(missed=Missed.ONCE)),
                )
            )
        )
        found = await schedules.find("backup")

        assert (Overlap.ALLOW, Missed.ONCE) == (found.overlap, found.missed)


async def test_the_history_goes_with_the_schedule() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"]) as world:
        made = await add(world.tenant.schedules)
        await clock.advance(185)
        firings = (await world.store.documents(Firing)).items
        await world.tenant.schedules.remove(made.id, by="admin")

        assert 3 == len(firings)
        assert [] == list((await world.store.documents(Firing)).items)
        assert 3 == len((await world.store.jobs()).items)


async def test_the_history_is_told_page_by_page_newest_first() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"]) as world:
        schedules = world.tenant.schedules
        await add(schedules)
        await clock.advance(5 * 60 + 5)
        made = await schedules.find("backup")
        first = await schedules.firings(made, limit=2)
        second = await schedules.firings(made, before=int(first.next or 0), limit=2)
        third = await schedules.firings(made, before=int(second.next or 0), limit=2)

        assert ([5, 4], [3, 2], [1]) == tuple(
            [one.number for one in page.items] for page in (first, second, third)
        )
        assert third.next is None


async def test_a_document_that_is_put_twice_is_not_overwritten() -> None:
    async with World.start() as world:
        made = await add(world.tenant.schedules)
        first, second = await world.store.apply([Put(made), Put(made)])

        assert Done() == first
        assert Done() != second
