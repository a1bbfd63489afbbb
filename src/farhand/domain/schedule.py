"""A job at a time, or again and again: when it is due, and what is done about a due time.

Pure: whoever drives schedules looks with `look`, does what it says, and stores what `noted` makes
of it. A due time is looked at once, and never comes back.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import ClassVar, Final

from farhand.domain import cron
from farhand.domain.ids import JobId
from farhand.domain.job import JobSpec, Targets
from farhand.domain.limits import DEFAULTS
from farhand.domain.spread import Spread
from farhand.errors import InvalidSchedule, NeverFires

GRACE_MAX_S: Final = 7 * 86_400.0
COUNTED: Final = 100  # missed due times that are told apart; more are "at least"
SET_BACK_S: Final = 3 * 3_600.0  # a clock that is set back further was wrong before
AHEAD_S: Final = 50 * 366 * 86_400.0  # as far as cron looks
_BACK_S: Final = (3_600.0, 86_400.0, 32 * 86_400.0, 366 * 86_400.0)


class Overlap(StrEnum):
    """What is done when the schedule's job before is still waited for."""

    SKIP = "skip"  # this time is left out
    ALLOW = "allow"  # both run
    CANCEL = "cancel"  # the one before is asked to end, and the new one begins at once


class Missed(StrEnum):
    """What is done about due times that nobody looked at, within the grace."""

    SKIP = "skip"  # nothing; the next one comes
    ONCE = "once"  # one job for all of them


class ScheduleState(StrEnum):
    """Whether it will be due again."""

    ACTIVE = "active"
    PAUSED = "paused"
    OVER = "over"  # its last due time has passed


class FiringOutcome(StrEnum):
    """What came of a due time."""

    FIRED = "fired"  # there is a job
    OVERLAP = "overlap"  # the job before was still waited for
    MISSED = "missed"  # nobody looked in time
    FROZEN = "frozen"  # the org is frozen
    REFUSED = "refused"  # the job was not taken; the code says why


@dataclass(frozen=True, slots=True)
class Once:
    """Due at one moment, in wall-clock seconds; *zone* is where it was written down."""

    at: float
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Cron:
    """Due by a cron expression on the clock of *zone*."""

    text: str
    zone: str = "UTC"


Timing = Once | Cron


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A job as somebody wants it, and when. Times are wall-clock seconds.

    *expect* is how many targets it had when it was added, if that was said. *next_at* is the due
    time that nobody looked at yet, *last_due* the last one that somebody did, at *last_at*;
    *last_job* is the last job it made. *firings* counts what it looked at. *why* is the code of
    what paused it, if that was no person. *keep_until* is when one that is over goes.
    """

    KIND: ClassVar[str] = "schedule"

    id: str
    name: str
    spec: JobSpec
    targets: Targets
    timing: Timing
    by: str
    created_at: float
    version: int = 0
    spread: Spread | None = None
    expect: int | None = None
    overlap: Overlap = Overlap.SKIP
    missed: Missed = Missed.SKIP
    grace_s: float = DEFAULTS.schedule_grace_s
    state: ScheduleState = ScheduleState.ACTIVE
    why: str | None = None
    next_at: float | None = None
    last_due: float | None = None
    last_at: float | None = None
    last_job: JobId | None = None
    last_outcome: FiringOutcome | None = None
    firings: int = 0
    keep_until: float | None = None

    @property
    def due_at(self) -> float | None:
        """When somebody must look at it: it is due, or it is over and may go."""
        match self.state:
            case ScheduleState.ACTIVE:
                return self.next_at
            case ScheduleState.OVER:
                return self.keep_until
            case ScheduleState.PAUSED:
                return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleName:
    """Who bears a name: the id of this document. A name is borne once in an org."""

    KIND: ClassVar[str] = "schedule-name"

    id: str
    schedule: str
    version: int = 0

    @property
    def due_at(self) -> float | None:
        """Never."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """What came of one due time, looked at *at*. Its id is `firing_id(schedule, number)`.

    *passed* due times before it were left out, or at least so many where it is COUNTED. *code* and
    *message* say why there is no job.
    """

    KIND: ClassVar[str] = "firing"

    id: str
    number: int
    due: float
    at: float
    outcome: FiringOutcome
    version: int = 0
    job: JobId | None = None
    code: str | None = None
    message: str = ""
    passed: int = 0

    @property
    def due_at(self) -> float | None:
        """Never."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A due time, how many before it were left out, and whether there is to be a job for it."""

    due: float
    passed: int
    in_time: bool


def firing_id(schedule: str, number: int) -> str:
    """The id of a schedule's firing; they are numbered from 1."""
    return f"{schedule}.{number}"


# --- when ---------------------------------------------------------------------------------


def after(timing: Timing, moment: float) -> Iterator[float]:
    """Return the due times later than *moment*, in order. Raises UnknownZone."""
    match timing:
        case Once(at):
            return iter([at] if at > moment else [])
        case Cron(text, zone):
            return cron.after(text, zone, moment)


def next_after(timing: Timing, moment: float) -> float | None:
    """Return the first due time later than *moment*, or None. Raises UnknownZone."""
    return next(after(timing, moment), None)


def first_due(timing: Timing, now: float) -> float:
    """Return when a new schedule is due first.

    Raises InvalidCron, NeverFires, UnknownZone, and InvalidSchedule for a moment that has passed.
    """
    cron.zone(timing.zone)
    if isinstance(timing, Cron):
        cron.check(timing.text)
    elif timing.at > now + AHEAD_S:
        raise InvalidSchedule("the moment is more than 50 years ahead")
    found = next_after(timing, now)
    if found is not None:
        return found
    if isinstance(timing, Cron):
        raise NeverFires
    told = f"the moment has passed: it is {datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}"
    raise InvalidSchedule(told)


def moment_of(text: str, zone: str) -> float:
    """Read `2026-12-01T03:00`, on the clock of *zone* unless it has an offset of its own.

    A time that exists twice is the first of both. Raises UnknownZone, and InvalidSchedule for what
    is no time, or one that *zone* leaves out.
    """
    here = cron.zone(zone)
    try:
        written = datetime.fromisoformat(text)
        if written.tzinfo is not None:
            return written.timestamp()
        moment = written.replace(tzinfo=here).timestamp()
        shown = datetime.fromtimestamp(moment, here).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError) as exc:
        told = f"{text[:64]!r} is no time; write it as 2026-12-01T03:00, or with an offset"
        raise InvalidSchedule(told) from exc
    if shown != written:
        told = f"{text[:64]} does not exist in {zone}: its clock is set forward over it"
        raise InvalidSchedule(f"{told}, to {shown:%H:%M}")
    return moment


def check_grace(grace_s: float) -> float:
    """Return *grace_s* if it can be a grace; raise InvalidSchedule."""
    if not 0 <= grace_s <= GRACE_MAX_S:
        raise InvalidSchedule(f"grace_s is {grace_s:g}; it must be from 0 to {GRACE_MAX_S:g}")
    return grace_s


# --- what is done about it ----------------------------------------------------------------


def look(schedule: Schedule, now: float) -> Look:
    """What to do about a schedule that is due at *now*.

    Of several due times that have passed only the last counts: it is in time within the grace, and
    later where one job is to be made for all that were missed.
    """
    first = schedule.next_at
    assert first is not None, "only what is due is looked at"
    assert first <= now, "only what is due is looked at"
    last = _last(schedule.timing, first, now)
    passing = islice(after(schedule.timing, first), COUNTED)
    passed = sum(at <= last for at in passing)
    in_time = now - last <= schedule.grace_s or schedule.missed is Missed.ONCE
    return Look(due=last, passed=passed, in_time=in_time)


def _last(timing: Timing, first: float, now: float) -> float:
    """The last due time up to *now*, which *first* is one of.

    Looks back further and further, so that years of every minute are not counted one by one.
    """
    for back_s in _BACK_S:
        if now - back_s <= first:
            break
        if (found := next_after(timing, now - back_s)) is not None and found <= now:
            first = found
            break
    for at in after(timing, first):
        if at > now:
            break
        first = at
    return first


def noted(schedule: Schedule, firing: Firing, keep_s: float) -> Schedule:
    """The schedule behind a firing: due next later than now; one that is over is kept *keep_s*."""
    told = replace(
        schedule,
        last_due=firing.due,
        last_at=firing.at,
        last_job=firing.job or schedule.last_job,
        last_outcome=firing.outcome,
        firings=firing.number,
    )
    if schedule.state is ScheduleState.PAUSED:  # meanwhile
        return told
    following = next_after(schedule.timing, max(firing.at, firing.due))
    if following is None:
        over = ScheduleState.OVER
        return replace(told, state=over, next_at=None, keep_until=firing.at + keep_s)
    return replace(told, state=ScheduleState.ACTIVE, next_at=following)


def paused(schedule: Schedule, why: str | None = None) -> Schedule:
    """The schedule, never due until it is resumed."""
    return replace(schedule, state=ScheduleState.PAUSED, why=why, next_at=None)


def resumed(schedule: Schedule, now: float) -> Schedule:
    """The schedule, due later than *now*: what passed meanwhile was not missed.

    Raises InvalidSchedule when its only moment has passed, UnknownZone.
    """
    following = first_due(schedule.timing, now)
    return replace(schedule, state=ScheduleState.ACTIVE, why=None, next_at=following)


def retimed(schedule: Schedule, timing: Timing, now: float) -> Schedule:
    """The schedule with another timing; one that was over is active again. Raises as first_due."""
    following = first_due(timing, now)
    if schedule.state is ScheduleState.PAUSED:
        return replace(schedule, timing=timing)
    return replace(
        schedule,
        timing=timing,
        state=ScheduleState.ACTIVE,
        next_at=following,
        keep_until=None,
    )


def corrected(schedule: Schedule, now: float) -> Schedule:
    """The schedule as it must be if the clock was far ahead when it was looked at last.

    A clock that is set back by less than three hours repeats nothing: the schedule waits for its
    next due time. Further back, it was wrong, and due times are counted from *now* again.
    """
    ahead = max(schedule.last_due or 0.0, schedule.last_at or 0.0)
    if schedule.state is not ScheduleState.ACTIVE or ahead <= now + SET_BACK_S:
        return schedule
    return replace(schedule, next_at=next_after(schedule.timing, now), last_due=None, last_at=None)
