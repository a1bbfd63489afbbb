"""Serve the API on an address, in the loop that is there, and stop in order.

Installs no signal handler and starts no process: `boot` decides when to stop.
"""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import uvicorn
from fastapi import FastAPI

from farhand.domain.limits import DEFAULTS, Limits
from farhand.errors import ConfigError, PortInUse
from farhand.http.connection import BoundedConnection, bounded
from farhand.http.listener import Listener
from farhand.http.metrics import Sources

_BACKLOG: Final = 1024
_KEEPALIVE_S: Final = 30


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens. *port* is the real one, also when 0 was asked for."""

    host: str
    port: int
    tls: bool = False

    @property
    def url(self) -> str:
        """What a browser would be given."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@asynccontextmanager
async def serving_http(
    app: FastAPI,
    bind: str,
    *,
    tls: tuple[str, str] | None = None,
    limits: Limits = DEFAULTS,
) -> AsyncIterator[Address]:
    """Serve *app* on *bind* (`HOST:PORT`, `[::1]:PORT`; port 0 takes any) inside the block.

    *tls* names a certificate chain and its key. Raises PortInUse, ConfigError. At the end live
    streams and whoever waits are answered, and requests under way have *limits.stop_s*.
    """
    listener = _bound(bind)
    try:
        server = uvicorn.Server(_config(app, tls, limits))
        server.config.load()
        server.servers = []  # listening is ours
    except OSError as exc:  # ssl's errors are among them
        listener.close()
        raise ConfigError(f"the TLS certificate or key cannot be used: {exc}") from exc
    server.lifespan = server.config.lifespan_class(server.config)
    await server.lifespan.startup()
    host, port = listener.getsockname()[:2]
    sources: Sources = app.state.sources
    made = bounded(limits, sources.counts)

    def connection() -> BoundedConnection:
        return made(
            config=server.config, server_state=server.server_state, app_state=server.lifespan.state
        )

    async with (
        sources.lag,
        Listener(
            listener, connection, tls=server.config.ssl, limits=limits, counts=sources.counts
        ) as taking,
    ):
        try:
            yield Address(host, port, tls is not None)
        finally:
            app.state.stopping.set()
            taking.stop()
            await server.shutdown()
            await _cut(server)


async def _cut(server: uvicorn.Server) -> None:
    """End what did not end within the budget: nobody reads it, or it does not want to."""
    tasks = set(server.server_state.tasks)
    for connection in list(server.server_state.connections):
        if isinstance(connection, BoundedConnection):
            connection.transport.abort()
    if tasks:
        await asyncio.wait(tasks, timeout=1.0)


def _config(app: FastAPI, tls: tuple[str, str] | None, limits: Limits) -> uvicorn.Config:
    certificate, key = tls or (None, None)
    return uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # what strangers send is no news, and must not fill a log
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,  # the door dates answers; uvicorn's main loop, which would, is not run
        backlog=_BACKLOG,
        timeout_graceful_shutdown=max(1, int(limits.stop_s)),
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )


def _bound(bind: str) -> socket.socket:
    """Return a socket that is bound to *bind*."""
    host, colon, port = bind.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{bind!r} is no address to listen on; write HOST:PORT")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or "0.0.0.0",  # noqa: S104  # what `:8470` says
            int(port),
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
    except OSError as exc:
        raise ConfigError(f"{host!r} is no address of this host: {exc.strerror}") from exc
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it: a caller whose host vanished does not wait here for ever.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_S)
        listener.bind(address)
        # At once: two sockets with SO_REUSEADDR can be bound, one can listen.
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as exc:
        listener.close()
        if exc.errno == errno.EADDRINUSE:
            raise PortInUse(f"{bind} is taken by another process; choose another port") from exc
        raise ConfigError(f"cannot listen on {bind}: {exc.strerror}") from exc
    return listener
