"""The system's time, as what a process runs on: seconds that pass, and a wall time to trust.

Nobody else asks the system for the time. A wall clock that is set forward or back is followed
slowly, and never by a step.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from farhand.ports import Clock

SLEW: Final = 0.1  # seconds a second by which steady wall time nears the system's
JUMP_S: Final = 2.0  # less is drift


class SystemClock:
    """Monotonic and wall time of this host, as the system tells them."""

    def __init__(self) -> None:
        # A host that slept was away for as long as it slept, where the system can tell.
        self._ticks: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now(self) -> float:
        """Seconds that never jump."""
        return time.clock_gettime(self._ticks)

    def wall(self) -> float:
        """Seconds since 1970, UTC; may jump."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class SteadyClock:
    """Wall time that begins as another clock's, goes with its monotonic time and never jumps.

    Durations between two looks at `wall` are right to a tenth, whatever is done to the wall
    clock below; `jumped` is told by how much it was set, once each time it was. Not for threads.
    """

    def __init__(self, clock: Clock, jumped: Callable[[float], None] = lambda _: None) -> None:
        self._clock = clock
        self._jumped = jumped
        self._at = clock.now()
        self._wall = clock.wall()
        self._behind = 0.0  # what the other wall clock was ahead at the last look

    def now(self) -> float:
        """Seconds that never jump."""
        return self._clock.now()

    def wall(self) -> float:
        """Seconds since 1970, UTC; never goes back, and never jumps."""
        now, told = self._clock.now(), self._clock.wall()
        passed = now - self._at
        behind = told - (self._wall + passed)
        if abs(behind - self._behind) > JUMP_S:
            self._jumped(behind - self._behind)
        step = min(max(behind, -SLEW * passed), SLEW * passed)
        self._at, self._wall, self._behind = now, self._wall + passed + step, behind - step
        return self._wall

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._clock.sleep(seconds)
