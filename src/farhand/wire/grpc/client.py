"""Dial a gRPC server, through a proxy if need be, and open calls on the connection.

Never dials again by itself: when a connection is lost, its calls say so and its owner decides.
"""

import asyncio
import ssl

from farhand.wire.grpc.aio import Link, Stage
from farhand.wire.grpc.call import Call, Factory
from farhand.wire.grpc.errors import ConnectFailed, LinkClosed, ProtocolError, ProxyRefused
from farhand.wire.grpc.limits import LinkLimits
from farhand.wire.grpc.proxy import HttpProxy, Tunnel
from farhand.wire.grpc.shell import Budget, Role
from farhand.wire.grpc.status import EndedBy, Metadata, Status
from farhand.wire.grpc.timers import TimerWheel


class Connection(Link):
    """A connection to a server. Made by `connect`."""

    __slots__ = (
        "_authority",
        "_closed",
        "_failure",
        "_hostname",
        "_ready",
        "_tls_context",
        "_tunnel",
    )

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        server_hostname: str | None,
        proxy: HttpProxy | None,
        limits: LinkLimits,
        wheel: TimerWheel,
    ) -> None:
        super().__init__(Role.CLIENT, limits, wheel, Budget(limits.large_messages_bytes))
        self._hostname = server_hostname or host
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._tls_context = tls
        self._tunnel = None if proxy is None else Tunnel(proxy, host, port)
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[str] = self._loop.create_future()
        self._failure: ConnectFailed | None = None

    # -- for applications --------------------------------------------------------------------

    def open(
        self,
        path: str,
        factory: Factory,
        *,
        metadata: Metadata = (),
        timeout_s: float | None = None,
    ) -> Call:
        """Begin a call; *factory* makes its handler before this returns.

        Raises LinkClosed when the connection takes no new calls, ValueError for metadata that
        cannot be sent.
        """
        if self.closed:
            raise LinkClosed("the connection is closed")
        return self._core.open(
            path,
            factory,
            authority=self._authority,
            scheme="http" if self._tls_context is None else "https",
            metadata=metadata,
            timeout_s=timeout_s,
        )

    @property
    def closed(self) -> bool:
        """Whether it is over, or about to be."""
        return self._stage in {Stage.CLOSING, Stage.CLOSED}

    @property
    def draining(self) -> bool:
        """Whether the server has said that it takes no new calls."""
        return self._core.goaway

    def close(self) -> None:
        """End every call with CANCELLED (`on_closed` comes inside this) and the connection."""
        self._core.end_calls(Status.CANCELLED, "the connection was closed here", EndedBy.HERE)
        self._fail("the connection was closed here")

    async def wait_closed(self) -> str:
        """Wait for the end; every call was told. Returns why."""
        return await asyncio.shield(self._closed)

    # -- Link --------------------------------------------------------------------------------

    def on_connected(self) -> None:
        """Speak first: to the proxy, in TLS, or in HTTP/2."""
        if self._tunnel is not None and self._transport is not None:
            self._transport.write(self._tunnel.request())
        else:
            self._begin()

    def _begin(self) -> None:
        if self._tls_context is None:
            self.begin_http2()
            return
        try:
            self.begin_tls(self._tls_context, serving=False, server_hostname=self._hostname)
        except ProtocolError as exc:
            self._fail(str(exc))

    def on_first_bytes(self, data: bytes) -> bytes:
        """The proxy's answer."""
        if self._tunnel is None:
            return data
        try:
            rest = self._tunnel.receive(data)
        except ProxyRefused as exc:
            self._failure = exc
            raise ProtocolError(str(exc)) from exc
        if rest is not None:
            self._begin()
        return rest or b""

    def on_read(self) -> None:
        """The server's SETTINGS make the connection usable."""
        if self._core.greeted and not self._ready.done():
            self._ready.set_result(None)
            self.start_keepalive()

    def on_lost(self, reason: str) -> None:
        """Tell whoever waits for the beginning or the end."""
        if not self._ready.done():
            self._ready.set_exception(self._failure or ConnectFailed(reason))
            self._ready.exception()  # nobody may be waiting for it any more
        self._closed.set_result(reason)

    async def ready(self) -> None:
        """Wait until calls can be opened. Raises ConnectFailed."""
        await asyncio.shield(self._ready)

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._abort()


async def connect(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    proxy: HttpProxy | None = None,
    limits: LinkLimits | None = None,
    timers: TimerWheel | None = None,
) -> Connection:
    """Connect and wait until calls can be opened.

    With *tls* the server's certificate must be valid for *server_hostname*, or else *host*.
    Connections that are given the same *timers* share one timer of the loop.

    Raises ConnectFailed within `limits.connect_deadline_s`; ProxyRefused is one.
    """
    loop = asyncio.get_running_loop()
    limits = limits or LinkLimits()
    link = Connection(
        host,
        port,
        tls=tls,
        server_hostname=server_hostname,
        proxy=proxy,
        limits=limits,
        wheel=timers or TimerWheel(loop),
    )
    where = f"{host}:{port}" if proxy is None else f"{host}:{port} through the proxy {proxy}"
    dial = (host, port) if proxy is None else (proxy.host, proxy.port)
    try:
        async with asyncio.timeout(limits.connect_deadline_s):
            await loop.create_connection(lambda: link, *dial)
            await link.ready()
    except TimeoutError as exc:
        link.abort()
        raise ConnectFailed(f"{where}: no answer in {limits.connect_deadline_s:g} s") from exc
    except OSError as exc:
        raise ConnectFailed(f"{where}: {exc}") from exc
    except ConnectFailed as exc:
        raise type(exc)(f"{where}: {exc}") from exc
    except asyncio.CancelledError:
        link.abort()
        raise
    return link
