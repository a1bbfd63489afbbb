"""A peer that takes nothing is let go; one that takes something is not."""

import asyncio
from typing import Any

from farhand.http.watched import Watched
from tests.until import until


class Wire(asyncio.Transport):
    """A transport whose peer takes what it is told to take."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0
        self.aborted = False
        self.looked = 0

    def write(self, data: Any) -> None:
        self.waiting += len(data)

    def get_write_buffer_size(self) -> int:
        self.looked += 1
        return self.waiting

    def abort(self) -> None:
        self.aborted = True


def watched(wire: Wire, stuck_s: float = 0.02) -> tuple[Watched, list[str]]:
    told: list[str] = []
    return Watched(wire, stuck_s, lambda: told.append("stuck")), told


async def test_a_peer_that_takes_nothing_is_cut_off() -> None:
    wire = Wire()
    transport, told = watched(wire)
    transport.write(b"x" * 100)
    await until(lambda: wire.aborted)

    assert ["stuck"] == told


async def test_a_peer_that_takes_a_byte_now_and_then_is_not() -> None:
    wire = Wire()
    transport, told = watched(wire, 0.2)
    transport.write(b"x" * 100)
    for _ in range(30):
        await asyncio.sleep(0.02)
        wire.waiting -= 1
    transport.over()

    assert (False, []) == (wire.aborted, told)


async def test_what_is_written_does_not_count_as_taken() -> None:
    wire = Wire()
    transport, _ = watched(wire)

    async def write() -> None:
        while not wire.aborted:
            transport.write(b"x")
            await asyncio.sleep(0.001)

    async with asyncio.timeout(10):
        await write()

    assert wire.aborted


async def test_nothing_is_looked_at_while_nothing_is_written() -> None:
    wire = Wire()
    transport, _ = watched(wire, 0.001)
    transport.write(b"x")
    transport.write(b"")
    wire.waiting = 0
    before = wire.looked
    await until(lambda: wire.looked > before)
    looked = wire.looked
    await asyncio.sleep(0.02)

    assert looked == wire.looked
    assert not wire.aborted


async def test_a_connection_that_is_lost_is_not_watched() -> None:
    wire = Wire()
    transport, _ = watched(wire)
    transport.write(b"x")
    transport.over()
    await asyncio.sleep(0.06)

    assert not wire.aborted
