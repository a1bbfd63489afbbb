"""The JSON of schedules: what `/schedules` takes and answers, and how it is read and written.

Shapes, reading and writing stand together: nobody else has either. Fields may be added, never
changed.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from farhand.api import writing
from farhand.api.shapes import Asked, JobRequest, SpecShape, SpreadShape, Time
from farhand.domain import cron
from farhand.domain.job import command_line, targets_text
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
    moment_of,
)
from farhand.errors import InvalidSchedule

_UTC: Final = "UTC"

# --- What is asked ------------------------------------------------------------------------

_AT: Final = Field(
    None,
    description="A moment: with an offset, or on the clock of `tz`. Or `cron`.",
    max_length=64,
    examples=["2026-12-01T03:00"],
)
_CRON: Final = Field(
    None, description="Five fields, or @daily and its like.", examples=["0 3 * * *"]
)
_TZ: Final = Field(
    None, description="A time zone's name; UTC if absent.", examples=["Europe/Berlin"]
)


class _Rules(Asked):
    at: str | None = _AT
    cron: str | None = _CRON
    tz: str | None = _TZ
    overlap: Annotated[Overlap, Field(strict=False)] | None = Field(
        None, description="While the job before is not over: leave out, run both, or end it."
    )
    missed: Annotated[Missed, Field(strict=False)] | None = Field(
        None, description="Of what nobody looked at within the grace: nothing, or one job for all."
    )
    grace_s: float | None = Field(None, ge=0, allow_inf_nan=False)


class ScheduleRequest(_Rules):
    """A job, and when it is due: exactly one of `at` and `cron`."""

    name: str
    job: JobRequest


class ScheduleEdit(_Rules):
    """What may be changed of a schedule; absent fields stay as they are. Its job stays."""


SCHEDULE_BODY: Final[TypeAdapter[ScheduleRequest]] = TypeAdapter(ScheduleRequest)
SCHEDULE_EDIT_BODY: Final[TypeAdapter[ScheduleEdit]] = TypeAdapter(ScheduleEdit)


def timing(asked: ScheduleRequest) -> Timing:
    """Return when a schedule is due; raise InvalidSchedule, UnknownZone."""
    found = _timing(asked, asked.tz or _UTC)
    if found is None:
        raise InvalidSchedule("say when: give exactly one of at, cron")
    return found


def new_timing(asked: ScheduleEdit, before: Timing) -> Timing | None:
    """Return when an edited schedule is due; None leaves that as it is.

    With `tz` alone a cron expression goes by the clock of another zone. Raises InvalidSchedule,
    UnknownZone.
    """
    found = _timing(asked, asked.tz or before.zone)
    if found is not None or asked.tz is None:
        return found
    match before:
        case Cron(text):
            return Cron(text, asked.tz)
        case Once():
            raise InvalidSchedule("tz alone moves no moment; give at with it")


def _timing(asked: _Rules, zone: str) -> Timing | None:
    match asked.at, asked.cron:
        case str(at), None:
            return Once(moment_of(at, zone), zone)
        case None, str(text):
            return Cron(text, zone)
        case None, None:
            return None
        case _:
            raise InvalidSchedule("say when: give exactly one of at, cron")


# --- What is answered ---------------------------------------------------------------------


class ScheduleBrief(TypedDict):
    """A schedule in one line: *targets* and *summary* are cut to 200 characters.

    One of *at* and *cron* is null. *why* is the code of the error that paused it, if nobody did by
    hand. *next_at* is null while it is paused, or over. *last_due* is the due time that was looked
    at last, and *last_outcome* what came of it.
    """

    id: str
    name: str
    state: ScheduleState
    why: str | None
    by: str
    created_at: Time
    at: Time | None
    cron: str | None
    tz: str
    overlap: Overlap
    missed: Missed
    grace_s: float
    targets: str
    summary: str
    next_at: Time | None
    last_due: Time | None
    last_outcome: FiringOutcome | None
    last_job: str | None


class DueShape(TypedDict):
    """A due time: in UTC, and as the clock of the schedule's zone shows it, with its offset."""

    at: Time
    local: str


class ScheduleShape(ScheduleBrief, SpecShape):
    """A schedule as it was asked, and when it is due next. *next* is empty if it is not active.

    *expect* is how many targets it had when it was added, if that was said.
    """

    expect: int | None
    spread: SpreadShape | None
    next: list[DueShape]


class FiringShape(TypedDict):
    """What came of a due time, looked at *at*. *job* is there if it `fired`, *code* if `refused`.

    *passed* due times before it were left out, of which 100 are counted.
    """

    number: int
    due: Time
    at: Time
    outcome: FiringOutcome
    job: str | None
    code: str | None
    message: str
    passed: int


class ScheduleList(TypedDict):
    """A page of schedules."""

    items: list[ScheduleBrief]
    next: str | None


class FiringList(TypedDict):
    """A page of what came of due times, newest first."""

    items: list[FiringShape]
    next: str | None


def brief(of: Schedule) -> ScheduleBrief:
    """Write a schedule as lists have it."""
    return {
        "id": of.id,
        "name": of.name,
        "state": of.state,
        "why": of.why,
        "by": of.by,
        "created_at": writing.time(of.created_at),
        "at": writing.time(of.timing.at) if isinstance(of.timing, Once) else None,
        "cron": of.timing.text if isinstance(of.timing, Cron) else None,
        "tz": of.timing.zone,
        "overlap": of.overlap,
        "missed": of.missed,
        "grace_s": of.grace_s,
        "targets": writing.short(targets_text(of.targets)),
        "summary": writing.short(command_line(of.spec.what)),
        "next_at": writing.time(of.next_at),
        "last_due": writing.time(of.last_due),
        "last_outcome": of.last_outcome,
        "last_job": of.last_job,
    }


def whole(of: Schedule, following: Sequence[float]) -> ScheduleShape:
    """Write a schedule with when it is due next. Raises UnknownZone."""
    return {
        **brief(of),
        **writing.spec(of.spec),
        "targets": targets_text(of.targets),
        "expect": of.expect,
        "spread": None if of.spread is None else writing.spread(of.spread),
        "next": [_due(moment, of.timing.zone) for moment in following],
    }


def _due(moment: float, zone: str) -> DueShape:
    local = datetime.fromtimestamp(moment, cron.zone(zone))
    return {"at": writing.time(moment), "local": local.isoformat(timespec="seconds")}


def firing(of: Firing) -> FiringShape:
    """Write what came of a due time."""
    return {
        "number": of.number,
        "due": writing.time(of.due),
        "at": writing.time(of.at),
        "outcome": of.outcome,
        "job": of.job,
        "code": of.code,
        "message": of.message,
        "passed": of.passed,
    }
