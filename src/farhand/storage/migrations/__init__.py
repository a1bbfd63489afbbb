"""Brings a database to this version's tables, when it is opened.

Alembic is loaded only when there is something to do, and no file or log of its own is touched.
"""

import sqlite3
from pathlib import Path
from typing import Final, Literal

from farhand.errors import StoreUnavailable

Kind = Literal["control", "org"]

HEADS: Final[dict[Kind, str]] = {"control": "control_0001", "org": "org_0003"}


def upgrade(kind: Kind, db: sqlite3.Connection) -> None:
    """Run the migrations that *db* lacks, all or none of them.

    Raises StoreUnavailable when a newer farhand wrote it, and sqlite3.Error.
    """
    if version_of(db) == HEADS[kind]:
        return
    db.execute("PRAGMA foreign_keys = OFF")  # only outside a transaction
    try:
        _migrate(kind, db)
    finally:
        db.execute("PRAGMA foreign_keys = ON")


def version_of(db: sqlite3.Connection) -> str | None:
    """Return the migration that *db* was brought to last; None when it is empty."""
    known = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
    if not db.execute(known).fetchall():
        return None
    found = db.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(found[0][0]) if found else None


def _migrate(kind: Kind, db: sqlite3.Connection) -> None:
    from alembic.operations import Operations  # noqa: PLC0415 costs 300 ms, needed once a version
    from alembic.runtime.migration import MigrationContext, RevisionStep  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415
    from sqlalchemy.pool import StaticPool  # noqa: PLC0415

    folder = Path(__file__).parent / kind
    script = ScriptDirectory(str(folder), version_locations=[str(folder)])
    known = [step.revision for step in script.walk_revisions()]

    def steps(revision: str, _: MigrationContext) -> list[RevisionStep]:
        return list(script._upgrade_revs("head", revision))

    engine = create_engine("sqlite://", creator=lambda: db, poolclass=StaticPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        version = version_of(db)
        if version is not None and version not in known:
            raise StoreUnavailable(
                f"the {kind} database was written by a newer farhand (its version is {version}, "
                f"this one knows {known[0]}); upgrade farhand, or go back to a backup"
            )
        context = MigrationContext.configure(connection, opts={"fn": steps})
        with Operations.context(context):
            context.run_migrations()
        connection.commit()
