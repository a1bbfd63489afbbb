"""How far a job is."""

import pytest

from farhand.domain.progress import MOMENTS, WINDOW_S, Pace, progress
from farhand.domain.run import RunState


def test_runs_are_counted_by_kind() -> None:
    counts = {
        RunState.SUCCEEDED: 5,
        RunState.FAILED: 1,
        RunState.LOST: 1,
        RunState.RUNNING: 2,
        RunState.SENT: 1,
        RunState.QUEUED: 3,
        RunState.HELD: 1,
    }
    pace = Pace(100.0)
    for at in range(7):
        pace.ended(100.0 + at)
    found = progress(counts, pace, 107.0)

    assert (14, 7, 2, 2, 5) == (
        found.total,
        found.done,
        found.failed,
        found.running,
        found.waiting,
    )
    assert (1.0, 7.0) == (found.rate_per_s, found.left_s)


def test_nothing_can_be_said_before_the_first_end() -> None:
    found = progress({RunState.QUEUED: 3}, Pace(0.0), 50.0)

    assert found.rate_per_s is None
    assert found.left_s is None


def test_nothing_is_left_at_the_end() -> None:
    pace = Pace(0.0)
    pace.ended(1.0)

    assert 0.0 == progress({RunState.SUCCEEDED: 1}, pace, 1e6).left_s


def test_a_job_that_stands_still_has_no_end_in_sight() -> None:
    pace = Pace(0.0)
    pace.ended(1.0)
    found = progress({RunState.SUCCEEDED: 1, RunState.RUNNING: 1}, pace, 100.0)

    assert 0.0 == found.rate_per_s
    assert found.left_s is None


def test_the_rate_is_of_late_and_its_memory_is_bounded() -> None:
    pace = Pace(0.0)
    for number in reversed(range(10 * MOMENTS)):  # as they may be read, not as they ended
        pace.ended(1_000.0 + number / 1_000)
    now = 1_000.0 + 10 * MOMENTS / 1_000

    assert pytest.approx(1_000, rel=0.01) == pace.rate(now)
    assert 0.0 == pace.rate(now + 2 * WINDOW_S)


def test_a_clock_that_went_back_divides_by_nothing() -> None:
    pace = Pace(100.0)
    pace.ended(100.0)

    assert (pace.rate(100.0) or 0.0) > 0
