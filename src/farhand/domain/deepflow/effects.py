"""What a controller orders of one DeepFlow agent's stream, and what the stream answers, as values.

Decides nothing: `session` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from farhand.domain.deepflow.messages import (
    REQUEST_BYTES,
    ExecType,
    LinuxNamespace,
    Parameter,
    RemoteCommand,
    Request,
    Sender,
)
from farhand.domain.ids import RunId
from farhand.domain.limits import KIB
from farhand.domain.output import Chunk
from farhand.domain.run import Ending, Why

# --- orders -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A run: which command, with what values, in whose network namespace, and how long.

    It is not started after *queue_until* (on the clock of *now*), and waited for *timeout_s*
    seconds once it was. *output_bytes* are kept of each stream; *grant* is how far each may go
    before the first `stored`.
    """

    run: RunId
    ident: str
    params: Mapping[str, str] = field(default_factory=dict)
    linux_ns_pid: int | None = None
    queue_until: float
    timeout_s: float
    output_bytes: int
    grant: int

    def request(self, request_id: int, batch_bytes: int) -> Request:
        """What the agent is sent."""
        return Request(
            request_id=request_id,
            exec_type=ExecType.RUN_COMMAND,
            params=tuple(Parameter(name, value) for name, value in self.params.items()),
            linux_ns_pid=self.linux_ns_pid,
            batch_len=batch_bytes,
            ident=self.ident,
        )

    @property
    def fits(self) -> bool:
        """An agent takes a request of this size."""
        texts = [self.ident, *self.params, *self.params.values()]
        return sum(len(text.encode()) + 16 for text in texts) + 64 <= REQUEST_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """What may wait for one agent, and in what pieces it answers."""

    runs_waiting: int = 64
    lists_waiting: int = 16
    list_s: float = 10.0  # until a list was asked for and answered
    batch_bytes: int = 256 * KIB
    tail_bytes: int = 256 * KIB  # of one stream, kept after a cut


DEFAULT_STREAM_LIMITS: Final = StreamLimits()


# --- effects ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Write this request to the agent."""

    request: Request


@dataclass(frozen=True, slots=True)
class Started:
    """The request for this run is what is sent next: from here on it may have happened."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Printed:
    """Bytes of a run, numbered, within what was granted."""

    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended; all it printed was handed out before."""

    run: RunId
    ending: Ending


@dataclass(frozen=True, slots=True)
class Refused:
    """The agent started nothing, and why."""

    run: RunId
    why: Why
    message: str


class Cause(StrEnum):
    """Why a run was never sent."""

    LANE_FULL = "lane_full"
    DEADLINE = "deadline"  # something else ran until it was too late
    CANCELLED = "cancelled"
    TOO_LARGE = "too_large"  # for a request
    STREAM_OVER = "stream_over"


@dataclass(frozen=True, slots=True)
class NotSent:
    """The agent never heard of this run."""

    run: RunId
    cause: Cause
    message: str


@dataclass(frozen=True, slots=True)
class Overdue:
    """A run is past its limit and cannot be stopped. Its lane stays taken; a result still comes."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Uncancellable:
    """A cancel came for a run that was sent; the protocol has no word for it."""

    run: RunId


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The stream ended under a run that was sent. No result will ever come."""

    run: RunId


@dataclass(frozen=True, slots=True)
class CommandsListed:
    """The answer to the question *token*."""

    token: int
    commands: tuple[RemoteCommand, ...]


@dataclass(frozen=True, slots=True)
class NamespacesListed:
    """The answer to the question *token*; there may be none."""

    token: int
    namespaces: tuple[LinuxNamespace, ...]


@dataclass(frozen=True, slots=True)
class ListFailed:
    """The question *token* has no answer, and why."""

    token: int
    message: str


@dataclass(frozen=True, slots=True)
class Stray:
    """An answer to nothing that was asked on this stream, or that was answered before; ignored."""

    request_id: int | None


@dataclass(frozen=True, slots=True)
class OtherSender:
    """A message claims to come from somebody else. It counts as this agent's; told once for each.

    An agent whose address changed does this. It is known by the new one when it dials again.
    """

    sender: Sender


@dataclass(frozen=True, slots=True)
class HoldBack:
    """Stop reading the stream: too much of what it sent is not stored yet."""


@dataclass(frozen=True, slots=True)
class ReadOn:
    """Read the stream again."""


Effect = (
    Send
    | Started
    | Printed
    | Ended
    | Refused
    | NotSent
    | Overdue
    | Uncancellable
    | Abandoned
    | CommandsListed
    | NamespacesListed
    | ListFailed
    | Stray
    | OtherSender
    | HoldBack
    | ReadOn
)
