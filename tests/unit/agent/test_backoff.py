"""How long an agent waits before it dials again."""

import math
import random
from bisect import bisect

import pytest

from farhand.agent.link import TOLD_MOST_S, Backoff
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


@pytest.mark.parametrize("gone_s", [2.0, 60.0, 300.0])
async def test_after_an_absence_of_minutes_every_agent_dials_within_ten_seconds(
    gone_s: float,
) -> None:
    over = [sum(await _waits(seed, gone_s)) - gone_s for seed in range(500)]

    assert max(over) <= 10.0


async def test_after_a_minute_agents_dial_spread_out() -> None:
    over = sorted([sum(await _waits(seed, 60.0)) - 60.0 for seed in range(1000)])
    densest = max(bisect(over, at + 1.0) - number for number, at in enumerate(over))

    # On the average a fifth dials in the first second: a wait is 5 s long, from 0 to 10.
    assert 100 < densest < 300


def test_a_controller_that_says_when_is_not_called_before() -> None:
    backoff = Backoff(AGENT_DEFAULTS, ManualClock(), random.Random(1))

    assert backoff.next(7.0) >= 7.0


async def test_a_controller_that_says_when_is_called_soon_after_however_long_it_was_away() -> None:
    clock = ManualClock()
    backoff = Backoff(AGENT_DEFAULTS, clock, random.Random(1))
    for _ in range(20):
        await clock.advance(backoff.next())
    told = [backoff.next(3.0) for _ in range(50)]

    assert 3.0 <= min(told) < max(told) <= 3.0 + AGENT_DEFAULTS.backoff_first_s


@pytest.mark.parametrize("told_s", [math.nan, -5.0])
def test_a_time_that_cannot_be_is_not_waited_for(told_s: float) -> None:
    backoff = Backoff(AGENT_DEFAULTS, ManualClock(), random.Random(1))

    assert backoff.next(told_s) <= AGENT_DEFAULTS.backoff_first_s


def test_no_controller_sends_an_agent_away_for_ever() -> None:
    backoff = Backoff(AGENT_DEFAULTS, ManualClock(), random.Random(1))

    assert backoff.next(math.inf) <= TOLD_MOST_S + AGENT_DEFAULTS.backoff_first_s
