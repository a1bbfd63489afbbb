"""What was acknowledged is there after `kill -9`: a process that writes, and is killed."""

import asyncio
import sys
from pathlib import Path

from farhand.domain.run import RunState
from farhand.storage import open_storage
from tests.contract.storing import (
    INLINE,
    ORG,
    OUT,
    add,
    append,
    join,
    move,
    run_id,
    the_agent,
    the_job,
    the_run,
)

ROOT = Path(__file__).parents[2]
PIECE = bytes(range(INLINE // 2))


async def write_for_ever(directory: Path) -> None:
    """Append to one run, telling after each `apply` how far it is kept; never close."""
    async with open_storage(directory, inline_bytes=INLINE) as storage:
        store = await storage.store(ORG)
        await store.apply([*join(), add(), move(1, RunState.SENT), move(1, RunState.RUNNING)])
        kept = 0
        while True:
            await store.apply([append(PIECE, offset=kept, epoch=1)])
            kept += len(PIECE)
            sys.stdout.write(f"{kept}\n")
            sys.stdout.flush()


async def test_all_that_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    writer = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.contract.test_store_crash", tmp_path / "data"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert writer.stdout is not None
    told = [await writer.stdout.readline() for _ in range(20)]
    writer.kill()
    told += (await writer.stdout.read()).splitlines(keepends=True)
    await writer.wait()
    acknowledged = max(int(line) for line in told if line.endswith(b"\n"))

    async with open_storage(tmp_path / "data", inline_bytes=INLINE) as storage:
        store = await storage.store(ORG)
        kept = (await store.offsets(run_id()))[OUT]
        output = await store.output(run_id(), OUT, offset=0, limit=kept + 1)

        assert acknowledged >= 20 * len(PIECE)
        assert acknowledged <= kept <= acknowledged + len(PIECE)
        assert PIECE * (kept // len(PIECE)) == output
        assert RunState.RUNNING == (await the_run(store)).state
        assert {RunState.RUNNING: 1} == (await the_job(store)).counts
        assert 1 == (await the_agent(store)).epoch
        assert 2 + kept // len(PIECE) == len(
            await store.events((await the_job(store)).id, limit=kept)
        )


if __name__ == "__main__":
    asyncio.run(write_for_ever(Path(sys.argv[1])))
