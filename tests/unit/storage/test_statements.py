"""Every statement is understood by SQLite, and the frequent ones look nothing through."""

import re
import sqlite3
from collections.abc import Iterator

import pytest
from sqlalchemy import create_mock_engine

from farhand.storage import control, statements
from farhand.storage.tables import CONTROL, ORG

ALL = {
    name: value
    for module in (statements, control)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}

# Statements that may look at every row: there are few rows, or all are wanted.
SCANS = {"META", "ALL_DOOMED", "FORGET_REPEATS", "CLAMP_AGENTS", "STORED_BYTES"}


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(":memory:")

    def execute(ddl: object, *_: object) -> None:
        db.execute(str(ddl.compile(dialect=engine.dialect)))  # type: ignore[attr-defined] # any DDL

    engine = create_mock_engine("sqlite://", execute)
    for metadata in (ORG, CONTROL):
        metadata.create_all(engine, checkfirst=False)
    yield db
    db.close()


@pytest.mark.parametrize("name", ALL)
def test_a_statement_finds_its_rows_by_an_index(db: sqlite3.Connection, name: str) -> None:
    sql = ALL[name]
    values = dict.fromkeys(re.findall(r":(\w+)", sql))
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()]
    scans = [
        step
        for step in plan
        if step.startswith("SCAN") and "VIRTUAL TABLE" not in step and "CONSTANT" not in step
    ]

    assert name in SCANS or [] == scans


def test_the_bytes_of_all_output_are_read_from_indexes_alone(db: sqlite3.Connection) -> None:
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statements.STORED_BYTES}")]

    assert "SCAN jobs USING COVERING INDEX ix_jobs_output" in plan
