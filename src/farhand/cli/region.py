"""A few lines at the foot of a terminal that are drawn again and again, and the notes above them.

Writes to stderr, so that what goes to stdout may go elsewhere. Draws nothing where there is no
terminal that can move its cursor.
"""

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from farhand.cli.screen import note

Size = os.terminal_size

ERASED: Final = "\x1b[2K\n"  # one line

_USUAL: Final = Size((80, 24))  # of a terminal that does not know, such as a serial line
_NARROW: Final = 20  # columns; below it nothing can be read


class Region:
    """The lines below the cursor, if any are *wanted*. May be used from several threads."""

    def __init__(self, env: Mapping[str, str], *, wanted: bool = True) -> None:
        self._lock = threading.Lock()
        self._lines: Sequence[str] = ()
        able = env.get("TERM", "dumb") != "dumb" and _stderr_is_terminal()
        self._able = wanted and able

    @property
    def able(self) -> bool:
        """Something can be drawn."""
        return self._able

    def draw(self, lines: Callable[[Size], Sequence[str]]) -> None:
        """Draw *lines* in place of those before; each must fit the width it is told."""
        if not self._able:
            return
        try:
            size = os.get_terminal_size(sys.stderr.fileno())
        except OSError:
            return
        if not size.columns:
            size = _USUAL
        with self._lock:
            self._write(self._gone() + self._kept(lines(size) if size.columns >= _NARROW else ()))

    def clear(self) -> None:
        """Take the lines away."""
        with self._lock:
            self._write(self._gone())

    def note(self, text: str) -> None:
        """Tell the person something that stays, above the lines."""
        with self._lock:
            lines = self._lines
            self._write(self._gone())
            note(text)
            self._write(self._kept(lines))

    def _gone(self) -> str:
        """What erases the lines that are there.

        Line by line: a terminal that is cleared from its first line on may keep it in its history.
        """
        count, self._lines = len(self._lines), ()
        return f"\x1b[{count}A\r{ERASED * count}\x1b[{count}A" if count else ""

    def _kept(self, lines: Sequence[str]) -> str:
        self._lines = lines
        return "".join(f"{line}\n" for line in lines)

    def _write(self, text: str) -> None:
        if not text:
            return
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            self._able = False


def _stderr_is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except ValueError:
        return False
