"""The store in SQLite from its callers' side; tests/contract/ has what every store promises."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farhand.domain.limits import KIB, MIB
from farhand.domain.run import RunState
from farhand.errors import DataDirUnwritable, StoreUnavailable
from farhand.ports import Added, CancelJob, Kept, Lost, Moved, Prune
from farhand.storage.sql import SqlStore, open_sql_store
from tests.contract.storing import (
    INLINE,
    ORG,
    OUT,
    add,
    append,
    job_id,
    move,
    run,
    run_id,
    the_run,
    told,
)

S = RunState


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    store = await open_sql_store(tmp_path / "org", ORG, INLINE)
    yield store
    await store.close()


def large_outputs(directory: Path) -> list[str]:
    """The names of all output files."""
    return sorted(path.name for path in directory.rglob("*.std*"))


async def test_a_thousand_calls_share_few_commits(store: SqlStore) -> None:
    await store.apply([add(1, *(run(n) for n in range(1000)))])
    before = store.counters.commits
    outcomes = await asyncio.gather(*(store.apply([move(n, S.SENT)]) for n in range(1000)))

    assert all(isinstance(outcome, Moved) for (outcome,) in outcomes)
    assert store.counters.commits - before < 100
    assert 1001 == store.counters.changes


async def test_what_the_store_did_and_what_waits_is_counted(store: SqlStore) -> None:
    await store.apply([add(1, run(1), run(2))])
    await store.apply([move(1, S.SENT), move(1, S.RUNNING), append(b"x" * 100)])
    await store.apply([append(b"x" * 100), CancelJob(job=job_id(), at=400.0)])
    asked = [asyncio.create_task(store.apply([append(b"y", offset=100 + n)])) for n in range(3)]
    await asyncio.sleep(0)
    during = store.counters
    await asyncio.gather(*asked)
    after = store.counters

    assert {S.QUEUED: 2, S.SENT: 1, S.RUNNING: 1, S.CANCELLED: 1} == after.moved
    assert 103 == after.kept_bytes
    assert (3, 0) == (during.queued, during.outside)
    assert during.queued_bytes >= 3
    assert (0, 0, 0) == (after.queued, after.queued_bytes, after.outside)


async def test_a_lost_race_fails_alone_among_calls_that_share_a_commit(store: SqlStore) -> None:
    await store.apply([add(1, run(1), run(2), run(3))])
    queued = frozenset({S.QUEUED})
    outcomes = await asyncio.gather(
        *(store.apply([move(n, S.SENT, expect=queued)]) for n in (1, 2, 2, 3, 9))
    )

    assert [Lost(S.SENT), Lost()] == [outcomes[n][0] for n in (2, 4)]
    assert all(isinstance(outcomes[n][0], Moved) for n in (0, 1, 3))


async def test_a_change_that_cannot_be_kept_takes_no_other_along(store: SqlStore) -> None:
    results = await asyncio.gather(
        store.apply([add(1, run(1))]),
        store.apply([add(2, run(1, job=2), run(2, job=2))]),  # its first run is another's
        store.apply([add(3, run(3, job=3))]),
        store.apply([move(3, S.SENT)]),
        return_exceptions=True,
    )

    assert [[Added()], [Added()]] == [results[0], results[2]]
    assert isinstance(results[1], StoreUnavailable)
    assert S.SENT == (await the_run(store, 3)).state
    assert await store.job(job_id(2)) is None
    assert await store.run(run_id(2)) is None


async def test_calls_are_carried_out_in_their_order(store: SqlStore) -> None:
    await store.apply([add(), move(1, S.SENT), move(1, S.RUNNING)])
    pieces = [append(bytes([n]) * 70_000, offset=n * 70_000) for n in range(50)]
    *kept, (ended,), (late,) = await asyncio.gather(
        *(store.apply([piece]) for piece in pieces),
        store.apply([move(1, S.SUCCEEDED)]),
        store.apply([append(b"late", offset=50 * 70_000)]),
    )

    assert [[Kept((n + 1) * 70_000)] for n in range(50)] == kept
    assert isinstance(ended, Moved)
    assert Lost(S.SUCCEEDED) == late
    assert ["output"] * 50 + ["succeeded", "end"] == (await told(store))[2:]


async def test_state_is_committed_before_output_that_was_asked_earlier(store: SqlStore) -> None:
    await store.apply([add(1, run(1), run(2)), move(1, S.SENT)])
    answered: list[str] = []

    async def ask(name: str, *changes: object) -> None:
        await store.apply(changes)  # type: ignore[arg-type] # changes, of any kind
        answered.append(name)

    size = 256 * KIB
    pieces = [append(bytes(size), offset=n * size) for n in range(32)]
    await asyncio.gather(ask("output", *pieces), ask("state", move(2, S.SENT)))

    assert ["state", "output"] == answered


async def test_large_output_comes_back_whole(store: SqlStore) -> None:
    await store.apply([add(1, *(run(n) for n in range(4)))])
    written = {n: bytes([n]) * (3 * MIB + n) for n in range(4)}

    async def print_all(n: int) -> None:
        data, size = written[n], 256 * KIB
        for offset in range(0, len(data), size):
            await store.apply([append(data[offset : offset + size], n=n, offset=offset)])

    await asyncio.gather(*map(print_all, written))
    for n, data in written.items():
        parts: list[bytes] = []
        while part := await store.output(
            run_id(n), OUT, offset=sum(map(len, parts)), limit=1 * MIB
        ):
            parts.append(part)

        assert data == b"".join(parts)


async def test_the_files_of_pruned_runs_are_deleted(store: SqlStore, tmp_path: Path) -> None:
    await store.apply([add(1, run(1), run(2)), append(b"x" * 5000), append(b"x" * 10, n=2)])
    before = large_outputs(tmp_path)
    await store.apply([CancelJob(job=job_id(), at=1.0), Prune(before=1e9, at=1e9)])
    await store.close()  # files go after the commit

    assert [f"{run_id(1)}.stdout"] == before
    assert [] == large_outputs(tmp_path)


async def test_a_file_that_a_crash_left_undeleted_goes_at_the_next_start(tmp_path: Path) -> None:
    store = await open_sql_store(tmp_path / "org", ORG, INLINE)
    await store.apply([add(), append(b"x" * 5000)])
    await store.close()
    db = sqlite3.connect(tmp_path / "org" / "org.db")
    db.execute("INSERT INTO doomed VALUES (?)", (run_id(),))
    db.commit()
    db.close()
    await (await open_sql_store(tmp_path / "org", ORG, INLINE)).close()
    db = sqlite3.connect(tmp_path / "org" / "org.db")
    doomed = db.execute("SELECT * FROM doomed").fetchall()
    db.close()

    assert [] == doomed
    assert [] == large_outputs(tmp_path)


async def test_a_directory_that_fails_fails_every_call_that_waits(
    store: SqlStore, tmp_path: Path
) -> None:
    await store.apply([add(1, run(1), run(2))])
    (tmp_path / "org" / "output").rmdir()
    (tmp_path / "org" / "output").write_text("in the way")
    results = await asyncio.gather(
        store.apply([append(b"x" * 5000, n=1)]),
        store.apply([append(b"y" * 5000, n=2)]),
        return_exceptions=True,
    )
    (tmp_path / "org" / "output").unlink()
    (tmp_path / "org" / "output").mkdir()

    assert [DataDirUnwritable] * 2 == [type(result) for result in results]
    assert {OUT: 0} == {OUT: (await store.offsets(run_id(1)))[OUT]}
    assert [Kept(5000)] == await store.apply([append(b"x" * 5000, n=1)])  # the same, sent again


async def test_what_was_asked_before_the_close_is_answered(store: SqlStore) -> None:
    asked = [asyncio.create_task(store.apply([add(n, run(n, job=n))])) for n in range(200)]
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    answers = [await each for each in asked]

    assert [[Added()]] * 200 == answers
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.apply([add(999)])
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.job(job_id())


async def test_nothing_asked_is_nothing_written(store: SqlStore) -> None:
    assert [] == await store.apply([])
    assert 0 == store.counters.commits
