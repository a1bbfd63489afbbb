"""How much a search reads of a database; tests/contract/ has what it finds."""

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.domain.history import SCANNED, JobFilter
from farhand.domain.job import Argv, JobSpec
from farhand.domain.run import RunState
from farhand.ports import AddJob, RunFilter
from farhand.storage.changes import carry_out
from farhand.storage.files import OutputFiles
from farhand.storage.known import Known
from farhand.storage.ledger import SqlLedger
from farhand.storage.migrations import upgrade
from farhand.storage.rows import outline_of_row
from farhand.storage.search import search_jobs, timed
from farhand.storage.sqlite import connect
from tests.contract.storing import INLINE, agent_id, job, run

JOBS = 10_000
LAST = 1 << 62


def database(directory: Path, jobs: int, *, stdin: bytes = b"") -> sqlite3.Connection:
    db = connect(directory / "org.db")
    upgrade("org", db)
    files = OutputFiles(directory / "output")
    ledger = SqlLedger(db, files, INLINE, Known())
    spec = JobSpec(what=Argv(("systemctl", "restart", "nginx")), stdin=stdin)
    db.execute("BEGIN")
    for n in range(1, jobs + 1):
        made = run(n, job=n, of=n % 10, state=RunState.SUCCEEDED)
        carry_out(AddJob(job=job(n, spec=spec), runs=(made,)), ledger)
    ledger.flush()
    db.execute("COMMIT")
    files.close()
    return db


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """A database of ten thousand jobs."""
    db = database(tmp_path_factory.mktemp("many"), JOBS)
    yield db
    db.close()


@pytest.mark.parametrize(
    "which",
    [
        JobFilter(by="nobody"),
        JobFilter(command="no such command", target="nowhere"),
        JobFilter(agent=agent_id(3), command="no such command"),
        JobFilter(schedule="sch_none"),
    ],
)
def test_a_look_that_finds_nothing_in_ten_thousand_jobs_is_short(
    many: sqlite3.Connection, which: JobFilter
) -> None:
    began = time.perf_counter()
    found, behind = search_jobs(many, which, LAST, 100)
    took = time.perf_counter() - began
    looks = 1
    while behind is not None:
        more, behind = search_jobs(many, which, behind, 100)
        found += more
        looks += 1

    assert [] == found
    assert looks <= JOBS // SCANNED + 1
    assert took < 1.0  # some 10 ms where nothing else runs


def test_a_look_ends_with_its_page(many: sqlite3.Connection) -> None:
    steps: list[str] = []
    many.set_trace_callback(steps.append)
    found, behind = search_jobs(many, JobFilter(by="admin"), LAST, 5)
    many.set_trace_callback(None)

    assert [JOBS - n for n in range(5)] == [int(one.id[4:]) for one in found]
    assert behind is not None
    assert 5 == sum("jobs.spec" in step for step in steps)
    assert not many.in_transaction


def test_what_is_not_asked_for_is_not_read_out_of_its_column() -> None:
    row = ("me", "*", "ls", 1.0, 0, '{"failed": 1}', None, None)

    assert {RunState.FAILED: 1} == outline_of_row(row).counts
    assert {} == outline_of_row(row, counted=False).counts


def test_jobs_with_much_to_read_make_a_look_shorter(tmp_path: Path) -> None:
    db = database(tmp_path, 70, stdin=bytes(1 << 20))
    _, behind = search_jobs(db, JobFilter(by="nobody"), LAST, 100)
    db.close()

    assert behind is not None


def test_runs_of_a_time_are_looked_for_in_a_bounded_part() -> None:
    rows = [(replace(run(n), created_at=float(n)), n) for n in range(SCANNED + 1, 0, -1)]
    found, behind = timed(rows, RunFilter(until=2.0), 10)

    assert ([], 2) == (found, behind)
    assert ([rows[-1][0]], None) == timed(rows[-1:], RunFilter(until=2.0), 10)
