"""Watch what waits to be framed: who has room again, and who is stuck for too long.

Holds no bytes and knows no HTTP/2 library; the windows are its Windows.
"""

import enum
from collections.abc import Callable
from math import inf
from typing import Protocol

from farhand.wire.grpc.limits import LinkLimits
from farhand.wire.grpc.stream import Stream


class Stuck(enum.Enum):
    """Whose window holds a queue up."""

    CALL = enum.auto()
    CONNECTION = enum.auto()
    SOCKET = enum.auto()
    """No window is shut: the socket does not take more, which its owner watches."""


class Windows(Protocol):
    """What is queued, and what the peer's windows let through."""

    def queued(self, stream: Stream) -> int:
        """Bytes of one stream that are not framed."""
        ...

    @property
    def queued_bytes(self) -> int:
        """Bytes of all streams that are not framed."""
        ...

    def stuck(self, stream: Stream) -> Stuck:
        """What keeps a stream's bytes where they are."""
        ...


class SendQueues:
    """The streams of one connection that have bytes to be framed."""

    __slots__ = ("_clock", "_limits", "_streams", "_windows", "due")

    def __init__(self, windows: Windows, limits: LinkLimits, clock: Callable[[], float]) -> None:
        self._windows = windows
        self._limits = limits
        self._clock = clock
        self._streams: dict[Stream, None] = {}
        self.due = inf  # when `stalled` has to be asked

    def __bool__(self) -> bool:
        return bool(self._streams)

    def add(self, stream: Stream) -> None:
        """Bytes were queued on a stream."""
        self._streams[stream] = None

    def discard(self, stream: Stream) -> None:
        """A stream is gone."""
        self._streams.pop(stream, None)

    def clear(self) -> None:
        """All streams are gone."""
        self._streams.clear()

    def review(self) -> list[Stream]:
        """After a flush: the streams that were blocked and have room again."""
        if not self._windows.queued_bytes:
            room = [stream for stream in self._streams if stream.blocked]
            for stream in self._streams:
                stream.mark = -1
            self._streams.clear()
            return room
        room = []
        for stream in list(self._streams):
            queued = self._windows.queued(stream)
            if stream.blocked and queued <= self._limits.writable_bytes_per_call:
                room.append(stream)
            if not queued:
                stream.mark = -1
                del self._streams[stream]
            elif stream.mark < 0:
                stream.mark, stream.mark_at = stream.offered - queued, self._clock()
                self.due = min(self.due, stream.mark_at + self._limits.stall_deadline_s)
        return room

    def stalled(self, now: float) -> list[tuple[Stream, Stuck]]:
        """The streams of which nothing was framed for the whole stall deadline."""
        stalled = []
        for stream in self._streams:
            framed = stream.offered - self._windows.queued(stream)
            if framed != stream.mark:
                stream.mark, stream.mark_at = framed, now
            elif now - stream.mark_at >= self._limits.stall_deadline_s:
                stream.mark_at = now
                stalled.append((stream, self._windows.stuck(stream)))
        marks = [stream.mark_at for stream in self._streams]
        self.due = min(marks) + self._limits.stall_deadline_s if marks else inf
        return stalled
