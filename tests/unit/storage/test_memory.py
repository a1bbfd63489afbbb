from farhand.domain.ids import OrgId
from farhand.domain.output import StreamName
from farhand.storage.memory import MemoryControl, MemoryStore
from tests.contract.storing import OUT, add, append, run_id


async def test_what_was_read_does_not_change_afterwards() -> None:
    store = MemoryStore()
    await store.apply([add(), append(b"abc")])
    read = await store.output(run_id(), OUT, offset=0, limit=9)
    offsets = await store.offsets(run_id())
    await store.apply([append(b"def", offset=3)])

    assert b"abc" == read
    assert {OUT: 3, StreamName.STDERR: 0} == offsets


async def test_two_stores_share_nothing() -> None:
    one, other = MemoryStore(), MemoryStore()
    await one.apply([add()])

    assert [] == (await other.jobs()).items


async def test_an_orgs_name_is_given_once() -> None:
    control = MemoryControl()
    await control.add_org(OrgId("org_1"), "default", 1.0)
    await control.add_org(OrgId("org_2"), "default", 2.0)

    assert OrgId("org_1") == await control.org_named("default")
