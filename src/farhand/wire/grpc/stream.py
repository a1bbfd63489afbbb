"""One gRPC call on an HTTP/2 stream: what may still be said, and what was heard so far.

Does no I/O and knows no HTTP/2 library; the connection it is on is its Engine.
"""

import enum
from math import inf
from typing import Final, Protocol

from farhand.wire.grpc.call import Factory, Handler
from farhand.wire.grpc.errors import CallEnded
from farhand.wire.grpc.framing import PREFIX_BYTES, BadMessage, MessageReader
from farhand.wire.grpc.limits import LinkLimits
from farhand.wire.grpc.shell import Budget
from farhand.wire.grpc.status import (
    CallEnd,
    EndedBy,
    Metadata,
    Peer,
    RawHeader,
    Status,
    end_from_http,
    end_from_reset,
    end_from_trailers,
    metadata_from,
    status_trailers,
    timeout_from,
)

_FRAMING_BYTES: Final = 64  # prefixes of a few small messages before identity
_SILENT: Final = Handler()


class Inbound(enum.Enum):
    """What the peer may still say."""

    OPEN = enum.auto()
    ENDING = enum.auto()
    """Its end has arrived, behind messages that are not delivered yet."""
    ENDED = enum.auto()


class Engine(Protocol):
    """What a stream needs of its connection. Nothing here calls a handler back."""

    limits: LinkLimits
    large: Budget
    serving: bool

    @property
    def peer(self) -> Peer: ...
    def queued(self, stream: "Stream") -> int: ...
    def push_message(self, stream: "Stream", message: bytes) -> None: ...
    def push_trailers(self, stream: "Stream", trailers: list[RawHeader]) -> None: ...
    def push_end(self, stream: "Stream") -> None: ...
    def reset(self, stream: "Stream", status: Status) -> None: ...
    def acknowledge(self, stream: "Stream", amount: int) -> None: ...
    def later(self, stream: "Stream") -> None: ...
    def identified(self) -> None: ...


class Stream:
    """Implements call.Call; the methods named `heard_*` and `fail` belong to the connection."""

    __slots__ = (
        "_engine",
        "_held",
        "_inbound",
        "_last_words",
        "_left",
        "_limit",
        "_paused",
        "_reader",
        "_reserved",
        "_saying",
        "_told",
        "blocked",
        "deadline",
        "end",
        "handler",
        "identity_due",
        "mark",
        "mark_at",
        "metadata",
        "offered",
        "path",
        "stream_id",
    )

    def __init__(self, engine: Engine, stream_id: int, path: str, metadata: Metadata) -> None:
        self._engine = engine
        self.stream_id = stream_id
        self.path = path
        self.metadata = metadata
        self.handler: Handler = _SILENT
        self.end: CallEnd | None = None  # set once: how the call ended
        self.deadline = inf
        self.identity_due = inf
        self.blocked = False  # was told not to send; on_writable is owed
        self.offered = 0  # bytes queued in all
        self.mark = -1  # of these framed, when the queue was last seen to move
        self.mark_at = 0.0
        self._told = False  # on_closed was called
        self._saying = True  # this side may still send
        self._inbound = Inbound.OPEN
        self._last_words: CallEnd | None = None  # the end once everything before it is through
        self._left: int | None = None  # bytes before identity; None when there is no such limit
        self._limit = engine.limits.message_bytes
        self._reader: MessageReader | None = None
        self._reserved = 0
        self._paused = False
        self._held = 0  # bytes that were heard and not acknowledged

    # -- what the application sees ---------------------------------------------------------

    @property
    def peer(self) -> Peer:
        return self._engine.peer

    @property
    def ended(self) -> bool:
        return self.end is not None or not self._saying

    @property
    def queued(self) -> int:
        return 0 if self.end is not None else self._engine.queued(self)

    @property
    def writable(self) -> bool:
        return not self.blocked and not self.ended

    def send(self, message: bytes) -> None:
        if self.end is not None or not self._saying:
            raise self._over()
        self._engine.push_message(self, message)

    def finish(
        self, status: Status = Status.OK, message: str = "", trailers: Metadata = ()
    ) -> None:
        if self.ended:
            raise self._over()
        raw = status_trailers(status, message, trailers)
        self._saying = False
        self._last_words = CallEnd(status, message, trailers)
        self._engine.push_trailers(self, raw)

    def half_close(self) -> None:
        if not self.ended:
            self._saying = False
            self._engine.push_end(self)

    def cancel(self, message: str = "") -> None:
        if self.end is None:
            self._engine.reset(self, Status.CANCELLED)
            self._conclude(CallEnd(Status.CANCELLED, message, by=EndedBy.HERE))

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._acknowledge_held()
            self._engine.later(self)

    def identified(self, *, message_bytes: int | None = None) -> None:
        self._left = None
        self.identity_due = inf
        if message_bytes is not None:
            self._limit = message_bytes
        self._engine.identified()

    def _over(self) -> CallEnded:
        end = self.end or self._last_words or CallEnd(Status.OK, "this side was closed")
        return CallEnded(end.status, end.message)

    # -- what the connection tells ---------------------------------------------------------

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def hearing(self) -> bool:
        """Whether the peer may still be sending."""
        return self._inbound is Inbound.OPEN

    @property
    def due(self) -> float:
        """When the call must be looked at."""
        return min(self.deadline, self.identity_due)

    def begin(self, timeout: bytes | None, *, now: float, known: bool) -> None:
        """Server: the call was taken; unless *known*, under the limits for strangers."""
        limits = self._engine.limits
        if not known:
            self.identity_due = now + limits.first_message_deadline_s
            self._left = limits.bytes_before_identity + _FRAMING_BYTES
        timeout_s = None if timeout is None else timeout_from(timeout)
        if timeout_s is not None:
            self.deadline = now + timeout_s

    def start(self, factory: Factory) -> None:
        """Make the handler."""
        self.handler = factory(self)

    def look(self, now: float) -> None:
        """End the call if its time is up."""
        if now >= self.deadline:
            self.fail(Status.DEADLINE_EXCEEDED, "deadline exceeded", EndedBy.DEADLINE)
        elif now >= self.identity_due:
            limit_s = self._engine.limits.first_message_deadline_s
            self.fail(Status.DEADLINE_EXCEEDED, f"not identified within {limit_s:g} s")

    @property
    def _listening(self) -> bool:
        return self.end is None and (self._saying or not self._engine.serving)

    def heard(self, data: bytes) -> None:
        """The payload of a DATA frame."""
        if not self._listening:
            self._engine.acknowledge(self, len(data))
            return
        if self._left is not None and not self._admit(len(data)):
            return
        if self._paused:
            self._held += len(data)
        else:
            self._engine.acknowledge(self, len(data))
            if self._reader is None and self._is_one_message(data):
                self.handler.on_message(data[PREFIX_BYTES:])
                return
        if self._reader is None:
            self._reader = MessageReader()
        self._reader.add(data)
        self.deliver()

    def _admit(self, amount: int) -> bool:
        left = self._left or 0
        self._left = left - amount
        if left >= amount:
            return True
        limit = self._engine.limits.bytes_before_identity
        self._engine.acknowledge(self, amount)
        self.fail(Status.RESOURCE_EXHAUSTED, f"more than {limit} bytes before identification")
        return False

    def _is_one_message(self, data: bytes) -> bool:
        size = len(data) - PREFIX_BYTES
        return (
            0 <= size <= self._engine.limits.message_bytes
            and size <= self._limit
            and data[0] == 0
            and int.from_bytes(data[1:PREFIX_BYTES], "big") == size
        )

    def deliver(self) -> None:
        """Hand over every message that is complete, then the end if it is due."""
        reader = self._reader
        try:
            while reader is not None and self._listening and not self._paused:
                size = reader.announced()
                if size is None or not self._afford(size):
                    break
                message = reader.next(self._limit)
                if message is None:
                    break
                self._release()
                self.handler.on_message(message)
        except BadMessage as bad:
            self._refuse(bad)
        if reader is not None and reader.held == 0:
            self._reader = None
        if self._inbound is Inbound.ENDING and not self._paused and self.end is None:
            self._inbound = Inbound.ENDED
            self._heard_all()

    def _afford(self, size: int) -> bool:
        """A message above the usual limit needs a share of the common budget."""
        if size <= self._engine.limits.message_bytes or size > self._limit or self._reserved:
            return True
        if not self._engine.large.reserve(size):
            self.fail(Status.RESOURCE_EXHAUSTED, "too many large messages at the same time")
            return False
        self._reserved = size
        return True

    def _release(self) -> None:
        if self._reserved:
            self._engine.large.release(self._reserved)
            self._reserved = 0

    def _refuse(self, bad: BadMessage) -> None:
        if bad.compressed:
            self.fail(Status.UNIMPLEMENTED, "compressed messages are not supported")
        else:
            self.fail(
                Status.RESOURCE_EXHAUSTED,
                f"a message of {bad.size} bytes is above the limit of {self._limit}",
            )

    def heard_headers(self, headers: tuple[RawHeader, ...], last: bool) -> None:  # noqa: FBT001
        """Client: the response headers, perhaps the *last* of it; only gRPC is taken."""
        fields = dict(headers)
        http_status = fields.get(b":status", b"")
        if http_status != b"200":
            self._engine.reset(self, Status.CANCELLED)
            self._conclude(end_from_http(http_status))
        elif b"grpc-status" in fields:  # nothing but a status; grpclib leaves content-type out
            self.heard_trailers(headers)
        elif not fields.get(b"content-type", b"").startswith(b"application/grpc"):
            self._engine.reset(self, Status.CANCELLED)
            self._conclude(CallEnd(Status.UNKNOWN, "the answer's content-type is not gRPC"))
        else:
            if self.end is None:
                self.handler.on_headers(metadata_from(headers))
            if last:
                self.heard_end()

    def heard_trailers(self, headers: tuple[RawHeader, ...]) -> None:
        """The peer's trailers: on a client the status of the call."""
        if not self._engine.serving:
            self._last_words = end_from_trailers(headers)
        self.heard_end()

    def heard_end(self) -> None:
        """The peer ended its side in an orderly way."""
        if self._inbound is Inbound.OPEN:
            self._inbound = Inbound.ENDING
            self.deliver()

    def _heard_all(self) -> None:
        cut_off = self._reader is not None
        self._reader = None
        if self._engine.serving:
            if cut_off:
                self.fail(Status.INTERNAL, "the call was half-closed inside a message")
            elif self._listening:
                self.handler.on_half_close()
            return
        end = self._last_words or CallEnd(Status.UNKNOWN, "the call ended without a status")
        if cut_off and end.status is Status.OK:
            end = CallEnd(Status.INTERNAL, "the answer ended inside a message", end.trailers)
        if self._saying:
            self._engine.reset(self, Status.OK)
        self._conclude(end)

    def heard_close(self, error_code: int) -> None:
        """The HTTP/2 stream is gone."""
        if self.end is not None:
            return
        if error_code == 0 and self._inbound is Inbound.ENDING and not self._engine.serving:
            return  # the answer waits behind paused reading
        if error_code == 0 and self._last_words is not None:
            self._conclude(self._last_words)
        else:
            self._conclude(end_from_reset(error_code))

    def fail(self, status: Status, message: str, by: EndedBy = EndedBy.LIMIT) -> None:
        """End the call from this side, with a status for the peer where it can still get one."""
        if self.end is not None:
            return
        if not self._tell(status, message):
            self._engine.reset(self, status)
        self._conclude(CallEnd(status, message, by=by))

    def _tell(self, status: Status, message: str) -> bool:
        if not self._engine.serving or not self._saying or self._engine.queued(self):
            return False
        try:
            self._engine.push_trailers(self, status_trailers(status, message))
        except CallEnded:  # the HTTP/2 stream is over already
            return False
        return True

    def abandon(self, reason: str) -> None:
        """The connection is lost; there is nobody to tell."""
        if self.end is None:
            self._conclude(CallEnd(Status.UNAVAILABLE, reason, by=EndedBy.LINK))

    def _conclude(self, end: CallEnd) -> None:
        if self.end is not None:
            return
        self.end = end
        self._saying = False
        self._reader = None
        self._release()
        self._acknowledge_held()
        self.deadline = self.identity_due = inf
        self._engine.later(self)

    def _acknowledge_held(self) -> None:
        if self._held:
            held, self._held = self._held, 0
            self._engine.acknowledge(self, held)

    def settle(self) -> None:
        """Make the callbacks that are owed, outside of any call of the application's."""
        if self.end is not None:
            if not self._told:
                self._told = True
                self.handler.on_closed(self.end)
            return
        if not self._paused:
            self.deliver()
        writable_bytes = self._engine.limits.writable_bytes_per_call
        if self.blocked and self.end is None and self._engine.queued(self) <= writable_bytes:
            self.blocked = False
            if self._saying:
                self.handler.on_writable()
