"""What every Control promises, and what the one in SQLite keeps across restarts."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.domain.ids import OrgId
from farhand.errors import DataDirUnwritable, StoreUnavailable
from farhand.ports import Control, Credential
from farhand.storage.control import open_sql_control
from farhand.storage.memory import MemoryControl

ORG = OrgId("org_1")
TOKEN = Credential(hash="aa", kind="api", org=ORG, subject="admin", created_at=1.0)


@pytest.fixture(params=["memory", "sqlite"])
async def control(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Control]:
    if request.param == "memory":
        yield MemoryControl()
        return
    opened = await open_sql_control(tmp_path / "control.db")
    yield opened
    await opened.close()


async def test_a_credential_is_found_by_its_hash(control: Control) -> None:
    await control.add_credential(TOKEN)

    assert TOKEN == await control.credential("aa")
    assert await control.credential("bb") is None


async def test_a_credential_given_again_is_replaced(control: Control) -> None:
    await control.add_credential(TOKEN)
    await control.add_credential(replace(TOKEN, subject="other"))

    assert replace(TOKEN, subject="other") == await control.credential("aa")


async def test_who_has_a_credential_of_a_kind_is_known(control: Control) -> None:
    await control.add_credential(TOKEN)
    asked = [
        (ORG, "api", "admin"),
        (ORG, "api", "x"),
        (ORG, "join", "admin"),
        ("o", "api", "admin"),
    ]
    found = [
        await control.has_credential(OrgId(org), kind=kind, subject=subject)
        for org, kind, subject in asked
    ]

    assert [True, False, False, False] == found


async def test_credentials_are_removed_by_whom_they_name(control: Control) -> None:
    others = [
        replace(TOKEN, hash="bb", subject="other"),
        replace(TOKEN, hash="cc", kind="join"),
        replace(TOKEN, hash="dd", org=OrgId("org_2")),
    ]
    for credential in (TOKEN, replace(TOKEN, hash="ee"), *others):
        await control.add_credential(credential)
    await control.remove_credentials(ORG, kind="api", subject="admin")

    assert [None, None] == [await control.credential(hash_) for hash_ in ("aa", "ee")]
    assert others == [await control.credential(other.hash) for other in others]


async def test_an_org_is_found_by_its_name(control: Control) -> None:
    before = await control.org_named("default")
    await control.add_org(ORG, "default", 1.0)
    await control.add_org(OrgId("org_2"), "default", 2.0)

    assert before is None
    assert ORG == await control.org_named("default")


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    first = await open_sql_control(tmp_path / "control.db")
    await first.add_org(ORG, "default", 1.0)
    await first.add_credential(TOKEN)
    await first.close()
    await first.close()
    second = await open_sql_control(tmp_path / "control.db")
    found = await second.org_named("default"), await second.credential("aa")
    await second.close()

    assert (ORG, TOKEN) == found
    with pytest.raises(StoreUnavailable):
        await second.credential("aa")


async def test_a_path_that_cannot_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataDirUnwritable):
        await open_sql_control(tmp_path / "none" / "control.db")
