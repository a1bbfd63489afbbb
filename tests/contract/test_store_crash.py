"""What was acknowledged is there after `kill -9`: processes that write, and are killed.

Some die at a moment of chance, some between two given steps of a commit.
"""

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from farhand.domain.run import RunState
from farhand.ports import (
    Added,
    Durability,
    Fenced,
    Freed,
    Kept,
    Lost,
    Moved,
    Opened,
    Prune,
    Pruned,
    PruneOutput,
    Repeat,
    Repeated,
)
from farhand.storage import open_storage
from farhand.storage.files import OutputFiles
from farhand.storage.ledger import SqlLedger
from farhand.storage.writer import Writer
from tests.contract.storing import (
    INLINE,
    ORG,
    OUT,
    add,
    append,
    job_id,
    join,
    move,
    run,
    run_id,
    the_agent,
    the_job,
    the_run,
    told,
)

S = RunState
ROOT = Path(__file__).parents[2]
PIECE = bytes(range(INLINE // 2))
LONG = bytes(n % 251 for n in range(4 * INLINE))
KEY = Repeat(by="admin", key="k", digest="d", until=1e9)


# --- at a moment of chance ------------------------------------------------------------------


async def write_for_ever(directory: Path, durability: str) -> None:
    """Append to one run, telling after each `apply` how far it is kept; never close."""
    async with open_storage(
        directory, inline_bytes=INLINE, durability=Durability(durability)
    ) as storage:
        store = await storage.store(ORG)
        await store.apply([*join(), add(), move(1, S.SENT), move(1, S.RUNNING)])
        kept = 0
        while True:
            await store.apply([append(PIECE, offset=kept, epoch=1)])
            kept += len(PIECE)
            sys.stdout.write(f"{kept}\n")
            sys.stdout.flush()


async def spawn(*argv: str | Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.contract.test_store_crash", *argv),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("durability", Durability)
async def test_all_that_was_acknowledged_survives_a_kill(
    tmp_path: Path, durability: Durability
) -> None:
    writer = await spawn("for-ever", tmp_path / "data", durability.value)
    assert writer.stdout is not None
    lines = [await writer.stdout.readline() for _ in range(20)]
    writer.kill()
    lines += (await writer.stdout.read()).splitlines(keepends=True)
    await writer.wait()
    acknowledged = max(int(line) for line in lines if line.endswith(b"\n"))

    async with open_storage(tmp_path / "data", inline_bytes=INLINE) as storage:
        store = await storage.store(ORG)
        kept = (await store.offsets(run_id()))[OUT]
        output = await store.output(run_id(), OUT, offset=0, limit=kept + 1)

        assert acknowledged >= 20 * len(PIECE)
        assert acknowledged <= kept <= acknowledged + len(PIECE)
        assert PIECE * (kept // len(PIECE)) == output
        assert S.RUNNING == (await the_run(store)).state
        assert {S.RUNNING: 1} == (await the_job(store)).counts
        assert 1 == (await the_agent(store)).epoch
        assert 2 + kept // len(PIECE) == len(
            await store.events((await the_job(store)).id, limit=kept)
        )


# --- between two steps ----------------------------------------------------------------------


def die(*_: object, **__: object) -> Any:
    """End as `kill -9` ends a process."""
    os.kill(os.getpid(), signal.SIGKILL)


def behind(step: Callable[..., Any]) -> Callable[..., Any]:
    """Take the step, and die."""

    def taken(*given: object) -> Any:
        step(*given)
        die()

    return taken


MOMENTS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "output written, nothing flushed": (OutputFiles, "sync", die),
    "output flushed, not committed": (OutputFiles, "sync", behind(OutputFiles.sync)),
    "committed, nobody told": (Writer, "_tell", die),
    "deleted, files still there": (OutputFiles, "delete", die),
    "files gone, still listed": (OutputFiles, "delete", behind(OutputFiles.delete)),
    "rows put, not flushed": (SqlLedger, "flush", die),
}


async def die_within(directory: Path, moment: str, deed: str) -> None:
    """Prepare a store, then do something during which this process dies."""
    room, step, instead = MOMENTS[moment]
    async with open_storage(directory, inline_bytes=INLINE) as storage:
        store = await storage.store(ORG)
        await store.apply([*join(), add(1, run(1)), move(1, S.SENT), append(LONG[:INLINE])])
        await store.apply([append(LONG[INLINE : 2 * INLINE], offset=INLINE)])
        setattr(room, step, instead)
        await store.apply(DEEDS[deed])
    raise AssertionError("it is alive")


DEEDS: dict[str, Sequence[Any]] = {
    "append": [append(LONG[2 * INLINE :], offset=2 * INLINE, epoch=1)],
    "add": [add(2, repeat=KEY)],
    "move": [move(1, S.RUNNING, epoch=1)],
    "open": [join()[1]],
    "prune": [move(1, S.FAILED), Prune(before=1e6, at=1.0)],
    "prune output": [move(1, S.FAILED), PruneOutput(before=1e6)],
}


async def dead(directory: Path, moment: str, deed: str) -> None:
    writer = await spawn("within", directory, moment, deed)
    await writer.communicate()

    assert -signal.SIGKILL == writer.returncode


@pytest.mark.parametrize(
    "moment",
    [
        "output written, nothing flushed",
        "output flushed, not committed",
        "rows put, not flushed",
    ],
)
async def test_output_that_was_not_committed_is_not_there_and_can_be_sent_again(
    tmp_path: Path, moment: str
) -> None:
    await dead(tmp_path, moment, "append")
    async with open_storage(tmp_path, inline_bytes=INLINE) as storage:
        store = await storage.store(ORG)
        before = await store.output(run_id(), OUT, offset=0, limit=10_000)
        # Cut differently this time, and shorter at first than what was left behind.
        outcomes = [
            *(await store.apply([append(LONG[2 * INLINE : 2 * INLINE + 5], offset=2 * INLINE)])),
            *(await store.apply([append(LONG[INLINE:], offset=INLINE)])),
        ]
        after = await store.output(run_id(), OUT, offset=0, limit=10_000)

        assert LONG[: 2 * INLINE] == before
        assert [Kept(2 * INLINE + 5), Kept(len(LONG))] == outcomes
        assert LONG == after


async def test_what_was_committed_and_not_told_is_there_and_may_be_sent_again(
    tmp_path: Path,
) -> None:
    moment = "committed, nobody told"
    for deed in ("append", "add", "move", "open"):
        await dead(tmp_path / deed, moment, deed)
        async with open_storage(tmp_path / deed, inline_bytes=INLINE) as storage:
            store = await storage.store(ORG)
            (again,) = await store.apply(DEEDS[deed])
            match deed:
                case "append":
                    assert Kept(len(LONG)) == again
                    assert LONG == await store.output(run_id(), OUT, offset=0, limit=10_000)
                case "add":
                    repeated = await store.apply([add(3, repeat=KEY)])
                    assert Added() == again
                    assert [Repeated(job_id(2), same=True)] == repeated
                    assert {S.QUEUED: 1} == (await the_job(store, 2)).counts
                case "move":
                    assert isinstance(again, Moved | Lost)
                    assert ["sent", "output", "output", "running"] == await told(store)
                case _:
                    stale = await store.apply([append(b"x", offset=2 * INLINE, epoch=2)])
                    assert Opened(3) == again  # the next one, and never the same twice
                    assert [Fenced()] == stale


def left_behind(directory: Path) -> tuple[list[Path], list[object]]:
    """Output files, and runs whose files are still to be deleted."""
    db = sqlite3.connect(directory / "orgs" / ORG / "org.db")
    doomed = db.execute("SELECT * FROM doomed").fetchall()
    db.close()
    return list(directory.rglob("*.stdout")), doomed


@pytest.mark.parametrize("moment", ["deleted, files still there", "files gone, still listed"])
async def test_files_of_a_deleted_job_are_gone_after_the_next_start(
    tmp_path: Path, moment: str
) -> None:
    await dead(tmp_path, moment, "prune")
    async with open_storage(tmp_path, inline_bytes=INLINE) as storage:
        store = await storage.store(ORG)
        (again,) = await store.apply([Prune(before=1e6, at=1.0)])

        assert Pruned(0) == again
        assert await store.job(job_id()) is None

    assert ([], []) == left_behind(tmp_path)


@pytest.mark.parametrize("moment", ["deleted, files still there", "files gone, still listed"])
async def test_files_of_pruned_output_are_gone_after_the_next_start(
    tmp_path: Path, moment: str
) -> None:
    await dead(tmp_path, moment, "prune output")
    async with open_storage(tmp_path, inline_bytes=INLINE) as storage:
        store = await storage.store(ORG)
        (again,) = await store.apply([PruneOutput(before=1e6)])

        assert Freed(0, 0) == again
        assert (await the_run(store)).output_pruned
        assert b"" == await store.output(run_id(), OUT, offset=0, limit=1000)

    assert ([], []) == left_behind(tmp_path)


async def test_output_whose_pruning_was_not_committed_is_whole(tmp_path: Path) -> None:
    await dead(tmp_path, "output written, nothing flushed", "prune output")
    async with open_storage(tmp_path, inline_bytes=INLINE) as storage:
        store = await storage.store(ORG)

        assert LONG[: 2 * INLINE] == await store.output(run_id(), OUT, offset=0, limit=1000)
        assert not (await the_run(store)).output_pruned


if __name__ == "__main__":
    deed, directory, *rest = sys.argv[1:]
    work = write_for_ever if deed == "for-ever" else die_within
    asyncio.run(work(Path(directory), *rest))
