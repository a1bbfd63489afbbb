"""Many handshakes at the same time, slow ones among them, beside streams that stand."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from farhand.wire.grpc import ConnectFailed, GrpcServer, LinkLimits
from tests.integration.grpc.world import ECHO, Certificates, Client, Place, Seen, raw_server
from tests.until import until

BACKLOG = 60


@asynccontextmanager
async def tls_server(
    certificates: Certificates, limits: LinkLimits | None = None
) -> AsyncIterator[Place]:
    seen = Seen()
    server = raw_server(seen, limits=limits or LinkLimits(), tls=certificates.for_server())
    _, port = await server.listen("127.0.0.1")
    try:
        yield Place(server, seen, port, certificates, tls=True)
    finally:
        await server.close()


def client_hello(certificates: Certificates) -> bytes:
    """What a client says first."""
    out = ssl.MemoryBIO()
    client = certificates.for_client().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


async def echoed(place: Place) -> None:
    """One more agent comes, and is served."""
    link = await place.connect()
    client = Client(link, ECHO)
    client.call.send(b"here")

    assert b"here" == await client.message()

    link.close()
    await link.wait_closed()


async def test_who_is_slow_to_shake_hands_delays_nobody(certificates: Certificates) -> None:
    hello = client_hello(certificates)
    async with tls_server(certificates) as place:
        slow = [await asyncio.open_connection("127.0.0.1", place.port) for _ in range(BACKLOG)]
        for _, writer in slow:
            writer.write(hello[: len(hello) // 2])
        await until(lambda: place.server.handshakes.done >= BACKLOG)

        assert 0 == place.server.handshakes.waiting

        await echoed(place)

        assert BACKLOG <= place.server.connections
        for _, writer in slow:
            writer.close()


async def test_a_hello_that_comes_byte_by_byte_is_shaken_in_the_end(
    certificates: Certificates,
) -> None:
    hello = client_hello(certificates)
    async with tls_server(certificates) as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        for at in range(len(hello)):
            writer.write(hello[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        answer = await asyncio.wait_for(reader.read(3), 10)

        assert b"\x16\x03\x03" == answer
        writer.close()


async def test_many_that_come_at_once_are_all_served(certificates: Certificates) -> None:
    async with tls_server(certificates) as place:
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            for _ in range(BACKLOG):
                tasks.create_task(echoed(place), name="agent")

        assert place.server.handshakes.done >= 2 * BACKLOG
        assert 0 == place.server.handshakes.waiting


async def test_who_leaves_while_its_handshake_waits_is_forgotten(
    certificates: Certificates,
) -> None:
    hello = client_hello(certificates)
    async with tls_server(certificates) as place:
        server: GrpcServer = place.server
        gone = [await asyncio.open_connection("127.0.0.1", place.port) for _ in range(BACKLOG)]
        for _, writer in gone:
            writer.write(hello)
            writer.transport.abort()
        await until(lambda: not server.connections)

        assert {} == dict(server.strangers)
        await echoed(place)


async def test_known_and_unknown_connections_together_have_a_bound(
    certificates: Certificates,
) -> None:
    async with tls_server(certificates, LinkLimits(connections=2)) as place:
        links = [await place.connect() for _ in range(2)]
        for link in links:
            client = Client(link, ECHO)
            client.call.send(b"known")

            assert b"known" == await client.message()

        with pytest.raises(ConnectFailed):
            await place.connect()

        assert {"connections": 1} == dict(place.server.refused)

        links.pop().close()
        await until(lambda: place.server.connections == 1)
        await echoed(place)
        links.pop().close()


async def test_strangers_of_all_addresses_together_have_a_bound(
    certificates: Certificates,
) -> None:
    async with tls_server(certificates, LinkLimits(unidentified=3)) as place:
        kept = [await asyncio.open_connection("127.0.0.1", place.port) for _ in range(3)]
        await until(lambda: place.server.connections == 3)
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        with contextlib.suppress(ConnectionResetError):
            assert b"" == await asyncio.wait_for(reader.read(), 10)
        writer.close()
        kept.pop()[1].close()
        await until(lambda: place.server.connections == 2)

        await echoed(place)

        for _, other in kept:
            other.close()
