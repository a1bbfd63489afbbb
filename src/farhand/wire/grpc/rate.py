"""Bound what a peer may send for nothing.

Counts bytes, reads the clock only when the burst is used up, and owns no timer.
"""

from collections.abc import Callable


class ControlRate:
    """A leaky bucket for the bytes that carry no message."""

    __slots__ = ("_at", "_burst", "_clock", "_least", "_level", "_per_s")

    def __init__(
        self, burst: int, per_s: int, *, most_forgiven: int, clock: Callable[[], float]
    ) -> None:
        self._burst = burst
        self._per_s = per_s
        self._least = -most_forgiven
        self._clock = clock
        self._level = 0
        self._at = clock()

    def add(self, amount: int) -> None:
        """Bytes arrived, of whatever kind."""
        self._level += amount

    def forgive(self, amount: int) -> None:
        """So many of them carry a message, or are owed to what this side has done."""
        self._level = max(self._level - amount, self._least)

    def exceeded(self) -> bool:
        """Whether more came than the burst and the time since have room for."""
        if self._level <= self._burst:
            return False
        now = self._clock()
        self._level = max(self._level - int((now - self._at) * self._per_s), 0)
        self._at = now
        return self._level > self._burst
