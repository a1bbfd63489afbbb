import asyncio
import stat
import sys
from pathlib import Path

import pytest

from farhand.domain.ids import OrgId
from farhand.errors import DataDirInUse, DataDirUnwritable, StoreUnavailable
from farhand.ports import Durability
from farhand.storage import open_memory, open_storage
from tests.contract.storing import INLINE, ORG, add, append


async def test_a_data_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "data"
    async with open_storage(home, inline_bytes=INLINE) as storage:
        store = await storage.store(ORG)
        await store.apply([add(), append(bytes(2 * INLINE))])
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (home, *home.rglob("*"))}

    assert {0o700} == {mode for path, mode in modes.items() if path.is_dir()}
    assert {0o600} == {mode for path, mode in modes.items() if path.is_file()}
    assert {"lock", "control.db", "org.db"} < {path.name for path in modes}


async def test_one_org_has_one_store(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as storage:
        first, again = await storage.store(ORG), await storage.store(ORG)
        other = await storage.store(OrgId("org_2"))
        await other.apply([add()])

        assert first is again
        assert [] == (await first.jobs()).items


async def test_what_each_open_store_has_done_is_counted(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as storage:
        before = storage.counters()
        store = await storage.store(ORG)
        await store.apply([add()])
        after = storage.counters()

    assert {} == before
    assert [ORG] == list(after)
    assert (1, 1, 1) == (after[ORG].commits, after[ORG].changes, after[ORG].flushes)


async def test_relaxed_a_store_flushes_nothing(tmp_path: Path) -> None:
    async with open_storage(
        tmp_path, inline_bytes=INLINE, durability=Durability.PROCESS
    ) as storage:
        store = await storage.store(ORG)
        await store.apply([add(), append(bytes(2 * INLINE))])
        counters = storage.counters()[ORG]

    assert (2, 0) == (counters.commits, counters.flushes)


async def test_memory_has_the_same_shape() -> None:
    async with open_memory() as storage:
        await storage.control.add_org(ORG, "default", 1.0)
        first, again = await storage.store(ORG), await storage.store(ORG)

        assert ORG == await storage.control.org_named("default")
        assert first is again
        assert {} == storage.counters()


async def test_a_directory_has_one_user_at_a_time(tmp_path: Path) -> None:
    async with open_storage(tmp_path):
        with pytest.raises(DataDirInUse, match="another process uses"):
            async with open_storage(tmp_path):
                pass
    async with open_storage(tmp_path):
        pass


async def test_a_process_that_is_killed_lets_go_of_its_directory(tmp_path: Path) -> None:
    program = """if True:
        import asyncio, sys
        from pathlib import Path
        from farhand.storage import open_storage
        async def hold():
            async with open_storage(Path(sys.argv[1])):
                print("held", flush=True)
                await asyncio.Event().wait()
        asyncio.run(hold())
    """
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    await holder.stdout.readline()
    with pytest.raises(DataDirInUse):
        async with open_storage(tmp_path):
            pass
    holder.kill()
    await holder.wait()
    async with open_storage(tmp_path):
        pass


@pytest.mark.parametrize("place", ["file", "file/below", "file/far/below"])
async def test_a_directory_that_cannot_be_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(DataDirUnwritable, match=str(tmp_path / place)):
        async with open_storage(tmp_path / place):
            pass


@pytest.mark.parametrize("name", ["control.db", "orgs", "lock"])
async def test_what_stands_in_the_way_of_a_part_is_an_error(tmp_path: Path, name: str) -> None:
    in_the_way = tmp_path / name
    if name == "orgs":
        in_the_way.write_text("")
    else:
        in_the_way.mkdir()

    with pytest.raises(DataDirUnwritable):
        async with open_storage(tmp_path):
            pass


async def test_a_file_that_is_no_database_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "control.db").write_text("not a database, but something of somebody" * 100)

    with pytest.raises(StoreUnavailable, match="not a database"):
        async with open_storage(tmp_path):
            pass
    assert "something" in (tmp_path / "control.db").read_text()


async def test_another_orgs_database_is_refused(tmp_path: Path) -> None:
    async with open_storage(tmp_path) as storage:
        await storage.store(ORG)
    (tmp_path / "orgs" / ORG).rename(tmp_path / "orgs" / "org_2")

    async with open_storage(tmp_path) as storage:
        with pytest.raises(StoreUnavailable, match=f"the one of {ORG}, not of org_2"):
            await storage.store(OrgId("org_2"))


@pytest.mark.parametrize("org", ["", "..", "a/b", "org\0"])
async def test_no_path_can_be_made_of_an_orgs_id(tmp_path: Path, org: str) -> None:
    async with open_storage(tmp_path) as storage:
        with pytest.raises(StoreUnavailable, match="cannot be the id of an org"):
            await storage.store(OrgId(org))


async def test_where_rows_end_is_fixed_when_a_database_is_made(tmp_path: Path) -> None:
    written = bytes(range(200))
    async with open_storage(tmp_path, inline_bytes=50) as storage:
        await (await storage.store(ORG)).apply([add(), append(written[:100])])
    async with open_storage(tmp_path, inline_bytes=150) as storage:
        store = await storage.store(ORG)
        change = append(written[100:], offset=100)
        await store.apply([change])

        assert written == await store.output(
            change.chunk.run, change.chunk.stream, offset=0, limit=999
        )
