"""A few threads that read one database, each on its own connection.

Write nothing and keep nothing open: each read is over when it returns, so that the log can be
folded back into the database.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from farhand.errors import StoreUnavailable
from farhand.storage.sqlite import connect_reader

T = TypeVar("T")

_THREADS: Final = 3


class Readers:
    """Runs reads off the loop. What waits is bounded by the callers, who wait for it.

    Every connection is opened at once, so that reads go on when descriptors run out. Opening
    blocks, and raises sqlite3.Error and OSError.
    """

    def __init__(self, path: Path) -> None:
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()  # one for each thread
        self._closed = False
        try:
            for _ in range(_THREADS):
                self._idle.put(connect_reader(path))
        except BaseException:
            self._close_connections()
            raise
        self._pool = ThreadPoolExecutor(_THREADS, "store-reader")

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Return what *read* returns; raise StoreUnavailable where the database fails it."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, read)
        except (sqlite3.Error, OSError) as exc:
            raise StoreUnavailable(f"the store cannot be read just now: {exc}") from exc

    def close(self) -> None:
        """Wait for the reads under way, then let go of the database. Blocks."""
        self._closed = True
        self._pool.shutdown()
        self._close_connections()

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._idle.get()
        try:
            return read(connection)
        finally:
            self._idle.put(connection)

    def _close_connections(self) -> None:
        with suppress(Empty):
            while True:
                self._idle.get(block=False).close()
