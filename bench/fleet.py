"""Many agents at once: they stay, and they take a job each together."""

import time
from typing import Final

from bench.figures import AtLeast, AtMost, BenchError, Figure, median
from bench.numbers import numbers, writes
from bench.processes import Controller, Crowd, Presence, controller, cpu_s, crowd
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
    """One job on all of a thousand agents: every state and every output is stored."""
    scale, count = site.scale, site.scale.crowd
    with (
        controller(site.home, certificate=site.certificate()) as to,
        crowd(site.home, to, count, processes=scale.processes) as them,
    ):
        them.wait_for(count)
        time.sleep(SETTLE_S)
        _job_on_all(to, count)  # all is warm
        before, used = numbers(to), cpu_s(to.pid)
        taken = [_job_on_all(to, count) for _ in range(scale.rounds)]
        after, used = numbers(to), cpu_s(to.pid) - used
    return [
        Figure(
            what=f"a job on all {count}, every end and output stored, median",
            value=median(taken),
            unit="s",
            samples=len(taken),
            aim=AtMost(1),
            durable=True,
        ),
        Figure(
            what=f"runs of a job on all {count}",
            value=count / median(taken),
            unit="1/s",
            samples=len(taken),
            aim=AtLeast(2_000),
            durable=True,
        ),
        Figure(
            what="controller's time for a run",
            value=used * 1e3 / (count * len(taken)),
            unit="ms",
            samples=count * len(taken),
        ),
        *writes(f"a job on all {count}", before, after, sum(taken)),
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
        result = client.run(["echo", "hello"], all_agents=True, expect=count).result()
        taken = time.monotonic() - began
    good = sum(run.ok and run.stdout == b"hello\n" for run in result.runs)
    if good != count:
        raise BenchError(f"{good} of {count} runs succeeded with their output")
    return taken
