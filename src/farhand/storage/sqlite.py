"""How farhand opens SQLite, and what its errors mean to a caller.

Every connection of the product is made here, with the same promises: a commit that returned is on
the disk, unless an operator wants less, and readers and the writer do not wait for each other.
"""

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

from farhand.errors import DataDirUnwritable, FarhandError, StoreUnavailable
from farhand.ports import Durability

_BUSY_S: Final = 5.0

_UNWRITABLE: Final = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
}
_UNWRITABLE_ERRNO: Final = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.ENOENT, errno.ENOTDIR, errno.EFBIG, errno.EISDIR),
}


_SYNCHRONOUS: Final = {Durability.DISK: "FULL", Durability.PROCESS: "NORMAL"}


def connect(path: Path, durability: Durability = Durability.DISK) -> sqlite3.Connection:
    """Open the database at *path*, made with mode 0600 if there is none, for one thread at a time.

    Transactions begin and end where the caller says so. Raises sqlite3.Error and OSError.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode=0o600))
    db = sqlite3.connect(
        path,
        timeout=_BUSY_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA journal_size_limit = 67108864")
    except BaseException:
        db.close()
        raise
    return db


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open a database that is there, to read only."""
    db = connect(path)
    db.execute("PRAGMA query_only = ON")
    return db


def is_environment(exc: Exception) -> bool:
    """Tell whether *exc* is about the disk or the database as a whole, not about one change."""
    if isinstance(exc, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.ProgrammingError):
        return False
    return isinstance(exc, sqlite3.DatabaseError | OSError)


def explained(exc: Exception) -> FarhandError:
    """Return the error a caller is told for *exc*; chain it with `from exc`."""
    match exc:
        case FarhandError():
            return exc
        case sqlite3.Error() if _code(exc) & 0xFF in _UNWRITABLE:
            return DataDirUnwritable(f"the database cannot be written ({exc}); {_LOOK_AT}")
        case OSError(errno=number) if number in _UNWRITABLE_ERRNO:
            return DataDirUnwritable(f"the data directory cannot be written ({exc}); {_LOOK_AT}")
        case _:
            return StoreUnavailable(f"the store cannot be read or written: {exc}")


def _code(exc: sqlite3.Error) -> int:
    return getattr(exc, "sqlite_errorcode", 0)  # errors of the module itself have none


_LOOK_AT: Final = "look at its owner, its mode and the free space"
