"""Number what a run prints and keep it until the controller has stored it.

It goes to a file as it is read, and what is sent next stays in memory as well; where the disk
fails, memory is all. Bounded: beyond its room the pipe is not read and the program waits.
"""

import logging
from collections import deque
from dataclasses import replace
from typing import Final, Self

from farhand.agent.budget import Budget
from farhand.agent.spoolfile import GIVE_BACK_BYTES, SpoolFile
from farhand.domain.ids import RunId
from farhand.domain.output import Chunk, HeadTail, StreamEnd, StreamName

log = logging.getLogger(__name__)

PIECE_BYTES: Final = 4 * 1024  # smaller prints share a piece: each costs as much as 100 bytes


class Spool:
    """One stream of one run. Offsets count kept bytes."""

    def __init__(
        self,
        run: RunId,
        stream: StreamName,
        limit: int,
        budget: Budget,
        file: SpoolFile | None = None,
    ) -> None:
        self.run = run
        self.stream = stream
        self.up_to = 0  # the controller's grant
        self.end: StreamEnd | None = None
        self.lost = False  # what is to be sent next is not here any more
        self._hurried = False
        self._cutter: HeadTail | None = HeadTail(limit, budget.limits.tail_bytes)
        self._budget = budget
        self._file = file
        self._parts: deque[Chunk] = deque()  # in memory, in order; a file has what lies between
        self._held = 0  # bytes of the parts
        self._kept = 0  # the next byte that is not stored
        self._next = 0  # the next byte's number
        self._sent = 0

    @classmethod
    def found(
        cls,
        run: RunId,
        stream: StreamName,
        budget: Budget,
        file: SpoolFile | None,
        end: StreamEnd | None,
    ) -> Self:
        """A stream of an earlier process, as its file has it; *end* is None if it was cut off."""
        spool = cls(run, stream, 0, budget, file)
        spool._cutter, spool.end = None, end
        if file is not None:
            spool._next = file.end if end is None else min(file.end, end.kept)
            spool._kept = spool._sent = min(file.base, spool._next)
        return spool

    @property
    def next_offset(self) -> int:
        """How many bytes were numbered."""
        return self._next

    @property
    def told(self) -> bool:
        """The stream has ended and all of it that is here was sent on this connection."""
        return self.end is not None and (self.lost or self._sent == self._next)

    async def room(self) -> None:
        """Wait until another chunk may be read from the pipe."""
        while not self._has_room():
            if self._file is not None:
                self._file.give_back(self._kept, least=1)
            if not self._has_room():
                await self._budget.change()

    def hurry(self) -> None:
        """Nobody stores anything any more: what is in the pipe is read, whatever the bounds."""
        self._hurried = True
        self._budget.wake()

    def _has_room(self) -> bool:
        if self.lost or self._hurried:
            return True
        if self._file is None or not self._file.writable:
            return self._budget.room_in_memory(self._held)
        return self._budget.room_on_disk(self._file.used)

    def feed(self, data: bytes) -> None:
        """Take bytes that were printed."""
        assert self._cutter is not None, "an earlier process' stream prints no more"
        self._put(self._cutter.feed(data))

    def finish(self) -> StreamEnd:
        """No more will be printed. Of a stream that was cut off only its size is known."""
        if self._cutter is None:
            self.end = StreamEnd(total=self._next, kept=self._next)
        else:
            tail, self.end = self._cutter.finish()
            self._put(tail)
        if self._file is not None:
            self._file.close()
        return self.end

    def _put(self, data: bytes) -> None:
        if data and not self.lost:
            filed = self._file is not None and self._file.put(data)
            if not filed or (self._remembers_all and self._budget.room_in_memory(self._held)):
                self._remember(data)
        self._next += len(data)

    @property
    def _remembers_all(self) -> bool:
        """Memory has everything that is not stored; beyond a gap it would only run ahead."""
        return self._next == (self._parts[-1].end if self._parts else self._kept)

    def _remember(self, data: bytes) -> None:
        last = self._parts[-1] if self._parts else None
        if last and last.end == self._next and len(last.data) + len(data) <= PIECE_BYTES:
            self._parts[-1] = replace(last, data=last.data + data)
        else:
            self._parts.append(Chunk(self.run, self.stream, self._next, data))
        self._held += len(data)
        self._budget.count(memory=len(data))

    def take(self, most: int) -> Chunk | None:
        """Return the next bytes to send, as far as the grant goes, or None."""
        size = min(most, self.up_to - self._sent, self._next - self._sent)
        if size <= 0 or self.lost:
            return None
        data = self._read(self._sent, size)
        if not data:
            self._lose()
            return None
        chunk = Chunk(self.run, self.stream, self._sent, data)
        self._sent = chunk.end
        return chunk

    def _read(self, at: int, size: int) -> bytes:
        """At most *size* bytes from *at* on, fewer where memory and file meet; b"" is a loss."""
        pieces, end, ahead = [], at + size, at + size
        for part in self._parts:
            if part.offset > at:
                ahead = part.offset
                break
            if part.end > at:
                pieces.append(part.data[at - part.offset : end - part.offset])
                at += len(pieces[-1])
            if at == end:
                break
        if pieces or self._file is None:
            return b"".join(pieces)
        return self._file.read(at, min(end, ahead) - at)

    def _lose(self) -> None:
        """Nothing can follow what is missing: the rest is not kept, and the end tells of it."""
        told = "byte %d of %s of %s is not here any more; what follows it is not kept"
        log.warning(told, self._sent, self.stream, self.run)
        self.drop()
        self.lost = True

    def acknowledge(self, kept: int, up_to: int) -> None:
        """Bytes below *kept* are stored and forgotten here; it may send up to *up_to*."""
        self.up_to = max(self.up_to, up_to)
        self._kept = max(self._kept, min(kept, self._next))
        self._sent = max(self._sent, self._kept)  # what is stored is not sent again
        if self._file is not None:
            self._file.give_back(self._kept, least=1 if self._budget.wanted else GIVE_BACK_BYTES)
        before = self._held
        while self._parts and self._parts[0].end <= self._kept:
            self._held -= len(self._parts.popleft().data)
        if before != self._held:
            self._budget.count(memory=self._held - before)

    def resume(self, offset: int, up_to: int) -> None:
        """Send again from *offset*, up to *up_to*."""
        if offset > self._next and self._cutter is None:
            self._catch_up(offset)
        self.acknowledge(offset, 0)
        self._sent = self._kept = min(offset, self._next)
        self.up_to = up_to

    def _catch_up(self, offset: int) -> None:
        """The controller has more than the host's own end left here: as much was printed."""
        if self.end is not None and not self.end.sha256_kept:
            self._next = offset
            self.end = replace(self.end, total=offset, kept=offset)

    def mute(self) -> None:
        """The connection is gone: nothing may be sent until `resume`."""
        self.up_to = 0

    def drop(self) -> None:
        """Forget everything that is held; nothing of it is sent any more."""
        self._parts.clear()
        self._sent = self._next
        self._budget.count(memory=-self._held)
        self._held = 0
        if self._file is not None:
            self._file.remove()
