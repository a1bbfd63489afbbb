"""Speak gRPC over one HTTP/2 connection, in either role: bytes in, calls back, bytes out.

Does no I/O and owns no timer; it alone knows ngh2, and lets none of ngh2's errors out.
"""

import enum
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import ngh2

from farhand.wire.grpc import heads
from farhand.wire.grpc.call import Call, Factory
from farhand.wire.grpc.callbacks import Callbacks, guarded
from farhand.wire.grpc.errors import CallEnded, LinkClosed, ProtocolError
from farhand.wire.grpc.limits import LinkLimits
from farhand.wire.grpc.queues import SendQueues, Stuck
from farhand.wire.grpc.rate import ControlRate
from farhand.wire.grpc.shell import Budget, Role, Route, Shell
from farhand.wire.grpc.status import (
    CallEnd,
    EndedBy,
    Metadata,
    Peer,
    RawHeader,
    Status,
    metadata_from,
    reset_code,
)
from farhand.wire.grpc.stream import Stream

_DATA_FRAME_BYTES: Final = 9
_ONE_PIECE_BYTES: Final = 64 * 1024  # above it, a copy costs more than a second call
_GOODBYE: Final = b"goodbye."  # tells the PING of a drain from those of keepalive


class Drain(enum.Enum):
    """How far the goodbye has come."""

    NOT = enum.auto()
    ANNOUNCED = enum.auto()
    REFUSING = enum.auto()
    OVER = enum.auto()
    """The last word is said; what the peer still says is not heard."""


class Core:
    """One HTTP/2 connection and its calls.

    The shell feeds `receive`, writes what `take` returns until it is empty, and calls `tick`.
    When one of them raises ProtocolError the connection is over: write a last `take`, then
    `abandon`.
    """

    __slots__ = (
        "_c",
        "_callbacks",
        "_clock",
        "_control",
        "_drain",
        "_ending",
        "_identified",
        "_queues",
        "_shell",
        "_streams",
        "closing",
        "goaway",
        "greeted",
        "large",
        "limits",
        "opened",
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
        self.serving = role is Role.SERVER
        self.limits = limits
        self.greeted = False  # the peer's SETTINGS have arrived
        self.opened = 0  # calls so far
        self.goaway = False  # the peer takes no new calls
        self.closing = False  # HTTP/2 is over; nothing follows what `take` returns
        self._shell = shell
        self._clock = clock
        self.large = large
        self._streams: dict[int, Stream] = {}
        self._queues = SendQueues(self, limits, clock)
        self._callbacks = Callbacks()
        self._ending: list[Stream] = []  # trailers are queued, the client may still be sending
        self._identified = False
        self._drain = Drain.NOT
        self._control = ControlRate(
            limits.control_burst_bytes,
            limits.control_bytes_per_s,
            most_forgiven=limits.connection_window_bytes,
            clock=clock,
        )
        self._c = _engine(role, limits)

    # -- bytes -------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer and call back what they mean. Raises ProtocolError."""
        if self.closing or self._drain is Drain.OVER:
            return
        self._control.add(len(data))
        try:
            self._c.receive_data(data)
            events = self._c.events()
        except ngh2.NGH2Error as exc:
            self.closing = True
            raise ProtocolError(f"the peer broke HTTP/2: {exc}") from exc
        self._dispatch(events)
        if self._control.exceeded():
            self.terminate(ngh2.ErrorCode.ENHANCE_YOUR_CALM)
            raise ProtocolError("the peer sends too many frames that carry no message")
        if self._callbacks:
            self._callbacks.settle()

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
        if self._queues:
            self._review_queues()
        if self._callbacks:
            self._callbacks.settle()
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
                self._reset(stream, ngh2.ErrorCode.NO_ERROR)
        self._ending = waiting

    # -- events ------------------------------------------------------------------------------

    def _dispatch(self, events: Sequence[ngh2.Event]) -> None:
        for event in events:
            if isinstance(event, ngh2.DataReceived):
                self._on_data(event)
            elif isinstance(event, ngh2.RequestReceived):
                self._on_request(event)
            elif isinstance(event, ngh2.ResponseReceived):
                if stream := self._streams.get(event.stream_id):
                    guarded(stream, stream.heard_headers, event.headers, event.end_stream)
            elif isinstance(event, ngh2.TrailersReceived):
                if stream := self._streams.get(event.stream_id):
                    guarded(stream, stream.heard_trailers, event.headers)
            elif isinstance(event, ngh2.StreamClosed):
                self._on_stream_closed(event)
            elif isinstance(event, ngh2.PingAcknowledged):
                self._on_ping_answer(event.opaque_data)
            elif isinstance(event, ngh2.SettingsReceived):
                self.greeted = True
            elif isinstance(event, ngh2.GoAwayReceived):
                self.goaway = True
            elif isinstance(event, ngh2.ConnectionClosed):
                self.closing = True

    def _on_data(self, event: ngh2.DataReceived) -> None:
        data = event.data
        size = len(data)
        stream = self._streams.get(event.stream_id)
        if size:
            self._control.forgive(size + _DATA_FRAME_BYTES)
            if stream is None:
                self._acknowledge(event.stream_id, size)
            else:
                guarded(stream, stream.heard, data)
        if event.end_stream and stream is not None:
            guarded(stream, stream.heard_end)

    def _on_stream_closed(self, event: ngh2.StreamClosed) -> None:
        stream = self._streams.pop(event.stream_id, None)
        if stream is None:
            return
        self._queues.discard(stream)
        stream.heard_close(event.error_code)
        if stream.end is None:
            self._callbacks.parked[stream] = None
        self._close_if_drained()

    def _on_request(self, event: ngh2.RequestReceived) -> None:
        fields = dict(event.headers)
        path = fields.get(b":path", b"").decode("latin-1")
        stream = Stream(self, event.stream_id, path, metadata_from(event.headers))
        self._streams[event.stream_id] = stream
        self.opened += 1
        refusal = heads.http_refusal(fields)
        if refusal is not None:
            self._refuse(stream, CallEnd(Status.INTERNAL, "no gRPC request"), refusal)
            return
        route = self._admit(path)
        if isinstance(route, CallEnd):
            self._refuse(stream, route, heads.refusal(route))
            return
        try:
            self._c.send_response(stream.stream_id, heads.ANSWER)
        except ngh2.NGH2Error:  # the stream is gone already; its StreamClosed is on the way
            return
        stream.begin(fields.get(b"grpc-timeout"), now=self._clock(), known=not route.needs_identity)
        guarded(stream, stream.start, route.factory)
        self._shell.schedule(stream.due)
        if event.end_stream:
            guarded(stream, stream.heard_end)

    def _admit(self, path: str) -> Route | CallEnd:
        if len(self._streams) > self.limits.streams:
            return CallEnd(Status.RESOURCE_EXHAUSTED, "too many calls on this connection")
        if not self._identified and len(self._streams) > self.limits.calls_before_identity:
            return CallEnd(Status.RESOURCE_EXHAUSTED, "too many calls before identification")
        return self._shell.route(path)

    def _refuse(self, stream: Stream, end: CallEnd, answer: list[RawHeader]) -> None:
        stream.end = end
        try:
            self._c.send_response(stream.stream_id, answer, end_stream=True)
        except ngh2.NGH2Error:  # as in _on_request
            return
        self._ending.append(stream)

    # -- the client's side -------------------------------------------------------------------

    def open(
        self,
        path: str,
        factory: Factory,
        *,
        authority: str,
        scheme: str,
        metadata: Metadata = (),
        timeout_s: float | None = None,
    ) -> Call:
        """Begin a call. Raises LinkClosed, ValueError for what cannot be sent."""
        if self.closing or self.goaway:
            raise LinkClosed("the connection is closing and takes no new calls")
        if len(self._streams) >= self.limits.streams:
            raise LinkClosed(f"the connection carries {self.limits.streams} calls already")
        head = heads.request(
            path, authority=authority, scheme=scheme, metadata=metadata, timeout_s=timeout_s
        )
        try:
            stream_id = self._c.send_request(head)
        except ngh2.NGH2Error as exc:
            raise LinkClosed(f"the connection takes no new calls: {exc}") from exc
        stream = self._streams[stream_id] = Stream(self, stream_id, path, metadata)
        self.opened += 1
        if timeout_s is not None:
            stream.deadline = self._clock() + timeout_s
        try:
            stream.handler = factory(stream)
        except BaseException:
            stream.cancel()
            raise
        self._shell.schedule(stream.due)
        self._shell.wake()
        return stream

    # -- stream.Engine -----------------------------------------------------------------------

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        return self._shell.peer

    def queued(self, stream: Stream) -> int:
        """Bytes of a stream that are not framed yet."""
        return self._c.queued_body_size(stream.stream_id)

    def push_message(self, stream: Stream, message: bytes) -> None:
        """Queue a message; a queue above its bound resets the call instead."""
        size = len(message)
        queued = self._c.queued_body_size(stream.stream_id)
        if queued and queued + size > self.limits.queued_bytes_per_call:
            stream.fail(Status.RESOURCE_EXHAUSTED, "the peer does not read what is sent to it")
            return
        prefix = b"\0" + size.to_bytes(4, "big")
        try:
            if size <= _ONE_PIECE_BYTES:
                self._c.send_data(stream.stream_id, prefix + message)
            else:
                self._c.send_data(stream.stream_id, prefix)
                self._c.send_data(stream.stream_id, message)
        except ngh2.NGH2Error as exc:
            raise CallEnded(Status.UNAVAILABLE, str(exc)) from exc
        stream.offered += size + len(prefix)
        if queued + size > self.limits.writable_bytes_per_call:
            stream.blocked = True
        self._control.forgive(32 + (size >> 9))  # the WINDOW_UPDATEs that it will cause
        self._queues.add(stream)
        self._shell.wake()

    def push_trailers(self, stream: Stream, trailers: list[RawHeader]) -> None:
        """Queue the end of a server's call."""
        try:
            self._c.send_trailers(stream.stream_id, trailers)
        except ngh2.NGH2Error as exc:
            raise CallEnded(Status.UNAVAILABLE, str(exc)) from exc
        self._ending.append(stream)
        self._shell.wake()

    def push_end(self, stream: Stream) -> None:
        """Queue the end of a client's side; on a stream that is over there is nothing to end."""
        with suppress(ngh2.NGH2Error):
            self._c.end_stream(stream.stream_id)
            self._shell.wake()

    def reset(self, stream: Stream, status: Status) -> None:
        """Reset a stream and drop what is queued on it; with its connection it is over anyway."""
        with suppress(ngh2.NGH2Error):
            self._reset(stream, reset_code(status))
            self._shell.wake()

    def _reset(self, stream: Stream, code: int) -> None:
        if stream.hearing and (self._identified or not self.serving):
            self._control.forgive(self._on_its_way(stream))
        self._c.reset_stream(stream.stream_id, code)

    def _on_its_way(self, stream: Stream) -> int:
        """What may still arrive on a stream that is reset: nobody will count it as DATA then."""
        try:
            return self._c.stream_local_window_size(stream.stream_id)
        except ngh2.NGH2Error:  # the stream has not begun, or is closed
            return 0

    def stuck(self, stream: Stream) -> Stuck:
        """What keeps a stream's bytes from being framed."""
        try:
            if self._c.remote_window_size <= 0:
                return Stuck.CONNECTION
            if self._c.stream_remote_window_size(stream.stream_id) <= 0:
                return Stuck.CALL
        except ngh2.NGH2Error:  # not begun yet: it waits for the peer's stream limit
            return Stuck.CALL
        return Stuck.SOCKET

    def acknowledge(self, stream: Stream, amount: int) -> None:
        """Give the peer its window back."""
        self._acknowledge(stream.stream_id, amount)

    def _acknowledge(self, stream_id: int, amount: int) -> None:
        # An engine whose stream or connection has ended has taken it back by itself.
        with suppress(ngh2.NGH2Error, ValueError):
            self._c.acknowledge_received_data(amount, stream_id)

    def later(self, stream: Stream) -> None:
        """Owe a stream its callbacks."""
        self._callbacks.owe(stream)
        self._shell.wake()

    def identified(self) -> None:
        """Lift the limits that strangers have on a connection."""
        if not self._identified:
            self._identified = True
            self._shell.identified()

    # -- time, order, end --------------------------------------------------------------------

    @property
    def calls(self) -> int:
        """Calls that are not over for their handlers."""
        open_streams = sum(stream.end is None for stream in self._streams.values())
        return open_streams + len(self._callbacks.parked)

    @property
    def queued_bytes(self) -> int:
        """Bytes of all calls that are not framed yet."""
        return self._c.queued_body_size()

    def settle(self) -> None:
        """Make the callbacks that are owed, when there is nothing to take or to receive."""
        self._callbacks.settle()

    def _review_queues(self) -> None:
        due = self._queues.due
        for stream in self._queues.review():
            self._callbacks.owe(stream)
        if self._queues.due < due:
            self._shell.schedule(self._queues.due)

    def tick(self, now: float) -> None:
        """Do what is due, and schedule what will be. Raises ProtocolError."""
        for stream in list(self._streams.values()):
            stream.look(now)
            self._shell.schedule(stream.due)
        if now >= self._queues.due:
            for stream, stuck in self._queues.stalled(now):
                self._end_stall(stream, stuck)
        self._shell.schedule(self._queues.due)
        self.settle()

    def _end_stall(self, stream: Stream, stuck: Stuck) -> None:
        """Reset the call whose own window is shut; drop the connection if it is everybody's."""
        match stuck:
            case Stuck.CONNECTION:
                self.terminate(ngh2.ErrorCode.FLOW_CONTROL_ERROR)
                raise ProtocolError("the peer keeps the connection's window shut")
            case Stuck.CALL:
                self._queues.discard(stream)
                self.reset(stream, Status.RESOURCE_EXHAUSTED)
                stream.fail(Status.RESOURCE_EXHAUSTED, "the peer does not read what is sent to it")
            case Stuck.SOCKET:
                return

    def ping(self) -> None:
        """Queue a PING."""
        self._quietly(self._c.ping)

    def drain(self) -> None:
        """Server: say goodbye in two steps, and close when the running calls are over.

        The first GOAWAY takes no calls yet; a PING's answer shows that the client has seen it,
        and no call is on its way any more that the second one would lose.
        """
        if self._drain is Drain.NOT:
            self._drain = Drain.ANNOUNCED
            self._quietly(self._c.send_shutdown_notice)
            self._quietly(lambda: self._c.ping(_GOODBYE))

    def _on_ping_answer(self, opaque: bytes) -> None:
        if self._drain is Drain.ANNOUNCED and opaque == _GOODBYE:
            self._drain = Drain.REFUSING
            self._quietly(self._c.send_goaway)
            self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self._drain is Drain.REFUSING and not self._streams:
            self.terminate()
            self._shell.wake()

    def end_calls(self, status: Status, message: str, by: EndedBy) -> None:
        """End every call with a status, which the peer gets where it can."""
        for stream in [*self._streams.values(), *self._callbacks.parked]:
            stream.fail(status, message, by)

    def terminate(self, code: int = ngh2.ErrorCode.NO_ERROR) -> None:
        """The last GOAWAY; `closing` is set once `take` has returned it."""
        self._drain = Drain.OVER
        self._quietly(lambda: self._c.terminate_connection(code))

    def _quietly(self, action: Callable[[], None]) -> None:
        try:
            action()
        except ngh2.NGH2Error:
            self.closing = True

    def abandon(self, reason: str) -> None:
        """The connection is gone: end every call that is left."""
        self.closing = True
        left = [*self._streams.values(), *self._callbacks.parked]
        self._streams.clear()
        self._queues.clear()
        for stream in left:
            stream.abandon(reason)
        self.settle()


def _engine(role: Role, limits: LinkLimits) -> ngh2.Connection:
    engine = ngh2.Connection(
        ngh2.Role.SERVER if role is Role.SERVER else ngh2.Role.CLIENT,
        ngh2.Configuration(
            auto_window_update=False,
            max_outbound_ack=limits.unanswered_acks,
            stream_reset_rate_limit=(limits.resets_burst, limits.resets_per_s),
            max_continuations=limits.continuations,
            max_inbound_header_list_size=limits.header_list_bytes,
            max_inbound_header_count=limits.header_count,
        ),
    )
    engine.initiate_connection(limits.settings(serving=role is Role.SERVER))
    engine.set_local_window_size(limits.connection_window_bytes)
    return engine
