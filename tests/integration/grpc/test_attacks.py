"""What somebody may send who means no good: closed or bounded, and nobody else notices."""

import asyncio
import contextlib
import itertools
import random
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from farhand.wire.grpc import GrpcServer, LinkLimits, Status, connect
from tests.integration.grpc import frames as h2
from tests.integration.grpc.world import (
    ECHO,
    FLOOD,
    MIB,
    STRANGER,
    Certificates,
    Client,
    Seen,
    raw_server,
)
from tests.until import until

KIB = 1024
TIGHT = LinkLimits(
    control_burst_bytes=64 * KIB,
    control_bytes_per_s=KIB,
    resets_burst=100,
    resets_per_s=1,
    unanswered_acks=100,
    streams=50,
    write_buffer_bytes=16 * KIB,
    message_bytes=MIB,
)


class World:
    """A server under attack and a call that must not notice."""

    def __init__(self, server: GrpcServer, seen: Seen, port: int, innocent: Client) -> None:
        self.server = server
        self.seen = seen
        self.port = port
        self.innocent = innocent

    async def innocent_still_echoes(self) -> None:
        self.innocent.call.send(b"still here")
        assert b"still here" == await self.innocent.message()

    async def attacked(self, chunks: Iterator[bytes], *, reads: bool = True) -> bytes:
        """Send until the server closes or the attack is over; the answer, as far as read."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        got = bytearray()
        try:
            for chunk in chunks:
                writer.write(chunk)
                async with asyncio.timeout(5):
                    await writer.drain()
                if reads:
                    got += await soon(reader)
                await self.innocent_still_echoes()
                if reader.at_eof():
                    break
            if reads:
                got += await asyncio.wait_for(reader.read(), 5)
            else:
                await until(lambda: self.server.connections == 1)
        except ConnectionError:
            pass
        finally:
            await dropped(writer)
        return bytes(got)


async def soon(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(0.001):
            return await reader.read(MIB)
    except TimeoutError:
        return b""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    seen = Seen()
    server = raw_server(seen, limits=TIGHT)
    _, port = await server.listen("127.0.0.1")
    link = await connect("127.0.0.1", port)
    innocent = Client(link, ECHO)
    yield World(server, seen, port, innocent)
    link.close()
    await link.wait_closed()
    await server.close()


def repeated(piece: bytes, times: int) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.chain([h2.START], itertools.repeat(piece, times))


def on_call(piece: bytes, times: int, first: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.chain([h2.START + first], itertools.repeat(piece, times))


def per_stream(make: Callable[[int], bytes], times: int = 40) -> Callable[[], Iterator[bytes]]:
    def chunks() -> Iterator[bytes]:
        yield h2.START
        streams = itertools.count(1, 2)
        for _ in range(times):
            yield b"".join(make(next(streams)) for _ in range(50))

    return chunks


def hpack_bomb() -> Iterator[bytes]:
    bomb = h2.head(ECHO) + h2.literal(b"x-bomb", b"z" * 4000, first=b"\x40")
    yield h2.START + h2.frame(h2.HEADERS, h2.END_HEADERS, 1, bomb)
    again = h2.head(ECHO) + b"\xbe" * 16000
    for stream in range(3, 2003, 2):
        yield h2.frame(h2.HEADERS, h2.END_HEADERS, stream, again)


def header_of_80_kb() -> Iterator[bytes]:
    yield h2.START + h2.frame(h2.HEADERS, 0, 1, h2.head(ECHO))
    for n in range(4):
        yield h2.frame(h2.CONTINUATION, 0, 1, h2.literal(b"a%d" % n, b"b" * 16000))
    yield h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, h2.literal(b"z", b"b" * 16000))
    yield from itertools.repeat(h2.frame(h2.PING, 0, 0, bytes(8)) * 500, 100)


def random_bytes() -> Iterator[bytes]:
    chance = random.Random(7)
    yield h2.PREFACE
    while True:
        yield chance.randbytes(4096)


# Each must end with the connection closed by the server.
CLOSED: dict[str, Callable[[], Iterator[bytes]]] = {
    "rapid reset": per_stream(
        lambda n: h2.call(ECHO, n) + h2.frame(h2.RST_STREAM, 0, n, struct.pack(">I", 8))
    ),
    "made you reset": per_stream(
        lambda n: h2.call(ECHO, n) + h2.frame(h2.WINDOW_UPDATE, 0, n, bytes(4)), 200
    ),
    "new streams without end": per_stream(lambda n: h2.call(ECHO, n)),
    "new streams of a stranger": per_stream(lambda n: h2.call(STRANGER, n)),
    "unknown methods": per_stream(lambda n: h2.call("/a/b", n, h2.END_HEADERS | h2.END_STREAM)),
    "PING": repeated(h2.frame(h2.PING, 0, 0, b"12345678") * 500, 100),
    "SETTINGS": repeated(h2.frame(h2.SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)) * 500, 100),
    "empty DATA": on_call(h2.frame(h2.DATA, 0, 1) * 500, 100, h2.call(ECHO)),
    "padding": on_call(
        h2.frame(h2.DATA, h2.PADDED, 1, b"\xff" + bytes(255)) * 50, 100, h2.call(ECHO)
    ),
    "PRIORITY": repeated(h2.frame(h2.PRIORITY, 0, 1, b"\0\0\0\0\1") * 500, 100),
    "WINDOW_UPDATE": repeated(h2.frame(h2.WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 500, 100),
    "unknown frames": repeated(h2.frame(99, 0, 0, bytes(100)) * 100, 100),
    "CONTINUATION": on_call(
        h2.frame(h2.CONTINUATION, 0, 1, h2.literal(b"a", b"b" * 900)) * 4,
        100,
        h2.frame(h2.HEADERS, 0, 1, h2.head(ECHO)),
    ),
    "empty CONTINUATION": on_call(
        h2.frame(h2.CONTINUATION, 0, 1) * 500, 100, h2.frame(h2.HEADERS, 0, 1, h2.head(ECHO))
    ),
    "HPACK bomb": hpack_bomb,
    "a header list of 80 KB": header_of_80_kb,
    "random bytes": random_bytes,
    "a frame of 16 MB": on_call(b"\xff\xff\xff\0\0\0\0\0\1" + bytes(100_000), 10, h2.call(ECHO)),
    "HTTP/1.1": lambda: iter([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"]),
    "TLS where there is none": lambda: iter([b"\x16\x03\x01\x02\x00\x01" + bytes(512)]),
}


@pytest.mark.parametrize("attack", CLOSED)
async def test_an_attack_is_cut_off_and_costs_nobody_else(world: World, attack: str) -> None:
    await world.attacked(CLOSED[attack]())

    await until(lambda: world.server.connections == 1)
    assert 1 == world.server.calls
    await world.innocent_still_echoes()


@pytest.mark.parametrize("attack", ["PING", "SETTINGS", "rapid reset", "unknown methods"])
async def test_an_attacker_who_does_not_read_is_cut_off(world: World, attack: str) -> None:
    await world.attacked(CLOSED[attack](), reads=False)

    await until(lambda: world.server.connections == 1)
    await world.innocent_still_echoes()


async def test_a_message_of_4_gib_is_refused_at_its_prefix(world: World) -> None:
    huge = h2.frame(h2.DATA, 0, 1, b"\x00\xff\xff\xff\xff" + bytes(1000))

    got = await world.attacked(iter([h2.START + h2.call(ECHO), huge, h2.PREFACE * 9000]))

    assert Status.RESOURCE_EXHAUSTED == world.seen.ended(ECHO)[0].status
    assert any(kind == h2.HEADERS and flags & h2.END_STREAM for kind, flags, *_ in h2.frames(got))


async def test_a_message_in_single_bytes_does_not_multiply(world: World) -> None:
    pieces = h2.frame(h2.DATA, 0, 1, b"x") * 20_000
    prefix = h2.frame(h2.DATA, 0, 1, b"\x00\x00\x01\x00\x00")
    async with dialled(world.port) as (_, writer):
        writer.write(h2.START + h2.call(ECHO) + prefix + pieces)
        await writer.drain()
        await world.innocent_still_echoes()

    await until(lambda: world.server.connections == 1)
    assert [Status.UNAVAILABLE] == [end.status for end in world.seen.ended(ECHO)]


async def test_a_byte_above_127_in_a_path_is_an_unknown_method(world: World) -> None:
    async with dialled(world.port) as (reader, writer):
        writer.write(h2.START + h2.call(b"/agent.\xca/X"))
        answer = b""
        async with asyncio.timeout(5):
            while not any(kind == h2.HEADERS for kind, *_ in h2.frames(answer)):
                answer += await reader.read(MIB)

    await world.innocent_still_echoes()


async def test_many_broken_connections_leave_nothing_behind(world: World) -> None:
    chance = random.Random(3)
    good = h2.START + h2.call(ECHO) + h2.message(b"abc") * 3
    for n in range(200):
        _, writer = await asyncio.open_connection("127.0.0.1", world.port)
        broken = bytearray(good)
        match n % 4:
            case 0:
                broken = bytearray(chance.randbytes(chance.randrange(1, 200)))
            case 1:
                broken = bytearray(h2.PREFACE + chance.randbytes(chance.randrange(1, 200)))
            case 2:
                del broken[chance.randrange(1, len(broken)) :]
            case _:
                for _ in range(3):
                    broken[chance.randrange(24, len(broken))] = chance.randrange(256)
        writer.write(bytes(broken))
        if n % 2:
            writer.close()
        await dropped(writer)

    await until(lambda: world.server.connections == 1)
    assert 1 == world.server.calls
    assert {"127.0.0.1"} >= set(world.server.strangers)
    await world.innocent_still_echoes()


# -- those who wait --------------------------------------------------------------------------------


@asynccontextmanager
async def attacked_server(
    limits: LinkLimits, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[GrpcServer, Seen, int]]:
    seen = Seen()
    server = raw_server(seen, limits=limits, tls=tls)
    _, port = await server.listen("127.0.0.1")
    try:
        yield server, seen, port
    finally:
        await server.close()


@asynccontextmanager
async def dialled(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        await dropped(writer)


async def dropped(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def closed_by(
    limits: LinkLimits, sent: bytes, certificates: Certificates | None = None
) -> Seen:
    """Send and wait until the server has closed the connection."""
    tls = None if certificates is None else certificates.for_server()
    async with attacked_server(limits, tls) as (server, seen, port):
        async with dialled(port) as (reader, writer):
            writer.write(sent)
            await asyncio.wait_for(reader.read(), 5)
        await until(lambda: server.connections == 0)
        assert not server.strangers
    return seen


@pytest.mark.parametrize("sent", [b"", b"P", h2.PREFACE], ids=["nothing", "a byte", "a preface"])
async def test_who_does_not_greet_in_time_is_closed(sent: bytes) -> None:
    await closed_by(LinkLimits(handshake_deadline_s=0.1), sent)


async def test_who_stops_inside_the_tls_handshake_is_closed(certificates: Certificates) -> None:
    await closed_by(LinkLimits(handshake_deadline_s=0.1), b"\x16\x03\x01", certificates)


async def test_plaintext_on_a_tls_port_is_closed_at_its_first_byte(
    certificates: Certificates,
) -> None:
    await closed_by(LinkLimits(), h2.START, certificates)


async def test_who_opens_no_call_is_closed() -> None:
    await closed_by(LinkLimits(first_message_deadline_s=0.1), h2.START)


async def test_who_does_not_say_who_it_is_in_time_is_told_and_closed() -> None:
    sent = h2.START + h2.call(STRANGER)
    seen = await closed_by(LinkLimits(first_message_deadline_s=0.1), sent)

    end = seen.ended(STRANGER)[0]
    assert Status.DEADLINE_EXCEEDED == end.status
    assert "not identified within 0.1 s" == end.message


async def test_who_says_too_much_before_it_is_known_is_told_and_closed() -> None:
    sent = h2.START + h2.call(STRANGER) + h2.message(bytes(16_000)) * 2
    seen = await closed_by(LinkLimits(first_message_deadline_s=0.1), sent)

    assert Status.RESOURCE_EXHAUSTED == seen.ended(STRANGER)[0].status


async def test_who_vanishes_is_dropped_by_keepalive() -> None:
    limits = LinkLimits(keepalive_interval_s=0.1, keepalive_timeout_s=0.1)
    seen = await closed_by(limits, h2.START + h2.call(ECHO))

    assert [Status.UNAVAILABLE] == [end.status for end in seen.ended(ECHO)]


async def test_more_strangers_than_allowed_from_one_address_are_turned_away() -> None:
    limits = LinkLimits(unidentified_per_address=2)
    async with attacked_server(limits) as (server, _, port), dialled(port):
        async with dialled(port):
            await until(lambda: server.connections == 2)
            async with dialled(port) as (reader, _):
                assert b"" == await asyncio.wait_for(reader.read(), 5)

        await until(lambda: server.connections == 1)
        link = await connect("127.0.0.1", port)
        client = Client(link, ECHO)  # known at once: it does not count any more
        client.call.send(b"x")
        assert b"x" == await client.message()
        assert {"127.0.0.1": 1} == dict(server.strangers)
        link.close()


# -- those who do not take -------------------------------------------------------------------------

SHUT = LinkLimits(stall_deadline_s=0.1)


async def flooded(sent: bytes, limits: LinkLimits) -> tuple[Status, bool]:
    """Let a call flood a peer that reads its socket but opens no window.

    Returns how the call ended, and whether the connection still answers.
    """
    async with attacked_server(limits) as (server, seen, port):
        innocent = await connect("127.0.0.1", port)
        echo = Client(innocent, ECHO)
        async with dialled(port) as (reader, writer):
            writer.write(sent)
            async with asyncio.timeout(5):
                while not seen.ended(FLOOD):
                    assert sum(link.queued_bytes for link in server.links) < 2 * MIB
                    echo.call.send(b"x")
                    await echo.message()
            writer.write(h2.frame(h2.PING, 0, 0, b"12345678"))
            answer = await until_pong(reader)
        innocent.close()
    return seen.ended(FLOOD)[0].status, answer


async def until_pong(reader: asyncio.StreamReader) -> bool:
    answer = b""
    while not any(frame[:2] == (h2.PING, 1) for frame in h2.frames(answer)):
        try:
            piece = await asyncio.wait_for(reader.read(MIB), 5)
        except ConnectionError:
            return False
        if not piece:
            return False
        answer += piece
    return True


async def test_a_shut_window_of_a_call_resets_the_call_alone() -> None:
    window_0 = h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
    status, alive = await flooded(window_0 + h2.call(FLOOD) + h2.message(b"1000"), SHUT)

    assert Status.RESOURCE_EXHAUSTED == status
    assert alive


async def test_a_shut_window_of_the_connection_drops_the_connection() -> None:
    wide = h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 30))
    status, alive = await flooded(wide + h2.call(FLOOD) + h2.message(b"1000"), SHUT)

    assert Status.UNAVAILABLE == status
    assert not alive


async def test_a_socket_that_is_not_read_drops_the_connection() -> None:
    wide = h2.frame(h2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))
    settings = h2.frame(h2.SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 30))
    async with attacked_server(SHUT) as (server, seen, port), dialled(port) as (_, writer):
        writer.write(h2.PREFACE + settings + wide + h2.call(FLOOD) + h2.message(b"100000"))

        await until(lambda: seen.ended(FLOOD))

        assert Status.UNAVAILABLE == seen.ended(FLOOD)[0].status
        await until(lambda: server.connections == 0)


async def test_a_send_beyond_the_bound_resets_the_call() -> None:
    limits = LinkLimits(queued_bytes_per_call=MIB)
    async with attacked_server(limits) as (server, seen, port), dialled(port) as (_, writer):
        window_0 = h2.PREFACE + h2.frame(h2.SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
        writer.write(window_0 + h2.call(ECHO) + h2.message(b"x"))
        await until(lambda: seen.calls and seen.calls[0].queued)

        seen.calls[0].send(bytes(MIB // 2))
        seen.calls[0].send(bytes(MIB // 2))

        await until(lambda: seen.ended(ECHO))
        assert Status.RESOURCE_EXHAUSTED == seen.ended(ECHO)[0].status
        assert 1 == server.connections
