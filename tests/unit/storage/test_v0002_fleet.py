"""What the second migration makes of a database that was in use."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from farhand.storage import migrations
from farhand.storage.migrations import HEADS, upgrade
from farhand.storage.rows import JOB_COLUMNS, job_of
from farhand.storage.sqlite import connect

WHATS: list[tuple[dict[str, Any], str]] = [
    ({"argv": ["ls", "a b"]}, "ls 'a b'"),
    ({"script": "echo 1\n"}, "echo 1\n"),
    ({"command": "ping", "params": {"host": "a"}}, "ping host=a"),
]


@pytest.fixture
def older(tmp_path: Path) -> sqlite3.Connection:
    """A database of the first version, with a job of each kind."""
    db = connect(tmp_path / "org.db")
    folder = tmp_path / "org"
    folder.mkdir()
    first = Path(migrations.__file__).parent / "org" / "v0001_begin.py"
    shutil.copy(first, folder / "v0001_begin.py")
    _run(db, folder / "v0001_begin.py")
    for n, (what, _) in enumerate(WHATS):
        spec = json.dumps({"what": what, "queue_ttl_s": 5.0})
        db.execute(
            "INSERT INTO jobs (id, spec, stdin, targets, caller, created_at, cancel_requested,"
            " counts, open_runs, last_seq) VALUES (?, ?, x'', '*', 'me', 1.0, 0, '{}', 0, 1)",
            (f"job_{n}", spec),
        )
    return db


def _run(db: sqlite3.Connection, migration: Path) -> None:
    steps: dict[str, Any] = {}
    exec(compile(migration.read_text(), migration, "exec"), steps)
    engine = create_engine("sqlite://", creator=lambda: db, poolclass=StaticPool)
    with engine.connect() as connection:
        with Operations.context(MigrationContext.configure(connection)):
            steps["upgrade"]()
        connection.commit()
    db.execute("CREATE TABLE alembic_version (version_num TEXT NOT NULL)")
    db.execute("INSERT INTO alembic_version VALUES ('org_0001')")


def test_jobs_of_the_first_version_are_there_and_can_be_searched(
    older: sqlite3.Connection,
) -> None:
    upgrade("org", older)
    (version,) = older.execute("SELECT version_num FROM alembic_version").fetchone()
    jobs = [
        job_of(row)
        for row in older.execute(f"SELECT {', '.join(JOB_COLUMNS)} FROM jobs ORDER BY n")
    ]
    what = [text for (text,) in older.execute("SELECT what FROM jobs ORDER BY n")]
    older.close()

    assert HEADS["org"] == version
    assert [False] * 3 == [job.rolling for job in jobs]
    assert [None] * 3 == [job.schedule for job in jobs]
    assert [text for _, text in WHATS] == what
