"""Bytes that a run printed: chunks at offsets, and what is kept when there are too many.

Offsets count *kept* bytes of one stream: head, then tail, without a hole. Where the middle was
cut out, and how long it was, is told once at the end (`StreamEnd`).
"""

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum

from farhand.domain.ids import RunId


class StreamName(StrEnum):
    """The two streams of a run; they are never mixed."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Kept bytes of one stream of one run, at an offset."""

    run: RunId
    stream: StreamName
    offset: int
    data: bytes

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.offset + len(self.data)

    def from_offset(self, offset: int) -> "Chunk":
        """What of this chunk lies at or behind *offset*: a resend may be cut differently."""
        if offset <= self.offset:
            return self
        return replace(self, offset=min(offset, self.end), data=self.data[offset - self.offset :])


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnd:
    """One whole stream, told at its end. Sizes in bytes, digests are SHA-256 in hex.

    *kept* bytes are stored; when *cut_bytes* > 0, that many are missing at offset *cut_at*.
    """

    total: int = 0
    kept: int = 0
    cut_at: int = 0
    cut_bytes: int = 0
    sha256_kept: str = ""
    sha256_all: str = ""


class HeadTail:
    """Decides which bytes of a stream are kept: a head that flows, a tail that waits for the end.

    *limit* bytes are kept in all, of them at most *tail* at the end (bounded memory). Feed every
    byte with `feed`, which returns the ones that can go out now; `finish` returns the tail.
    """

    __slots__ = ("_all", "_head", "_held", "_kept", "_tail", "_total")

    def __init__(self, limit: int, tail: int) -> None:
        self._tail = min(tail, limit // 2)
        self._head = limit - self._tail
        self._held = bytearray()  # the last bytes behind the head, at most twice the tail
        self._total = 0
        self._all = hashlib.sha256()
        self._kept = self._all  # one digest until something is held back

    def feed(self, data: bytes) -> bytes:
        """Take the next printed bytes; return those of the head."""
        room = max(0, self._head - self._total)
        self._total += len(data)
        if len(data) <= room:
            self._all.update(data)
            return data
        head, rest = data[:room], data[room:]
        if self._kept is self._all:
            self._all.update(head)
            self._kept = self._all.copy()
            self._all.update(rest)
        else:
            self._all.update(data)
        self._hold(rest)
        return head

    def _hold(self, rest: bytes) -> None:
        if len(rest) >= self._tail:
            self._held = bytearray(rest[len(rest) - self._tail :])
            return
        self._held += rest
        if len(self._held) > 2 * self._tail:
            del self._held[: -self._tail]

    def finish(self) -> tuple[bytes, StreamEnd]:
        """Return the tail and what became of the whole stream. Call once, at the end."""
        tail = bytes(self._held[-self._tail :]) if self._tail else b""
        head = min(self._total, self._head)
        if self._kept is not self._all:
            self._kept.update(tail)
        cut = self._total - head - len(tail)
        return tail, StreamEnd(
            total=self._total,
            kept=head + len(tail),
            cut_at=head if cut else 0,
            cut_bytes=cut,
            sha256_kept=self._kept.hexdigest(),
            sha256_all=self._all.hexdigest(),
        )
