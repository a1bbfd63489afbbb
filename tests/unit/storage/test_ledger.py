import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.domain.agent import Liveness
from farhand.domain.run import RunState
from farhand.ports import Change, EditAgent, SetLiveness
from farhand.storage.changes import carry_out
from farhand.storage.files import OutputFiles
from farhand.storage.known import Known
from farhand.storage.ledger import SqlLedger
from farhand.storage.migrations import upgrade
from farhand.storage.sqlite import connect
from tests.contract.storing import INLINE, add, agent_id, append, join, move, run


class Books:
    """A database, its files, and the statements that one transaction took."""

    def __init__(self, directory: Path) -> None:
        self.db = connect(directory / "org.db")
        upgrade("org", self.db)
        self.files = OutputFiles(directory / "output")
        self.statements: list[str] = []

    def write(self, *changes: Change) -> SqlLedger:
        ledger = SqlLedger(self.db, self.files, INLINE, Known())
        self.statements.clear()
        self.db.set_trace_callback(self.statements.append)
        self.db.execute("BEGIN")
        for change in changes:
            carry_out(change, ledger)
        ledger.flush()
        self.db.execute("COMMIT")
        self.db.set_trace_callback(None)
        return ledger

    def count(self, beginning: str) -> int:
        return sum(statement.startswith(beginning) for statement in self.statements)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.db.execute(query).fetchall()


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    books = Books(tmp_path)
    yield books
    books.files.close()
    books.db.close()


def test_a_run_is_looked_up_and_written_once_a_transaction(books: Books) -> None:
    books.write(*join(), add())
    books.write(
        move(1, RunState.SENT),
        move(1, RunState.RUNNING, epoch=1),
        append(b"a", epoch=1),
        append(b"b", offset=1, epoch=1),
        move(1, RunState.FAILED, epoch=1),
    )
    counted = {
        beginning: books.count(beginning)
        for beginning in ("SELECT runs", "SELECT agents", "SELECT jobs", "UPDATE", "INSERT")
    }

    assert counted == {
        "SELECT runs": 1,
        "SELECT agents": 1,
        "SELECT jobs": 1,
        "UPDATE": 2,  # the run and its job
        "INSERT": 7,  # six events, and one row for both pieces of output
    }
    assert [(0, b"ab")] == books.rows("SELECT offset, data FROM output")


def test_only_the_beginning_of_a_stream_is_rows(books: Books) -> None:
    books.write(add(), append(b"x" * (INLINE - 1)), append(b"y" * 10, offset=INLINE - 1))
    books.write(append(b"z", offset=INLINE + 9))
    ((stored,),) = books.rows("SELECT stdout_kept FROM runs")

    assert INLINE + 10 == stored
    assert [(INLINE,)] == books.rows("SELECT sum(length(data)) FROM output")
    assert b"y" * 9 + b"z" == books.files.read(run().id, append(b"").chunk.stream, 0, 99)


def test_a_job_is_counted_without_a_look_at_its_runs(books: Books) -> None:
    books.write(add(1, *(run(n) for n in range(1, 101))))
    books.write(move(1, RunState.SENT), move(2, RunState.SENT))

    assert [(100, 2)] == books.rows("SELECT open_runs, last_seq FROM jobs")
    assert 1 == books.count("UPDATE jobs")


def test_a_change_that_meets_a_rule_of_the_database_raises(books: Books) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        books.write(add(1, run(1)), add(2, run(1, job=2)))
    books.db.execute("ROLLBACK")


def test_an_agent_that_is_only_seen_is_not_read_and_written_whole(books: Books) -> None:
    books.write(*join())
    seen = SetLiveness(agent=agent_id(), epoch=1, liveness=Liveness.SUSPECT, at=900.0)
    books.write(seen, replace(seen, at=800.0))
    counted = {verb: books.count(verb) for verb in ("SELECT agents.id", "UPDATE", "INSERT")}

    assert {"SELECT agents.id": 0, "UPDATE": 2, "INSERT": 0} == counted
    assert [("suspect", 900.0)] == books.rows("SELECT liveness, last_seen_at FROM agents")


def test_an_agent_is_looked_at_as_it_was_seen_in_the_same_transaction(books: Books) -> None:
    books.write(*join())
    seen = SetLiveness(agent=agent_id(), epoch=1, liveness=Liveness.SUSPECT, at=900.0)
    edit = EditAgent(agent=agent_id(), drained=True)
    books.write(seen, edit, replace(seen, liveness=Liveness.OFFLINE, at=950.0))

    assert [("offline", 950.0, 1)] == books.rows(
        "SELECT liveness, last_seen_at, drained FROM agents"
    )
