"""What the third migration makes of a database that was in use."""

from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from farhand.storage.migrations.org import v0001_begin, v0002_fleet, v0003_history
from farhand.storage.sqlite import connect


def test_output_that_is_kept_is_counted_for_each_job(tmp_path: Path) -> None:
    db = connect(tmp_path / "org.db")
    engine = create_engine("sqlite://", creator=lambda: db, poolclass=StaticPool)
    with engine.connect() as connection, Operations.context(MigrationContext.configure(connection)):
        v0001_begin.upgrade()
        v0002_fleet.upgrade()
        for n in (1, 2):
            db.execute(
                "INSERT INTO jobs (id, spec, stdin, targets, caller, created_at, cancel_requested,"
                " counts, open_runs, last_seq)"
                " VALUES (?, '{}', x'', '*', 'me', 1.0, 0, '{}', 0, 1)",
                (f"job_{n}",),
            )
        for kept in (3, 4):
            db.execute(
                "INSERT INTO runs (id, job_n, job_id, agent_id, agent_name, state, message,"
                " cancel_requested, created_at, queue_until, timeout_s, stdout_kept, stderr_kept)"
                " VALUES (?, 1, 'job_1', 'a', 'a', 'failed', '', 0, 1.0, 1.0, 1.0, ?, 10)",
                (f"run_{kept}", kept),
            )
        v0003_history.upgrade()
        connection.commit()
    counted = db.execute("SELECT output_bytes, spared FROM jobs ORDER BY n").fetchall()
    pruned = db.execute("SELECT output_pruned FROM runs").fetchall()
    db.close()

    assert [(27, 0), (0, 0)] == counted
    assert [(0,), (0,)] == pruned
