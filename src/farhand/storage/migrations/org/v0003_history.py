"""How much output each job keeps, and which runs have lost theirs to its retention."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "org_0003"
down_revision = "org_0002"


def upgrade() -> None:
    """Add the columns, and count what is kept already."""
    op.add_column("runs", _number("output_pruned", sa.Boolean()))
    op.add_column("jobs", _number("output_bytes", sa.BigInteger()))
    op.add_column("jobs", _number("spared", sa.Boolean()))
    op.execute(
        "UPDATE jobs SET output_bytes = (SELECT coalesce(sum(stdout_kept + stderr_kept), 0) "
        "FROM runs WHERE runs.job_n = jobs.n)"
    )
    op.create_index("ix_jobs_open", "jobs", ["n"], sqlite_where=sa.text("open_runs > 0"))
    op.create_index(
        "ix_jobs_output",
        "jobs",
        ["spared", "created_at", "n", "output_bytes", "open_runs"],
        sqlite_where=sa.text("open_runs = 0 AND output_bytes > 0"),
    )


def _number(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, server_default="0")
