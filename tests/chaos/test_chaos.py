"""A short round with a fixed seed: what is promised holds while things break."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.chaos.report import report
from tests.chaos.round import Plan, play

SEED = 2383  # draws 17 of the 19 kinds of faults, kills and full disks among them


@pytest.mark.acceptance
@pytest.mark.timeout(240)
def test_kills_cuts_and_full_disks_lose_nothing(tmp_path: Path) -> None:
    plan = Plan(seed=SEED, for_s=9.0, pace=2.5, agents=2, people=2)
    outcome = asyncio.run(play(plan, tmp_path / "round", Path(sys.prefix) / "bin"))

    assert [] == outcome.findings, report(outcome)
    assert len(outcome.facts.runs) > 10
