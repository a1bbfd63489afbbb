"""How long to go on trying when a stream is cut, and when to try next.

Does no I/O and reads no clock: time is told to it, in monotonic seconds.
"""

import random
from collections.abc import Callable
from typing import Final

from farhand.client._errors import (
    ClientError,
    FarhandApiError,
    StreamLost,
    Unavailable,
    Unreachable,
)

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
PATIENCE_S: Final = 60.0

Notice = Callable[[str], None]


def ignored(notice: str) -> None:
    """Take a notice and do nothing with it."""
    del notice


class Patience:
    """Full-jitter exponential pauses, until nothing has been heard for *limit_s*.

    There is patience only for a controller that is *known* to be there, because it answered
    before. *notice* is told when contact is lost and when it is back.
    """

    __slots__ = ("_attempt", "_known", "_limit_s", "_notice", "_since", "_told")

    def __init__(
        self, *, limit_s: float = PATIENCE_S, notice: Notice = ignored, known: bool = True
    ) -> None:
        self._limit_s = limit_s
        self._notice = notice
        self._known = known
        self._attempt = 0
        self._since: float | None = None  # contact is lost since then
        self._told = False

    def connected(self) -> None:
        """The controller took the request; whether the stream lives is still to be seen."""
        self._known = True
        if self._told:
            self._told = False
            self._notice("connected again")

    def heard(self) -> None:
        """Something arrived: the stream lives."""
        self._since = None

    def progressed(self) -> None:
        """What arrived was new: the next cut is the first of its kind."""
        self._attempt = 0

    def pause(self, reason: ClientError, now: float) -> float:
        """Return how many seconds to wait before the next attempt.

        Raises *reason* when a later attempt could not do better, and StreamLost from it when
        patience is at its end.
        """
        if not self._known or not may_pass(reason):
            raise reason
        if self._since is None:
            self._since = now
        if now - self._since > self._limit_s:
            raise StreamLost(
                f"the controller did not come back within {self._limit_s:g} s ({reason})",
                hint="the job goes on without this program; `farhand jobs` shows it",
            ) from reason
        if not self._told:
            self._told = True
            self._notice(f"connection lost ({reason}); trying again")
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._attempt, 16))
        self._attempt += 1
        asked = reason.retry_after_s if isinstance(reason, FarhandApiError) else None
        least = min(asked or 0.0, LONGEST_PAUSE_S)
        return least + random.uniform(0.0, longest)  # noqa: S311 - spreads retries, no secret


def may_pass(error: ClientError) -> bool:
    """Whether the same request may succeed a little later."""
    match error:
        case FarhandApiError(status=status):
            return status >= 500 or isinstance(error, Unavailable)
        case _:
            return isinstance(error, Unreachable)
