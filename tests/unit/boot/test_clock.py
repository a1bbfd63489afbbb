"""The system's clock, as far as it can be known without waiting, and the steady one over any."""

import asyncio
import time

import pytest

from farhand.boot.clock import SLEW, SteadyClock, SystemClock
from farhand.ports import Clock
from farhand.testing import ManualClock

DAY = 86_400.0
WALL = 1_800_000_000.0


def test_monotonic_time_does_not_go_back() -> None:
    clock: Clock = SystemClock()
    times = [clock.now() for _ in range(100)]

    assert sorted(times) == times


def test_a_host_that_slept_was_away_for_as_long_as_it_slept() -> None:
    assert abs(time.clock_gettime(time.CLOCK_BOOTTIME) - SystemClock().now()) < 60


def test_wall_time_is_seconds_since_1970() -> None:
    assert abs(time.time() - SystemClock().wall()) < 60


async def test_sleeping_takes_at_least_as_long_as_was_asked() -> None:
    clock = SystemClock()
    before = clock.now()
    await clock.sleep(0.01)

    assert clock.now() - before >= 0.0099


async def test_a_steady_clock_agrees_with_a_clock_that_nobody_sets() -> None:
    manual = ManualClock()
    steady: Clock = SteadyClock(manual)
    for seconds in (0.0, 0.001, 3600.0, 10 * DAY):
        await manual.advance(seconds)

        assert (manual.now(), manual.wall()) == (steady.now(), steady.wall())


@pytest.mark.parametrize("jump", [DAY, -DAY, 3600.0, -3600.0])
async def test_a_wall_clock_that_is_set_is_followed_slowly_and_told_once(jump: float) -> None:
    told: list[float] = []
    manual = ManualClock(WALL)
    steady = SteadyClock(manual, told.append)
    manual.jump(jump)
    seen = [steady.wall()]
    for _ in range(100):
        await manual.advance(1)
        seen.append(steady.wall())

    assert sorted(seen) == seen
    assert WALL == seen[0]
    assert pytest.approx(WALL + 100 * (1 + (SLEW if jump > 0 else -SLEW))) == seen[-1]
    assert [pytest.approx(jump)] == told


async def test_a_wall_clock_that_is_set_back_and_put_right_has_changed_nothing() -> None:
    told: list[float] = []
    manual = ManualClock()
    steady = SteadyClock(manual, told.append)
    manual.jump(-DAY)
    before = steady.wall()
    await manual.advance(10)
    steady.wall()
    manual.jump(DAY)
    await manual.advance(10)

    assert pytest.approx(before + 20, abs=1.1) == steady.wall()
    assert [pytest.approx(-DAY), pytest.approx(DAY)] == told


@pytest.mark.parametrize("drift", [1.5, -1.5])
async def test_a_small_correction_is_taken_over_and_not_told(drift: float) -> None:
    told: list[float] = []
    manual = ManualClock()
    steady = SteadyClock(manual, told.append)
    manual.jump(drift)
    for _ in range(20):
        await manual.advance(1)
        steady.wall()

    assert pytest.approx(manual.wall()) == steady.wall()
    assert [] == told


async def test_a_clock_that_stood_still_in_between_is_right_at_once() -> None:
    told: list[float] = []
    manual = ManualClock()
    steady = SteadyClock(manual, told.append)
    manual.stall(DAY)

    assert manual.wall() == steady.wall()
    assert [] == told


async def test_sleeping_is_the_other_clocks() -> None:
    manual = ManualClock()
    slept = asyncio.create_task(SteadyClock(manual).sleep(5))
    await manual.advance(4)
    early = slept.done()
    await manual.advance(1)

    assert not early
    assert slept.done()
