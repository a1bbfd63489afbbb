"""Keep the deadlines of any number of connections with one timer of the loop.

Coarse on purpose, by a twentieth of a second. A deadline that is looked at late, because the loop
was late, gets one more round: what a peer sent in time is then read first.
"""

import heapq
from collections.abc import Callable
from math import inf
from typing import Any, Final, Protocol

_GRAIN_S: Final = 0.05
_LATE_S: Final = 0.5


class Timed(Protocol):
    """Something that has to be looked at from time to time."""

    timer_slot: int | None
    """Belongs to the wheel; None at first."""

    def on_time(self, now: float) -> None:
        """It is due, or was when it was scheduled; schedule again what is still to come."""


class Planned(Protocol):
    """A callback that was asked for, as asyncio's TimerHandle."""

    def cancel(self) -> None:
        """Do without it."""


class Loop(Protocol):
    """The part of an event loop that is needed here."""

    def time(self) -> float:
        """Seconds of a clock that never goes back."""
        ...

    def call_at(self, when: float, callback: Callable[[], Any], /) -> Planned:
        """Call back at that time or later."""
        ...


class TimerWheel:
    """One slot for each grain of time in which something is due."""

    __slots__ = ("_handle", "_handle_slot", "_loop", "_order", "_slots")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._slots: dict[int, dict[Timed, None]] = {}
        self._order: list[int] = []
        self._handle: Planned | None = None
        self._handle_slot = 0

    def schedule(self, timed: Timed, due: float) -> None:
        """Look at *timed* at loop time *due*; an earlier look that is planned stays."""
        if due == inf:
            return
        slot = int(due / _GRAIN_S) + 1
        if timed.timer_slot is not None:
            if timed.timer_slot <= slot:
                return
            self.cancel(timed)
        timed.timer_slot = slot
        if slot in self._slots:
            self._slots[slot][timed] = None
            return
        self._slots[slot] = {timed: None}
        heapq.heappush(self._order, slot)
        if self._handle is None or slot < self._handle_slot:
            self._arm()

    def cancel(self, timed: Timed) -> None:
        """Forget *timed*."""
        slot, timed.timer_slot = timed.timer_slot, None
        if slot is not None and slot in self._slots:
            self._slots[slot].pop(timed, None)

    def close(self) -> None:
        """Forget everything."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        for slot in self._slots.values():
            for timed in slot:
                timed.timer_slot = None
        self._slots.clear()
        self._order.clear()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._order:
            self._handle_slot = self._order[0]
            self._handle = self._loop.call_at(self._handle_slot * _GRAIN_S, self._fire)

    def _fire(self) -> None:
        self._handle = None
        now = self._loop.time()
        if now - self._handle_slot * _GRAIN_S > _LATE_S:
            self._handle = self._loop.call_at(now + _GRAIN_S, self._turn)
        else:
            self._turn()

    def _turn(self) -> None:
        now = self._loop.time()
        while self._order and self._order[0] * _GRAIN_S <= now:
            slot = heapq.heappop(self._order)
            for timed in self._slots.pop(slot):
                if timed.timer_slot == slot:  # else one before it has cancelled it
                    timed.timer_slot = None
                    timed.on_time(now)
        self._arm()
