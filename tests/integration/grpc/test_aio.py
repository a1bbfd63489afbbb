"""The shell on both loops, and what it costs: one write for each turn, no task for any call."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from farhand.wire.grpc import Status
from farhand.wire.grpc.server import ServerLink
from tests.integration.grpc.world import (
    ECHO,
    MIB,
    ROOMY,
    Certificates,
    Client,
    Place,
    Seen,
    raw_server,
)
from tests.until import until

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def on_loop(name: str, main: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await main()

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(run())


async def converse(place: Place) -> None:
    link = await place.connect()
    echo, cancelled = Client(link, ECHO), Client(link, ECHO)
    big = bytes(range(256)) * (8 * MIB // 256)
    echo.call.send(big)
    assert big == await echo.message()
    cancelled.call.cancel()
    await until(lambda: place.seen.ended(ECHO))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(place.server.drain(grace_s=10))
        echo.call.half_close()
        assert Status.OK == (await echo.end()).status
    await link.wait_closed()
    assert 0 == place.server.connections


@pytest.mark.parametrize("tls", [False, True], ids=["plaintext", "tls"])
@pytest.mark.parametrize("loop", LOOPS)
def test_both_loops_carry_8_mib_cancels_and_the_goodbye(
    loop: str, certificates: Certificates, *, tls: bool
) -> None:
    async def main() -> None:
        seen = Seen()
        server = raw_server(seen, tls=certificates.for_server() if tls else None)
        _, port = await server.listen("127.0.0.1")
        try:
            await converse(Place(server, seen, port, certificates, tls))
        finally:
            await server.close()

    on_loop(loop, main)


async def test_connections_and_calls_need_no_task(place: Place) -> None:
    tasks = len(asyncio.all_tasks())
    links = [await place.connect() for _ in range(10)]
    clients = [Client(link, ECHO) for link in links for _ in range(10)]
    for client in clients:
        client.call.send(b"x")
    for client in clients:
        await client.message()

    assert tasks == len(asyncio.all_tasks())
    for link in links:
        link.close()


class CountingLink(ServerLink):
    """Counts the writes to the socket."""

    writes = 0

    def _write(self, data: bytes) -> None:
        self.writes += 1
        super()._write(data)


async def test_what_one_read_leads_to_is_one_write(certificates: Certificates) -> None:
    server = raw_server(Seen())
    listener = await asyncio.get_running_loop().create_server(
        lambda: CountingLink(server), "127.0.0.1", 0
    )
    port = listener.sockets[0].getsockname()[1]
    place = Place(server, Seen(), port, certificates, tls=False)
    link = await place.connect()
    client = Client(link, ECHO)
    client.call.send(b"first")
    await client.message()
    (counting,) = server.links
    assert isinstance(counting, CountingLink)
    before = (counting.writes, counting.reads)
    for n in range(100):
        client.call.send(b"%d" % n)
    for n in range(100):
        assert b"%d" % n == await client.message()

    assert (1, 1) == (counting.writes - before[0], counting.reads - before[1])
    link.close()
    listener.close()
    await server.close()
    await listener.wait_closed()


async def test_sends_of_one_turn_are_one_write_of_the_client(plain: Place) -> None:
    link = await plain.connect()
    clients = [Client(link, ECHO) for _ in range(50)]
    for client in clients:
        client.call.send(b"x")
        client.call.half_close()
    await asyncio.gather(*(client.end() for client in clients))
    (served,) = plain.server.links

    assert served.reads <= 4  # the preface, the calls, and acknowledgements
    link.close()


async def test_a_slow_reader_pauses_the_writer_within_bounds(place: Place) -> None:
    link = await place.connect(ROOMY)
    client = Client(link, ECHO)
    client.call.pause_reading()
    sent = 0
    while sent < 24 * MIB and client.call.writable:
        client.call.send(bytes(MIB))
        sent += MIB
        await asyncio.sleep(0)
    held = [served.queued_bytes for served in place.server.links]

    assert max(held) <= ROOMY.queued_bytes_per_call + ROOMY.write_buffer_bytes + 2 * MIB
    client.call.resume_reading()
    for _ in range(sent // MIB):
        assert MIB == len(await client.message())
    link.close()
