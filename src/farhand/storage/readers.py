"""A few threads that read one database, each on its own connection.

Write nothing and keep nothing open: each read is over when it returns, so that the log can be
folded back into the database.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Final, TypeVar

from farhand.errors import StoreUnavailable
from farhand.storage.sqlite import connect_reader

T = TypeVar("T")

_THREADS: Final = 3


class Readers:
    """Runs reads off the loop. What waits is bounded by the callers, who wait for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(_THREADS, "store-reader")
        self._own = local()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False

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
        for connection in self._connections:
            connection.close()

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = connect_reader(self._path)
            self._connections.append(connection)
        return read(connection)
