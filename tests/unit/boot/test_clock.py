"""The system's clock, as far as it can be known without waiting."""

import time

from farhand.boot.clock import SystemClock
from farhand.ports import Clock


def test_monotonic_time_does_not_go_back() -> None:
    clock: Clock = SystemClock()
    times = [clock.now() for _ in range(100)]

    assert sorted(times) == times
    assert abs(time.monotonic() - times[-1]) < 60


def test_wall_time_is_seconds_since_1970() -> None:
    assert abs(time.time() - SystemClock().wall()) < 60


async def test_sleeping_takes_at_least_as_long_as_was_asked() -> None:
    clock = SystemClock()
    before = clock.now()
    await clock.sleep(0.01)

    assert clock.now() - before >= 0.0099
