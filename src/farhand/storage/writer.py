"""One thread that writes one org's database: all that waits goes into one commit.

Decides no outcome (changes.py does) and no order (lanes.py does); owns the transaction, and tells
nobody anything that is not on the disk.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from threading import Thread
from time import perf_counter

from farhand.domain.ids import RunId
from farhand.ports import Change, Durability, Outcome, StoreCounters
from farhand.storage import statements as sql
from farhand.storage.changes import carry_out
from farhand.storage.files import OutputFiles
from farhand.storage.known import Known
from farhand.storage.lanes import OUTPUT, STATE, Lane, Sorter
from farhand.storage.ledger import SqlLedger
from farhand.storage.sqlite import explained, is_environment


@dataclass(slots=True, eq=False)
class Call:
    """The changes of one `apply`, and what became of them: outcomes, or one error."""

    changes: Sequence[Change]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    error: Exception | None = None

    @property
    def settled(self) -> bool:
        """Nothing of it waits any more."""
        return self.error is not None or len(self.outcomes) == len(self.changes)


@dataclass(frozen=True, slots=True)
class _Place:
    """One change of a call."""

    call: Call
    index: int
    change: Change


class Writer:
    """Carries out calls in the order they are submitted, many to a commit.

    *settle* is called in the writer's thread with the calls that a commit has settled. `close`
    carries out what was submitted before, and then ends the thread.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        files: OutputFiles,
        inline_bytes: int,
        settle: Callable[[Sequence[Call]], None],
    ) -> None:
        self.counters = StoreCounters()  # replaced, never changed: any thread may look
        self._db = db
        self._files = files
        self._inline_bytes = inline_bytes
        self._settle = settle
        self._submitted: SimpleQueue[Call | None] = SimpleQueue()
        self._known = Known()
        self._unlinked: list[str] = []  # runs whose files are gone
        self._closing = False
        self._thread = Thread(target=self._serve, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, call: Call) -> None:
        """Queue *call*. Any thread may."""
        self._submitted.put(call)

    def close(self) -> None:
        """Wait until all is carried out; nothing may be submitted any more."""
        self._submitted.put(None)
        self._thread.join()
        self._files.close()
        self._db.close()

    def _serve(self) -> None:
        with suppress(sqlite3.Error):  # then it is counted by the first who asks
            ((stored,),) = self._db.execute(sql.STORED_BYTES).fetchall()
            self._known.stored_bytes = stored
            self.counters = replace(self.counters, stored_bytes=stored)
        waiting: list[_Place] = []
        while waiting or not self._closing:
            self._take(waiting)
            try:
                waiting = self._commit_lane(STATE, waiting)
                waiting = self._commit_lane(OUTPUT, waiting)
            except Exception as exc:  # noqa: BLE001 the thread must outlive whatever happens to a call
                self._fail(waiting, exc)
                waiting = []

    def _take(self, waiting: list[_Place]) -> None:
        """Add all that was submitted; wait for something when nothing waits."""
        with suppress(Empty):
            while True:
                idle = not waiting and not self._closing
                call = self._submitted.get(block=idle)
                if call is None:
                    self._closing = True
                else:
                    places = enumerate(call.changes)
                    waiting.extend(_Place(call, n, change) for n, change in places)

    def _commit_lane(self, lane: Lane, waiting: list[_Place]) -> list[_Place]:
        if not waiting:
            return waiting
        now, later = Sorter[_Place](lane, self._inline_bytes, self._owners_of).sort(waiting)
        self._commit(now)
        return [place for place in later if place.call.error is None]

    def _owners_of(self, run: RunId) -> Sequence[str]:
        found = self._db.execute(sql.OWNERS_OF_RUN, {"run": run}).fetchall()
        return found[0] if found else ()

    def _commit(self, places: Sequence[_Place]) -> None:
        if not places:
            return
        try:
            self._transact(places)
        except Exception as exc:  # noqa: BLE001 whatever it is, its calls are told
            self._roll_back()
            groups: dict[Call, list[_Place]] = {}
            for place in places:
                groups.setdefault(place.call, []).append(place)
            if len(groups) == 1 or is_environment(exc):
                self._fail(places, exc)
            else:  # one of them is bad: alone, each meets its own fate
                for group in groups.values():
                    self._commit(group)

    def _transact(self, places: Sequence[_Place]) -> None:
        began = perf_counter()
        ledger = SqlLedger(self._db, self._files, self._inline_bytes, self._known)
        self._db.execute("BEGIN IMMEDIATE")
        outcomes = [carry_out(place.change, ledger) for place in places]
        ledger.flush()
        if self._unlinked:
            self._db.executemany(sql.FORGET_DOOMED, [{"run": run} for run in self._unlinked])
        flushing = perf_counter()
        self._files.sync()
        committing = perf_counter()
        self._db.execute("COMMIT")
        ended = perf_counter()
        self._count(len(places), ledger, committing - flushing, ended - committing, ended - began)
        self._known.trim()
        self._unlinked.clear()
        for place, outcome in zip(places, outcomes, strict=True):
            place.call.outcomes[place.index] = outcome
        self._tell(places)
        self._delete_files(ledger.doomed)

    def _count(
        self, changes: int, ledger: SqlLedger, flush_s: float, commit_s: float, whole_s: float
    ) -> None:
        before, disk, stored = self.counters, self._files.disk, self._known.stored_bytes
        commits = before.commits + 1
        logs = commits if disk.durability is Durability.DISK else 0  # one flush for each commit
        self.counters = replace(
            before,
            commits=commits,
            changes=before.changes + changes,
            flushes=logs + disk.flushes,
            commit_s=before.commit_s + commit_s,
            flush_s=before.flush_s + flush_s,
            longest_s=max(before.longest_s, whole_s),
            moved=Counter(before.moved) + ledger.moved if ledger.moved else before.moved,
            kept_bytes=before.kept_bytes + ledger.kept_bytes,
            stored_bytes=before.stored_bytes if stored is None else stored,
        )

    def _delete_files(self, runs: Sequence[str]) -> None:
        """Delete the files of runs that are gone; what cannot be is tried at the next start."""
        for run in runs:
            with suppress(OSError):
                self._files.delete(run)
                self._unlinked.append(run)

    def _fail(self, places: Sequence[_Place], exc: Exception) -> None:
        self.counters = replace(self.counters, failures=self.counters.failures + 1)
        for call in {place.call: None for place in places}:
            call.error = explained(exc)  # one for each: a raised error belongs to its caller
            if call.error is not exc:
                call.error.__cause__ = exc
        self._tell(places)

    def _tell(self, places: Sequence[_Place]) -> None:
        settled = {place.call: None for place in places if place.call.settled}
        if settled:
            self._settle(list(settled))

    def _roll_back(self) -> None:
        self._known.forget()
        with suppress(OSError):
            self._files.abandon()
        with suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
