"""Keep schedules: add, find, change, pause, resume, remove, and tell what came of them.

Makes no job; `controller.firing` does, when one is due.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from farhand.controller.enrolment import Enrolment
from farhand.controller.ids import new_schedule
from farhand.controller.paging import pages
from farhand.controller.sessions import Sessions
from farhand.controller.targets import Fleet, check_count
from farhand.domain.ids import check_name, is_id
from farhand.domain.job import JobSpec, Previewed, Targets, checked
from farhand.domain.limits import Limits
from farhand.domain.schedule import (
    Firing,
    Missed,
    Overlap,
    Schedule,
    ScheduleName,
    ScheduleState,
    Timing,
    check_grace,
    firing_id,
    first_due,
    paused,
    resumed,
    retimed,
)
from farhand.domain.spread import Spread
from farhand.domain.spread import check as check_spread
from farhand.errors import (
    Conflict,
    InvalidSchedule,
    NoTargets,
    OverShare,
    ScheduleExists,
    UnknownSchedule,
)
from farhand.ports import Done, Drop, Page, Put, Record, Store

_TRIES = 10  # an edit is written over a firing that was faster
_PAGE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is done about overlaps and missed due times; None stays as it is, or is the default."""

    overlap: Overlap | None = None
    missed: Missed | None = None
    grace_s: float | None = None


AS_IT_IS = Rules()


class Schedules:
    """The schedules of one org."""

    def __init__(self, sessions: Sessions, enrolment: Enrolment) -> None:
        self._org = sessions.org
        self._store = sessions.store
        self._clock = sessions.clock
        self._limits = sessions.limits
        self._enrolment = enrolment
        self._fleet = Fleet(sessions.store, sessions.clock, sessions.limits)
        self._count: int | None = None  # of those there are, once they were counted
        self._adding = asyncio.Lock()  # of two with one name, the second must see the first

    async def add(
        self,
        name: str,
        spec: JobSpec,
        targets: Targets,
        timing: Timing,
        *,
        by: str,
        spread: Spread | None = None,
        expect: int | None = None,
        rules: Rules = AS_IT_IS,
    ) -> Schedule:
        """Add a schedule whose jobs are *by*'s.

        *expect* is how many targets it has now; later it may have others. Raises InvalidName,
        InvalidJob, InvalidSpread, InvalidSchedule kinds, ScheduleExists, OverShare, CountMismatch,
        CountUnnamed, and what `Fleet.pick` raises but for NoTargets.
        """
        check_name(name)
        if spread is not None:
            check_spread(spread, spec, self._limits)
        await self._check_targets(targets, expect)
        now = self._clock.wall()
        grace_s = self._limits.schedule_grace_s if rules.grace_s is None else rules.grace_s
        schedule = Schedule(
            id=new_schedule(),
            name=name,
            spec=checked(spec, self._limits),
            targets=targets,
            timing=timing,
            by=by,
            created_at=now,
            spread=spread,
            expect=expect,
            overlap=rules.overlap or Overlap.SKIP,
            missed=rules.missed or Missed.SKIP,
            grace_s=check_grace(grace_s),
            next_at=first_due(timing, now),
        )
        async with self._adding:
            await self._write(schedule)
        return await self._known(schedule.id)

    async def _check_targets(self, targets: Targets, expect: int | None) -> None:
        """Refuse now what would be refused each time; that nobody is there yet is no mistake."""
        if isinstance(targets, Previewed):
            raise InvalidSchedule("a preview is soon forgotten; name a selector")
        try:
            picked = await self._fleet.pick(targets)
        except NoTargets:
            return
        check_count(len(picked.agents), expect, self._limits)

    async def _write(self, schedule: Schedule) -> None:
        borne = await self._store.document(ScheduleName, schedule.name)
        if borne is not None and await self._store.document(Schedule, borne.schedule) is not None:
            raise _exists(schedule.name)
        if self._count is None or self._count >= self._limits.schedules:
            self._count = await self._counted()
        if self._count >= (most := self._limits.schedules):
            msg = f"there are {most} schedules, which is the limit; remove some"
            raise OverShare(msg, bound="schedules", limit=most)
        version = 0 if borne is None else borne.version
        name = ScheduleName(id=schedule.name, schedule=schedule.id, version=version)
        record = self._record(schedule, schedule.by, "schedule.added")
        named, _, _ = await self._store.apply([Put(name), Put(schedule), record])
        if named != Done():
            await self._store.apply([Drop(Schedule, schedule.id)])
            raise _exists(schedule.name)
        self._count += 1

    async def _counted(self) -> int:
        read = pages(lambda cursor: self._store.documents(ScheduleName, cursor=cursor, limit=_PAGE))
        return sum([len(page) async for page in read])

    async def find(self, name_or_id: str) -> Schedule:
        """A schedule by name or id; raises UnknownSchedule."""
        if is_id("sch", name_or_id):
            return await self._known(name_or_id)
        borne = await self._store.document(ScheduleName, name_or_id)
        found = borne and await self._store.document(Schedule, borne.schedule)
        if not found:
            raise _unknown(name_or_id)
        return found

    async def edit(
        self, schedule: str, *, by: str, timing: Timing | None = None, rules: Rules = AS_IT_IS
    ) -> Schedule:
        """Change when a schedule is due, or its rules; its job stays as it was asked.

        Raises UnknownSchedule, InvalidSchedule kinds.
        """
        if rules.grace_s is not None:
            check_grace(rules.grace_s)

        def changed(found: Schedule) -> Schedule:
            found = replace(
                found,
                overlap=rules.overlap or found.overlap,
                missed=rules.missed or found.missed,
                grace_s=found.grace_s if rules.grace_s is None else rules.grace_s,
            )
            return found if timing is None else retimed(found, timing, self._clock.wall())

        return await self._change(schedule, by, "schedule.changed", changed)

    async def pause(self, schedule: str, *, by: str) -> Schedule:
        """Let it not be due; one that is over or paused stays as it is. Raises UnknownSchedule."""

        def changed(found: Schedule) -> Schedule:
            return paused(found) if found.state is ScheduleState.ACTIVE else found

        return await self._change(schedule, by, "schedule.paused", changed)

    async def resume(self, schedule: str, *, by: str) -> Schedule:
        """Let a paused schedule be due again; nothing was missed.

        If its owner has no token any more, whoever resumes it takes it over. Raises
        UnknownSchedule, and InvalidSchedule when its only moment has passed.
        """
        found = await self._known(schedule)
        owner = found.by if await self._enrolment.knows(self._org, found.by) else by

        def changed(found: Schedule) -> Schedule:
            if found.state is not ScheduleState.PAUSED:
                return found
            return replace(resumed(found, self._clock.wall()), by=owner)

        return await self._change(schedule, by, "schedule.resumed", changed)

    async def remove(self, schedule: str, *, by: str) -> None:
        """Forget a schedule with its history; its jobs stay. Raises UnknownSchedule."""
        found = await self._known(schedule)
        await forget(self._store, found, self._limits, self._record(found, by, "schedule.removed"))
        if self._count:
            self._count -= 1

    async def firings(
        self, schedule: Schedule, *, before: int | None = None, limit: int = 100
    ) -> Page[Firing]:
        """What came of its due times, newest first; the cursor is the number of the last."""
        newest = schedule.firings if before is None else min(schedule.firings, before - 1)
        oldest = max(0, schedule.firings - self._limits.firings)
        end = max(oldest, newest - limit)
        read = [
            await self._store.document(Firing, firing_id(schedule.id, number))
            for number in range(newest, end, -1)
        ]
        return Page(
            [one for one in read if one is not None], str(end + 1) if end > oldest else None
        )

    async def _change(
        self, schedule: str, by: str, action: str, changed: Callable[[Schedule], Schedule]
    ) -> Schedule:
        """Write what *changed* makes of the schedule, whatever its driver writes meanwhile."""
        for _ in range(_TRIES):
            found = await self._known(schedule)
            after = changed(found)
            if after == found:
                return found
            record = self._record(found, by, action)
            outcome, _ = await self._store.apply([Put(after), record])
            if outcome == Done():
                return await self._known(schedule)
        raise Conflict(f"{schedule} is written all the time; try again")

    async def _known(self, schedule: str) -> Schedule:
        found = await self._store.document(Schedule, schedule)
        if found is None:
            raise _unknown(schedule)
        return found

    def _record(self, schedule: Schedule, by: str, action: str) -> Record:
        facts = {"name": schedule.name, "owner": schedule.by}
        at = self._clock.wall()
        return Record(at=at, by=by, action=action, subject=schedule.id, facts=facts)


async def forget(store: Store, schedule: Schedule, limits: Limits, *records: Record) -> None:
    """Delete a schedule, its name and its history."""
    await store.apply([Drop(Schedule, schedule.id), Drop(ScheduleName, schedule.name), *records])
    first = schedule.firings - 10 * limits.firings  # far enough if the limit was lowered
    await store.apply(dropped(schedule.id, first, schedule.firings + 1))


def dropped(schedule: str, first: int, last: int) -> Sequence[Drop]:
    """What deletes firings by their numbers, *last* included; those below 1 are none."""
    return [Drop(Firing, firing_id(schedule, number)) for number in range(max(1, first), last + 1)]


def _exists(name: str) -> ScheduleExists:
    return ScheduleExists(f"there is a schedule {name!r} already; remove it first", name=name)


def _unknown(schedule: str) -> UnknownSchedule:
    told = f"there is no schedule {schedule!r}; look at `farhand schedules list`"
    return UnknownSchedule(told, schedule=schedule)
