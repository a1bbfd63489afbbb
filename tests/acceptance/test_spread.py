"""Jobs that are spread over real agents go on after a controller was killed, and no faster."""

import itertools
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.plant import Plant, plant, until

pytestmark = pytest.mark.acceptance

HOSTS = [f"web-{n}" for n in range(8)]
ALLOWED = ("--allow", "argv")


def marking(marks: Path) -> list[str]:
    """A program that writes down when it begins and when it ends."""
    script = f"echo begin $$ >> {marks}; sleep 0.4; echo end $$ >> {marks}"
    return ["--", "sh", "-c", script]


def marked(marks: Path, word: str) -> list[str]:
    """Who has begun, or ended, by pid."""
    lines = marks.read_text().splitlines() if marks.exists() else []
    return [line.split()[1] for line in lines if line.split()[0] == word]


def begin(marks: Path, number: int) -> None:
    """Wait until so many have begun."""
    until(lambda: len(marked(marks, "begin")) >= number, f"{number} have begun")


def most_at_once(marks: Path) -> int:
    """How many were under way at once, at most."""
    steps = [1 if line.startswith("begin") else -1 for line in marks.read_text().splitlines()]
    return max(itertools.accumulate(steps))


def restarted(here: Plant) -> None:
    """Start the controller again, where it was."""
    here.controller(http=here.url.rsplit("/", 1)[1], agents=here.agents_at)


def shown(here: Plant, job: str) -> dict[str, Any]:
    (found,) = here.lines("jobs", "show", job)
    return found


def submitted(here: Plant, *argv: str) -> str:
    done = here.farhand("run", "--detach", *argv)
    assert 0 == done.returncode, done.stderr
    return done.stdout.decode().strip()


def test_a_job_is_spread_no_faster_and_to_its_end_though_the_controller_is_killed(
    installed: Path, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    with plant(installed, tmp_path, agent_options=ALLOWED) as here:
        controller = here.controller()
        for name in HOSTS:
            here.agent(name)
        options = ("--waves", "1,50%", "--concurrency", "2", "--pause", "300ms")
        job = submitted(here, ",".join(HOSTS), *options, *marking(marks))
        for begun in (1, 3, 6):
            begin(marks, begun)
            controller.stop(signal.SIGKILL)
            restarted(here)
            controller = here.processes[-1]
        done = here.farhand("jobs", "follow", job)
        found = shown(here, job)

        assert 0 == done.returncode, done.stderr
        assert ("done", "completed") == (found["rollout"]["phase"], found["rollout"]["ended"])
        assert {"succeeded": len(HOSTS)} == found["counts"]
        assert len(HOSTS) == len(set(marked(marks, "begin"))) == len(marked(marks, "begin"))
        assert most_at_once(marks) <= 2
        waves = [run["wave"] for run in found["runs"]]
        assert [1, 2, 2, 2, 2, 3, 3, 3] == waves


def test_a_job_that_is_held_by_hand_stays_so_across_a_restart(
    installed: Path, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    with plant(installed, tmp_path, agent_options=ALLOWED) as here:
        controller = here.controller()
        for name in HOSTS[:3]:
            here.agent(name)
        job = submitted(
            here, ",".join(HOSTS[:3]), "--waves", "1", "--pause", "hold", *marking(marks)
        )
        until(lambda: shown(here, job)["rollout"]["phase"] == "held", "it is held")
        controller.stop(signal.SIGKILL)
        restarted(here)

        assert "held" == shown(here, job)["rollout"]["phase"]
        assert 1 == len(marked(marks, "begin"))

        resumed = here.farhand("jobs", "resume", job)
        done = here.farhand("jobs", "follow", job)

        assert (0, 0) == (resumed.returncode, done.returncode)
        assert 3 == len(marked(marks, "end"))


def test_a_canary_that_fails_and_a_gate_that_says_no_keep_the_others_safe(
    installed: Path, tmp_path: Path
) -> None:
    with plant(installed, tmp_path, agent_options=ALLOWED) as here:
        here.controller()
        for name in HOSTS[:3]:
            here.agent(name)
        where = ",".join(HOSTS[:3])
        waves = ("--waves", "1,rest")
        failed = here.farhand(
            "run", where, *waves, "--abort-after", "1", "--", "sh", "-c", "exit 3"
        )
        gated = here.farhand(
            *("run", where, *waves, "--gate", "false", "--gate-on", "name=web-2", "--", "true"),
        )
        counts = [json.dumps(job["counts"]) for job in here.lines("jobs")]

        assert (1, 1) == (failed.returncode, gated.returncode)
        assert b"cancelled" in failed.stderr
        assert counts == [
            '{"failed": 1}',
            '{"succeeded": 1, "cancelled": 2}',
            '{"failed": 1, "cancelled": 2}',
        ]


def test_a_wave_that_is_larger_than_the_fleet_is_refused(installed: Path, tmp_path: Path) -> None:
    with plant(installed, tmp_path, agent_options=ALLOWED) as here:
        here.controller()
        here.agent("web-1")
        refused = here.farhand("run", "web-1", "--waves", "40,rest", "--", "true")

        assert (65, True) == (refused.returncode, b"[wave-too-large]" in refused.stderr)
