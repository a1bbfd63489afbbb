"""How long an agent waits before it dials again."""

import random

from farhand.agent.link import Backoff
from farhand.domain.limits import AGENT_DEFAULTS
from farhand.testing import ManualClock


async def _waits(seed: int, gone_s: float) -> list[float]:
    """The waits of one agent while its controller is gone."""
    clock = ManualClock()
    backoff = Backoff(AGENT_DEFAULTS, clock, random.Random(seed))
    waits: list[float] = []
    while sum(waits) < gone_s:
        waits.append(backoff.next())
        await clock.advance(waits[-1])
    return waits


async def test_after_a_short_absence_every_agent_is_back_soon() -> None:
    over = [sum(await _waits(seed, 2.0)) - 2.0 for seed in range(200)]

    assert max(over) <= 4.0


async def test_waits_grow_to_the_cap_and_later_to_the_higher_one() -> None:
    waits = await _waits(1, 1200.0)

    assert waits[0] <= AGENT_DEFAULTS.backoff_first_s
    assert max(waits) <= AGENT_DEFAULTS.backoff_late_cap_s
    assert max(waits) > AGENT_DEFAULTS.backoff_cap_s


async def test_agents_do_not_come_back_in_step() -> None:
    ends = sorted([sum(await _waits(seed, 60.0)) for seed in range(100)])

    assert ends[-1] - ends[0] > 5.0


def test_a_controller_that_says_when_is_not_called_before() -> None:
    backoff = Backoff(AGENT_DEFAULTS, ManualClock(), random.Random(1))

    assert backoff.next(7.0) >= 7.0
