"""Speak gRPC over one HTTP/2 connection, in either role: bytes in, calls back, bytes out.

Does no I/O and owns no timer; it alone knows ngh2, and lets none of ngh2's errors out.
"""

import enum
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

import ngh2

from farhand.wire.grpc.call import Call, Factory, Handler
from farhand.wire.grpc.errors import CallEnded, LinkClosed, ProtocolError
from farhand.wire.grpc.limits import LinkLimits
from farhand.wire.grpc.status import (
    CallEnd,
    EndedBy,
    Metadata,
    Peer,
    RawHeader,
    Status,
    headers_from,
    metadata_from,
    status_trailers,
    timeout_from,
    timeout_header,
)
from farhand.wire.grpc.stream import Stream

log = logging.getLogger("farhand.wire.grpc")

_ANSWER: Final = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", b"identity"),
)
_RESET_CODE: Final = {
    Status.OK: ngh2.ErrorCode.NO_ERROR,
    Status.CANCELLED: ngh2.ErrorCode.CANCEL,
    Status.DEADLINE_EXCEEDED: ngh2.ErrorCode.CANCEL,
    Status.RESOURCE_EXHAUSTED: ngh2.ErrorCode.ENHANCE_YOUR_CALM,
    Status.UNAVAILABLE: ngh2.ErrorCode.REFUSED_STREAM,
}
_DATA_FRAME_BYTES: Final = 9
_ONE_PIECE_BYTES: Final = 64 * 1024  # above it, a copy costs more than a second call


class Role(enum.Enum):
    """Which end of the connection this is."""

    SERVER = ngh2.Role.SERVER
    CLIENT = ngh2.Role.CLIENT


@dataclass(frozen=True, slots=True)
class Route:
    """How a server takes a call."""

    factory: Factory
    needs_identity: bool = True


class Budget:
    """Bytes that several connections share; never given twice."""

    __slots__ = ("left",)

    def __init__(self, amount: int) -> None:
        self.left = amount


class Shell(Protocol):
    """What a core asks of the connection around it. None of it may call back into the core."""

    @property
    def peer(self) -> Peer: ...
    def wake(self) -> None:
        """There is something to `take` or to `settle`: do it soon, outside of this call."""

    def schedule(self, due: float) -> None:
        """Call `tick` at this time or a little later."""

    def route(self, path: str) -> Route | CallEnd:
        """Server: who takes a call of this path, or the status that refuses it."""

    def identified(self) -> None:
        """Server: a call of this connection was identified for the first time."""


class Core:
    """One HTTP/2 connection and its calls.

    The shell feeds `receive`, writes what `take` returns until it is empty, and calls `tick`.
    When one of them raises ProtocolError the connection is over: write a last `take`, then
    `abandon`.
    """

    __slots__ = (
        "_c",
        "_clock",
        "_control",
        "_control_at",
        "_ending",
        "_identified",
        "_large",
        "_later",
        "_pings",
        "_queueing",
        "_shell",
        "_stall_due",
        "_streams",
        "closing",
        "goaway",
        "greeted",
        "limits",
        "role",
        "serving",
    )

    def __init__(
        self,
        role: Role,
        limits: LinkLimits,
        shell: Shell,
        *,
        clock: Callable[[], float],
        large: Budget,
    ) -> None:
        self.role = role
        self.serving = role is Role.SERVER
        self.limits = limits
        self.greeted = False  # the peer's SETTINGS have arrived
        self.goaway = False  # the peer takes no new calls
        self.closing = False  # HTTP/2 is over; nothing follows what `take` returns
        self._shell = shell
        self._clock = clock
        self._large = large
        self._streams: dict[int, Stream] = {}
        self._queueing: dict[Stream, None] = {}  # sent to since the last review of queues
        self._later: dict[Stream, None] = {}  # callbacks are owed to them
        self._ending: list[Stream] = []  # trailers are queued, the client may still be sending
        self._identified = False
        self._control = 0
        self._control_at = clock()
        self._stall_due = inf
        self._pings = 0  # answers to our PINGs that have arrived
        self._c = _engine(role, limits)

    # -- bytes -------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer and call back what they mean. Raises ProtocolError."""
        self._control += len(data)
        try:
            self._c.receive_data(data)
            events = self._c.events()
        except ngh2.NGH2Error as exc:
            self.closing = True
            raise ProtocolError(f"the peer broke HTTP/2: {exc}") from exc
        self._dispatch(events)
        if self._control > self.limits.control_burst_bytes:
            self._check_rate()
        if self._later:
            self.settle()

    def take(self, amount: int) -> bytes:
        """Bytes for the peer, about *amount* at most; empty when there are none.

        Raises ProtocolError.
        """
        try:
            out = self._c.data_to_send(amount)
            self._dispatch(self._c.events())
            if self._ending and len(out) < amount:
                self._reset_ended()
                out += self._c.data_to_send(amount)
                self._dispatch(self._c.events())
        except ngh2.NGH2Error as exc:
            self.closing = True
            raise ProtocolError(f"HTTP/2 is over: {exc}") from exc
        if self._queueing:
            self._review_queues()
        if self._later:
            self.settle()
        return out

    def _reset_ended(self) -> None:
        """A finished call whose client still sends is closed as RFC 9113 §8.1 has it."""
        waiting = []
        for stream in self._ending:
            if stream.stream_id not in self._streams:
                continue
            if self._c.queued_body_size(stream.stream_id):
                waiting.append(stream)
            else:
                self._c.reset_stream(stream.stream_id, ngh2.ErrorCode.NO_ERROR)
        self._ending = waiting

    def _check_rate(self) -> None:
        now = self._clock()
        leaked = int((now - self._control_at) * self.limits.control_bytes_per_s)
        self._control_at = now
        self._control = max(self._control - leaked, 0)
        if self._control > self.limits.control_burst_bytes:
            self.terminate(ngh2.ErrorCode.ENHANCE_YOUR_CALM)
            raise ProtocolError("the peer sends too many frames that carry no message")

    # -- events ------------------------------------------------------------------------------

    def _dispatch(self, events: Sequence[ngh2.Event]) -> None:
        streams = self._streams
        for event in events:
            kind = type(event)
            if kind is ngh2.DataReceived:
                self._on_data(event)
            elif kind is ngh2.RequestReceived:
                self._on_request(event)
            elif kind is ngh2.ResponseReceived or kind is ngh2.TrailersReceived:
                self._on_headers(event, trailers=kind is ngh2.TrailersReceived)
            elif kind is ngh2.StreamClosed:
                stream = streams.pop(event.stream_id, None)
                if stream is not None:
                    self._queueing.pop(stream, None)
                    stream.heard_close(event.error_code)
            elif kind is ngh2.PingAcknowledged:
                self._pings += 1
            elif kind is ngh2.SettingsReceived:
                self.greeted = True
            elif kind is ngh2.GoAwayReceived:
                self.goaway = True
            elif kind is ngh2.ConnectionClosed:
                self.closing = True

    def _on_data(self, event: ngh2.DataReceived) -> None:
        data = event.data
        size = len(data)
        stream = self._streams.get(event.stream_id)
        if size:
            control = self._control - size - _DATA_FRAME_BYTES
            self._control = control if control > -self.limits.control_burst_bytes else 0
            if stream is None:
                self._acknowledge(event.stream_id, size)
        if stream is None:
            return
        try:
            if size:
                stream.heard(data)
            if event.end_stream:
                stream.heard_end()
        except Exception:  # one handler must not end the connection of all
            self._fault(stream)

    def _on_headers(
        self, event: ngh2.ResponseReceived | ngh2.TrailersReceived, *, trailers: bool
    ) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        try:
            if trailers:
                stream.heard_trailers(event.headers)
                return
            stream.heard_headers(event.headers)
            if event.end_stream:
                stream.heard_end()
        except Exception:  # as in _on_data
            self._fault(stream)
