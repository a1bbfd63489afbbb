"""Search the jobs and runs of a database, newest first, a bounded look at a time.

Reads of most jobs only what they are found by, never what they were given to read. Keeps nothing.
"""

import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from heapq import merge
from itertools import islice
from typing import Final, TypeVar

from farhand.domain.history import SCANNED, JobFilter, before_all, within
from farhand.domain.job import Job
from farhand.domain.run import Run, RunState
from farhand.ports import RunFilter
from farhand.storage import statements as sql
from farhand.storage.rows import Row, Values, job_of, outline_of_row

T = TypeVar("T")

Found = tuple[list[T], int | None]  # items, and the place behind them when there may be more

_EVERY: Final = frozenset(RunState)
_STDIN_BYTES: Final = 32 * 1024  # lie in front of what a job is found by, and cost as a job does


def search_jobs(db: sqlite3.Connection, which: JobFilter, place: int, limit: int) -> Found[Job]:
    """At most *limit* jobs behind *place*, of the `SCANNED` that lie next behind it."""
    db.execute("BEGIN")  # a job that is pruned meanwhile is there to the end
    try:
        with closing(_outlines(db, which, place)) as rows:
            numbers, behind = _chosen(rows, which, limit)
        found = [db.execute(sql.JOB_NUMBERED, {"n": n}).fetchall()[0] for n in numbers]
    finally:
        db.execute("COMMIT")
    return [job_of(row) for row in found], behind


def _chosen(
    rows: Iterator[tuple[int, Row]], which: JobFilter, limit: int
) -> tuple[list[int], int | None]:
    """The numbers of the jobs that *which* takes, and the place behind the last that was read."""
    numbers: list[int] = []
    cost = 0
    counted = which.standing is not None
    for at, (n, stdin_bytes, *told) in rows:
        outline = outline_of_row(told, counted=counted)
        if before_all(outline.created_at, which.since):
            break
        if which.takes(outline):
            numbers.append(n)
        cost += 1 + stdin_bytes // _STDIN_BYTES
        if len(numbers) == limit or cost >= SCANNED:
            return numbers, at if next(rows, None) is not None else None
    return numbers, None


def _outlines(
    db: sqlite3.Connection, which: JobFilter, place: int
) -> Generator[tuple[int, Row], None, None]:
    """Where each job stands in its list, and its row of OUTLINE."""
    values: Values = {"place": place, "limit": SCANNED + 1}
    if which.agent is not None:
        runs = newest_in_states(db, sql.FIRST_RUNS_IN_STATE, {**values, "agent": which.agent})
        for n, at in runs:
            (row,) = db.execute(sql.OUTLINE, {"n": n}).fetchall()
            yield at, row
        return
    statement = sql.OUTLINES
    if which.schedule is not None:
        statement, values = sql.OUTLINES_OF_SCHEDULE, {**values, "schedule": which.schedule}
    for row in db.execute(statement, values):
        yield row[0], row


def newest_in_states(
    db: sqlite3.Connection, statement: str, values: Values, states: Iterable[RunState] = _EVERY
) -> Iterator[Row]:
    """Rows of *statement*, whose last column is a place, newest first; ask in a transaction.

    One look into the index for each state.
    """
    found = [
        db.execute(statement, {**values, "state": state.value}).fetchall()
        for state in sorted(states)
    ]
    return islice(merge(*found, key=lambda row: int(row[-1]), reverse=True), values["limit"])


def timed(rows: Sequence[tuple[Run, int]], which: RunFilter, limit: int) -> Found[Run]:
    """At most *limit* of some runs with their places: those of the times that *which* asks for.

    *rows* are in order, and `SCANNED` + 1 when there are more.
    """
    found: list[Run] = []
    for looked, (run, at) in enumerate(rows, start=1):
        if which.job is None and before_all(run.created_at, which.since):
            return found, None
        if within(run.created_at, which.since, which.until):
            found.append(run)
        if looked < len(rows) and (len(found) == limit or looked == SCANNED):
            return found, at
    return found, None
