"""Targets on real processes: what is looked at is what is run, and a freeze outlives a kill."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.plant import Plant, plant

pytestmark = pytest.mark.acceptance


@pytest.fixture
def here(installed: Path, tmp_path: Path) -> Iterator[Plant]:
    with plant(installed, tmp_path / "plant") as built:
        yield built


def test_groups_previews_and_the_freeze_are_there_after_the_controller_was_killed(
    here: Plant,
) -> None:
    controller = here.controller()
    for name in ("web-1", "web-2"):
        here.agent(name)
    assert 0 == here.farhand("groups", "set", "front", "web-[1-2] & kernel>=2.6").returncode
    preview = here.farhand("run", "--preview", "--json", "@front & version>=0", "--", "true")
    seen = json.loads(preview.stdout)
    assert 0 == here.farhand("freeze", "incident 4711").returncode
    controller.stop(signal.SIGKILL)
    here.controller(http=here.url.rsplit("/", 1)[1], agents=here.agents_at)

    frozen = here.farhand("run", "--bind", seen["preview"], "--", "echo", "hi")

    assert ("web-[1-2]", 2) == (seen["hosts"], seen["count"])
    assert (65, True) == (frozen.returncode, b"incident 4711" in frozen.stderr)
    assert b"incident 4711" in here.farhand("doctor").stdout
    assert 0 == here.farhand("unfreeze").returncode

    bound = here.farhand("run", "--bind", seen["preview"], "--no-prefix", "--", "echo", "hi")
    (job,) = here.lines("jobs")
    here.agent("web-3")
    why = here.farhand("jobs", "why", job["id"], "web-3")

    assert (0, b"hi\nhi\n") == (bound.returncode, bound.stdout)
    assert b"web-3 joined after the job was made" in why.stdout
