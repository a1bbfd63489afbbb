"""A transport that lets go of a peer that takes nothing of what was written to it.

Writes as its inner transport does, and cuts that off by its own deadline, whoever wrote: a stream,
a download, an answer, or the last words before a close.
"""

import asyncio
from collections.abc import Callable
from typing import Any


class Watched(asyncio.Transport):
    """A transport whose peer must take a byte every *stuck_s* seconds while some wait for it.

    Looks twice in that time at most, and at nothing while nothing is written. *on_stuck* is called
    before it cuts. Call `over` when the connection is lost.
    """

    def __init__(
        self, inner: asyncio.Transport, stuck_s: float, on_stuck: Callable[[], None]
    ) -> None:
        super().__init__()
        self._inner = inner
        self._stuck_s = stuck_s
        self._on_stuck = on_stuck
        self._written = 0
        self._look: asyncio.TimerHandle | None = None

    @property
    def taken(self) -> int:
        """How many bytes have left this process."""
        return self._written - self._inner.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not data:
            return
        self._written += len(data)
        self._inner.write(data)
        if self._look is None:
            self._watch()

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._look = loop.call_later(self._stuck_s, self._looked, self.taken)

    def _looked(self, taken: int) -> None:
        self._look = None
        if not self._inner.get_write_buffer_size():
            return
        if self.taken > taken:
            self._watch()
            return
        self._on_stuck()
        self._inner.abort()

    def over(self) -> None:
        """The connection is lost: there is nothing to watch."""
        if self._look is not None:
            self._look.cancel()
            self._look = None

    # As the inner transport does.

    def close(self) -> None:
        self._inner.close()

    def abort(self) -> None:
        self._inner.abort()

    def is_closing(self) -> bool:
        return self._inner.is_closing()

    def get_write_buffer_size(self) -> int:
        return self._inner.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._inner.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._inner.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._inner.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._inner.get_protocol()
