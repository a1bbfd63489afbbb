"""Drive schedules: look at those that are due, make their jobs, note what came of it.

The job, the note and the next due time are one commit, so that a crash leaves all or nothing; and
the job's key is the schedule and the due time, so that two who look at once make one job. Nothing
is done between due times: the store's index tells what is due.
"""

import asyncio
from dataclasses import replace
from typing import Final

import structlog

from farhand.controller.enrolment import Enrolment
from farhand.controller.ids import new_job
from farhand.controller.jobs import Jobs, Scheduled
from farhand.controller.paging import pages
from farhand.controller.schedules import dropped, forget
from farhand.controller.sessions import Sessions
from farhand.domain.ids import JobId
from farhand.domain.schedule import (
    Firing,
    FiringOutcome,
    Look,
    Overlap,
    Schedule,
    ScheduleState,
    corrected,
    firing_id,
    look,
    noted,
    paused,
)
from farhand.errors import (
    CannotCancel,
    DataDirUnwritable,
    FarhandError,
    Frozen,
    OwnerGone,
    StoreUnavailable,
    UnknownJob,
    UnknownZone,
)
from farhand.ports import Done, Put, Record

log = structlog.get_logger()

AT_ONCE: Final = 32  # schedules that are looked at together
PER_ROUND: Final = 1_000  # of those that are due; the others wait for the next round
_TRIM: Final = 10  # firings by which a history may be longer than its limit
_TRIES: Final = 10
_OUTAGE: Final = (StoreUnavailable, DataDirUnwritable)  # nothing can be noted; it stays due


class Firer:
    """The clockwork of one org's schedules. `tick` makes it look, `run` does the looking."""

    def __init__(self, sessions: Sessions, jobs: Jobs, enrolment: Enrolment) -> None:
        self._org = sessions.org
        self._store = sessions.store
        self._clock = sessions.clock
        self._limits = sessions.limits
        self._jobs = jobs
        self._enrolment = enrolment
        self._ticked = asyncio.Event()
        self._outage = False

    def tick(self) -> None:
        """Look soon. Ticks that come while it looks are one."""
        self._ticked.set()

    async def run(self) -> None:
        """Look after each tick, until cancelled."""
        begun = False
        while True:
            await self._ticked.wait()
            self._ticked.clear()
            try:
                if not begun:
                    await self.correct()
                    begun = True
                await self.round()
                self._outage = False
            except* _OUTAGE as group:
                if not self._outage:
                    log.warning("schedules.store_unavailable", error=str(group.exceptions[0]))
                self._outage = True
            except* Exception:  # one bad schedule must not stop the others
                log.exception("schedules.failed")

    async def correct(self) -> None:
        """At the start: forget what was noted by a clock that was far ahead."""
        now = self._clock.wall()
        read = pages(lambda cursor: self._store.documents(Schedule, cursor=cursor, limit=100))
        async for page in read:
            changed = [after for one in page if (after := corrected(one, now)) != one]
            if changed:
                log.warning("schedules.corrected", schedules=len(changed))
                await self._store.apply([Put(after) for after in changed])

    async def round(self) -> None:
        """Look at what is due, the longest due first; at most PER_ROUND."""
        for _ in range(0, PER_ROUND, AT_ONCE):
            now = self._clock.wall()
            due = await self._store.documents_due(Schedule, now, limit=AT_ONCE)
            async with asyncio.TaskGroup() as tasks:
                for schedule in due:
                    tasks.create_task(self._look(schedule, now), name=f"look-{schedule.id}")
            if len(due) < AT_ONCE:
                return

    async def _look(self, schedule: Schedule, now: float) -> None:
        if schedule.state is ScheduleState.OVER:
            await forget(self._store, schedule, self._limits)
            return
        try:
            await self._heed(schedule, look(schedule, now), now)
        except _OUTAGE:
            raise
        except (OwnerGone, UnknownZone) as exc:  # it cannot be due before somebody sees to it
            await self._stop(schedule, exc, now)
        except Exception as exc:  # it must not come again and again
            log.exception("schedule.failed", schedule=schedule.id)
            await self._stop(schedule, FarhandError(str(exc)), now)

    async def _heed(self, schedule: Schedule, seen: Look, now: float) -> None:
        """Do what is to be done about a due time. Raises OwnerGone."""
        if not seen.in_time:
            told = f"nobody looked at it within its grace of {schedule.grace_s:g} s"
            await self._note(schedule, _firing(schedule, seen, now, message=told))
            return
        if not await self._enrolment.knows(self._org, schedule.by):
            told = f"{schedule.by}, whose jobs these are, has no token any more"
            raise OwnerGone(f"{told}; who resumes the schedule takes it over")
        if await self._jobs.frozen():
            told = "the org is frozen; `farhand unfreeze` ends that"
            frozen = _firing(schedule, seen, now, FiringOutcome.FROZEN, message=told)
            await self._note(schedule, replace(frozen, code=Frozen.code))
            return
        if (before := await self._overlapping(schedule)) is not None:
            overlap = FiringOutcome.OVERLAP
            told = f"{before} is not over"
            await self._note(schedule, _firing(schedule, seen, now, overlap, message=told))
            return
        await self._fire(schedule, seen, now)

    async def _fire(self, schedule: Schedule, seen: Look, now: float) -> None:
        job = new_job()
        fired = replace(_firing(schedule, seen, now, FiringOutcome.FIRED), job=job)
        after = noted(schedule, fired, self._limits.retention_s)
        scheduled = Scheduled(
            job=job,
            schedule=schedule.id,
            documents=(after, fired),
            counted=schedule.expect is not None,
        )
        try:
            submitted = await self._jobs.submit(
                schedule.spec,
                schedule.targets,
                by=schedule.by,
                key=f"schedule {schedule.id} {seen.due!r}",  # no header can hold a space
                scheduled=scheduled,
                spread=schedule.spread,
            )
        except _OUTAGE:
            raise
        except FarhandError as exc:
            frozen = isinstance(exc, Frozen)  # a moment ago
            outcome = FiringOutcome.FROZEN if frozen else FiringOutcome.REFUSED
            refused = _firing(schedule, seen, now, outcome, message=str(exc))
            await self._note(schedule, replace(refused, code=exc.code))
            return
        log.info("schedule.fired", schedule=schedule.name, job=submitted.job.id)
        await self._settle(schedule, replace(fired, job=submitted.job.id))
        await self._trim(schedule, fired)

    async def _overlapping(self, schedule: Schedule) -> JobId | None:
        """The job before, where it keeps this one from beginning."""
        before = schedule.last_job
        if schedule.overlap is Overlap.ALLOW or before is None:
            return None
        if not await self._store.waiting(before):
            return None
        if schedule.overlap is Overlap.SKIP:
            return before
        try:
            await self._jobs.cancel_job(before, by=schedule.by)
        except CannotCancel:
            return before
        except UnknownJob:  # deleted meanwhile
            return None
        return None

    async def _note(self, schedule: Schedule, firing: Firing) -> None:
        """Note that there is no job. One that was changed meanwhile is looked at again."""
        log.info("schedule.not_fired", schedule=schedule.name, outcome=firing.outcome.value)
        after = noted(schedule, firing, self._limits.retention_s)
        (outcome,) = await self._store.apply([Put(after)])
        if outcome == Done():
            await self._store.apply([Put(firing)])
            await self._trim(schedule, firing)

    async def _settle(self, schedule: Schedule, fired: Firing) -> None:
        """See that the schedule knows its job, also where somebody changed it meanwhile."""
        for _ in range(_TRIES):
            found = await self._store.document(Schedule, schedule.id)
            if found is None or found.firings >= fired.number:
                return
            after = noted(found, fired, self._limits.retention_s)
            await self._store.apply([Put(after), Put(fired)])

    async def _trim(self, schedule: Schedule, firing: Firing) -> None:
        """Forget the oldest of a history, some at a time."""
        if firing.number % _TRIM == 0:
            oldest = firing.number - self._limits.firings
            await self._store.apply(dropped(schedule.id, oldest - _TRIM + 1, oldest))

    async def _stop(self, schedule: Schedule, error: FarhandError, now: float) -> None:
        """Pause a schedule that cannot be driven, and say why."""
        number = schedule.firings + 1
        firing = Firing(
            id=firing_id(schedule.id, number),
            number=number,
            due=schedule.next_at or now,
            at=now,
            outcome=FiringOutcome.REFUSED,
            code=error.code,
            message=str(error),
        )
        after = replace(
            paused(schedule, error.code),
            firings=number,
            last_due=firing.due,
            last_at=now,
            last_outcome=firing.outcome,
        )
        record = Record(
            at=now,
            by="controller",
            action="schedule.paused",
            subject=schedule.id,
            facts={"name": schedule.name, "owner": schedule.by, "why": error.code},
        )
        (outcome,) = await self._store.apply([Put(after)])
        if outcome == Done():
            await self._store.apply([Put(firing), record])


def _firing(
    schedule: Schedule,
    seen: Look,
    now: float,
    outcome: FiringOutcome = FiringOutcome.MISSED,
    *,
    message: str = "",
) -> Firing:
    number = schedule.firings + 1
    return Firing(
        id=firing_id(schedule.id, number),
        number=number,
        due=seen.due,
        at=now,
        outcome=outcome,
        message=message,
        passed=seen.passed,
    )
