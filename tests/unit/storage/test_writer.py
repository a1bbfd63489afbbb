import errno
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from farhand.domain.run import RunState
from farhand.errors import DataDirUnwritable, StoreUnavailable
from farhand.ports import Added, Change, Kept, Moved, StoreCounters
from farhand.storage.files import OutputFiles
from farhand.storage.migrations import upgrade
from farhand.storage.sqlite import connect
from farhand.storage.writer import Call, Writer
from tests.contract.storing import INLINE, OUT, add, append, move, run, run_id


class Files(OutputFiles):
    """Files on a disk that can break."""

    broken = False

    def sync(self) -> None:
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        super().sync()


class Desk:
    """A writer that can be held after a commit, so that calls gather before the next."""

    def __init__(self, directory: Path) -> None:
        self.db = connect(directory / "org.db")
        upgrade("org", self.db)
        self.files = Files(directory / "output")
        self.settled: list[Call] = []
        self._more = threading.Condition()
        self._gate = threading.Event()
        self._gate.set()
        self.writer = Writer(self.db, self.files, INLINE, self._settle)

    def _settle(self, calls: Sequence[Call]) -> None:
        with self._more:
            self.settled.extend(calls)
            self._more.notify_all()
        self._gate.wait(10)

    def ask(self, *changes: Change) -> Call:
        """Carry out one call, alone."""
        call = Call(changes)
        self.writer.submit(call)
        self.wait(call)
        return call

    def ask_together(self, *asked: Sequence[Change]) -> list[Call]:
        """Carry out calls that all wait when the writer looks."""
        self._gate.clear()
        self.writer.submit(first := Call([append(b"", n=999)]))
        self.wait(first)  # and now the writer stands before the gate
        calls = [Call(changes) for changes in asked]
        for call in calls:
            self.writer.submit(call)
        self._gate.set()
        for call in calls:
            self.wait(call)
        return calls

    def wait(self, call: Call) -> None:
        with self._more:
            assert self._more.wait_for(lambda: call in self.settled, 10)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.writer.close()


def test_calls_that_wait_together_are_one_commit(desk: Desk) -> None:
    desk.ask(add(1, *(run(n) for n in range(100))))
    before = desk.writer.counters.commits
    calls = desk.ask_together(*([move(n, RunState.SENT)] for n in range(100)))

    assert all(isinstance(call.outcomes[0], Moved) for call in calls)
    assert 2 == desk.writer.counters.commits - before  # the one at the gate, and one for all


def test_commits_and_flushes_are_counted(desk: Desk) -> None:
    before = desk.writer.counters
    desk.ask(add())
    state = desk.writer.counters
    desk.ask(append(bytes(2 * INLINE)))
    output = desk.writer.counters

    assert (1, 1, 1) == _counted(before, state)
    assert (1, 1, 4) == _counted(state, output)  # the log, the file and two directories
    assert 0 < state.commit_s <= output.commit_s
    assert state.flush_s < output.flush_s
    assert 0 < output.longest_s


def _counted(before: StoreCounters, after: StoreCounters) -> tuple[int, int, int]:
    return (
        after.commits - before.commits,
        after.changes - before.changes,
        after.flushes - before.flushes,
    )


def test_a_bad_call_meets_its_fate_alone(desk: Desk) -> None:
    good, bad, other = desk.ask_together(
        [add(1, run(1))], [add(2, run(1, job=2))], [add(3, run(3, job=3))]
    )

    assert [{0: Added()}, {0: Added()}] == [good.outcomes, other.outcomes]
    assert isinstance(bad.error, StoreUnavailable)
    assert isinstance(bad.error.__cause__, sqlite3.IntegrityError)
    assert 1 == desk.writer.counters.failures


def test_a_full_disk_fails_all_and_keeps_nothing(desk: Desk) -> None:
    desk.ask(add(1, run(1), run(2)))
    ((pages,),) = desk.db.execute("PRAGMA page_count").fetchall()
    desk.db.execute(f"PRAGMA max_page_count = {pages}")
    calls = desk.ask_together(
        [move(1, RunState.SENT)],
        [append(bytes(INLINE), n=2)],
        [add(n, *(run(100 * n + k, job=n) for k in range(50))) for n in range(2, 9)],
    )
    desk.db.execute("PRAGMA max_page_count = 1000000")
    again = desk.ask(move(1, RunState.SENT), append(bytes(INLINE), n=2))

    assert [DataDirUnwritable] * 3 == [type(call.error) for call in calls]
    assert isinstance(again.outcomes[0], Moved)
    assert Kept(INLINE) == again.outcomes[1]


def test_a_call_larger_than_a_commit_takes_several(desk: Desk) -> None:
    desk.ask(add())
    before = desk.writer.counters.commits
    size = 400_000
    call = desk.ask(*(append(bytes(size), offset=n * size) for n in range(10)))

    assert {n: Kept((n + 1) * size) for n in range(10)} == call.outcomes
    assert 5 == desk.writer.counters.commits - before
    assert size == len(desk.files.read(run_id(), OUT, 9 * size - INLINE, size))


def test_the_rest_of_a_call_that_failed_is_not_carried_out(desk: Desk, tmp_path: Path) -> None:
    desk.ask(add())
    (tmp_path / "output").rmdir()
    size = 400_000
    call = desk.ask(*(append(bytes(size), offset=n * size) for n in range(10)))
    (tmp_path / "output").mkdir()

    assert isinstance(call.error, DataDirUnwritable)
    assert 1 == desk.writer.counters.failures
    assert {0: Kept(1)} == desk.ask(append(b"x")).outcomes


def test_a_flush_that_failed_is_no_commit(desk: Desk) -> None:
    desk.ask(add())
    desk.files.broken = True
    call = desk.ask(append(bytes(2 * INLINE)))
    desk.files.broken = False
    again = desk.ask(append(b"x" * 2 * INLINE))

    assert isinstance(call.error, DataDirUnwritable)
    assert {0: Kept(2 * INLINE)} == again.outcomes
    assert b"x" * INLINE == desk.files.read(run_id(), OUT, 0, INLINE)
