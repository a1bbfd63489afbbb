"""How far a job is: done, running, waiting, failed, how fast it goes and how long it will take.

Time is told to it, in seconds; it holds a bounded number of moments.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from farhand.domain.run import RunState

WINDOW_S: Final = 30.0
MOMENTS: Final = 1_024  # the latest ends, which are remembered; more make the window shorter


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How many runs there are of each kind. *done* are at rest, *failed* those without success.

    *waiting* have not begun. *rate_per_s* is of late, None before any run ended; *left_s* is how
    long the rest takes at that rate, None when that cannot be said, 0 at the end.
    """

    total: int
    done: int
    failed: int
    running: int
    waiting: int
    rate_per_s: float | None
    left_s: float | None


class Pace:
    """How many runs ended when, told in any order. *began* is when the job did."""

    __slots__ = ("_began", "_ends")

    def __init__(self, began: float) -> None:
        self._began = began
        self._ends: list[float] = []  # a heap

    def ended(self, at: float) -> None:
        """A run came to rest."""
        if len(self._ends) < MOMENTS:
            heapq.heappush(self._ends, at)
        else:
            heapq.heappushpop(self._ends, at)

    def rate(self, now: float) -> float | None:
        """Ends per second within the last WINDOW_S; None when there were none at all."""
        if not self._ends:
            return None
        since = max(self._began, now - WINDOW_S)
        if len(self._ends) == MOMENTS:
            since = max(since, self._ends[0])
        recent = sum(1 for at in self._ends if at >= since)
        return recent / max(now - since, 0.001)


def progress(counts: Mapping[RunState, int], pace: Pace, now: float) -> Progress:
    """Return how far a job with *counts* of runs in each state is at *now*."""
    total = sum(counts.values())
    done = sum(n for state, n in counts.items() if state.resting)
    running = counts.get(RunState.RUNNING, 0)
    rate = pace.rate(now)
    left: float | None = None
    if done == total:
        left = 0.0
    elif rate:
        left = (total - done) / rate
    return Progress(
        total=total,
        done=done,
        failed=done - counts.get(RunState.SUCCEEDED, 0),
        running=running,
        waiting=total - done - running,
        rate_per_s=rate,
        left_s=left,
    )
