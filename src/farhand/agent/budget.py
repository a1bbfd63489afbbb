"""Say how much output an agent may hold: in memory, on disk, and so that nobody starves.

Only counts; holds no bytes and opens no file. Beyond a bound the pipe is not read and the program
waits, as at any terminal.
"""

import asyncio
from collections import deque

from farhand.domain.limits import AgentLimits


class Budget:
    """The bytes that all spools of an agent hold together. One loop's."""

    def __init__(self, limits: AgentLimits) -> None:
        self.limits = limits
        self.memory = 0
        self.disk = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def free_memory(self) -> int:
        """Bytes until every stream has only its reserve in memory."""
        return max(0, self.limits.spool_total_bytes - self.memory)

    @property
    def free_disk(self) -> int:
        """Bytes until every stream has only its reserve on disk."""
        return max(0, self.limits.spool_disk_bytes - self.disk)

    @property
    def wanted(self) -> bool:
        """Somebody waits for room."""
        return bool(self._waiting)

    def room_in_memory(self, held: int) -> bool:
        """Tell whether a stream that holds *held* bytes in memory may take in more."""
        if held < self.limits.spool_reserve_bytes:
            return True
        return held < self.limits.spool_bytes and self.free_memory > 0

    def room_on_disk(self, used: int) -> bool:
        """Tell whether a stream that has *used* bytes of the disk may take in more.

        A stream never has more than it leaves to the others, so that one alone gets half.
        """
        return used < max(self.limits.spool_reserve_bytes, self.free_disk)

    def count(self, *, memory: int = 0, disk: int = 0) -> None:
        """Take so many bytes, or give them back where a number is negative."""
        self.memory += memory
        self.disk += disk
        if memory < 0 or disk < 0:
            self.wake()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

    async def change(self) -> None:
        """Wait until some stream gave bytes back."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter
