"""Remember which runs were here, in sixteen bytes each, so that none is started twice.

Knows no clock. Bounded: the oldest ids are forgotten first, and a run that is not newer than what
was forgotten is never taken for new.
"""

from bisect import bisect_left
from enum import Enum
from typing import Final

from farhand.domain.ids import RunId

KEY_BYTES: Final = 16
_DIGITS: Final = str.maketrans(
    "0123456789abcdefghjkmnpqrstvwxyz",  # of a TypeID
    "0123456789abcdefghijklmnopqrstuv",  # of int()
)


class Past(Enum):
    """What is known of a run."""

    NEW = "new"
    SEEN = "seen"
    FORGOTTEN = "forgotten"  # too old to tell


def key_of(run: RunId) -> bytes:
    """The UUID of a run's id; its order is that of the ids, and of time."""
    return int(run.removeprefix("run_").translate(_DIGITS), 32).to_bytes(KEY_BYTES, "big")


class PastRuns:
    """The newest *most* ids of settled runs, sorted. What is not above *horizon* is forgotten."""

    def __init__(self, most: int, keys: bytes = b"", horizon: bytes = bytes(KEY_BYTES)) -> None:
        self._most = most
        self._keys = bytearray(keys)
        self.horizon = horizon
        self._shorten()

    def __len__(self) -> int:
        return len(self._keys) // KEY_BYTES

    @property
    def keys(self) -> bytes:
        """All ids, one behind the other, as the constructor takes them."""
        return bytes(self._keys)

    def add(self, key: bytes) -> None:
        """Remember a run, and forget the oldest one if there are too many."""
        at = self._place(key)
        if not self._at(at, key):
            self._keys[at * KEY_BYTES : at * KEY_BYTES] = key
            self._shorten()

    def of(self, key: bytes) -> Past:
        """Tell what is known of a run."""
        if self._at(self._place(key), key):
            return Past.SEEN
        return Past.NEW if key > self.horizon else Past.FORGOTTEN

    def _shorten(self) -> None:
        surplus = (len(self) - self._most) * KEY_BYTES
        if surplus > 0:
            self.horizon = max(self.horizon, bytes(self._keys[surplus - KEY_BYTES : surplus]))
            del self._keys[:surplus]

    def _place(self, key: bytes) -> int:
        return bisect_left(range(len(self)), key, key=self._key)

    def _at(self, place: int, key: bytes) -> bool:
        return place < len(self) and self._key(place) == key

    def _key(self, place: int) -> bytes:
        return bytes(self._keys[place * KEY_BYTES : (place + 1) * KEY_BYTES])
