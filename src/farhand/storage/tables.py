"""The tables of both kinds of database, each declared once.

`n` counts rows in the order they were made and is never reused; ids are what the world knows.
JSON is kept as text: what is inside is never a condition of a statement.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    literal_column,
)

CONTROL: Final = MetaData()
ORG: Final = MetaData()

# --- control: who may speak, and for which org --------------------------------------------

orgs = Table(
    "orgs",
    CONTROL,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
)

credentials = Table(
    "credentials",
    CONTROL,
    Column("hash", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("org", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("ix_credentials_subject", "org", "kind", "subject"),
)

# --- org: everything else -----------------------------------------------------------------

meta = Table(
    "meta",
    ORG,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

jobs = Table(
    "jobs",
    ORG,
    Column("n", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("spec", Text, nullable=False),
    Column("stdin", LargeBinary, nullable=False),
    Column("targets", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("counts", Text, nullable=False),
    Column("open_runs", Integer, nullable=False),
    Column("last_seq", Integer, nullable=False),
    Column("rolling", Boolean, nullable=False, server_default="0"),
    Column("rerun_of", Text),
    Column("schedule", Text),
    Column("what", Text),
    Column("output_bytes", BigInteger, nullable=False, server_default="0"),  # kept of its runs
    Column("spared", Boolean, nullable=False, server_default="0"),
    Index("ix_jobs_schedule", "schedule", "n", sqlite_where=literal_column("schedule IS NOT NULL")),
    Index("ix_jobs_resting", "created_at", sqlite_where=literal_column("open_runs") == 0),
    Index("ix_jobs_open", "n", sqlite_where=literal_column("open_runs > 0")),
    Index(
        "ix_jobs_output",
        *("spared", "created_at", "n", "output_bytes", "open_runs"),
        sqlite_where=literal_column("open_runs = 0 AND output_bytes > 0"),
    ),
    sqlite_autoincrement=True,
)

runs = Table(
    "runs",
    ORG,
    Column("n", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("job_n", ForeignKey("jobs.n", ondelete="CASCADE"), nullable=False),
    Column("job_id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("agent_name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("why", Text),
    Column("message", Text, nullable=False),
    Column("exit_code", Integer),
    Column("signal", Integer),
    Column("pid", Integer),
    Column("cancel_requested", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("queue_until", Float, nullable=False),
    Column("timeout_s", Float, nullable=False),
    Column("sent_at", Float),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("duration_s", Float),
    Column("usage", Text),
    Column("streams", Text),
    Column("stdout_kept", BigInteger, nullable=False, server_default="0"),
    Column("stderr_kept", BigInteger, nullable=False, server_default="0"),
    Column("wave", Integer, nullable=False, server_default="0"),
    Column("retry_of", Text),
    Column("output_pruned", Boolean, nullable=False, server_default="0"),
    Index("ix_runs_job", "job_n", "n"),
    Index("ix_runs_agent", "agent_id", "state", "n"),
    Index("ix_runs_state", "state", "n"),
    Index("ix_runs_due", "queue_until", sqlite_where=literal_column("state = 'queued'")),
    sqlite_autoincrement=True,
)

events = Table(
    "events",
    ORG,
    Column("job_n", ForeignKey("jobs.n", ondelete="CASCADE"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("run_id", Text),
    Column("run", Text),
    Column("stream", Text),
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    PrimaryKeyConstraint("job_n", "seq"),
    sqlite_with_rowid=False,
)

output = Table(
    "output",
    ORG,
    Column("run_n", ForeignKey("runs.n", ondelete="CASCADE"), nullable=False),
    Column("stream", Text, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("run_n", "stream", "offset"),
)

doomed = Table(  # runs that are deleted, and whose files are about to be
    "doomed",
    ORG,
    Column("run_id", Text, primary_key=True),
)

repeats = Table(
    "repeats",
    ORG,
    Column("caller", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("until", Float, nullable=False),
    Column("job_n", ForeignKey("jobs.n", ondelete="CASCADE"), nullable=False, index=True),
    PrimaryKeyConstraint("caller", "key"),
)

agents = Table(
    "agents",
    ORG,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, index=True),
    Column("ip_mac", Text, nullable=False, index=True),
    Column("identity", Text, nullable=False),
    Column("given_name", Text),
    Column("given_labels", Text, nullable=False),
    Column("drained", Boolean, nullable=False),
    Column("liveness", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("controller", Text, nullable=False),
    Column("joined_at", Float, nullable=False),
    Column("last_seen_at", Float, nullable=False),
)

documents = Table(  # small things that operators keep, or that the controller drives
    "documents",
    ORG,
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("due_at", Float),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("kind", "id"),
    Index("ix_documents_due", "kind", "due_at", sqlite_where=literal_column("due_at IS NOT NULL")),
    sqlite_with_rowid=False,
)

audit = Table(
    "audit",
    ORG,
    Column("n", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("caller", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Index("ix_audit_at", "at"),
    sqlite_autoincrement=True,
)
