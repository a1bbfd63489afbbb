"""Do the work of handshakes in slices, in the order in which their bytes came.

Knows no TLS. Who waits for its peer holds no place here: a step is added when its bytes are there.
Between two slices everything else that is ready in the loop has its turn.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

SLICE_S: Final = 0.005


class Handshakes:
    """The steps of all handshakes of one server."""

    __slots__ = ("_clock", "_loop", "_planned", "_steps", "done", "most_waiting")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.done = 0
        self.most_waiting = 0
        self._loop = loop
        self._clock = clock  # the loop's own may stand still within a turn
        self._steps: deque[Callable[[], None]] = deque()
        self._planned = False

    @property
    def waiting(self) -> int:
        """Steps that were not done yet."""
        return len(self._steps)

    def add(self, step: Callable[[], None]) -> None:
        """Do *step* soon, behind those that were added before."""
        self._steps.append(step)
        self.most_waiting = max(self.most_waiting, len(self._steps))
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._slice)

    def _slice(self) -> None:
        until = self._clock() + SLICE_S
        try:
            while self._steps:
                self.done += 1
                self._steps.popleft()()
                if self._clock() >= until:
                    break
        finally:  # whatever a step raised, the others go on
            self._planned = bool(self._steps)
            if self._planned:
                self._loop.call_soon(self._slice)
