"""What the system may do to whoever listens; real connections are in tests/integration/http."""

import asyncio
import errno
import socket
from dataclasses import replace
from typing import Any

import pytest

from farhand.domain.limits import DEFAULTS
from farhand.http import listener
from farhand.http.counts import Counts
from farhand.http.listener import Listener
from tests.until import until


class Failing(socket.socket):
    """A listening socket that has no descriptor to give, so many times."""

    fails = 0
    number = errno.EMFILE

    def accept(self) -> tuple[socket.socket, Any]:
        if self.fails:
            self.fails -= 1
            raise OSError(self.number, "no")
        return super().accept()


class Said(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"welcome")
        transport.close()


def listening() -> Failing:
    sock = Failing(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    sock.setblocking(False)
    return sock


async def greeted(sock: socket.socket) -> bytes:
    host, port = sock.getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


async def test_without_descriptors_nobody_is_taken_for_a_moment_and_nobody_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "PAUSE_S", 0.05)
    counts, sock = Counts(), listening()
    sock.fails = 3
    async with Listener(sock, Said, tls=None, limits=DEFAULTS, counts=counts):
        said = await greeted(sock)

    assert b"welcome" == said
    assert 3 == counts.accept_failures


async def test_a_stranger_who_is_gone_already_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, sock = Counts(), listening()
    sock.fails, sock.number = 1, errno.ECONNABORTED
    async with Listener(sock, Said, tls=None, limits=DEFAULTS, counts=counts):
        said = await greeted(sock)

    assert b"welcome" == said
    assert 0 == counts.accept_failures


async def test_who_stops_takes_nobody_and_may_stop_twice() -> None:
    counts, sock = Counts(), listening()
    limits = replace(DEFAULTS, connections=1)
    async with Listener(sock, Said, tls=None, limits=limits, counts=counts) as taking:
        address = sock.getsockname()
        taking.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)

    await until(lambda: counts.handshakes == 0)
    assert -1 == sock.fileno()
