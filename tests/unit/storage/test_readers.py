import asyncio
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farhand.errors import StoreUnavailable
from farhand.storage.readers import Readers
from farhand.storage.sqlite import connect


@pytest.fixture
async def readers(tmp_path: Path) -> AsyncIterator[Readers]:
    db = connect(tmp_path / "a.db")
    db.execute("CREATE TABLE t (x)")
    db.execute("INSERT INTO t VALUES (7)")
    readers = Readers(tmp_path / "a.db")
    yield readers
    readers.close()
    db.close()


def first(db: sqlite3.Connection) -> object:
    return db.execute("SELECT x FROM t").fetchall()[0][0]


async def test_a_read_runs_beside_the_loop(readers: Readers) -> None:
    seen = await asyncio.gather(*(readers.run(first) for _ in range(50)))
    thread = await readers.run(lambda _: threading.current_thread())

    assert [7] * 50 == seen
    assert threading.current_thread() is not thread


async def test_a_read_needs_no_descriptor_that_was_not_there_before(readers: Readers) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await asyncio.gather(*(readers.run(lambda _: None) for _ in range(3)))  # the threads are there
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        seen = await asyncio.gather(*(readers.run(first) for _ in range(9)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert [7] * 9 == seen


async def test_a_database_that_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Readers(tmp_path / "none" / "a.db")


async def test_a_database_that_fails_is_unavailable(readers: Readers) -> None:
    with pytest.raises(StoreUnavailable, match="no such table"):
        await readers.run(lambda db: db.execute("SELECT * FROM none").fetchall())


async def test_after_the_close_there_is_nothing_to_read(readers: Readers) -> None:
    await readers.run(first)
    readers.close()

    with pytest.raises(StoreUnavailable):
        await readers.run(first)
