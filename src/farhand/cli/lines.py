"""Lines of many hosts on one screen, each with its host in front, none broken by another.

Takes bytes and gives bytes; knows no terminal. What does not end in time is cut, visibly.
"""

from collections.abc import Mapping
from typing import Final

LINE_BYTES: Final = 64 * 1024  # of an unfinished line that are held back, per host and stream

COLOURS: Final = (b"36", b"33", b"35", b"32", b"34", b"96", b"93", b"95", b"92", b"94")


class Prefixer:
    """Give it what arrives of a run; it returns whole lines that begin with the run's host.

    *names* is what each run's host is called; all are padded to one width. `web-1 | ` begins a
    line and `web-1 + ` goes on with one that was longer than *limit* bytes.
    """

    __slots__ = ("_broken", "_fronts", "_held", "_limit", "_width")

    def __init__(
        self, names: Mapping[str, str], *, colour: bool = False, limit: int = LINE_BYTES
    ) -> None:
        width = max((len(name) for name in names.values()), default=0)
        self._fronts = {
            run: _front(name.ljust(width), COLOURS[number % len(COLOURS)] if colour else None)
            for number, (run, name) in enumerate(names.items())
        }
        self._limit = limit
        self._width = width
        self._held: dict[tuple[str, str], bytearray] = {}
        self._broken: set[tuple[str, str]] = set()  # its line began in an earlier piece

    def know(self, run: str, name: str) -> None:
        """Put *name* in front of a run that was made later."""
        if run not in self._fronts:
            self._fronts[run] = _front(name.ljust(self._width), None)

    def feed(self, run: str, stream: str, data: bytes) -> bytes:
        """Take the next bytes of a stream; return the lines that they complete."""
        key = run, stream
        held = self._held.setdefault(key, bytearray())
        held += data
        *lines, rest = bytes(held).split(b"\n")
        written = [self._line(key, line) for line in lines]
        while len(rest) > self._limit:
            written.append(self._line(key, rest[: self._limit]))
            rest = rest[self._limit :]
            self._broken.add(key)
        held[:] = rest
        return b"".join(written)

    def finish(self, run: str, stream: str) -> bytes:
        """Return what is held back of a stream that is over: a line without an end."""
        held = self._held.pop((run, stream), None)
        return self._line((run, stream), bytes(held)) if held else b""

    def _line(self, key: tuple[str, str], line: bytes) -> bytes:
        sign = b" + " if key in self._broken else b" | "
        self._broken.discard(key)
        front = self._fronts.get(key[0]) or _front(key[0], None)
        return front + sign + line + b"\n"


def _front(name: str, colour: bytes | None) -> bytes:
    written = name.encode("utf-8", "backslashreplace")
    return written if colour is None else b"\x1b[" + colour + b"m" + written + b"\x1b[0m"
