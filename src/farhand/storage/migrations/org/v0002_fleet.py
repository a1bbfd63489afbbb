"""Documents; jobs that roll, that repeat another or that a schedule made; waves and retries."""

import json
import shlex

import sqlalchemy as sa
from alembic import op

revision = "org_0002"
down_revision = "org_0001"


def upgrade() -> None:
    """Add the columns and the table; write down what older jobs ran, for searching."""
    op.create_table(
        "documents",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id"),
        sqlite_with_rowid=False,
    )
    due = sa.text("due_at IS NOT NULL")
    op.create_index("ix_documents_due", "documents", ["kind", "due_at"], sqlite_where=due)
    op.add_column("runs", sa.Column("wave", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("retry_of", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("rolling", sa.Boolean(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("rerun_of", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("schedule", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("what", sa.Text(), nullable=True))
    made = sa.text("schedule IS NOT NULL")
    op.create_index("ix_jobs_schedule", "jobs", ["schedule", "n"], sqlite_where=made)
    _write_what()


def _write_what() -> None:
    """The text of the command, of jobs that are there: it stands inside their JSON."""
    db = op.get_bind()
    for n, spec in db.execute(sa.text("SELECT n, spec FROM jobs")).fetchall():
        match json.loads(spec)["what"]:
            case {"argv": argv}:
                what = shlex.join(argv)
            case {"script": text}:
                what = text
            case {"command": ident, "params": params}:
                what = " ".join([ident, *(f"{name}={value}" for name, value in params.items())])
            case _:
                continue
        db.execute(sa.text("UPDATE jobs SET what = :what WHERE n = :n"), {"what": what, "n": n})
