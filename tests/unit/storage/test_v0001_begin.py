"""The first migrations make the tables that are declared."""

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, create_engine
from sqlalchemy.pool import StaticPool

from farhand.storage.migrations import Kind, upgrade
from farhand.storage.sqlite import connect
from farhand.storage.tables import CONTROL, ORG


@pytest.mark.parametrize(("kind", "declared"), [("org", ORG), ("control", CONTROL)])
def test_a_migrated_database_has_the_declared_tables(
    kind: Kind, declared: MetaData, tmp_path: Path
) -> None:
    db = connect(tmp_path / "a.db")
    upgrade(kind, db)
    engine = create_engine("sqlite://", creator=lambda: db, poolclass=StaticPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        differences = compare_metadata(context, declared)
    made = _schema(db)
    db.close()

    assert [] == differences
    assert _created(declared) == made


def _created(declared: MetaData) -> dict[str, list[str]]:
    db = sqlite3.connect(":memory:")
    engine = create_engine("sqlite://", creator=lambda: db, poolclass=StaticPool)
    declared.create_all(engine)
    schema = _schema(db)
    db.close()
    return schema


def _schema(db: sqlite3.Connection) -> dict[str, list[str]]:
    """What SQLite was told, without the order in which columns and indices were told."""
    rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: _parts(sql) for name, sql in rows if name != "alembic_version"}


def _parts(sql: str) -> list[str]:
    """What stands before, between and behind the outermost parentheses, cut at their commas."""
    depth, parts = 0, [""]
    for char in " ".join(sql.split()):
        closing = char == ")" and depth == 1
        depth += (char == "(") - (char == ")")
        if closing or (depth == 1 and char in "(,"):
            parts.append("")
        else:
            parts[-1] += char
    return sorted(part.strip() for part in parts)
