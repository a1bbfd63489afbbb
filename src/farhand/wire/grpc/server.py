"""Listen for gRPC calls, in TLS and plaintext on one port, and take them to their handlers.

Knows methods by their path alone. A stranger costs little, and nothing once it is gone.
"""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeAlias

from farhand.wire.grpc.aio import Link, Stage
from farhand.wire.grpc.call import Factory
from farhand.wire.grpc.errors import ProtocolError
from farhand.wire.grpc.handshakes import Handshakes
from farhand.wire.grpc.health import HealthService
from farhand.wire.grpc.limits import LinkLimits
from farhand.wire.grpc.shell import Budget, Role, Route
from farhand.wire.grpc.status import CallEnd, EndedBy, Peer, Status
from farhand.wire.grpc.timers import TimerWheel
from farhand.wire.grpc.tls import CLIENT_HELLO

log = logging.getLogger("farhand.wire.grpc")

PlaintextPolicy: TypeAlias = Callable[[Peer, str], bool]
"""Whether a plaintext connection of this peer may call this path."""


class GrpcServer:
    """Any number of listeners that serve the same methods. Make it on the loop that runs it.

    Without *tls* everything is plaintext. With *tls*, plaintext connections are closed at their
    first byte, unless *plaintext* says per call what they may do. Both may be set anew while it
    runs, for connections to come.
    """

    def __init__(
        self,
        methods: Mapping[str, Factory],
        *,
        limits: LinkLimits | None = None,
        tls: ssl.SSLContext | None = None,
        plaintext: PlaintextPolicy | None = None,
    ) -> None:
        self.limits = limits or LinkLimits()
        self.health = HealthService()
        self.tls = tls
        self.plaintext = plaintext
        self.wheel = TimerWheel(asyncio.get_running_loop())
        self.large = Budget(self.limits.large_messages_bytes)
        self.links: dict[ServerLink, None] = {}
        self.strangers: Counter[str] = Counter()  # connections by address, none identified
        self.handshakes = Handshakes(asyncio.get_running_loop())
        self.refused: Counter[str] = Counter()  # connections, by why
        self.unidentified = 0  # strangers of all addresses
        self._routes = {path: Route(factory) for path, factory in methods.items()}
        self._routes |= self.health.routes()
        self._listeners: list[asyncio.Server] = []
        self._emptied = asyncio.Event()
        self._draining = False

    async def listen(self, host: str, port: int = 0) -> tuple[str, int]:
        """Listen on one more address and return it with its real port. Raises OSError."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: ServerLink(self), host, port, backlog=1024)
        self._listeners.append(listener)
        name = listener.sockets[0].getsockname()
        return name[0], name[1]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        names = [sock.getsockname() for listener in self._listeners for sock in listener.sockets]
        return [(name[0], name[1]) for name in names]

    @property
    def connections(self) -> int:
        """Open connections, known or not."""
        return len(self.links)

    @property
    def calls(self) -> int:
        """Calls that are not over."""
        return sum(link.calls for link in self.links)

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be taken, of all connections."""
        return sum(link.queued_bytes for link in self.links)

    def route(self, path: str) -> Route | None:
        """Who takes a call of this path."""
        return self._routes.get(path)

    async def drain(self, *, grace_s: float) -> None:
        """Stop listening, refuse new calls, wait for running ones, then `close`.

        Each connection gets a GOAWAY that takes no call yet, and the refusing one when its PING
        comes back, so that no call is lost on its way.
        """
        self._draining = True
        self._stop_listening()
        self.health.stop()
        for link in list(self.links):
            link.drain()
        try:
            async with asyncio.timeout(grace_s):
                await self._until_empty()
        except TimeoutError:
            log.info("server.cut calls=%d connections=%d", self.calls, self.connections)
        await self.close()

    async def close(self) -> None:
        """End every call with UNAVAILABLE and close every connection, now."""
        self._draining = True
        self._stop_listening()
        for link in list(self.links):
            link.cut("the server is shutting down")
        await self._until_empty()
        for listener in self._listeners:
            await listener.wait_closed()
        self.wheel.close()

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()

    async def _until_empty(self) -> None:
        while self.links:
            self._emptied.clear()
            await self._emptied.wait()

    def opened(self, link: "ServerLink") -> bool:
        """Count a new connection; False when it must go."""
        self.links[link] = None
        host = link.peer.host
        self.strangers[host] += 1
        self.unidentified += 1
        why = self._refusal(host)
        if why:
            self.refused[why] += 1
            log.debug("server.refused peer=%s why=%s", link.peer, why)
        return not why

    def _refusal(self, host: str) -> str:
        """Why one more connection from this address must go; empty when it may stay."""
        if self._draining:
            return "draining"
        if len(self.links) > self.limits.connections:
            return "connections"
        if self.strangers[host] > self.limits.unidentified_per_address:
            return "strangers_of_address"
        if self.unidentified > self.limits.unidentified:
            return "strangers"
        return ""

    def known(self, link: "ServerLink") -> None:
        """A connection is a stranger's no longer."""
        host = link.peer.host
        self.unidentified -= 1
        self.strangers[host] -= 1
        if not self.strangers[host]:
            del self.strangers[host]

    def lost(self, link: "ServerLink") -> None:
        """A connection is gone."""
        self.links.pop(link, None)
        if not self.links:
            self._emptied.set()


class ServerLink(Link):
    """One accepted connection."""

    __slots__ = ("_idle_due", "_opened", "_server", "_stranger")

    def __init__(self, server: GrpcServer) -> None:
        super().__init__(Role.SERVER, server.limits, server.wheel, server.large)
        self._server = server
        self._stranger = True
        self._opened = 0  # calls so far, at the last look for idleness
        self._idle_due = 0.0

    def on_connected(self) -> None:
        """Expect a handshake in time."""
        if not self._server.opened(self):
            self._abort()
            return
        now = self._loop.time()
        self._greet_due = now + self.limits.handshake_deadline_s
        self._idle_due = now + self.limits.first_message_deadline_s
        self.schedule(self._greet_due)
        self.schedule(self._idle_due)
        self.start_keepalive()

    def on_first_bytes(self, data: bytes) -> bytes:
        """TLS and HTTP/2 differ in the first byte."""
        tls = self._server.tls
        if tls is not None and data[0] == CLIENT_HELLO:
            self.begin_tls(tls, serving=True)
        elif tls is not None and self._server.plaintext is None:
            raise ProtocolError("plaintext on a port that speaks TLS only")
        else:
            self.begin_http2()
        return data

    def postpone(self, data: bytes) -> bool:
        """A handshake takes the processor for long: in turn with the others."""
        if self._transport is not None:
            self._transport.pause_reading()
        self._server.handshakes.add(partial(self.go_on, data))
        return True

    def route(self, path: str) -> Route | CallEnd:
        """Find the method, if this connection may call it."""
        route = self._server.route(path)
        if route is None:
            return CallEnd(Status.UNIMPLEMENTED, f"no method {path}")
        policy = self._server.plaintext
        if self._server.tls is None or policy is None or self.peer.tls or policy(self.peer, path):
            return route
        return CallEnd(Status.PERMISSION_DENIED, "this method needs TLS")

    def identified(self) -> None:
        """Its address has one stranger less."""
        if self._stranger:
            self._stranger = False
            self._server.known(self)

    def on_time(self, now: float) -> None:
        """Also close what is not used."""
        super().on_time(now)
        if self._stage in {Stage.CLOSING, Stage.CLOSED}:
            return
        if now >= self._idle_due:
            self._look_for_idleness(now)
        self.schedule(self._idle_due)

    def _look_for_idleness(self, now: float) -> None:
        limits = self.limits
        known = not self._stranger
        idle_s = limits.idle_deadline_s if known else limits.first_message_deadline_s
        self._idle_due = now + idle_s
        if self.calls == 0 and self._core.opened == self._opened:
            self._core.terminate()
            self.wake()
        self._opened = self._core.opened

    def drain(self) -> None:
        """Begin the two-step goodbye; who has not greeted yet gets none."""
        if not self._core.greeted:
            self._fail("the server is shutting down")
            return
        self._core.drain()
        self.wake()

    def cut(self, reason: str) -> None:
        """End calls and connection now, with a status."""
        self._core.end_calls(Status.UNAVAILABLE, reason, EndedBy.LINK)
        self._fail(reason)

    def on_lost(self, reason: str) -> None:
        """Forget it."""
        log.debug("server.lost peer=%s reason=%s", self.peer, reason)
        self.identified()
        self._server.lost(self)
