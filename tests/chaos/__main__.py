"""`python -m tests.chaos`: rounds of chaos with printed seeds; exit status 1 if anything is found.

A round's directory is removed when nothing was found in it, and kept otherwise.
"""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.report import report
from tests.chaos.round import Plan, play


def main() -> int:
    """Play the rounds; round N has the seed SEED + N - 1."""
    options = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    options.add_argument("--seed", type=int, help="of the first round; drawn if it is not given")
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--seconds", type=float, default=45.0, help="of faults, in each round")
    options.add_argument("--pace", type=float, default=1.0, help="2 is twice as fast")
    options.add_argument("--agents", type=int, default=3)
    options.add_argument("--people", type=int, default=3)
    options.add_argument("--disk", default="", help="tmpfs, tmpfs-user or rlimit; the best if none")
    options.add_argument(
        "--programs", type=Path, default=Path(sys.prefix) / "bin", help="where farhand is installed"
    )
    options.add_argument("--keep", action="store_true", help="keep the directories of good rounds")
    options.add_argument("--plan", action="store_true", help="print the faults and do nothing")
    given = options.parse_args()
    first = random.SystemRandom().randrange(1 << 31) if given.seed is None else given.seed
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave nothing running
    failed = 0
    for seed in range(first, first + given.rounds):
        plan = Plan(
            seed=seed,
            for_s=given.seconds,
            pace=given.pace,
            agents=given.agents,
            people=given.people,
            disk=given.disk,
        )
        if given.plan:
            say(f"seed {seed}", *(f"  {fault}" for fault in plan.faults))
            continue
        say(f"round {seed - first + 1} of {given.rounds}, seed {seed}")
        home = Path(tempfile.mkdtemp(prefix=f"farhand-chaos-{seed}-"))
        outcome = asyncio.run(play(plan, home, given.programs))
        say(report(outcome))
        failed += bool(outcome.findings)
        if not outcome.findings and not given.keep:
            shutil.rmtree(home)
    if not given.plan:
        say("", f"{given.rounds - failed} of {given.rounds} rounds are as they must be")
    return 1 if failed else 0


def say(*lines: str) -> None:
    """Print lines at once, also into a pipe."""
    sys.stdout.write("\n".join([*lines, ""]))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
