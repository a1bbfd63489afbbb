"""How much may stand in memory for as long as somebody else's speed decides.

Counts bytes and holds none. Nobody waits here: who finds no room is told so, or gets less.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from farhand.domain.limits import KIB
from farhand.errors import Overloaded

SHARE: Final = "farhand.share"  # in a request's scope: its Share
LARGE_BYTES: Final = 64 * KIB  # an answer up to here is the connection's own affair
PIECE_BYTES: Final = 256 * KIB  # of a download, read at once
LEAST_BYTES: Final = 16 * KIB  # such a piece when many others are on their way


class Budget:
    """The bytes of bodies and large answers that all requests may hold together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0


class Share:
    """What one request holds of a budget, until it is over."""

    __slots__ = ("_budget", "_held")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held = 0

    def cover(self, size: int) -> None:
        """Hold *size* bytes in all, or more when it was more before. Raises Overloaded.

        Whoever is alone may exceed the budget: what fits never, would never be answered.
        """
        more = size - self._held
        if more <= 0:
            return
        others = self._budget.used - self._held
        if others and others + size > (most := self._budget.most):
            msg = f"other requests hold {others} of {most} bytes of memory; come later"
            raise Overloaded(msg, bound="requests_bytes", limit=most)
        self._budget.used += more
        self._held = size

    def close(self) -> None:
        """Give all of it back."""
        self._budget.used -= self._held
        self._held = 0


class Pieces:
    """The pieces of output that are on their way to readers.

    As long as they have *most* bytes together each has PIECE_BYTES; beyond it LEAST_BYTES, so that
    readers who are stuck slow the others down a little, and stop nobody.
    """

    def __init__(self, most: int) -> None:
        self.used = 0
        self._most = most

    @contextmanager
    def piece(self) -> Iterator[int]:
        """Give how many bytes may be read now; they count until the block is left."""
        size = PIECE_BYTES if self.used + PIECE_BYTES <= self._most else LEAST_BYTES
        self.used += size
        try:
            yield size
        finally:
            self.used -= size
