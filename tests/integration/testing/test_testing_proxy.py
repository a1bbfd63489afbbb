"""The proxy carries bytes unchanged, and each of its faults is what it says."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from farhand.testing.proxy import (
    BLACK_HOLE,
    BYTE_BY_BYTE,
    NO_FAULTS,
    UNPLUGGED,
    Cut,
    FaultProxy,
    Faults,
    Side,
    Way,
)
from tests.until import until

QUIET_S = 0.1  # long enough for a byte on loopback that should not have come

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Server:
    """Gives every connection that it accepts to the test."""

    address: tuple[str, int] = ("", 0)
    accepted: asyncio.Queue[Pair] = field(default_factory=asyncio.Queue)

    async def next(self) -> Pair:
        async with asyncio.timeout(10):
            return await self.accepted.get()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    here, writers = Server(), list[asyncio.StreamWriter]()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        here.accepted.put_nowait((reader, writer))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    here.address = listening.sockets[0].getsockname()
    yield here
    listening.close()
    for writer in writers:
        writer.transport.abort()
    await until(lambda: all(writer.transport.is_closing() for writer in writers))


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server.address) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def dialled(proxy: FaultProxy) -> AsyncIterator[Pair]:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*proxy.address)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def read(reader: asyncio.StreamReader, count: int) -> bytes:
    async with asyncio.timeout(10):
        return await reader.readexactly(count)


async def nothing_comes(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(QUIET_S):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def was_reset(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(10):
        try:
            await reader.read()
        except ConnectionResetError:
            return True
    return False


async def test_without_faults_bytes_and_both_ends_pass_unchanged(
    proxy: FaultProxy, server: Server
) -> None:
    sent = bytes(range(256)) * 4096
    async with dialled(proxy) as (reader, writer):
        behind, answer = await server.next()
        writer.write(sent)
        writer.write_eof()
        got = await behind.read()
        answer.write(got[::-1])
        answer.write_eof()

        assert (sent, sent[::-1]) == (got, await reader.read())

    await until(lambda: not proxy.connections)


async def test_a_piece_of_one_passes_every_byte_alone(proxy: FaultProxy, server: Server) -> None:
    proxy.faults = Faults.both(BYTE_BY_BYTE)
    async with dialled(proxy) as (_, writer):
        behind, _ = await server.next()
        writer.write(b"0123456789")
        assert b"0123456789" == await read(behind, 10)

    proxy.faults = Faults(up=Way(piece=1, pause_s=3600))
    async with dialled(proxy) as (_, writer):
        behind, _ = await server.next()
        writer.write(b"0123456789")

        assert b"0" == await read(behind, 1)
        assert await nothing_comes(behind)
        proxy.faults = NO_FAULTS
        assert b"123456789" == await read(behind, 9)


async def test_a_delay_holds_each_byte_that_long_and_ends_when_it_is_lifted(
    proxy: FaultProxy, server: Server
) -> None:
    loop = asyncio.get_running_loop()
    proxy.faults = Faults(up=Way(delay_s=0.2))
    async with dialled(proxy) as (_, writer):
        behind, _ = await server.next()
        begun = loop.time()
        writer.write(b"a")
        await read(behind, 1)
        assert loop.time() - begun >= 0.19

        proxy.faults = Faults(up=Way(delay_s=3600))
        writer.write(b"b")
        assert await nothing_comes(behind)
        proxy.faults = NO_FAULTS

        assert b"b" == await read(behind, 1)


async def test_what_is_held_arrives_complete_when_the_stall_is_lifted(
    proxy: FaultProxy, server: Server
) -> None:
    async with dialled(proxy) as (reader, writer):
        behind, answer = await server.next()
        proxy.faults = UNPLUGGED
        writer.write(b"up")
        answer.write(b"down")
        assert await nothing_comes(behind)
        assert await nothing_comes(reader)
        proxy.faults = NO_FAULTS

        assert (b"up", b"down") == (await read(behind, 2), await read(reader, 4))


async def test_one_direction_can_be_held_alone(proxy: FaultProxy, server: Server) -> None:
    async with dialled(proxy) as (reader, writer):
        behind, answer = await server.next()
        proxy.faults = Faults(down=Way(stall=UNPLUGGED.down.stall))
        writer.write(b"up")
        answer.write(b"down")

        assert b"up" == await read(behind, 2)
        assert await nothing_comes(reader)


async def test_what_is_held_is_bounded(proxy: FaultProxy, server: Server) -> None:
    async with dialled(proxy) as (_, writer):
        await server.next()
        proxy.faults = UNPLUGGED
        (connection,) = proxy.connections
        writer.write(b"x" * (64 << 20))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(QUIET_S * 3):
                await writer.drain()

        assert 0 == connection.up_bytes


async def test_a_connection_that_lost_bytes_never_passes_another(
    proxy: FaultProxy, server: Server
) -> None:
    async with dialled(proxy) as (reader, writer):
        behind, answer = await server.next()
        proxy.faults = BLACK_HOLE
        writer.write(b"lost" * 1_000_000)
        async with asyncio.timeout(10):
            await writer.drain()  # swallowed, not held
        proxy.faults = NO_FAULTS
        writer.write(b"after")
        answer.write(b"the other way lost nothing")

        assert await nothing_comes(behind)
        assert b"the other way lost nothing" == await read(reader, 26)


async def test_a_black_hole_accepts_and_the_server_never_hears_of_it(
    proxy: FaultProxy, server: Server
) -> None:
    proxy.faults = BLACK_HOLE
    async with dialled(proxy) as (reader, writer):
        writer.write(b"hello?")
        assert await nothing_comes(reader)
        assert server.accepted.empty()

    await until(lambda: not proxy.connections)


@pytest.mark.parametrize("how", Cut)
async def test_a_cut_ends_the_connection_for_both_peers(
    proxy: FaultProxy, server: Server, how: Cut
) -> None:
    async with dialled(proxy) as (reader, _):
        behind, _ = await server.next()
        proxy.cut(how)

        expected = how is Cut.RESET
        assert (expected, expected) == (await was_reset(reader), await was_reset(behind))
        await until(lambda: not proxy.connections)


@pytest.mark.parametrize("closed", Side)
async def test_half_open_tells_one_side_alone(
    proxy: FaultProxy, server: Server, closed: Side
) -> None:
    async with dialled(proxy) as (reader, writer):
        behind, answer = await server.next()
        told, untold, speaks = reader, behind, answer
        if closed is Side.SERVER:
            told, untold, speaks = behind, reader, writer
        proxy.half_open(closed)
        assert await was_reset(told)
        speaks.write(b"are you there?")
        await speaks.drain()
        assert await nothing_comes(untold)
        speaks.close()

        await until(lambda: not proxy.connections)


async def test_a_connection_is_reset_after_so_many_bytes(proxy: FaultProxy, server: Server) -> None:
    proxy.faults = Faults(up=Way(piece=1, reset_after=3))
    async with dialled(proxy) as (reader, writer):
        await server.next()
        (connection,) = proxy.connections
        writer.write(b"0123456789")

        assert await was_reset(reader)
        assert 3 == connection.up_bytes


async def test_refused_connections_are_refused_and_those_that_exist_go_on(
    proxy: FaultProxy, server: Server
) -> None:
    address = proxy.address
    async with dialled(proxy) as (_, writer):
        behind, _ = await server.next()
        proxy.faults = Faults(refuse=True)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        writer.write(b"still here")
        assert b"still here" == await read(behind, 10)
        proxy.faults = NO_FAULTS

        async with dialled(proxy):
            await server.next()
    assert address == proxy.address


async def test_the_faults_of_one_connection_leave_the_others_alone(
    proxy: FaultProxy, server: Server
) -> None:
    async with dialled(proxy) as (_, first), dialled(proxy) as (_, second):
        pairs = {}
        for _ in range(2):
            reader, writer = await server.next()
            pairs[writer.get_extra_info("peername")[1]] = reader
        one, other = proxy.connections
        one.faults = UNPLUGGED
        first.write(b"1")
        second.write(b"2")

        await until(lambda: other.up_bytes == 1)
        assert 0 == one.up_bytes
        one.faults = None
        await until(lambda: one.up_bytes == 1)


async def test_connections_above_the_limit_wait_for_a_place(server: Server) -> None:
    async with FaultProxy(server.address, connections=1) as proxy, dialled(proxy):
        await server.next()
        async with dialled(proxy) as (_, second):
            second.write(b"me too")
            await asyncio.sleep(QUIET_S)
            assert server.accepted.empty()
            proxy.cut()
            behind, _ = await server.next()

            assert b"me too" == await read(behind, 6)


async def test_a_server_that_moved_is_found_and_one_that_is_gone_resets(
    proxy: FaultProxy, server: Server
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nowhere = nobody.getsockname()
    home, proxy.to = proxy.to, nowhere
    async with dialled(proxy) as (reader, _):
        assert await was_reset(reader)
    proxy.to = home
    async with dialled(proxy) as (_, writer):
        writer.write(b"x")
        behind, _ = await server.next()

        assert b"x" == await read(behind, 1)


async def test_what_a_client_sent_first_can_be_kept(server: Server) -> None:
    async with FaultProxy(server.address, keep_bytes=5) as proxy, dialled(proxy) as (_, writer):
        behind, _ = await server.next()
        writer.write(b"hello, world")
        await read(behind, 12)
        (connection,) = proxy.connections

        assert b"hello" == bytes(connection.beginning)


async def test_an_error_in_the_block_leaves_it_as_it_is(server: Server) -> None:
    with pytest.raises(KeyError):
        async with FaultProxy(server.address), contextlib.AsyncExitStack():
            raise KeyError


async def test_leaving_the_block_ends_what_is_stalled(server: Server) -> None:
    async with FaultProxy(server.address) as proxy, dialled(proxy) as (reader, writer):
        await server.next()
        proxy.faults = UNPLUGGED
        writer.write(b"x")
        await proxy.__aexit__(None, None, None)

        assert await was_reset(reader)
        assert () == proxy.connections
