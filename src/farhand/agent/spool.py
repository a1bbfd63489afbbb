"""Number what a run prints and keep it until the controller has stored it.

Every byte is on disk as soon as it was read, where the disk takes it; memory holds the newest ones
again, so that few are read back. Both are bounded: when neither has room for a stream, its pipe is
not read and the program waits, as at any terminal.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Self

from farhand.agent.spoolfile import SpoolFile
from farhand.domain.ids import RunId
from farhand.domain.limits import AgentLimits
from farhand.domain.output import Chunk, HeadTail, StreamEnd, StreamName

PIECE_BYTES: Final = 4 * 1024  # smaller prints share a piece: each costs as much as 100 bytes


class Budget:
    """The bytes that all spools of an agent hold in memory."""

    def __init__(self, limits: AgentLimits) -> None:
        self.limits = limits
        self.used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def free(self) -> int:
        """Bytes until every stream has only its reserve."""
        return max(0, self.limits.spool_total_bytes - self.used)

    def room_for(self, held: int) -> bool:
        """Tell whether a stream that holds *held* bytes may read on."""
        if held < self.limits.spool_reserve_bytes:
            return True
        return held < self.limits.spool_bytes and self.free > 0

    async def change(self) -> None:
        """Wait until some stream gave bytes back."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def add(self, size: int) -> None:
        """Take *size* bytes, or give them back when it is negative."""
        self.used += size
        if size < 0:
            self.wake()

    def wake(self) -> None:
        """Bytes were given back, here or on disk: let those that wait look."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)


class Spool:
    """One stream of one run. Offsets count kept bytes."""

    def __init__(
        self, run: RunId, stream: StreamName, limit: int, budget: Budget, file: SpoolFile
    ) -> None:
        self.run = run
        self.stream = stream
        self.up_to = 0  # the controller's grant
        self.end: StreamEnd | None = None
        self._cutter: HeadTail | None = HeadTail(limit, budget.limits.tail_bytes)
        self._budget = budget
        self._file = file
        self._parts: deque[Chunk] = deque()  # in order; what lies between them is on disk
        self._held = 0  # in memory
        self._next = 0  # the next byte's number
        self._sent = 0

    @classmethod
    def recovered(
        cls, run: RunId, stream: StreamName, end: StreamEnd | None, budget: Budget, file: SpoolFile
    ) -> Self:
        """The stream of a run that an earlier process of this agent had, as far as *file* goes.

        Without an *end* the run was interrupted: `finish` tells what was read, without digests.
        """
        spool = cls(run, stream, 0, budget, file)
        spool._cutter = None
        spool._next = spool._sent = file.end
        spool.end = end
        return spool

    @property
    def next_offset(self) -> int:
        """How many bytes were numbered."""
        return self._next

    @property
    def told(self) -> bool:
        """The stream has ended and all of it was sent on this connection."""
        return self.end is not None and self._sent == self._next

    async def room(self) -> None:
        """Wait until another chunk may be read from the pipe."""
        while not (self._budget.room_for(self._held) or self._file.has_room):
            await self._budget.change()

    def feed(self, data: bytes) -> None:
        """Take bytes that were printed."""
        if self._cutter is not None:
            self._put(self._cutter.feed(data))

    def finish(self) -> StreamEnd:
        """No more will be printed."""
        if self._cutter is None:
            self.end = StreamEnd(total=self._next, kept=self._next)
        else:
            tail, self.end = self._cutter.finish()
            self._put(tail)
        self._file.rest()
        return self.end

    def _put(self, data: bytes) -> None:
        if not data:
            return
        on_disk = self._file.write(self._next, data)
        if not on_disk or self._budget.room_for(self._held):
            self._remember(data)
        self._next += len(data)

    def _remember(self, data: bytes) -> None:
        last = self._parts[-1] if self._parts else None
        if last and last.end == self._next and len(last.data) + len(data) <= PIECE_BYTES:
            self._parts[-1] = replace(last, data=last.data + data)
        else:
            self._parts.append(Chunk(self.run, self.stream, self._next, data))
        self._held += len(data)
        self._budget.add(len(data))

    def take(self, most: int) -> Chunk | None:
        """Return the next bytes to send, as far as the grant goes, or None."""
        size = min(most, self.up_to - self._sent, self._next - self._sent)
        if size <= 0:
            return None
        data = b"".join(self._pieces(self._sent, size))
        if not data:  # the disk does not give them back: the end will say that they are missing
            self._sent = next((p.offset for p in self._parts if p.offset > self._sent), self._next)
            return self.take(most)
        chunk = Chunk(self.run, self.stream, self._sent, data)
        self._sent = chunk.end
        return chunk

    def _pieces(self, at: int, size: int) -> Iterator[bytes]:
        """The bytes from *at*: from memory where they are there, else from disk."""
        until = at + size
        for part in self._parts:
            if part.end <= at:
                continue
            if at < (gap := min(part.offset, until)):
                yield (read := self._file.read(at, gap - at))
                at += len(read)
            if at < part.offset or at >= until:
                return  # nothing may be left out in between
            yield (piece := part.data[at - part.offset : until - part.offset])
            at += len(piece)
        if at < until:
            yield self._file.read(at, until - at)

    def acknowledge(self, kept: int, up_to: int) -> None:
        """Bytes below *kept* are stored and forgotten here; it may send up to *up_to*."""
        self.up_to = max(self.up_to, up_to)
        self._sent = max(self._sent, min(kept, self._next))  # what is stored is not sent again
        before = self._held
        while self._parts and self._parts[0].end <= kept:
            self._held -= len(self._parts.popleft().data)
        if before != self._held:
            self._budget.add(self._held - before)
        if self._file.give_back(kept):
            self._budget.wake()

    def resume(self, offset: int, up_to: int) -> None:
        """Send again from *offset*, up to *up_to*; what is not here any more is left out."""
        if self._cutter is None and offset > self._next:  # stored, though not on disk here
            self._next = offset
            if self.end is not None and not self.end.sha256_kept:
                self.end = StreamEnd(total=offset, kept=offset)
        self.acknowledge(offset, 0)
        self._sent = min(offset, self._next)
        self.up_to = up_to

    def mute(self) -> None:
        """The connection is gone: nothing may be sent until `resume`."""
        self.up_to = 0

    def drop(self) -> None:
        """Forget everything that is held; nothing of it is sent any more."""
        self._parts.clear()
        self._sent = self._next
        self._budget.add(-self._held)
        self._held = 0
        self._file.remove()
        self._budget.wake()
