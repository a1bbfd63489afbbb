"""Whom a job is for: what can be asked about that, and what is told, as values.

Does no I/O. Reads tolerantly, as `_shapes` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from farhand.client._calls import Call, JobOptions, job_body, nothing, path_of, sending
from farhand.client._shapes import Json, Run, entries, items, known, read_run, text, time

# --- What is told -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hosts:
    """How many agents, and their names as sets: `web[1-40,52]`."""

    count: int = 0
    hosts: str = ""


@dataclass(frozen=True, slots=True)
class Refusing(Hosts):
    """Agents that would refuse for the same reason: a code, and what the first would say."""

    why: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Whom a job would be for: `preview=id` binds a job to exactly those, *until* then.

    *away* are not connected, *refusing* would run nothing, *drained* match and were passed over.
    """

    id: str
    targets: str = ""
    count: int = 0
    hosts: str = ""
    away: Hosts = field(default_factory=Hosts)
    drained: Hosts = field(default_factory=Hosts)
    refusing: Sequence[Refusing] = ()
    until: datetime | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedGroup:
    """A saved group: `@name` stands for its selector in others. *at* is its last change."""

    name: str
    selector: str = ""
    by: str = ""
    at: datetime | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """Whether jobs may begin; when they may not, who said so, why and when."""

    frozen: bool
    reason: str = ""
    by: str = ""
    at: datetime | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why an agent is in a job or not: a *verdict* for programs, a *message* for people.

    `in_job` (then *run* is its newest), `joined_later`, `drained`, `not_named`, `not_matched`,
    `matches_now`.
    """

    agent: str
    verdict: str
    message: str = ""
    run: Run | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)


def _hosts(found: object) -> Hosts:
    return Hosts(**known(entries(found or {}), "count", "hosts"))


def _refusing(found: object) -> Refusing:
    return Refusing(**known(entries(found), "count", "hosts", "why", "message"))


def read_preview(found: object) -> Preview:
    """Read whom a job would be for."""
    raw = entries(found)
    return Preview(
        id=text(raw, "preview"),
        away=_hosts(raw.get("away")),
        drained=_hosts(raw.get("drained")),
        refusing=tuple(map(_refusing, items(raw.get("refusing") or []))),
        until=time(raw.get("until")),
        raw=raw,
        **known(raw, "targets", "count", "hosts"),
    )


def read_group(found: object) -> SavedGroup:
    """Read a saved group."""
    raw = entries(found)
    return SavedGroup(
        name=text(raw, "name"),
        selector=text(raw, "selector"),
        at=time(raw.get("at")),
        raw=raw,
        **known(raw, "by"),
    )


def _read_groups(found: object) -> Sequence[SavedGroup]:
    return tuple(map(read_group, items(entries(found).get("items"))))


def read_freeze(found: object) -> Freeze:
    """Read whether jobs may begin."""
    raw = entries(found)
    frozen = raw.get("frozen") is True
    return Freeze(frozen=frozen, at=time(raw.get("at")), raw=raw, **known(raw, "reason", "by"))


def read_explanation(found: object) -> Explanation:
    """Read why an agent is in a job or not."""
    raw = entries(found)
    return Explanation(
        agent=text(raw, "agent"),
        verdict=text(raw, "verdict"),
        run=read_run(raw["run"]) if raw.get("run") else None,
        raw=raw,
        **known(raw, "message"),
    )


# --- Calls --------------------------------------------------------------------------------


def preview(argv: Sequence[str] | None, options: JobOptions) -> Call[Preview]:
    """Ask whom a job would be for."""
    return sending("POST", path_of("jobs", preview="true"), read_preview, job_body(argv, options))


def explain(job: str, agent: str) -> Call[Explanation]:
    """Ask why an agent is in a job or not."""
    return sending("GET", path_of("jobs", job, "why", agent=agent), read_explanation)


def saved_groups() -> Call[Sequence[SavedGroup]]:
    """Ask for all saved groups, by name."""
    return sending("GET", path_of("groups"), _read_groups)


def save_group(name: str, selector: str) -> Call[SavedGroup]:
    """Ask that a selector be saved under a name."""
    return sending("PUT", path_of("groups", name), read_group, {"selector": selector})


def remove_group(name: str) -> Call[None]:
    """Ask that a saved group be forgotten."""
    return Call(method="DELETE", path=path_of("groups", name), read=nothing)


def get_freeze() -> Call[Freeze]:
    """Ask whether jobs may begin."""
    return sending("GET", path_of("freeze"), read_freeze)


def freeze(reason: str) -> Call[Freeze]:
    """Ask that nothing begin."""
    return sending("PUT", path_of("freeze"), read_freeze, {"reason": reason})


def unfreeze() -> Call[None]:
    """Ask that jobs may begin again."""
    return Call(method="DELETE", path=path_of("freeze"), read=nothing)
