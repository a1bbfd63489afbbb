"""The store of one org in SQLite: one thread writes, a few read, large output stands in files.

Holds no rule of its own: changes.py says what a change means, statements.py how it is written.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from farhand.domain.agent import Agent
from farhand.domain.history import ALL_JOBS, SCANNED, JobFilter
from farhand.domain.ids import AgentId, JobId, OrgId, RunId
from farhand.domain.job import Job
from farhand.domain.output import StreamName
from farhand.domain.rollout import Standing, counted
from farhand.domain.run import Run, RunState
from farhand.errors import StoreUnavailable
from farhand.ports import (
    Change,
    D,
    Durability,
    Event,
    Outcome,
    Page,
    Record,
    Repeat,
    RunFilter,
    StoreCounters,
)
from farhand.storage import statements as sql
from farhand.storage.cursors import (
    cursor_of,
    listing_of,
    listing_of_jobs,
    number_of,
    place_of,
)
from farhand.storage.disk import Disk, sync_directory
from farhand.storage.documents import document_of
from farhand.storage.door import Door
from farhand.storage.files import OutputFiles
from farhand.storage.migrations import upgrade
from farhand.storage.readers import Readers
from farhand.storage.rows import Row, Values, agent_of, event_of, job_of, record_of, run_of
from farhand.storage.search import Found, newest_in_states, search_jobs, timed
from farhand.storage.sqlite import connect, explained
from farhand.storage.writer import Call, Writer

T = TypeVar("T")

_FIRST: Final = 0  # below every number
_LAST: Final = 1 << 62  # above every number


class SqlStore:
    """A Store of one org in a directory of its own. Open it with `open_sql_store`."""

    def __init__(
        self, db: sqlite3.Connection, readers: Readers, files: OutputFiles, inline_bytes: int
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._files = files
        self._inline_bytes = inline_bytes
        self._door = Door()
        self._closed = False
        self._readers = readers
        self._writer = Writer(db, files, inline_bytes, self._settle)

    @property
    def counters(self) -> StoreCounters:
        """What the writer has done since the store was opened, and what waits for it."""
        door = self._door
        return replace(
            self._writer.counters,
            queued=door.changes,
            queued_bytes=door.size,
            outside=door.waiting,
        )

    async def close(self) -> None:
        """Carry out what was asked, then let go of the files. Nothing may be asked afterwards."""
        if self._closed:
            return
        self._closed = True
        await self._door.emptied()
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._readers.close)

    def _settle(self, calls: Sequence[Call]) -> None:
        with suppress(RuntimeError):  # the loop is gone, and with it who waited
            self._loop.call_soon_threadsafe(self._door.settled, calls, self._writer.submit)

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if not changes:
            return []
        return await self._door.pass_in(Call(tuple(changes)), self._writer.submit)

    # --- reads

    async def _rows(self, statement: str, values: Values, of: Callable[[Row], T]) -> list[T]:
        def read(db: sqlite3.Connection) -> list[T]:
            return [of(row) for row in db.execute(statement, values).fetchall()]

        return await self._readers.run(read)

    async def _one(self, statement: str, values: Values, of: Callable[[Row], T]) -> T | None:
        found = await self._rows(statement, values, of)
        return found[0] if found else None

    async def _page(
        self, listing: str, statement: str, values: Values, of: Callable[[Row], T]
    ) -> Page[T]:
        """A page of rows whose last column is their place; *values* has the limit."""
        limit = values["limit"]
        wanted = {**values, "limit": limit + 1}
        found = await self._rows(statement, wanted, lambda row: (of(row), row[-1]))
        return _page_of(listing, found, limit)

    async def job(self, job: JobId) -> Job | None:
        return await self._one(sql.JOB, {"job": job}, job_of)

    async def repeat(self, by: str, key: str) -> tuple[Repeat, JobId] | None:
        def told(row: Row) -> tuple[Repeat, JobId]:
            return Repeat(by=by, key=key, digest=row[0], until=row[1]), JobId(row[2])

        return await self._one(sql.REPEAT, {"caller": by, "key": key}, told)

    async def waiting(self, job: JobId) -> int | None:
        return await self._one(sql.WAITING, {"job": job}, lambda row: int(row[0]))

    async def jobs(
        self, which: JobFilter = ALL_JOBS, *, cursor: str | None = None, limit: int = 100
    ) -> Page[Job]:
        listing = listing_of_jobs(which)
        place = _LAST if cursor is None else number_of(listing, cursor)
        if which == ALL_JOBS:
            return await self._page(listing, sql.JOBS, {"place": place, "limit": limit}, job_of)
        found = await self._readers.run(lambda db: search_jobs(db, which, place, limit))
        return _page_behind(listing, found)

    async def run(self, run: RunId) -> Run | None:
        return await self._one(sql.RUN, {"run": run}, run_of)

    async def runs(
        self, which: RunFilter, *, cursor: str | None = None, limit: int = 100
    ) -> Page[Run]:
        listing = listing_of(which)
        first = _LAST if which.job is None else _FIRST
        place = first if cursor is None else number_of(listing, cursor)
        rows = (SCANNED if which.timed else limit) + 1
        values: Values = {"place": place, "agent": which.agent, "limit": rows}
        found = await self._readers.run(lambda db: _runs(db, which, values))
        if which.timed:
            return _page_behind(listing, timed(found, which, limit))
        return _page_of(listing, found, limit)

    async def standings(self, job: JobId) -> Sequence[Standing]:
        found = await self._rows(sql.STANDINGS, {"job": job}, tuple)
        return counted((wave, RunState(state), n, retries) for wave, state, n, retries in found)

    async def agent(self, agent: AgentId) -> Agent | None:
        return await self._one(sql.AGENT, {"agent": agent}, agent_of)

    async def agents(self, *, cursor: str | None = None, limit: int = 100) -> Page[Agent]:
        place = "" if cursor is None else place_of("agents", cursor)
        values = {"place": place, "limit": limit + 1}
        found = await self._rows(sql.AGENTS, values, lambda row: (agent_of(row), row[0]))
        return _page_of("agents", found, limit)

    async def agents_named(self, name: str) -> Sequence[Agent]:
        return await self._rows(sql.AGENTS_NAMED, {"name": name}, agent_of)

    async def events(self, job: JobId, *, after: int = 0, limit: int = 100) -> Sequence[Event]:
        values = {"job": job, "after": after, "limit": limit}
        return await self._rows(sql.EVENTS, values, event_of)

    async def offsets(self, run: RunId) -> Mapping[StreamName, int]:
        found = await self._one(sql.KEPT, {"run": run}, lambda row: row[1:])
        return dict(zip((StreamName.STDOUT, StreamName.STDERR), found or (0, 0), strict=True))

    async def output(self, run: RunId, stream: StreamName, *, offset: int, limit: int) -> bytes:
        return await self._readers.run(lambda db: self._output(db, run, stream, offset, limit))

    def _output(
        self, db: sqlite3.Connection, run: RunId, stream: StreamName, offset: int, limit: int
    ) -> bytes:
        found = db.execute(sql.KEPT, {"run": run}).fetchall()
        if not found:
            return b""
        n, stdout, stderr = found[0]
        kept = stdout if stream is StreamName.STDOUT else stderr
        end = min(kept, offset + limit)
        parts = []
        if offset < min(end, self._inline_bytes):
            values = {"run_n": n, "stream": stream.value, "begin": offset, "end": end}
            for begins, data in db.execute(sql.OUTPUT, values).fetchall():
                parts.append(data[max(0, offset - begins) : end - begins])
        behind = max(offset, self._inline_bytes)
        if behind < end:
            parts.append(self._files.read(run, stream, behind - self._inline_bytes, end - behind))
        return b"".join(parts)

    async def due(self, now: float, *, limit: int = 500) -> Sequence[Run]:
        return await self._rows(sql.DUE, {"now": now, "limit": limit}, run_of)

    async def silent(self, since: float, *, limit: int = 500) -> Sequence[Run]:
        return await self._rows(sql.SILENT, {"since": since, "limit": limit}, run_of)

    async def audit(self, *, cursor: str | None = None, limit: int = 100) -> Page[Record]:
        place = _LAST if cursor is None else number_of("audit", cursor)
        return await self._page("audit", sql.AUDIT, {"place": place, "limit": limit}, record_of)

    async def document(self, kind: type[D], id_: str) -> D | None:
        values = {"kind": kind.KIND, "id": id_}
        return await self._one(sql.DOCUMENT, values, lambda row: document_of(kind, *row[:2]))

    async def documents(
        self, kind: type[D], *, cursor: str | None = None, limit: int = 100
    ) -> Page[D]:
        place = "" if cursor is None else place_of(kind.KIND, cursor)
        values = {"kind": kind.KIND, "place": place, "limit": limit}
        return await self._page(
            kind.KIND, sql.DOCUMENTS, values, lambda row: document_of(kind, *row[:2])
        )

    async def documents_due(self, kind: type[D], now: float, *, limit: int = 100) -> Sequence[D]:
        values = {"kind": kind.KIND, "now": now, "limit": limit}
        return await self._rows(sql.DUE_DOCUMENTS, values, lambda row: document_of(kind, *row[:2]))


def _page_of(listing: str, found: Sequence[tuple[T, object]], limit: int) -> Page[T]:
    """A page of at most *limit* of the *found*, each with its place; one more tells of more."""
    behind = cursor_of(listing, str(found[limit - 1][1])) if len(found) > limit else None
    return Page([item for item, _ in found[:limit]], behind)


def _page_behind(listing: str, found: Found[T]) -> Page[T]:
    items, behind = found
    return Page(items, None if behind is None else cursor_of(listing, str(behind)))


def _runs(db: sqlite3.Connection, which: RunFilter, values: Values) -> list[tuple[Run, int]]:
    """Runs of a list, each with its place."""
    if which.job is not None:
        states = None if which.states is None else json.dumps(sorted(which.states))
        values = {**values, "job": which.job, "states": states, "wave": which.wave}
        return [(run_of(row), row[-1]) for row in db.execute(sql.RUNS_OF_JOB, values).fetchall()]
    if which.agent is None and which.states is None:
        return [(run_of(row), row[-1]) for row in db.execute(sql.RUNS, values).fetchall()]
    statement = sql.RUNS_IN_STATE if which.agent is None else sql.RUNS_OF_AGENT_IN_STATE
    states_wanted = frozenset(RunState) if which.states is None else which.states
    db.execute("BEGIN")  # a run that moves meanwhile is seen once
    try:
        rows = list(newest_in_states(db, statement, values, states_wanted))
    finally:
        db.execute("COMMIT")
    return [(run_of(row), row[-1]) for row in rows]


async def open_sql_store(
    directory: Path, org: OrgId, inline_bytes: int, durability: Durability = Durability.DISK
) -> SqlStore:
    """Open the store of *org* in *directory*, made and upgraded where needed.

    *inline_bytes* of each stream stand in the database; it counts when the database is made.
    Raises StoreUnavailable (another org's, or a newer version's), DataDirUnwritable.
    """
    path = directory / "org.db"

    def opened() -> tuple[sqlite3.Connection, Readers, OutputFiles, int]:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        db = connect(path, durability)
        try:
            upgrade("org", db)
            boundary = _claim(db, org, inline_bytes)
            files = OutputFiles(directory / "output", Disk(durability))
            for made in (directory, directory.parent, directory.parent.parent):
                sync_directory(made)
            _delete_doomed(db, files)
            return db, Readers(path), files, boundary
        except BaseException:
            db.close()
            raise

    try:
        db, readers, files, boundary = await asyncio.to_thread(opened)
    except (sqlite3.Error, OSError) as exc:
        raise explained(exc) from exc
    return SqlStore(db, readers, files, boundary)


def _claim(db: sqlite3.Connection, org: OrgId, inline_bytes: int) -> int:
    """Write down whose database this is, once; return its boundary between rows and files."""
    db.execute("BEGIN IMMEDIATE")
    found = dict(db.execute(sql.META).fetchall())
    if not found:
        found = {"org": org, "inline_bytes": str(inline_bytes)}
        rows = [{"key": key, "value": value} for key, value in found.items()]
        db.executemany(sql.ADD_META, rows)
    db.execute("COMMIT")
    if found["org"] != org:
        raise StoreUnavailable(
            f"the database is the one of {found['org']}, not of {org}; put it back in its place"
        )
    return int(found["inline_bytes"])


def _delete_doomed(db: sqlite3.Connection, files: OutputFiles) -> None:
    """Delete the files of runs whose deletion was committed, and not finished."""
    for (run,) in db.execute(sql.ALL_DOOMED).fetchall():
        with suppress(OSError):  # it is tried again at the next start
            files.delete(run)
            db.execute(sql.FORGET_DOOMED, {"run": run})
