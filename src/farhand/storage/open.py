"""The way into the store: a data directory that one process holds, or memory.

```
DIR/lock                              held while a process uses DIR
DIR/control.db                        orgs and credentials
DIR/orgs/ORG/org.db                   jobs, runs, agents, small output
DIR/orgs/ORG/output/XX/RUN.STREAM     large output
```
Reads no configuration and starts nothing but the threads of what is open.
"""

import asyncio
import fcntl
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from farhand.domain.ids import OrgId
from farhand.domain.limits import DEFAULTS
from farhand.errors import DataDirInUse, DataDirUnwritable, StoreUnavailable
from farhand.ports import Control, Durability, Store, StoreCounters
from farhand.storage.control import open_sql_control
from farhand.storage.disk import sync_directory
from farhand.storage.memory import MemoryControl, MemoryStore
from farhand.storage.sql import SqlStore, open_sql_store

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")  # what an org's id may be as a directory


class Storage(Protocol):
    """The control database and the stores of all orgs, while they are open."""

    @property
    def control(self) -> Control: ...

    async def store(self, org: OrgId) -> Store:
        """The store of *org*, opened when first asked for; the same one each time."""
        ...

    def counters(self) -> Mapping[OrgId, StoreCounters]:
        """What each open store has done; nothing where nothing is counted."""
        ...


class MemoryStorage:
    """A Storage that keeps nothing when its process ends."""

    def __init__(self) -> None:
        self.control: Control = MemoryControl()
        self._stores: dict[OrgId, MemoryStore] = {}

    async def store(self, org: OrgId) -> Store:
        return self._stores.setdefault(org, MemoryStore())

    def counters(self) -> Mapping[OrgId, StoreCounters]:
        return {}


class DirectoryStorage:
    """A Storage below one directory, which this process holds alone."""

    def __init__(
        self, directory: Path, control: Control, inline_bytes: int, durability: Durability
    ) -> None:
        self.control = control
        self._directory = directory
        self._inline_bytes = inline_bytes
        self._durability = durability
        self._stores: dict[OrgId, SqlStore] = {}
        self._opening = asyncio.Lock()

    async def store(self, org: OrgId) -> SqlStore:
        if org in self._stores:
            return self._stores[org]
        if _TOKEN.fullmatch(org) is None:
            raise StoreUnavailable(f"{org!r} cannot be the id of an org")
        async with self._opening:
            if org not in self._stores:
                home = self._directory / "orgs" / org
                self._stores[org] = await open_sql_store(
                    home, org, self._inline_bytes, self._durability
                )
            return self._stores[org]

    def counters(self) -> Mapping[OrgId, StoreCounters]:
        return {org: store.counters for org, store in self._stores.items()}

    async def close(self) -> None:
        for store in self._stores.values():
            await store.close()


@asynccontextmanager
async def open_storage(
    directory: Path,
    *,
    inline_bytes: int = DEFAULTS.inline_bytes,
    durability: Durability = Durability.DISK,
) -> AsyncIterator[DirectoryStorage]:
    """Open what is kept in *directory*, made where needed: directories 0700, files 0600.

    *inline_bytes* of each output stream stand in the database, the rest in files; it counts for
    databases that are new. *durability* is of the orgs' data; who may speak is always flushed.
    Raises DataDirInUse, DataDirUnwritable, StoreUnavailable.
    """
    with _held(directory):
        async with AsyncExitStack() as stack:
            control = await open_sql_control(directory / "control.db")
            stack.push_async_callback(control.close)
            storage = DirectoryStorage(directory, control, inline_bytes, durability)
            stack.push_async_callback(storage.close)
            yield storage


@asynccontextmanager
async def open_memory() -> AsyncIterator[MemoryStorage]:
    """Open a storage that is gone when it is closed."""
    yield MemoryStorage()


@contextmanager
def _held(directory: Path) -> Iterator[None]:
    """Keep every other process out of *directory*; the system lets go of it if this one dies."""
    try:
        if not directory.exists():
            directory.mkdir(mode=0o700, parents=True)
            with suppress(PermissionError):  # what holds it may be written and not read
                sync_directory(directory.parent)
        (directory / "orgs").mkdir(mode=0o700, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode=0o600)
    except OSError as exc:
        raise DataDirUnwritable(
            f"{directory} cannot be used as a data directory: {exc.strerror}; "
            "choose another, or look at its owner, its mode and the free space"
        ) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(lock)
        raise DataDirInUse(
            f"another process uses {directory}; stop it or choose another directory"
        ) from exc
    try:
        yield
    finally:
        os.close(lock)
