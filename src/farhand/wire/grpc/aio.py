"""Carry a core over an asyncio transport: one Protocol, no tasks, one write for each turn.

Knows no methods and no addresses: server.py and client.py say what a connection is for.
"""

import asyncio
import enum
import logging
import ssl
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final, cast

from farhand.wire.grpc.core import Core
from farhand.wire.grpc.errors import ProtocolError
from farhand.wire.grpc.limits import LinkLimits
from farhand.wire.grpc.shell import Budget, Role, Route
from farhand.wire.grpc.status import CallEnd, Peer, Status
from farhand.wire.grpc.timers import TimerWheel
from farhand.wire.grpc.tls import TlsPipe

log = logging.getLogger("farhand.wire.grpc")

_TAKE_BYTES: Final = 128 * 1024
_TAKES_PER_TURN: Final = 8  # then other connections have their turn
_CLOSE_S: Final = 2.0  # for the last bytes


class Stage(enum.Enum):
    """How far a connection has come."""

    CONNECTING = enum.auto()
    """No bytes have passed yet, or those of a proxy."""
    TLS = enum.auto()
    """The TLS handshake is under way."""
    HTTP2 = enum.auto()
    CLOSING = enum.auto()
    """The last bytes are on their way out."""
    CLOSED = enum.auto()


class Link(asyncio.Protocol):
    """One connection, in either role."""

    __slots__ = (
        "_core",
        "_greet_due",
        "_keepalive_due",
        "_loop",
        "_paused",
        "_paused_at",
        "_peer",
        "_pinged",
        "_reason",
        "_seen",
        "_stage",
        "_tls",
        "_transport",
        "_unsent",
        "_wheel",
        "_woken",
        "limits",
        "reads",
        "timer_slot",
    )

    def __init__(self, role: Role, limits: LinkLimits, wheel: TimerWheel, large: Budget) -> None:
        self._loop = asyncio.get_running_loop()
        self.limits = limits
        self.timer_slot: int | None = None
        self._wheel = wheel
        self._core = Core(role, limits, self, clock=self._loop.time, large=large)
        self._transport: asyncio.Transport | None = None
        self._tls: TlsPipe | None = None
        self._peer: Peer | None = None
        self._stage = Stage.CONNECTING
        self._paused = False
        self._paused_at = 0.0
        self._unsent = 0  # bytes in the paused socket's buffer when it was last looked at
        self._woken = False
        self._greet_due = inf  # when the peer's SETTINGS must be there
        self._keepalive_due = inf
        self._reason = ""
        self.reads = 0  # of the socket, so far
        self._seen = -1  # of these, at the last look of keepalive
        self._pinged = False

    # -- shell.Shell -------------------------------------------------------------------------

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        if self._peer is None:
            self._peer = self._find_peer()
        return self._peer

    def _find_peer(self) -> Peer:
        name = self._transport.get_extra_info("peername") if self._transport else None
        host, port = (name[0], name[1]) if isinstance(name, tuple) else ("", 0)
        tls = self._tls
        return Peer(host, port, tls=tls is not None, certificate=tls.certificate if tls else None)

    def wake(self) -> None:
        """Flush once, soon, however often this is called."""
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._flush)

    def schedule(self, due: float) -> None:
        """Have `on_time` called."""
        self._wheel.schedule(self, due)

    def route(self, path: str) -> Route | CallEnd:
        """A client takes no calls."""
        return CallEnd(Status.UNIMPLEMENTED, f"no method {path}")

    def identified(self) -> None:
        """Nothing to lift on a client."""

    # -- asyncio.Protocol --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by shape alone
        self._transport.set_write_buffer_limits(high=self.limits.write_buffer_bytes)
        self.on_connected()

    def data_received(self, data: bytes) -> None:
        """Bytes of the socket."""
        self.reads += 1
        self._take(self._read, data)

    def _take(self, read: Callable[[bytes], None], data: bytes) -> None:
        self._woken = True  # what this leads to is written once, at the end
        try:
            read(data)
        except ProtocolError as exc:
            self._fail(str(exc))
            return
        self._flush()

    def _read(self, data: bytes) -> None:
        if self._stage is Stage.CONNECTING:
            data = self.on_first_bytes(data)
            if not data:
                return
        if self._tls is None:
            if self._stage is Stage.HTTP2:
                self._core.receive(data)
                self.on_read()
            return
        if self._tls.established or not self.postpone(data):
            self._read_tls(self._tls, data)

    def _read_tls(self, tls: TlsPipe, data: bytes) -> None:
        for plain in tls.receive(data):
            self._become_http2()
            if not plain:
                self._fail("the peer closed the connection")
                return
            self._core.receive(plain)
        if tls.established:
            self._become_http2()
            self.on_read()

    def go_on(self, data: bytes) -> None:
        """Take bytes of a TLS handshake that were postponed, and read on."""
        if self._tls is None or self._stage is not Stage.TLS:
            return
        self._take(partial(self._read_tls, self._tls), data)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _become_http2(self) -> None:
        if self._stage is Stage.TLS:
            self._stage = Stage.HTTP2
            self._peer = None

    def pause_writing(self) -> None:
        """The socket's buffer is full: leave the rest with the calls, which have bounds."""
        self._paused = True
        self._paused_at = self._loop.time()
        self._unsent = self._buffered()
        self.schedule(self._paused_at + self.limits.stall_deadline_s)

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._paused = False
        self._flush()

    def eof_received(self) -> None:
        """The peer has closed its side, which in HTTP/2 is the end."""
        self._fail("the peer closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._wheel.cancel(self)
        reason = self._reason or "the connection was lost" + (f": {exc}" if exc else "")
        self._stage = Stage.CLOSED
        self._core.abandon(reason)
        self.on_lost(reason)

    # -- for server and client ---------------------------------------------------------------

    def on_connected(self) -> None:
        """The socket is there; nothing was read."""

    def on_first_bytes(self, data: bytes) -> bytes:
        """The first bytes, in stage CONNECTING: choose the next one and return what is left."""
        self.begin_http2()
        return data

    def postpone(self, data: bytes) -> bool:  # noqa: ARG002  # for whom it is to override
        """Whether these bytes of a TLS handshake wait, until `go_on` is called with them."""
        return False

    def on_read(self) -> None:
        """Bytes of HTTP/2 were read."""

    def on_lost(self, reason: str) -> None:
        """The connection is over; every call was told. Comes exactly once."""

    def begin_http2(self) -> None:
        """Speak HTTP/2 in plaintext from here on."""
        self._stage = Stage.HTTP2
        self.wake()

    def begin_tls(
        self, context: ssl.SSLContext, *, serving: bool, server_hostname: str | None = None
    ) -> None:
        """Speak TLS from here on. Raises ProtocolError."""
        self._stage = Stage.TLS
        self._tls = TlsPipe(context, serving=serving, server_hostname=server_hostname)
        if not serving:
            self._tls.start()
        self._send_tls()

    def start_keepalive(self) -> None:
        """From now on watch that the peer is there."""
        self._keepalive_due = self._loop.time() + self.limits.keepalive_interval_s
        self.schedule(self._keepalive_due)

    @property
    def calls(self) -> int:
        """Calls that are not over."""
        return self._core.calls

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait in calls and in the socket's buffer."""
        return self._core.queued_bytes + self._buffered()

    # -- writing -----------------------------------------------------------------------------

    def _flush(self) -> None:
        self._woken = False
        if self._stage is Stage.TLS:
            self._send_tls()
        if self._stage is not Stage.HTTP2:
            self._core.settle()
            return
        try:
            self._write_turn()
        except ProtocolError as exc:
            self._fail(str(exc))
            return
        if self._core.closing:
            self._close("the connection was closed")

    def _write_turn(self) -> None:
        for _ in range(_TAKES_PER_TURN):
            if self._paused:
                self._core.settle()
                return
            out = self._core.take(_TAKE_BYTES)
            if not out:
                self._send_tls()
                return
            self._write(out)
        self.wake()

    def _write(self, data: bytes) -> None:
        if self._tls is not None:
            data = self._tls.encrypt(data)
        if self._transport is not None:
            self._transport.write(data)

    def _send_tls(self) -> None:
        if self._tls is not None and self._transport is not None:
            data = self._tls.pending()
            if data:
                self._transport.write(data)

    def _buffered(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport else 0

    # -- time --------------------------------------------------------------------------------

    def on_time(self, now: float) -> None:
        """Something is due; see timers.Timed."""
        if self._stage is Stage.CLOSING:
            self._abort()
            return
        if now >= self._greet_due and not self._core.greeted:
            self._fail(f"no HTTP/2 within {self.limits.handshake_deadline_s:g} s")
            return
        try:
            self._core.tick(now)
        except ProtocolError as exc:
            self._fail(str(exc))
            return
        if self._paused and not self._socket_moves(now):
            self._fail("the peer does not read its socket")
            return
        if now >= self._keepalive_due and not self._peer_is_there(now):
            self._fail("the peer does not answer")
            return
        self.schedule(self._keepalive_due)
        if not self._core.greeted:
            self.schedule(self._greet_due)

    def _socket_moves(self, now: float) -> bool:
        if now - self._paused_at >= self.limits.stall_deadline_s:
            unsent = self._buffered()
            if unsent >= self._unsent:
                return False
            self._unsent, self._paused_at = unsent, now
        self.schedule(self._paused_at + self.limits.stall_deadline_s)
        return True

    def _peer_is_there(self, now: float) -> bool:
        if self.reads != self._seen or self._paused:  # a PING cannot even leave a full socket
            self._seen, self._pinged = self.reads, False
            self._keepalive_due = now + self.limits.keepalive_interval_s
        elif self._pinged:
            return False
        else:
            self._pinged = True
            self._keepalive_due = now + self.limits.keepalive_timeout_s
            self._core.ping()
            self.wake()
        return True

    # -- the end -----------------------------------------------------------------------------

    def _fail(self, reason: str) -> None:
        """Say what can still be said, and close."""
        if self._stage in {Stage.CLOSING, Stage.CLOSED}:
            return
        if self._stage is Stage.HTTP2 and not self._paused:
            self._core.abandon(reason)  # or else calls would be asked for more to write
            try:
                self._write(self._core.take(_TAKE_BYTES))
                self._core.terminate()
                self._write(self._core.take(_TAKE_BYTES))
            except ProtocolError:  # after some errors HTTP/2 cannot even say goodbye
                log.debug("link.mute peer=%s", self.peer)
        log.debug("link.failed peer=%s reason=%s", self.peer, reason)
        self._close(reason)

    def _close(self, reason: str) -> None:
        if self._stage in {Stage.CLOSING, Stage.CLOSED}:
            return
        if self._stage is Stage.HTTP2 and self._tls is not None and self._transport is not None:
            self._transport.write(self._tls.goodbye())
        else:
            self._send_tls()  # an alert that says what was wrong with the handshake
        self._stage = Stage.CLOSING
        self._reason = reason
        self._core.abandon(reason)
        if self._transport is not None:
            self._transport.close()
            self.schedule(self._loop.time() + _CLOSE_S)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
