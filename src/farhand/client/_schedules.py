"""Schedules: what can be asked about them, and what is told, as values.

Does no I/O. Reads tolerantly, as `_shapes` does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, TypedDict

from farhand.client._calls import PAGE, Call, JobOptions, job_body, nothing, path_of, sending
from farhand.client._shapes import Json, Page, entries, items, known, page_of, text, time

# --- What is asked ------------------------------------------------------------------------


class When(TypedDict, total=False):
    """When a schedule is due, and its rules; absent takes the default, or leaves what there is.

    Either *cron* (five fields, or `@daily` and its like) or *at* (a time; a text or a datetime
    without an offset is on the clock of *tz*, a name such as `Europe/Berlin`; UTC by default).
    *overlap* is `skip`, `allow` or `cancel`; *missed* is `skip` or `once`; *grace_s* in seconds.
    """

    cron: str | None
    at: str | datetime | None
    tz: str | None
    overlap: str | None
    missed: str | None
    grace_s: float | None


class ScheduleOptions(JobOptions, When, total=False):
    """What a schedule can have: when it is due, and what its jobs can have."""


_WHEN: Final = ("cron", "at", "tz", "overlap", "missed", "grace_s")


def _when(options: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: options[name] for name in _WHEN if options.get(name) is not None}
    if isinstance(at := told.get("at"), datetime):
        told["at"] = at.isoformat()
    return told


# --- What is told -------------------------------------------------------------------------


class Due(NamedTuple):
    """A due time: as a moment in UTC, and as the clock of the schedule's zone shows it."""

    at: datetime
    local: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A job at a time, or again and again. *state* is `active`, `paused` or `over`.

    *why* is the code of the error that paused it, if nobody did by hand. One of *at* and *cron* is
    there. *next* are the next five due times, where one schedule was asked for. *last_due* was
    looked at last, and *last_outcome* came of it. *raw* is the whole JSON.
    """

    id: str
    name: str
    state: str = "active"
    why: str | None = None
    by: str = ""
    at: datetime | None = None
    cron: str | None = None
    tz: str = "UTC"
    overlap: str = "skip"
    missed: str = "skip"
    grace_s: float = 0.0
    targets: str = ""
    summary: str = ""
    created_at: datetime | None = None
    next_at: datetime | None = None
    last_due: datetime | None = None
    last_outcome: str | None = None
    last_job: str | None = None
    next: Sequence[Due] = ()
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """What came of one due time: *outcome* is `fired`, `overlap`, `missed`, `frozen` or `refused`.

    *job* is there if it fired; *code* and *message* say why there is none. *passed* due times
    before it were left out.
    """

    number: int
    due: datetime | None = None
    at: datetime | None = None
    outcome: str
    job: str | None = None
    code: str | None = None
    message: str = ""
    passed: int = 0
    raw: Json = field(default_factory=dict, repr=False, compare=False)


def read_schedule(found: object) -> Schedule:
    """Read a schedule, with or without its next due times."""
    raw = entries(found)
    told = ("state", "why", "by", "cron", "tz", "overlap", "missed", "grace_s", "targets")
    return Schedule(
        id=text(raw, "id"),
        name=text(raw, "name"),
        at=time(raw.get("at")),
        created_at=time(raw.get("created_at")),
        next_at=time(raw.get("next_at")),
        last_due=time(raw.get("last_due")),
        next=tuple(_due(one) for one in items(raw.get("next") or [])),
        raw=raw,
        **known(raw, *told, "summary", "last_outcome", "last_job"),
    )


def _due(found: object) -> Due:
    raw = entries(found)
    at = datetime.fromisoformat(text(raw, "at"))
    return Due(at, time(raw.get("local")) or at)


def read_firing(found: object) -> Firing:
    """Read what came of a due time."""
    raw = entries(found)
    return Firing(
        number=int(raw.get("number") or 0),
        due=time(raw.get("due")),
        at=time(raw.get("at")),
        outcome=text(raw, "outcome"),
        raw=raw,
        **known(raw, "job", "code", "message", "passed"),
    )


# --- Calls --------------------------------------------------------------------------------


def add_schedule(name: str, argv: Sequence[str] | None, options: ScheduleOptions) -> Call[Schedule]:
    """Ask for a schedule. A second time its name is taken, so it is never sent again unasked."""
    job = job_body(argv, options)
    body = {"name": name, **_when(options), "job": job}
    return sending("POST", path_of("schedules"), read_schedule, body, repeatable=False)


def get_schedule(schedule: str) -> Call[Schedule]:
    """Ask for one schedule by name or id, with its next due times."""
    return sending("GET", path_of("schedules", schedule), read_schedule)


def schedules(cursor: str | None, limit: int = PAGE) -> Call[Page[Schedule]]:
    """Ask for a page of schedules."""
    return sending("GET", path_of("schedules", cursor=cursor, limit=limit), page_of(read_schedule))


def edit_schedule(schedule: str, changes: When) -> Call[Schedule]:
    """Change when a schedule is due, or its rules."""
    return sending("PATCH", path_of("schedules", schedule), read_schedule, _when(changes))


def pause_schedule(schedule: str) -> Call[Schedule]:
    """Let a schedule not be due."""
    return sending("POST", path_of("schedules", schedule, "pause"), read_schedule)


def resume_schedule(schedule: str) -> Call[Schedule]:
    """Let a paused schedule be due again."""
    return sending("POST", path_of("schedules", schedule, "resume"), read_schedule)


def remove_schedule(schedule: str) -> Call[None]:
    """Forget a schedule. A second time is an error, so it is never sent again unasked."""
    path = path_of("schedules", schedule)
    return Call(method="DELETE", path=path, read=nothing, repeatable=False)


def firings(schedule: str, cursor: str | None, limit: int = PAGE) -> Call[Page[Firing]]:
    """Ask for a page of what came of a schedule's due times, newest first."""
    path = path_of("schedules", schedule, "firings", cursor=cursor, limit=limit)
    return sending("GET", path, page_of(read_firing))
