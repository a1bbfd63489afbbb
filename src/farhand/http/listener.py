"""Take connections from a listening socket, no more than there is room for.

A TLS handshake counts as a connection from its first byte on and ends within its deadline. When the
system has no descriptor left, nobody is taken for a moment, and those who came before go on.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

import structlog

from farhand.domain.limits import KIB, Limits
from farhand.http.counts import Counts

BURST: Final = 64  # connections taken in one turn of the loop
UNSENT_BYTES: Final = 128 * KIB  # that the system holds for a peer; more stays in sight
PAUSE_S: Final = 0.5  # when the system gives none
SHUTDOWN_S: Final = 5.0  # for the end of a TLS connection

_NOBODY: Final = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ECONNABORTED, errno.EPROTO}

log = structlog.get_logger("farhand.http")


class Listener:
    """Gives each connection of *sock*, which listens, a protocol made by *factory*.

    Use it inside `async with`: leaving takes no more and ends the handshakes under way.
    """

    def __init__(
        self,
        sock: socket.socket,
        factory: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        limits: Limits,
        counts: Counts,
    ) -> None:
        self._sock = sock
        self._factory = factory
        self._tls = tls
        self._limits = limits
        self._counts = counts
        self._tasks = asyncio.TaskGroup()
        self._greeting: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stop()
        for task in list(self._greeting):
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def stop(self) -> None:
        """Take no more connections; whoever dials is refused by the system."""
        if self._sock.fileno() == -1:
            return
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        if self._pause is not None:
            self._pause.cancel()
        self._sock.close()

    def _listen(self) -> None:
        self._pause = None
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._ready)

    def _ready(self) -> None:
        for _ in range(BURST):
            try:
                taken, _address = self._sock.accept()
            except OSError as exc:
                if exc.errno not in _NOBODY:
                    self._starved(exc)
                return
            self._take(taken)

    def _starved(self, exc: OSError) -> None:
        """No descriptor or no memory: let the queue of the system wait instead of spinning."""
        self._counts.accept_failures += 1
        log.warning("http.accept_failed", error=str(exc))
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock.fileno())
        self._pause = loop.call_later(PAUSE_S, self._listen)

    def _take(self, taken: socket.socket) -> None:
        taken.setblocking(False)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # Else megabytes wait in the system for a slow reader, and it looks like a stuck one.
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        counts = self._counts
        there = counts.connections + counts.handshakes
        if self._tls is not None and there >= self._limits.connections:
            counts.refused["overloaded"] += 1
            taken.close()  # without TLS there is no way to say why
            return
        task = self._tasks.create_task(self._greet(taken), name="http-accept")
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)

    async def _greet(self, taken: socket.socket) -> None:
        """Make a connection of a socket. A stranger who fails at it is no news."""
        within_s = None if self._tls is None else self._limits.head_s
        shutdown_s = None if self._tls is None else SHUTDOWN_S
        self._counts.handshakes += 1
        try:
            with suppress(OSError):  # ssl's errors and TimeoutError are among them
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._factory,
                    taken,
                    ssl=self._tls,
                    ssl_handshake_timeout=within_s,
                    ssl_shutdown_timeout=shutdown_s,
                )
        finally:
            self._counts.handshakes -= 1  # from here on the connection counts itself
