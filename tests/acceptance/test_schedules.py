"""Schedules on real processes: due in seconds, and by whoever comes back after a kill."""

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance.plant import Plant, plant, until

pytestmark = pytest.mark.acceptance


@pytest.fixture
def here(installed: Path, tmp_path: Path) -> Iterator[Plant]:
    with plant(installed, tmp_path / "plant") as built:
        yield built


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def test_a_schedule_is_due_at_its_moment_and_its_job_runs_once(here: Plant) -> None:
    here.controller()
    here.agent("web-1")
    mark = here.home / "mark"
    added = here.farhand(
        *("schedules", "add", "once", "--at", soon(4), "web-1"),
        *("--", "sh", "-c", f"echo ran >> {mark}"),
    )
    assert 0 == added.returncode, added.stderr

    until(lambda: here.lines("schedules", "history", "once"), "the schedule was not due")
    until(mark.exists, "its job did not run")
    (firing,) = here.lines("schedules", "history", "once")
    shown = here.farhand("schedules", "show", "once")
    (job,) = here.lines("jobs")

    assert ("fired", job["id"]) == (firing["outcome"], firing["job"])
    assert b"over" in shown.stdout
    assert "ran\n" == mark.read_text()


def test_a_due_time_during_an_outage_is_looked_at_by_who_comes_back(here: Plant) -> None:
    controller = here.controller()
    here.agent("web-1")
    mark = here.home / "mark"
    added = here.farhand(
        *("schedules", "add", "once", "--at", soon(4), "web-1"),
        *("--", "sh", "-c", f"echo ran >> {mark}"),
    )
    assert 0 == added.returncode, added.stderr
    due = time.monotonic() + 4
    controller.stop(signal.SIGKILL)
    until(lambda: time.monotonic() > due, "time stands still")
    here.controller(http=here.url.rsplit("/", 1)[1], agents=here.agents_at)

    until(mark.exists, "its job did not run")
    (firing,) = here.lines("schedules", "history", "once")

    assert "fired" == firing["outcome"]
    assert 1 == len(here.lines("jobs"))
