"""Let agents in a few at a time, in the order in which they came.

Knows no agent and asks no store. Nobody waits for long: who cannot have a turn in time is told when
to come back, each at a time of its own.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from farhand.domain.limits import Limits
from farhand.errors import Overloaded
from farhand.ports import Clock

log = structlog.get_logger()

AWAY_S: Final = 30.0  # nobody is sent away for longer
TOLD_S: Final = 1.0  # a crowd that is over sooner is not worth a line in the log


class ComeLater(Overloaded):
    """More agents dial in than can be let in at once; try again in *after_s* seconds."""

    def __init__(self, after_s: float) -> None:
        super().__init__("more agents dial in than can be let in at once; try again a little later")
        self.after_s = after_s


@dataclass(slots=True)
class Counters:
    """What the door has seen since it opened."""

    begun: int = 0
    waited: int = 0
    turned_away: int = 0
    most_at_once: int = 0
    most_waiting: int = 0


class Admissions:
    """`limits.admissions` at once; `limits.admissions_waiting` more wait in order."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.counters = Counters()
        self._limits = limits
        self._clock = clock
        self._inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._crowded_at = 0.0
        self._turned_away = 0  # before this crowd
        self._told_until = 0.0  # up to when those that were sent away fill the time

    @property
    def at_once(self) -> int:
        """How many are being let in."""
        return self._inside

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Work inside the block when it is one's turn. Raises ComeLater."""
        await self._enter()
        try:
            yield
        finally:
            self._leave()

    async def _enter(self) -> None:
        counters = self.counters
        if self._inside < self._limits.admissions and not self._waiting:
            self._inside += 1
        else:
            await self._queue()
        counters.begun += 1
        counters.most_at_once = max(counters.most_at_once, self._inside)

    async def _queue(self) -> None:
        """Wait until a turn is passed on; it is counted inside already."""
        if len(self._waiting) >= self._limits.admissions_waiting:
            raise self._come_later()
        if not self._waiting:
            self._crowded_at, self._turned_away = self._clock.now(), self.counters.turned_away
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self.counters.waited += 1
        self.counters.most_waiting = max(self.counters.most_waiting, len(self._waiting))
        try:
            async with asyncio.timeout(self._limits.admission_s):
                await turn
        except BaseException as exc:
            if turn in self._waiting:
                self._waiting.remove(turn)
                self._look_for_the_end()
            elif turn.done() and not turn.cancelled():
                self._leave()  # it came at the last moment: to the next one
            if isinstance(exc, TimeoutError):
                raise self._come_later() from exc
            raise

    def _leave(self) -> None:
        """Pass the turn on, or give it back."""
        while self._waiting:
            turn = self._waiting.popleft()
            self._look_for_the_end()
            if not turn.done():
                turn.set_result(None)
                return
        self._inside -= 1

    def _come_later(self) -> ComeLater:
        """The next free moment behind those who wait and those who were told before."""
        self.counters.turned_away += 1
        now, each_s = self._clock.now(), 1.0 / max(1, self._limits.return_rate)
        first = now + len(self._waiting) * each_s
        self._told_until = max(self._told_until, first) + each_s
        if self._told_until - now > AWAY_S:
            self._told_until = first + each_s  # once more through the same time
        return ComeLater(min(self._told_until - now, AWAY_S))

    def _look_for_the_end(self) -> None:
        """Say so when a crowd is over."""
        if self._waiting:
            return
        took_s = self._clock.now() - self._crowded_at
        turned_away = self.counters.turned_away - self._turned_away
        if took_s > TOLD_S or turned_away:
            log.info("admissions.crowd_over", after_s=round(took_s, 2), turned_away=turned_away)
