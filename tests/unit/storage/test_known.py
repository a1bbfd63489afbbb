from pathlib import Path

import pytest

from farhand.domain.ids import RunId
from farhand.domain.run import RunState
from farhand.ports import Change
from farhand.storage import known
from farhand.storage.changes import carry_out
from farhand.storage.files import OutputFiles
from farhand.storage.known import Known
from farhand.storage.ledger import SqlLedger
from farhand.storage.migrations import upgrade
from farhand.storage.sqlite import connect
from tests.contract.storing import INLINE, add, join, move, run


class Books:
    """One writer's transactions, with what it knows from one to the next."""

    def __init__(self, directory: Path) -> None:
        self.known = Known()
        self.db = connect(directory / "org.db")
        upgrade("org", self.db)
        self._files = OutputFiles(directory / "output")

    def write(self, *changes: Change) -> list[str]:
        """Return what was read for it."""
        ledger = SqlLedger(self.db, self._files, INLINE, self.known)
        statements: list[str] = []
        self.db.set_trace_callback(statements.append)
        self.db.execute("BEGIN")
        for change in changes:
            carry_out(change, ledger)
        ledger.flush()
        self.db.execute("COMMIT")
        self.db.set_trace_callback(None)
        self.known.trim()
        return [statement for statement in statements if statement.startswith("SELECT")]

    def close(self) -> None:
        self._files.close()
        self.db.close()


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def test_a_run_is_not_read_again_until_it_is_at_its_end(books: Books) -> None:
    books.write(*join(), add())
    sent = books.write(move(1, RunState.SENT))
    running = books.write(move(1, RunState.RUNNING, epoch=1))
    again = books.write(move(1, RunState.FAILED, epoch=1))
    at_rest = dict(books.known.runs)
    late = books.write(move(1, RunState.SUCCEEDED, epoch=1))
    books.close()

    assert [] == sent
    assert [] == running
    assert [] == again
    assert {} == at_rest
    assert {} == books.known.runs
    assert {} == books.known.jobs
    assert 1 == sum("FROM runs" in statement for statement in late)


def test_what_was_forgotten_is_read_as_it_stands(books: Books) -> None:
    books.write(*join(), add())
    ledger = SqlLedger(books.db, OutputFiles(Path("unused")), INLINE, books.known)
    books.db.execute("BEGIN")
    carry_out(move(1, RunState.SENT), ledger)
    books.db.execute("ROLLBACK")
    books.known.forget()
    fresh = SqlLedger(books.db, OutputFiles(Path("unused")), INLINE, books.known)
    found = fresh.run(run(1).id)
    books.close()

    assert found is not None
    assert RunState.QUEUED is found.state


def test_what_is_known_is_bounded(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "RUNS", 2)
    books.write(*join(), add(1, run(1), run(2), run(3)))
    kept: list[RunId] = list(books.known.runs)
    books.close()

    assert [run(2).id, run(3).id] == kept
