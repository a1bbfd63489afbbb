"""An org is reached only when it is open here."""

import pytest

from farhand.domain.ids import OrgId
from farhand.errors import NotFound
from farhand.testing import World


async def test_an_org_that_is_not_open_is_not_found() -> None:
    async with World.start() as world:
        with pytest.raises(NotFound):
            world.tenants.get(OrgId("org_x"))


async def test_an_open_org_is_listed() -> None:
    async with World.start() as world:
        assert [world.tenant] == world.tenants.all
