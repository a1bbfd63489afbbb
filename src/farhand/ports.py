"""The seams: what the product needs from the world, as five small contracts.

Every implementation of a seam passes that seam's suite in tests/contract/. A sixth needs an ADR.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Generic, Protocol, TypeVar

from farhand.domain.agent import Agent, Identity, Liveness
from farhand.domain.history import ALL_JOBS, JobFilter
from farhand.domain.ids import AgentId, JobId, OrgId, RunId
from farhand.domain.job import Job, NamespacesOf
from farhand.domain.messages import FromController, Goodbye
from farhand.domain.output import Chunk, StreamEnd, StreamName
from farhand.domain.rollout import Standing
from farhand.domain.run import Run, RunState, Usage, Why

T = TypeVar("T")


class Document(Protocol):
    """A small thing that an operator keeps, or that the controller drives to its end.

    A frozen dataclass of plain values and dataclasses; a field that is added needs a default.
    *due_at* is the wall-clock second at which somebody must look at it, None for never.
    """

    KIND: ClassVar[str]

    @property
    def id(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def due_at(self) -> float | None: ...


D = TypeVar("D", bound=Document)

# --- Store: changes and their outcomes ----------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """What makes a repeated POST the same job: caller, key, digest of the body, kept until."""

    by: str
    key: str
    digest: str
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of the audit: who did what to what. *facts* are JSON values. Outcome: `Done`."""

    at: float
    by: str
    action: str
    subject: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddJob:
    """Write a job and all its runs. Outcome: `Added`, or `Repeated` when *repeat* is known.

    With *open_runs* it is `Full`, and nothing is written, when the org would have more open runs
    than that. *record* and *documents* are written if the job is.
    """

    job: Job
    runs: tuple[Run, ...]
    repeat: Repeat | None = None
    open_runs: int | None = None
    record: Record | None = None
    documents: tuple[Document, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddRuns:
    """Write more runs of a job that is rolling; those that are there already stay as they are.

    Each has its event. Outcome: `Added`, or `Lost` when the job is not rolling, or is cancelled.
    """

    job: JobId
    runs: tuple[Run, ...]
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRollout:
    """No more runs begin: the job ends when the last open run of it comes to rest, or now.

    Outcome: `Done`, or `Lost` when the job is not rolling.
    """

    job: JobId
    at: float


@dataclass(frozen=True, slots=True)
class Put:
    """Write a document, if the stored one still has its version; 0 means that there is none.

    It is stored with the next version. Outcome: `Done`, or `Lost` when somebody was faster.
    """

    document: Document


@dataclass(frozen=True, slots=True)
class Drop:
    """Delete a document. Outcome: `Done`, or `Lost` when there is none."""

    kind: type[Document]
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRun:
    """Compare-and-set: move a run that is in one of *expect* to *to*.

    *agent* and *epoch* name the session that writes, and go together: the run must be that
    agent's, and the session its newest. Both are None where the controller itself decides.
    Fields that are None stay as they are, but a run that is waited for again loses the `why`
    and the message of its rest.
    When *streams* are given, the run moves only if each is stored up to its `kept` bytes.
    A run whose cancel was asked is not queued again: it becomes cancelled instead.
    When the job's last open run comes to rest, the job's `end` event is written with it.
    Outcome: `Moved`, `Lost` (it was in another state, or is no run of *agent*), `Gap` (output
    is missing) or `Fenced`.
    """

    run: RunId
    expect: frozenset[RunState]
    to: RunState
    at: float
    agent: AgentId | None = None
    epoch: int | None = None
    why: Why | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    pid: int | None = None
    duration_s: float | None = None
    usage: Usage | None = None
    streams: Mapping[StreamName, StreamEnd] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Keep a chunk at the end of its stream. Bytes that are stored already are dropped.

    *agent* and *epoch* as in MoveRun. Outcome: `Kept`, `Gap` (it begins behind the end; nothing
    is kept), `Lost` (the run is final, gone, or no run of *agent*) or `Fenced`.
    """

    chunk: Chunk
    at: float
    agent: AgentId | None = None
    epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCancel:
    """Mark a run so that its cancel is sent until it is settled. Outcome: `Moved` or `Lost`.

    A held or queued run becomes cancelled in the same change.
    """

    run: RunId
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJob:
    """Mark a job as asked to cancel, and with it every open run, as RequestCancel does.

    Outcome: `Done`, or `Lost` when there is no such job.
    """

    job: JobId
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinAgent:
    """Write a new agent. Outcome: `Done`."""

    agent: Agent


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """Give an agent's new stream the next epoch; from now on older epochs are fenced.

    Outcome: `Opened`, or `Lost` when there is no such agent (any more).
    """

    agent: AgentId
    identity: Identity
    controller: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLiveness:
    """What is believed of an agent's stream of *epoch*, last heard of at *at*.

    Outcome: `Done`, or `Fenced` when a newer session exists.
    """

    agent: AgentId
    epoch: int
    liveness: Liveness
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EditAgent:
    """An operator's change; None leaves a field as it is. Outcome: `Done` or `Lost`.

    *labels* are merged into the given ones; a label of None hides it. *unname* takes a given
    name back.
    """

    agent: AgentId
    name: str | None = None
    unname: bool = False
    labels: Mapping[str, str | None] | None = None
    drained: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveAgent:
    """Forget an agent; its runs stay, and open ones come to rest. Outcome: `Done` or `Lost`.

    Open runs: held and queued become cancelled, sent and running become lost; why agent_removed.
    Every later write of its sessions is `Fenced`. With *epoch*, only if that session is still
    the newest; else the outcome is `Fenced`.
    """

    agent: AgentId
    at: float
    epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """Delete resting jobs made before *before*, with runs, events and output; at most *limit*.

    The rollout of such a job goes with it.
    Also forgets idempotency keys that ended before *at*, and lines of the audit older than
    *audit_before*. Outcome: `Pruned`; ask again until it deletes none.
    """

    before: float
    at: float
    audit_before: float = 0.0
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneOutput:
    """Delete what final runs of resting jobs printed; the jobs, the runs and their events stay.

    Of jobs made before *before*; and of the oldest jobs while more than *most_bytes* are kept of
    all runs together (None: no matter how many). At most *limit* runs that printed something, of
    the oldest jobs first. A run that is lost keeps its output, for it may still go on.
    Outcome: `Freed`; ask again until it frees no run.
    """

    before: float
    most_bytes: int | None = None
    limit: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClampTimes:
    """Let nothing lie in the future of *at*, as it would after the wall clock was set back.

    A queued run waits at most its job's queue TTL from *at*; an agent was seen at *at* at the
    latest. Outcome: `Clamped`.
    """

    at: float


Change = (
    AddJob
    | MoveRun
    | Append
    | RequestCancel
    | CancelJob
    | JoinAgent
    | OpenSession
    | SetLiveness
    | EditAgent
    | RemoveAgent
    | Record
    | Prune
    | PruneOutput
    | ClampTimes
    | AddRuns
    | EndRollout
    | Put
    | Drop
)


@dataclass(frozen=True, slots=True)
class Added:
    """The job is written."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """This caller used the key before: the job it made, and whether the body was the same."""

    job: JobId
    same: bool


@dataclass(frozen=True, slots=True)
class Full:
    """There would be more open runs than the job may have beside it: how many there are."""

    open_runs: int


@dataclass(frozen=True, slots=True)
class Moved:
    """The run as it is now."""

    run: Run


@dataclass(frozen=True, slots=True)
class Lost:
    """Somebody else was first, or the thing is gone: its present state, if it has one."""

    state: RunState | None = None


@dataclass(frozen=True, slots=True)
class Fenced:
    """The session that wanted to write is not the newest of its agent."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The stream is stored up to this offset."""

    through: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes are missing from this offset on, where the stored stream ends."""

    through: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The session's epoch, above every earlier one of its agent."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Done:
    """It is written."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many jobs were deleted."""

    jobs: int


@dataclass(frozen=True, slots=True)
class Freed:
    """Of how many runs the output was deleted, and how many bytes that was."""

    runs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Clamped:
    """How many agents were seen in the future, and how many runs would have waited too long."""

    agents: int
    runs: int


Outcome = (
    Added
    | Repeated
    | Full
    | Moved
    | Lost
    | Fenced
    | Kept
    | Gap
    | Opened
    | Done
    | Pruned
    | Freed
    | Clamped
)


# --- Store: what is read ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items in order, and the cursor behind them; None when there are no more."""

    items: Sequence[T]
    next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A thing that happened to a job, numbered from 1 without holes.

    kind `run`: the run's state changed (*run* as it was then). kind `output`: *stream* of run
    grew by *length* bytes from *offset* (the bytes are read with `output`). kind `end`: no run
    of the job is waited for any more.
    """

    seq: int
    kind: str
    at: float
    run_id: RunId | None = None
    run: Run | None = None
    stream: StreamName | None = None
    offset: int = 0
    length: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs a list is about; None is no condition. *since* is in, *until* is out."""

    job: JobId | None = None
    agent: AgentId | None = None
    states: frozenset[RunState] | None = None
    wave: int | None = None  # heeded with *job* alone
    since: float | None = None
    until: float | None = None

    @property
    def timed(self) -> bool:
        """Whether it asks for a time."""
        return self.since is not None or self.until is not None


class Durability(StrEnum):
    """What a commit survives, besides a full disk."""

    DISK = "disk"  # a power cut: it was flushed before anybody was told
    PROCESS = "process"  # the death of the process, at any moment; a power cut takes the last of it


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCounters:
    """What one org's store has done since it was opened. Times in seconds.

    *failures* are transactions that were rolled back. *flushes* are of the log, of output files
    and of directories; *commit_s* was spent on the log and *flush_s* on the others. *longest_s* is
    of one whole transaction. *moved* runs came into each state, *kept_bytes* of output were kept;
    *stored_bytes* of output are there now.
    *queued* changes of about *queued_bytes* are on their way to the disk now, and *outside* calls
    wait until there is room for theirs.
    """

    commits: int = 0
    changes: int = 0
    failures: int = 0
    flushes: int = 0
    commit_s: float = 0.0
    flush_s: float = 0.0
    longest_s: float = 0.0
    moved: Mapping[RunState, int] = field(default_factory=dict)
    kept_bytes: int = 0
    stored_bytes: int = 0
    queued: int = 0
    queued_bytes: int = 0
    outside: int = 0


class Store(Protocol):
    """The truth of one org. What it says is committed; what it did not say may be lost.

    `apply` takes changes that belong together in time, not in fate: each succeeds or fails alone
    and has its outcome at its place. All of one call are durable when it returns, and calls that
    overlap may share a commit. Order inside a call is kept, and so is the order of calls. Raises
    StoreUnavailable when nothing of this call is known to be kept, DataDirUnwritable when the
    disk is full or read-only; the same changes may then be sent again.

    Reads see every change whose `apply` returned. They return pages and keep nothing open.
    """

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]: ...

    async def job(self, job: JobId) -> Job | None: ...

    async def repeat(self, by: str, key: str) -> tuple[Repeat, JobId] | None:
        """What a caller's key was last used for, and the job it made, while that is there."""
        ...

    async def waiting(self, job: JobId) -> int | None:
        """What is left of the job, as `Job.open` counts it; None without such a job."""
        ...

    async def jobs(
        self, which: JobFilter = ALL_JOBS, *, cursor: str | None = None, limit: int = 100
    ) -> Page[Job]:
        """Newest first. Raises InvalidCursor.

        A page may hold fewer than *limit*, even none, and have a cursor all the same: it looks at
        no more than `SCANNED` jobs.
        """
        ...

    async def run(self, run: RunId) -> Run | None: ...

    async def runs(
        self, which: RunFilter, *, cursor: str | None = None, limit: int = 100
    ) -> Page[Run]:
        """In the order they were made within a job; newest first when *which.job* is None.

        Chosen by time, a page may hold fewer than *limit*, as with `jobs`.
        """
        ...

    async def standings(self, job: JobId) -> Sequence[Standing]:
        """How the runs of each wave of the job stand, from the first wave on."""
        ...

    async def agent(self, agent: AgentId) -> Agent | None: ...

    async def agents(self, *, cursor: str | None = None, limit: int = 100) -> Page[Agent]:
        """By id, which is by time of joining."""
        ...

    async def agents_named(self, name: str) -> Sequence[Agent]:
        """Agents with this name, id or `IP-MAC`; more than one when they share it."""
        ...

    async def events(self, job: JobId, *, after: int = 0, limit: int = 100) -> Sequence[Event]:
        """Events numbered above *after*, in order."""
        ...

    async def offsets(self, run: RunId) -> Mapping[StreamName, int]:
        """How many bytes of each stream are stored; streams without any are 0."""
        ...

    async def output(self, run: RunId, stream: StreamName, *, offset: int, limit: int) -> bytes:
        """At most *limit* stored bytes from *offset*; empty at or behind the end."""
        ...

    async def due(self, now: float, *, limit: int = 500) -> Sequence[Run]:
        """Queued runs past their queue_until, oldest first."""
        ...

    async def silent(self, since: float, *, limit: int = 500) -> Sequence[Run]:
        """Sent and running runs whose agent is not online and was last seen before *since*."""
        ...

    async def audit(self, *, cursor: str | None = None, limit: int = 100) -> Page[Record]:
        """Newest first."""
        ...

    async def document(self, kind: type[D], id_: str) -> D | None: ...

    async def documents(
        self, kind: type[D], *, cursor: str | None = None, limit: int = 100
    ) -> Page[D]:
        """By id."""
        ...

    async def documents_due(self, kind: type[D], now: float, *, limit: int = 100) -> Sequence[D]:
        """Those due at *now* or before, the longest due first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a token proves. *kind* is `api`, `join`, `agent` or `joining`; only its hash is kept.

    The secret of an agent that may not have heard it yet is `joining`. *subject* names the caller,
    or is the agent's id.
    """

    hash: str
    kind: str
    org: OrgId
    subject: str
    created_at: float


class Control(Protocol):
    """The part of the store above all orgs: who may speak, and for which org."""

    async def credential(self, token_hash: str) -> Credential | None: ...

    async def add_credential(self, credential: Credential) -> None: ...

    async def has_credential(self, org: OrgId, *, kind: str, subject: str) -> bool: ...

    async def remove_credentials(self, org: OrgId, *, kind: str, subject: str) -> None: ...

    async def org_named(self, name: str) -> OrgId | None: ...

    async def add_org(self, org: OrgId, name: str, at: float) -> None: ...


# --- Bus ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hint:
    """Look in the store: an org, a kind (`job`, `agent`, `run`) and an id. No data."""

    org: OrgId
    kind: str
    id: str


class Bus(Protocol):
    """Tells whoever listens to look. May lose, repeat or reorder; never blocks for long."""

    def publish(self, hint: Hint) -> None: ...

    def subscribe(self, hint: Hint, wake: Callable[[], None]) -> Callable[[], None]:
        """Call *wake* after each equal hint, until the returned function is called."""
        ...


# --- AgentChannel -------------------------------------------------------------------------


class AgentChannel(Protocol):
    """The way to one connected agent.

    `send` waits while the outbox is full, keeps the order of its callers, and raises AgentGone
    when the stream has ended (also while waiting). `offer` sends at once and returns True, or
    sends nothing and returns False when the outbox is full or the stream has ended. `close` says
    goodbye and ends the stream; it may be called more than once.
    """

    async def send(self, *orders: FromController) -> None: ...

    def offer(self, *orders: FromController) -> bool: ...

    def close(self, parting: Goodbye) -> None: ...


# --- Clock --------------------------------------------------------------------------------


class Clock(Protocol):
    """Time. `now` is monotonic seconds, `wall` seconds since 1970 in UTC."""

    def now(self) -> float: ...

    def wall(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


# --- Launcher (agent) ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What to start on the host. *env* is complete; *run* marks everything the run starts.

    *nice*, *rlimits*, *user*, *namespaces* are set in front of the program by the host's tools.
    """

    run: RunId
    argv: tuple[str, ...]
    env: Mapping[str, str]
    stdin: bytes = b""
    cwd: str | None = None
    user: str | None = None
    nice: int | None = None
    rlimits: Mapping[str, int] = field(default_factory=dict)
    namespaces: NamespacesOf | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How the leader ended: an exit code or a signal, and what it used."""

    code: int | None = None
    signal: int | None = None
    usage: Usage = field(default_factory=Usage)


class Launched(Protocol):
    """A started program.

    `read` returns the next bytes of a stream as soon as there are any, b"" at its end; not
    reading makes the program wait. `wait` returns when the leader has ended. When `kill`
    returns, the leader and everything the run started are gone; it may be called at any time,
    also after the end (then it clears away what was left behind), and more than once.
    `close` gives the pipes up.
    """

    @property
    def pid(self) -> int: ...

    async def read(self, stream: StreamName) -> bytes: ...

    async def wait(self) -> Exit: ...

    async def kill(self, grace_s: float) -> None: ...

    def close(self) -> None: ...


class Launcher(Protocol):
    """Starts programs on this host. Raises LaunchFailed, with a `Why` code, and starts nothing.

    `sweep` kills what an earlier process of this agent left of a run, by the run's mark, and
    returns when it is gone.
    """

    async def launch(self, launch: Launch) -> Launched: ...

    async def sweep(self, run: RunId) -> None: ...
