"""Many agents at once: they stay, and they take a job each together."""

import time
from typing import Final

from bench.figures import AtLeast, AtMost, BenchError, Figure, median
from bench.processes import Controller, Crowd, Presence, controller, crowd, resident_bytes
from bench.scale import Site

SETTLE_S: Final = 2.0
# Short, so that a stay of seconds has many heartbeats, and one that is missed ends a session.
SHORT: Final = {"heartbeat_s": 1.0, "inactivity_s": 4.0}


def fleet(site: Site) -> list[Figure]:
    """The fleet connects, stays for a while on short heartbeats, and runs jobs all together."""
    scale, count = site.scale, site.scale.fleet
    with (
        controller(site.home, limits=SHORT) as to,
        crowd(site.home, to, count, processes=scale.processes) as them,
    ):
        joined_s = _connected_s(them, count)
        stayed = _stay(them, scale.stay_s)
        taken = [_job_on_all(to, count) for _ in range(scale.rounds)]
        after = them.presence()
    return [
        Figure(what=f"{count} agents joined", value=joined_s, unit="s", durable=True),
        Figure(
            what=f"connected after {scale.stay_s:g} s of short heartbeats",
            value=stayed.online,
            unit="agents",
            aim=AtLeast(count),
        ),
        Figure(what="streams lost or refused", value=after.lost, unit="", aim=AtMost(0)),
        Figure(
            what=f"a job on all {count}, every end and output stored, median",
            value=median(taken),
            unit="s",
            samples=len(taken),
            durable=True,
        ),
        Figure(what="the slowest of these jobs", value=max(taken), unit="s", durable=True),
    ]


def masses(site: Site) -> list[Figure]:
    """What shows only in numbers: the memory of one more agent, and one job on all."""
    scale, count = site.scale, site.scale.crowd
    few = count // 5
    with (
        controller(site.home) as to,
        crowd(site.home, to, few, processes=1) as first,
        crowd(site.home, to, count - few, processes=scale.processes - 1, first=few) as rest,
    ):
        first.wait_for(few)
        time.sleep(SETTLE_S)
        before = resident_bytes(to.pid)
        joined_s = _connected_s(rest, count - few)
        time.sleep(SETTLE_S)
        each = (resident_bytes(to.pid) - before) / (count - few)
        taken = [_job_on_all(to, count) for _ in range(scale.rounds)]
    return [
        Figure(
            what=f"memory of the controller for one agent more ({few} → {count})",
            value=each / 1024,
            unit="KiB",
            aim=AtMost(20),
        ),
        Figure(what=f"{count - few} more agents joined", value=joined_s, unit="s", durable=True),
        Figure(
            what=f"a job on all {count}, every end and output stored, median",
            value=median(taken),
            unit="s",
            samples=len(taken),
            aim=AtMost(1) if count <= 1_000 else None,
            durable=True,
        ),
    ]


def _connected_s(them: Crowd, count: int) -> float:
    began = time.monotonic()
    them.wait_for(count)
    return time.monotonic() - began


def _stay(them: Crowd, seconds: float) -> Presence:
    """Look how many are there now and then; return the least that there were."""
    until, least = time.monotonic() + seconds, them.presence()
    while time.monotonic() < until:
        time.sleep(0.25)
        least = min(least, them.presence(), key=lambda seen: seen.online)
    return least


def _job_on_all(to: Controller, count: int) -> float:
    """Run one job on all agents at the same time; return the seconds until all is stored."""
    with to.client() as client:
        began = time.monotonic()
        result = client.run(["echo", "hello"], all_agents=True).result()
        taken = time.monotonic() - began
    good = sum(run.ok and run.stdout == b"hello\n" for run in result.runs)
    if good != count:
        raise BenchError(f"{good} of {count} runs succeeded with their output")
    return taken
