"""When agents are told to come back by a controller that stops."""

from dataclasses import replace

import pytest

from farhand.domain.limits import DEFAULTS
from farhand.domain.messages import Parting
from farhand.testing import World

AGENTS = 20


@pytest.mark.parametrize(
    ("rate", "spread_s"),
    [
        (250, 5.0),  # few: within the time that is set
        (2, 10.0),  # many: over longer, so that no more than the rate come in a second
    ],
)
async def test_agents_are_told_to_come_back_evenly(rate: int, spread_s: float) -> None:
    names = [f"web-{number}" for number in range(AGENTS)]
    async with World.start(agents=names, limits=replace(DEFAULTS, return_rate=rate)) as world:
        world.tenant.sessions.say_goodbye(5.0)
        goodbyes = [agent.goodbye for agent in world.agents.values()]
        told = sorted(each.reconnect_after_s for each in goodbyes if each is not None)

        assert {Parting.STOPPING} == {each.reason for each in goodbyes if each is not None}
        assert pytest.approx([spread_s * at / AGENTS for at in range(AGENTS)]) == told
