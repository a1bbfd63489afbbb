"""What an agent and a controller say to each other, as values.

The wire's own room (`farhand.wire.native`) turns them into bytes; nothing here knows protobuf.
Only durations cross the wire, never a wall-clock time that decides something.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from farhand.domain.agent import Identity
from farhand.domain.command import Command
from farhand.domain.ids import AgentId, RunId
from farhand.domain.job import JobSpec, NamespaceKind
from farhand.domain.output import Chunk, StreamName
from farhand.domain.run import Ending, Why

# --- agent → controller -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The first message. Exactly one credential: a join token, or the secret it bought."""

    protocols: tuple[int, ...]
    identity: Identity
    agent: AgentId | None = None
    join_token: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)


class HeldState(StrEnum):
    """Where a run stands in the agent's journal."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    ENDED = "ended"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRun:
    """A run the agent still holds, and how many bytes of each stream it has numbered."""

    run: RunId
    state: HeldState
    next_offsets: Mapping[StreamName, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """A page of the runs the agent holds; *last* closes the list."""

    runs: tuple[HeldRun, ...]
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The agent is there: load, free bytes where it spools, how many runs it has."""

    seq: int
    load: float = 0.0
    spool_free_bytes: int = 0
    runs: int = 0


@dataclass(frozen=True, slots=True)
class RunAccepted:
    """The run is in the agent's journal."""

    run: RunId


@dataclass(frozen=True, slots=True)
class RunRefused:
    """The agent will not run this, and why."""

    run: RunId
    why: Why
    message: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run's program was started."""

    run: RunId
    pid: int


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes of a stream of a run, numbered by the agent."""

    chunk: Chunk


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run ended and all it printed was sent."""

    run: RunId
    ending: Ending


@dataclass(frozen=True, slots=True)
class Commands:
    """The agent's catalogue, in answer to ListCommands."""

    request: int
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A Linux namespace: its inode number and kind, and the process that shows it best.

    *owner* is a user's name or uid; *container* and *pod* as far as the cgroup path tells.
    """

    id: int
    kind: NamespaceKind
    pid: int
    owner: str = ""
    command: str = ""
    processes: int = 0
    container: str = ""
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The namespaces of the agent's host, in answer to ListNamespaces; or why not."""

    request: int
    namespaces: tuple[Namespace, ...]
    error: str = ""


# --- both ways ----------------------------------------------------------------------------


class Parting(StrEnum):
    """Why a side says goodbye."""

    STOPPING = "stopping"
    FENCED = "fenced"  # a newer stream of the same agent is there
    INACTIVE = "inactive"
    REFUSED = "refused"
    REMOVED = "removed"
    PROTOCOL = "protocol"
    OVERLOADED = "overloaded"


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The sender is about to end the stream. From a controller: when and where to come back."""

    reason: Parting
    message: str = ""
    reconnect_after_s: float = 0.0
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A frame with this number is not known here. Never answered."""

    frame: int


@dataclass(frozen=True, slots=True)
class UnknownFrame:
    """A frame arrived that this side does not know; it answers with Unsupported."""

    frame: int


# --- controller → agent -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The agent is known. *secret* only at its first joining; it replaces the join token.

    *fenced* tells that an older stream of this agent was still there and has been ended.
    """

    agent: AgentId
    epoch: int
    protocol: int
    heartbeat_s: float
    secret: str = field(default="", repr=False)
    fenced: bool = False


@dataclass(frozen=True, slots=True)
class Resume:
    """Send a run's streams again from these offsets, up to those."""

    run: RunId
    from_offsets: Mapping[StreamName, int]
    up_to: Mapping[StreamName, int]


@dataclass(frozen=True, slots=True)
class Settled:
    """The run's end or refusal is committed: forget it (but never its id)."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Stop:
    """This run is not known here: kill it and forget it."""

    run: RunId


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """The controller is there."""

    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    """Run this, at most once. *grant* is how far each stream may send before an Ack."""

    run: RunId
    spec: JobSpec
    grant: int


@dataclass(frozen=True, slots=True)
class Ack:
    """A stream's bytes below *kept* are stored; it may send up to *up_to*."""

    run: RunId
    stream: StreamName
    kept: int
    up_to: int


@dataclass(frozen=True, slots=True)
class CancelRun:
    """End the run and all it started: SIGTERM, then SIGKILL after *grace_s*."""

    run: RunId
    grace_s: float


@dataclass(frozen=True, slots=True)
class ListCommands:
    """Ask for the catalogue."""

    request: int


@dataclass(frozen=True, slots=True)
class ListNamespaces:
    """Ask for the host's namespaces."""

    request: int


FromAgent = (
    Hello
    | Held
    | Heartbeat
    | RunAccepted
    | RunRefused
    | RunStarted
    | Output
    | RunEnded
    | Commands
    | Namespaces
    | Unsupported
    | UnknownFrame
    | Goodbye
)
FromController = (
    Welcome
    | Resume
    | Settled
    | Stop
    | HeartbeatReply
    | StartRun
    | Ack
    | CancelRun
    | ListCommands
    | ListNamespaces
    | Unsupported
    | UnknownFrame
    | Goodbye
)
