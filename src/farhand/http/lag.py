"""How late the event loop is: what everybody waits for when something holds it up.

Measures by sleeping and looking at the clock; changes nothing.
"""

import asyncio
from collections import deque
from typing import Final, Self

PROBE_S: Final = 0.5
REMEMBERED: Final = 120  # probes: the last minute


class Lag:
    """A probe that runs inside `async with`. *total_s* is the lateness of *probes* so far."""

    def __init__(self) -> None:
        self.probes = 0
        self.total_s = 0.0
        self._last: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def worst_s(self) -> float:
        """The longest lateness within the last minute."""
        return max(self._last, default=0.0)

    async def __aenter__(self) -> Self:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._probing = self._tasks.create_task(self._probe(), name="loop-lag")
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._probing.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def _probe(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PROBE_S
            await asyncio.sleep(PROBE_S)
            late_s = max(0.0, loop.time() - due)
            self.probes += 1
            self.total_s += late_s
            self._last.append(late_s)
