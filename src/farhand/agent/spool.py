"""Number what a run prints and keep it until the controller has stored it.

Memory only, and bounded: when a stream holds too much that is not stored, its pipe is not read
and the program waits, as at any terminal.
"""

import asyncio
from collections import deque
from dataclasses import replace
from typing import Final

from farhand.domain.ids import RunId
from farhand.domain.limits import AgentLimits
from farhand.domain.output import Chunk, HeadTail, StreamEnd, StreamName

PIECE_BYTES: Final = 4 * 1024  # smaller prints share a piece: each costs as much as 100 bytes


class Budget:
    """The bytes that all spools of an agent hold together."""

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
            while self._waiting:
                waiter = self._waiting.popleft()
                if not waiter.done():
                    waiter.set_result(None)


class Spool:
    """One stream of one run. Offsets count kept bytes."""

    def __init__(self, run: RunId, stream: StreamName, limit: int, budget: Budget) -> None:
        self.run = run
        self.stream = stream
        self.up_to = 0  # the controller's grant
        self.end: StreamEnd | None = None
        self._cutter = HeadTail(limit, budget.limits.tail_bytes)
        self._budget = budget
        self._parts: deque[Chunk] = deque()  # what is not stored yet, in order
        self._held = 0
        self._next = 0  # the next byte's number
        self._sent = 0

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
        while not self._budget.room_for(self._held):
            await self._budget.change()

    def feed(self, data: bytes) -> None:
        """Take bytes that were printed."""
        self._put(self._cutter.feed(data))

    def finish(self) -> StreamEnd:
        """No more will be printed."""
        tail, self.end = self._cutter.finish()
        self._put(tail)
        return self.end

    def _put(self, data: bytes) -> None:
        if not data:
            return
        if self._parts and len(self._parts[-1].data) + len(data) <= PIECE_BYTES:
            last = self._parts[-1]
            self._parts[-1] = replace(last, data=last.data + data)
        else:
            self._parts.append(Chunk(self.run, self.stream, self._next, data))
        self._next += len(data)
        self._held += len(data)
        self._budget.add(len(data))

    def take(self, most: int) -> Chunk | None:
        """Return the next bytes to send, as far as the grant goes, or None."""
        size = min(most, self.up_to - self._sent, self._next - self._sent)
        if size <= 0:
            return None
        parts, at, left = [], self._sent, size
        for part in self._parts:
            if part.end <= at:
                continue
            piece = part.data[at - part.offset : at - part.offset + left]
            parts.append(piece)
            at += len(piece)
            left -= len(piece)
            if not left:
                break
        chunk = Chunk(self.run, self.stream, self._sent, b"".join(parts))
        self._sent = at
        return chunk

    def acknowledge(self, kept: int, up_to: int) -> None:
        """Bytes below *kept* are stored and forgotten here; it may send up to *up_to*."""
        self.up_to = max(self.up_to, up_to)
        self._sent = max(self._sent, min(kept, self._next))  # what is stored is not sent again
        before = self._held
        while self._parts and self._parts[0].end <= kept:
            self._held -= len(self._parts.popleft().data)
        if before != self._held:
            self._budget.add(self._held - before)

    def resume(self, offset: int, up_to: int) -> None:
        """Send again from *offset*, up to *up_to*."""
        self.acknowledge(offset, 0)
        first = self._parts[0].offset if self._parts else self._next
        self._sent = max(first, min(offset, self._next))
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
