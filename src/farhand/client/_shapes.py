"""What the controller tells, as frozen values: jobs, runs, agents, commands, namespaces.

Reads tolerantly: unknown fields are kept in `raw` and otherwise ignored, absent ones have defaults;
only an answer that is of another kind altogether is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from farhand.client._errors import UnexpectedAnswer

T = TypeVar("T")
Json = Mapping[str, Any]

RESTING: Final = frozenset(
    {"succeeded", "failed", "timed_out", "cancelled", "refused", "expired", "lost"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnd:
    """One whole output stream, in bytes. *cut_bytes* are missing at *cut_at* of the kept ones."""

    total: int = 0
    kept: int = 0
    cut_at: int = 0
    cut_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One command on one agent. *agent* is its name when the run was made, *why* a stable code.

    *streams* (`stdout`, `stderr`) are known once the run has ended. *wave* is from 1 where the job
    is spread, *retry_of* the run that failed before. *output_pruned*: what it printed is not kept
    any more; events do not tell it. *raw* is the whole JSON.
    """

    id: str
    agent: str
    agent_id: str = ""
    job: str = ""
    state: str
    why: str | None = None
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_s: float | None = None
    streams: Mapping[str, StreamEnd] = field(default_factory=dict)
    wave: int = 0
    retry_of: str | None = None
    output_pruned: bool = False
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @property
    def resting(self) -> bool:
        """Nobody waits for this run any more: it has ended, or contact to it is lost."""
        return self.state in RESTING


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How far a job that is spread has come. *phase* is `rolling`, `held`, `done` and so on.

    *wave* is from 1, *sizes* are those of all waves. *why* it is held or over is a stable code,
    *message* says it in words. *until* ends a pause, *gate* is the job that is asked just now.
    """

    phase: str
    wave: int = 1
    sizes: tuple[int, ...] = ()
    until: datetime | None = None
    gate: str | None = None
    why: str | None = None
    by: str = ""
    message: str = ""
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What somebody asked for. *counts* tells how many of its runs are in each state.

    *runs* are the first hundred; `runs(job=…)` has them all. *rerun_of* is the job that it repeats,
    *schedule* the id of what made it. A list of jobs tells no runs and no *rollout*.
    """

    id: str
    state: str = "running"
    by: str = ""
    created_at: datetime | None = None
    targets: str = ""
    summary: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    cancel_requested: bool = False
    runs: tuple[Run, ...] = ()
    rollout: Rollout | None = None
    rerun_of: str | None = None
    schedule: str | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @property
    def done(self) -> bool:
        """Nobody waits for a run of this job any more."""
        return self.state == "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A host. *liveness* is `online`, `suspect` or `offline`; *drained* takes no new runs."""

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    ip: str = ""
    mac: str = ""
    software: str = ""
    drained: bool = False
    liveness: str = "offline"
    joined_at: datetime | None = None
    last_seen_at: datetime | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """A parameter of a command; *type* is `text`, `int`, `bool`, `choice` or `host`."""

    name: str
    type: str = "text"
    required: bool = False
    default: str | None = None
    description: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An entry of an agent's catalogue; *output* is `text` or `binary`.

    *label* and *group* are what a DeepFlow agent shows people; empty for others.
    """

    ident: str
    description: str = ""
    params: tuple[Param, ...] = ()
    output: str = "text"
    label: str = ""
    group: str = ""
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A Linux namespace of a host; *pid* is a process in it, *processes* how many there are."""

    id: int
    kind: str
    pid: int
    owner: str = ""
    command: str = ""
    processes: int = 0
    container: str = ""
    pod: str = ""
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Who answers, and as whom the token is known."""

    version: str
    api: str = "v1"
    caller: str = ""
    org: str = ""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items in order, and the cursor behind them; None when there are no more."""

    items: Sequence[T]
    next: str | None = None


# --- Reading ------------------------------------------------------------------------------


def entries(found: object) -> dict[str, Any]:
    """Return a JSON object's members; raise UnexpectedAnswer for anything else."""
    if not isinstance(found, dict):
        raise UnexpectedAnswer(f"expected a JSON object, got {type(found).__name__}")
    return found


def items(found: object) -> list[Any]:
    """Return a JSON array's items; raise UnexpectedAnswer for anything else."""
    if not isinstance(found, list):
        raise UnexpectedAnswer(f"expected a JSON array, got {type(found).__name__}")
    return found


def text(found: Json, name: str) -> str:
    """Return a member that every version of the API has; raise UnexpectedAnswer without it."""
    value = found.get(name)
    if not isinstance(value, str):
        raise UnexpectedAnswer(f"the answer has no {name!r}; is this a farhand controller?")
    return value


def time(value: object) -> datetime | None:
    """Return a time, or None for none; raise UnexpectedAnswer for what cannot be one."""
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError as exc:
        raise UnexpectedAnswer(f"{value!r} is not a time") from exc


def known(found: Json, *names: str) -> dict[str, Any]:
    """Return the members of *found* that are there and not null: the others have defaults."""
    return {name: found[name] for name in names if found.get(name) is not None}


def page_of(read: Callable[[object], T]) -> Callable[[object], Page[T]]:
    """Return a reader of one page of a list whose items are read by *read*."""

    def read_page(found: object) -> Page[T]:
        members = entries(found)
        return Page([read(item) for item in items(members.get("items"))], members.get("next"))

    return read_page


def read_run(found: object, key: str = "id") -> Run:
    """Read a run; in events its id is under *key* `run`."""
    raw = entries(found)
    agent = raw.get("agent")
    agent = entries(agent) if agent is not None else {}
    return Run(
        id=text(raw, key),
        agent=str(agent.get("name") or agent.get("id") or raw[key]),
        agent_id=str(agent.get("id") or ""),
        state=text(raw, "state"),
        streams={
            name: StreamEnd(**known(entries(end), "total", "kept", "cut_at", "cut_bytes"))
            for name, end in entries(raw.get("streams") or {}).items()
        },
        started_at=time(raw.get("started_at")),
        ended_at=time(raw.get("ended_at")),
        raw=raw,
        **known(raw, "job", "why", "message", "exit_code", "signal", "duration_s"),
        **known(raw, "wave", "retry_of", "output_pruned"),
    )


def read_rollout(found: object) -> Rollout | None:
    """Read how a job is spread, if it is."""
    if found is None:
        return None
    raw = entries(found)
    hold = entries(raw.get("hold") or {})
    return Rollout(
        phase=text(raw, "phase"),
        sizes=tuple(items(raw.get("sizes") or [])),
        until=time(raw.get("until")),
        why=hold.get("why") or raw.get("ended"),
        by=str(hold.get("by") or raw.get("by") or ""),
        message=str(hold.get("message") or raw.get("message") or ""),
        raw=raw,
        **known(raw, "wave", "gate"),
    )


def read_job(found: object) -> Job:
    """Read a job, with or without runs."""
    raw = entries(found)
    return Job(
        id=text(raw, "id"),
        created_at=time(raw.get("created_at")),
        runs=tuple(read_run(run) for run in items(raw.get("runs") or [])),
        rollout=read_rollout(raw.get("rollout")),
        raw=raw,
        **known(raw, "state", "by", "targets", "summary", "counts", "cancel_requested"),
        **known(raw, "rerun_of", "schedule"),
    )


def read_agent(found: object) -> Agent:
    """Read an agent."""
    raw = entries(found)
    return Agent(
        id=text(raw, "id"),
        name=text(raw, "name"),
        joined_at=time(raw.get("joined_at")),
        last_seen_at=time(raw.get("last_seen_at")),
        raw=raw,
        **known(raw, "labels", "facts", "ip", "mac", "software", "drained", "liveness"),
    )


def read_command(found: object) -> Command:
    """Read a command of a catalogue."""
    raw = entries(found)
    params = tuple(
        Param(
            name=text(param, "name"),
            choices=tuple(param.get("choices") or ()),
            **known(param, "type", "required", "default", "description"),
        )
        for param in map(entries, items(raw.get("params") or []))
    )
    return Command(
        ident=text(raw, "ident"),
        params=params,
        raw=raw,
        **known(raw, "description", "output", "label", "group"),
    )


def read_namespace(found: object) -> Namespace:
    """Read a namespace of a host."""
    raw = entries(found)
    named = known(raw, "owner", "command", "processes", "container", "pod")
    try:
        return Namespace(
            id=int(raw["id"]), kind=text(raw, "kind"), pid=int(raw["pid"]), raw=raw, **named
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise UnexpectedAnswer("a namespace without its id or pid") from exc


def read_version(found: object) -> Version:
    """Read who answers."""
    raw = entries(found)
    return Version(version=text(raw, "version"), **known(raw, "api", "caller", "org"))
