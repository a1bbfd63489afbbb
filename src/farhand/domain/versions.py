"""Which of two versions is the newer: `5.10` is behind `5.9`, and `0.3` behind `0.3rc1`.

Knows no scheme of its own: numbers count as numbers, words by the alphabet.
"""

import re
from itertools import zip_longest
from typing import Final

_PIECE: Final = re.compile(r"[0-9]+|[A-Za-z]+")
_VERSION: Final = re.compile(r"[vV]?[0-9]")
_BEFORE: Final = ("dev", "snapshot", "a", "alpha", "b", "beta", "pre", "preview", "c", "rc")

_Piece = tuple[int, int, str]
_END: Final[_Piece] = (1, 0, "")  # as much as a 0: 5.10 is 5.10.0


def is_version(text: str) -> bool:
    """Whether *text* can be compared: a number, or a version such as v5.10.0-21-amd64."""
    return _VERSION.match(text) is not None


def compared(one: str, other: str) -> int:
    """Below, at or above 0 as *one* is before, the same as, or behind *other*.

    Words such as rc and beta are before the version they stand at; any other is behind it.
    """
    for mine, theirs in zip_longest(_pieces(one), _pieces(other), fillvalue=_END):
        if mine != theirs:
            return -1 if mine < theirs else 1
    return 0


def _pieces(version: str) -> list[_Piece]:
    return [_piece(text.lower()) for text in _PIECE.findall(version.removeprefix("v"))]


def _piece(text: str) -> _Piece:
    if text.isdecimal():
        digits = text.lstrip("0")  # compared by length, then as text: they may be thousands
        return (3, len(digits), digits) if digits else _END
    if text in _BEFORE:
        return 0, _BEFORE.index(text), ""
    return 2, 0, text
