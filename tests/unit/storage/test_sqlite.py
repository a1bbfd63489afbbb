import errno
import sqlite3
import stat
from pathlib import Path

import pytest

from farhand.errors import DataDirUnwritable, StoreUnavailable
from farhand.ports import Durability
from farhand.storage.sqlite import connect, connect_reader, explained, is_environment


def pragma(db: sqlite3.Connection, name: str) -> object:
    ((value,),) = db.execute(f"PRAGMA {name}").fetchall()
    return value


def test_a_commit_is_on_the_disk_when_it_returns(tmp_path: Path) -> None:
    db = connect(tmp_path / "a.db")
    promised = {name: pragma(db, name) for name in ("journal_mode", "synchronous", "foreign_keys")}
    db.close()

    assert {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1} == promised


def test_relaxed_the_log_is_flushed_only_before_it_is_folded_back(tmp_path: Path) -> None:
    db = connect(tmp_path / "a.db", Durability.PROCESS)
    promised = {name: pragma(db, name) for name in ("journal_mode", "synchronous", "foreign_keys")}
    db.close()

    assert {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1} == promised


def test_a_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    db = connect(tmp_path / "a.db")
    db.execute("CREATE TABLE t (x)")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    db.close()

    assert {"a.db": 0o600, "a.db-wal": 0o600, "a.db-shm": 0o600} == modes


def test_a_reader_does_not_write(tmp_path: Path) -> None:
    db = connect(tmp_path / "a.db")
    db.execute("CREATE TABLE t (x)")
    reader = connect_reader(tmp_path / "a.db")

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("INSERT INTO t VALUES (1)")
    reader.close()
    db.close()


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    db = connect(tmp_path / "a.db")
    db.execute("CREATE TABLE t (x)")
    db.execute("PRAGMA max_page_count = 3")
    with pytest.raises(sqlite3.Error) as caught:
        db.execute("INSERT INTO t VALUES (zeroblob(100000))")
    db.close()

    assert is_environment(caught.value)
    assert isinstance(explained(caught.value), DataDirUnwritable)


def test_errors_say_whom_they_are_about() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    busy = sqlite3.OperationalError("database is locked")
    bad = sqlite3.IntegrityError("UNIQUE constraint failed")
    own = StoreUnavailable("closed")

    assert isinstance(explained(full), DataDirUnwritable)
    assert isinstance(explained(busy), StoreUnavailable)
    assert isinstance(explained(bad), StoreUnavailable)
    assert explained(own) is own
    assert [True, True, False, False] == [
        is_environment(exc) for exc in (full, busy, bad, ValueError("x"))
    ]
