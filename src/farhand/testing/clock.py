"""A clock that moves when it is told to, so that a lease test takes microseconds."""

import asyncio
import heapq
from itertools import count
from typing import Final

# How often the loop turns before everything that could happen now is believed to have happened.
TURNS: Final = 60


async def settle(turns: int = TURNS) -> None:
    """Let everything happen that needs no time."""
    for _ in range(turns):
        await asyncio.sleep(0)


class ManualClock:
    """Time that only `advance` moves. Monotonic and wall time start apart and move together."""

    def __init__(self, wall: float = 1_800_000_000.0) -> None:
        self._now = 0.0
        self._offset = wall
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> float:
        """Monotonic seconds."""
        return self._now

    def wall(self) -> float:
        """Wall-clock seconds."""
        return self._offset + self._now

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back; monotonic time does not notice."""
        self._offset += seconds

    def stall(self, seconds: float) -> None:
        """Let time pass without letting anything happen, as for a process that is stopped."""
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was advanced this far."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), waiter))
        await waiter

    async def advance(self, seconds: float) -> None:
        """Move on, waking each sleeper at its time and letting it act before the next."""
        end = self._now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, waiter = heapq.heappop(self._sleepers)
            self._now = max(self._now, at)
            if not waiter.done():
                waiter.set_result(None)
                await settle()
        self._now = end
        await settle()
