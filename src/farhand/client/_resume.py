"""How long to go on trying when the controller is away or busy, and when to try next.

Does no I/O and reads no clock: time is told to it, in monotonic seconds.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from farhand.client._errors import (
    AnswerLost,
    ClientError,
    FarhandApiError,
    StreamLost,
    TimedOut,
    TlsFailed,
    Unavailable,
    Unreachable,
)

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
PATIENCE_S: Final = 60.0
STRANGE: Final = 2
TOLD_AGAIN_S: Final = 60.0  # then after twice as long, and so on

Notice = Callable[[str], None]


def ignored(notice: str) -> None:
    """Take a notice and do nothing with it."""
    del notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a person is told: what goes on meanwhile, how it goes on then, what to do at the end."""

    meanwhile: str = ""
    then: str = ""
    hint: str = ""


FOLLOWED: Final = Words(
    meanwhile="the job goes on and all that it prints is kept; ",
    then="; the output goes on where it stopped",
    hint="the job goes on without this program; `farhand jobs` shows it",
)
FETCHED: Final = Words(
    meanwhile="what has come is not asked for again; ", then="; the output goes on where it stopped"
)
ASKED: Final = Words()


class Patience:
    """Full-jitter exponential pauses, until nothing has been heard for *limit_s*.

    A controller that says when to come back is believed. There is patience only for one that is
    *known* to be there, because it answered before; one that only took the connection and closed it
    is given STRANGE tries. *notice* is told when contact is lost, now and then while it is, and
    when it is back.
    """

    __slots__ = (
        *("_attempt", "_known", "_limit_s", "_notice", "_since", "_stream", "_tell_at", "_told"),
        *("_strange", "_words", "doubt"),
    )

    def __init__(
        self,
        *,
        limit_s: float = PATIENCE_S,
        notice: Notice = ignored,
        known: bool = True,
        words: Words = FOLLOWED,
    ) -> None:
        self.doubt = False  # something was asked for whose answer was lost
        self._limit_s = limit_s
        self._notice = notice
        self._known = known
        self._words = words
        self._stream = words is not ASKED
        self._attempt = 0
        self._strange = 0  # answers lost by a controller that has not given one
        self._since: float | None = None  # contact is lost since then
        self._told = False
        self._tell_at = 0.0

    def connected(self) -> None:
        """The controller took the request; whether the stream lives is still to be seen."""
        self._known = True
        if self._told:
            self._told = False
            self._notice(f"the controller is there again{self._words.then}")

    def heard(self) -> None:
        """Something arrived: the stream lives."""
        self._since = None

    def progressed(self) -> None:
        """What arrived was new: the next cut is the first of its kind."""
        self._attempt = 0

    def pause(self, reason: ClientError, now: float) -> float:
        """Return how many seconds to wait before the next attempt.

        Raises *reason* when a later attempt could not do better. When patience is at its end, it
        raises *reason* too, with a hint; or StreamLost from it, for a stream whose controller is
        away.
        """
        self.doubt = self.doubt or isinstance(reason, AnswerLost | TimedOut)
        self._known = self._known or isinstance(reason, FarhandApiError)
        if not self._known and isinstance(reason, AnswerLost):
            self._strange += 1
        met = self._known or 0 < self._strange <= STRANGE
        if not met or not self._may_pass(reason):
            raise reason
        if self._since is None:
            self._since = now
            self._tell_at = now + TOLD_AGAIN_S
        left_s = self._limit_s - (now - self._since)
        if left_s <= 0:
            self._give_up(reason)
        self._tell(reason, now, left_s)
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._attempt, 16))
        self._attempt += 1
        asked = reason.retry_after_s if isinstance(reason, FarhandApiError) else None
        pause = (asked or 0.0) + random.uniform(0.0, longest)  # noqa: S311 - spreads, no secret
        return min(pause, left_s)

    def _may_pass(self, reason: ClientError) -> bool:
        """Whether the same request may succeed a little later."""
        match reason:
            case FarhandApiError(status=status) if self._stream:
                return status >= 500 or isinstance(reason, Unavailable)
            case Unavailable():
                return reason.code != "agent-gone"  # nobody knows when it comes back
            case TlsFailed():
                return False
            case _:
                return isinstance(reason, Unreachable)

    def _tell(self, reason: ClientError, now: float, left_s: float) -> None:
        left = f"trying again for {span(left_s)} at most"
        if not self._told:
            self._told = True
            lost = isinstance(reason, Unreachable)
            what = "lost the controller" if lost else "the controller takes no more just now"
            self._notice(f"{what} ({reason}); {self._words.meanwhile}{left}")
        elif self._since is not None and now >= self._tell_at:
            away_s = now - self._since
            self._tell_at = now + away_s
            self._notice(f"still no luck after {span(away_s)} ({reason}); {left}")

    def _give_up(self, reason: ClientError) -> None:
        told = f"the controller did not come back within {span(self._limit_s)} ({reason})"
        if self._stream and isinstance(reason, Unreachable):
            raise StreamLost(told, hint=self._words.hint) from reason
        if self._stream:
            reason.hint = reason.hint or self._words.hint
        elif self.doubt:
            reason.hint = "an earlier try may have been heard; `farhand jobs` shows what was taken"
        elif self._limit_s:
            reason.hint = f"tried for {span(self._limit_s)}; nothing was done"
        raise reason


def span(seconds: float) -> str:
    """Say a time as a person would, to the second or to the minute."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 or not seconds else f"{seconds:.1g} s"
    return f"{seconds / 60:.0f} min"
