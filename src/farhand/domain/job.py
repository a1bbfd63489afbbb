"""What somebody asked for: what to run, on which targets, within which limits.

A job is checked when it is made: a JobSpec that exists can be run, as far as a controller can know.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from farhand.domain.ids import JobId
from farhand.domain.limits import DEFAULTS, Limits
from farhand.domain.run import RunState
from farhand.domain.selector import Selector
from farhand.errors import InvalidJob, NoTargets, TooManyTargets


@dataclass(frozen=True, slots=True)
class Argv:
    """A program and its arguments, never through a shell."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """A text that the agent writes to a file and runs: by its `#!` line, else by /bin/sh."""

    text: str


@dataclass(frozen=True, slots=True)
class CommandCall:
    """A command of the agent's catalogue, with values for its parameters."""

    ident: str
    params: Mapping[str, str]


What = Argv | Script | CommandCall


class NamespaceKind(StrEnum):
    """The Linux namespaces a run can enter, by the names of /proc/PID/ns."""

    CGROUP = "cgroup"
    IPC = "ipc"
    MNT = "mnt"
    NET = "net"
    PID = "pid"
    TIME = "time"
    USER = "user"
    UTS = "uts"


@dataclass(frozen=True, slots=True)
class NamespacesOf:
    """Run inside namespaces of another process of the host: its pid, and which of them."""

    pid: int
    kinds: tuple[NamespaceKind, ...]


RLIMITS: Final = frozenset(
    {"as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "rss", "stack"}
)
PID_MAX: Final = 1 << 22  # Linux counts no further, see proc(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What to run and within which limits. Make it with `checked`.

    *timeout_s* and *queue_ttl_s* in seconds; *output_limit_bytes* is kept of each stream.
    *rlimits* by util-linux's names (`nofile`, `as`, …), *nice* from -20 to 19.
    """

    what: What
    stdin: bytes = b""
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    user: str | None = None
    namespaces_of: NamespacesOf | None = None
    timeout_s: float = DEFAULTS.run_time_s
    queue_ttl_s: float = DEFAULTS.queue_ttl_s
    output_limit_bytes: int = DEFAULTS.output_bytes
    nice: int | None = None
    rlimits: Mapping[str, int] = field(default_factory=dict)
    keep_children: bool = False  # leave what the leader left behind
    rerunnable: bool = False  # a failed run may be made again


def command_line(what: What) -> str:
    """What is run, as a person would write it: for lists and for searching."""
    match what:
        case Argv(argv):
            return shlex.join(argv)
        case Script(text):
            return text
        case CommandCall(ident, params):
            return " ".join([ident, *(f"{name}={value}" for name, value in params.items())])


@dataclass(frozen=True, slots=True)
class AllAgents:
    """Every agent of the org that may take runs."""


@dataclass(frozen=True, slots=True)
class Names:
    """Agents by name, id or `IP-MAC`, in the order given."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Previewed:
    """The agents of a preview, by its id: exactly those."""

    preview: str


Targets = AllAgents | Names | Selector | Previewed


def targets_text(targets: Targets) -> str:
    """What was asked, in one line."""
    match targets:
        case AllAgents():
            return "*"
        case Names(names):
            return ",".join(names)
        case Selector(text):
            return text
        case Previewed(preview):
            return preview


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it was accepted. *by* names the caller; times are wall-clock seconds.

    *counts* tells how many of its runs are in each state; *open* how many somebody still waits
    for. *targets* is the text of what was asked. While it is *rolling*, more runs may begin:
    it is waited for, whatever its runs do. *rerun_of* is the job that it repeats, *schedule* the
    id of what made it.
    """

    id: JobId
    spec: JobSpec
    targets: str
    by: str
    created_at: float
    cancel_requested: bool = False
    counts: Mapping[RunState, int] = field(default_factory=dict)
    rolling: bool = False
    rerun_of: JobId | None = None
    schedule: str | None = None

    @property
    def open(self) -> int:
        """How many runs are neither final nor lost; one more while it is rolling."""
        return self.rolling + sum(n for state, n in self.counts.items() if not state.resting)


_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def checked(spec: JobSpec, limits: Limits = DEFAULTS) -> JobSpec:
    """Return *spec* if it can be run within *limits*; raise InvalidJob that says what is wrong."""
    _check_what(spec.what, limits)
    _check_surroundings(spec, limits)
    for name, value, most in (
        ("timeout_s", spec.timeout_s, limits.run_time_max_s),
        ("queue_ttl_s", spec.queue_ttl_s, limits.queue_ttl_max_s),
    ):
        if not 0 < value <= most:
            raise InvalidJob(f"{name} is {value:g}; it must be above 0 and at most {most:g}")
    if not 0 <= spec.output_limit_bytes <= limits.output_max_bytes:
        msg = f"output_limit_bytes must be from 0 to {limits.output_max_bytes}"
        raise InvalidJob(msg)
    if spec.nice is not None and not -20 <= spec.nice <= 19:
        raise InvalidJob(f"nice is {spec.nice}; it must be from -20 to 19")
    for name, number in spec.rlimits.items():
        if name not in RLIMITS or not 0 <= number < 1 << 63:
            known = ", ".join(sorted(RLIMITS))
            raise InvalidJob(f"rlimits: {name}={number} cannot be set; known are {known}")
    return spec


def _check_what(what: What, limits: Limits) -> None:
    match what:
        case Argv(argv):
            if not argv or not argv[0]:
                raise InvalidJob("argv is empty; its first item is the program to run")
            _check_text("argv", *argv)
            size = sum(len(arg.encode()) + 1 for arg in argv)
            if size > limits.argv_bytes:
                msg = f"argv has {size} bytes; at most {limits.argv_bytes} are taken, use a script"
                raise InvalidJob(msg)
        case Script(text):
            if not text.strip():
                raise InvalidJob("script is empty")
            _check_text("script", text)
            if len(text.encode()) > limits.script_bytes:
                raise InvalidJob(f"script is longer than {limits.script_bytes} bytes")
        case CommandCall(ident, params):
            if not ident:
                raise InvalidJob("command is empty; `farhand commands AGENT` lists what there is")
            _check_text("command", ident, *params, *params.values())
            if sum(len(text.encode()) for text in (*params, *params.values())) > limits.argv_bytes:
                raise InvalidJob(f"params have more than {limits.argv_bytes} bytes")


def _check_surroundings(spec: JobSpec, limits: Limits) -> None:
    if len(spec.stdin) > limits.stdin_bytes:
        msg = f"stdin has {len(spec.stdin)} bytes; at most {limits.stdin_bytes} are taken"
        raise InvalidJob(msg)
    for name in spec.env:
        if _ENV_NAME.fullmatch(name) is None:
            raise InvalidJob(f"env: {name!r} is not a name; use letters, digits and _")
        if name.startswith("FARHAND_"):
            raise InvalidJob(f"env: {name} is reserved for farhand itself")
    _check_text("env", *spec.env.values())
    if sum(len(k) + len(v.encode()) + 2 for k, v in spec.env.items()) > limits.env_bytes:
        raise InvalidJob(f"env has more than {limits.env_bytes} bytes")
    if spec.cwd is not None:
        _check_text("cwd", spec.cwd)
        if not spec.cwd.startswith("/"):
            raise InvalidJob(f"cwd is {spec.cwd!r}; it must be an absolute path")
    if spec.user is not None:
        _check_text("user", spec.user)
        if not spec.user or spec.user.startswith("-"):
            raise InvalidJob(f"user {spec.user!r} cannot be a user's name")
    if spec.namespaces_of is not None:
        if not 1 <= spec.namespaces_of.pid <= PID_MAX:
            raise InvalidJob(f"namespaces_of: pid must be from 1 to {PID_MAX}")
        if not spec.namespaces_of.kinds:
            raise InvalidJob("namespaces_of: kinds is empty; name at least one")


def _check_text(what: str, *texts: str) -> None:
    """Refuse what no kernel takes: NUL bytes, and lone surrogates that are no UTF-8."""
    for text in texts:
        if "\0" in text:
            raise InvalidJob(f"{what} has a NUL byte; no program can be given one")
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            raise InvalidJob(f"{what} is not valid Unicode text") from exc


def check_target_count(count: int, limits: Limits = DEFAULTS) -> None:
    """Raise NoTargets for 0 and TooManyTargets above the limit."""
    if count == 0:
        raise NoTargets
    if count > limits.targets_per_job:
        msg = f"{count} targets; one job takes at most {limits.targets_per_job}"
        raise TooManyTargets(msg, count=count, limit=limits.targets_per_job)
