"""What runs printed, held until it is stored: numbered, cut to the job's limit, sent as granted.

A DeepFlow agent forgets a result once it has sent it, so the controller holds it in the agent's
place. All streams share one bounded room; a stream that goes beyond its part is not read.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from farhand.domain.ids import RunId
from farhand.domain.limits import KIB, MIB
from farhand.domain.output import Chunk, HeadTail, StreamEnd, StreamName

PIECE_BYTES: Final = 256 * KIB  # of one chunk


class Room:
    """The bytes that the streams of all agents hold together, in memory.

    Each stream has a small *reserve* of its own; what goes beyond it comes from *most* bytes that
    all share. A stream that is above its reserve while the room is full is not read. What it had
    sent by then still counts, and a single result that is larger than all that is left is refused.
    """

    __slots__ = ("_most", "reserve", "used")

    def __init__(self, most: int = 128 * MIB, reserve: int = 256 * KIB) -> None:
        self._most = most
        self.reserve = reserve
        self.used = 0

    @property
    def full(self) -> bool:
        """Whoever holds more than its reserve should hold no more."""
        return self.used >= self._most

    def takes(self, size: int) -> bool:
        """Whether a piece of *size* bytes can be held at all."""
        return size <= self.reserve or self.used + size <= self._most


class _Stream:
    """One output stream of one run. Offsets count kept bytes."""

    __slots__ = ("_cutter", "_name", "_next", "_parts", "_run", "_sent", "end", "held", "up_to")

    def __init__(self, run: RunId, name: StreamName, limit: int, tail: int, up_to: int) -> None:
        self._run = run
        self._name = name
        self._cutter = HeadTail(limit, tail)
        self._parts: deque[Chunk] = deque()  # what is not stored yet, in order
        self._next = 0
        self._sent = 0
        self.up_to = up_to
        self.held = 0
        self.end: StreamEnd | None = None

    @property
    def told(self) -> bool:
        return self.end is not None and self._sent == self._next

    def feed(self, data: bytes) -> None:
        self._hold(self._cutter.feed(data))

    def finish(self) -> None:
        tail, self.end = self._cutter.finish()
        self._hold(tail)

    def _hold(self, data: bytes) -> None:
        for at in range(0, len(data), PIECE_BYTES):
            piece = data[at : at + PIECE_BYTES]
            self._parts.append(Chunk(self._run, self._name, self._next, piece))
            self._next += len(piece)
        self.held += len(data)

    def ready(self) -> Iterator[Chunk]:
        """What may go out now; it counts as sent."""
        for part in self._parts:
            if part.end <= self._sent:
                continue
            if self._sent >= self.up_to:
                return
            fresh = part.from_offset(self._sent)
            if fresh.end > self.up_to:
                fresh = replace(fresh, data=fresh.data[: self.up_to - fresh.offset])
            self._sent = fresh.end
            yield fresh

    def stored(self, through: int, up_to: int) -> None:
        self.up_to = max(self.up_to, up_to)
        while self._parts and self._parts[0].end <= through:
            self.held -= len(self._parts.popleft().data)

    def rewind(self, offset: int, up_to: int) -> None:
        first = self._parts[0].offset if self._parts else self._next
        self._sent = min(max(offset, first), self._next)
        self.up_to = max(self.up_to, up_to)


class Outlet:
    """Both streams of one run."""

    __slots__ = ("_room", "_streams")

    def __init__(self, run: RunId, room: Room, *, limit: int, tail: int, up_to: int) -> None:
        self._room = room
        self._streams = {name: _Stream(run, name, limit, tail, up_to) for name in StreamName}

    @property
    def held(self) -> int:
        """Bytes that are not stored yet."""
        return sum(stream.held for stream in self._streams.values())

    @property
    def told(self) -> bool:
        """The streams have ended and all of them was handed out."""
        return all(stream.told for stream in self._streams.values())

    @property
    def ends(self) -> Mapping[StreamName, StreamEnd]:
        """What became of each stream, after `finish`."""
        return {name: stream.end for name, stream in self._streams.items() if stream.end}

    def feed(self, name: StreamName, data: bytes) -> bool:
        """Take what was printed; False when there is no room for it, and then it is gone."""
        if not self._room.takes(len(data)):
            return False
        before = self.held
        self._streams[name].feed(data)
        self._room.used += self.held - before
        return True

    def finish(self) -> None:
        """Nothing more comes."""
        before = self.held
        for stream in self._streams.values():
            stream.finish()
        self._room.used += self.held - before

    def ready(self) -> list[Chunk]:
        """What may go out now, as far as it is granted; it is given out once."""
        return [chunk for stream in self._streams.values() for chunk in stream.ready()]

    def stored(self, name: StreamName, through: int, up_to: int) -> None:
        """Bytes below *through* are stored: forget them. The stream may go on up to *up_to*."""
        before = self.held
        self._streams[name].stored(through, up_to)
        self._room.used += self.held - before

    def rewind(self, offsets: Mapping[StreamName, int], up_to: Mapping[StreamName, int]) -> None:
        """Give the streams out again from these offsets."""
        for name, offset in offsets.items():
            self._streams[name].rewind(offset, up_to.get(name, 0))

    def drop(self) -> None:
        """Forget everything."""
        self._room.used -= self.held
        self._streams.clear()
