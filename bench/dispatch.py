"""How soon a job on one agent starts there, and how soon its result is answered.

The agents are simulated: their program prints the time at which it was started, in nanoseconds
of the clock that all processes of a machine share.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from bench.asking import Asker, job_body
from bench.figures import Aim, AtMost, Figure, median, quantile
from bench.numbers import numbers, writes
from bench.processes import Controller, controller, cpu_s, crowd
from bench.scale import Site

BOUND_S: Final = 60.0
JOIN_S: Final = 90.0
MANY: Final = 64
AIMED: Final = 1_000  # agents
AIMS: Final[dict[str, Aim]] = {"p50": AtMost(5), "p99": AtMost(20)}


@dataclass(slots=True)
class Times:
    """Of each job: until its program started on the agent, and until its result was here."""

    started_ms: list[float] = field(default_factory=list)
    answered_ms: list[float] = field(default_factory=list)
    took_s: float = 0.0
    cpu_s: float = 0.0  # of the controller


def dispatch(site: Site) -> list[Figure]:
    """Single-target jobs over HTTP among few, many and very many agents."""
    return [figure for count in site.scale.dispatched for figure in _among(site, count)]


def dispatch_one(site: Site) -> list[Figure]:
    """The same among the usual number of agents only."""
    return _among(site, site.scale.crowd)


def _among(site: Site, count: int) -> list[Figure]:
    """One job in flight, then many."""
    scale, home = site.scale, site.home / f"among-{count}"
    home.mkdir()
    with (
        controller(home, certificate=site.certificate()) as to,
        crowd(home, to, count, processes=scale.processes) as them,
    ):
        them.wait_for(count, JOIN_S)
        names = itertools.cycle(f"sim-{number}" for number in range(count))
        asyncio.run(_times(to, names, jobs=scale.jobs // 10, in_flight=1))  # all is warm
        alone = asyncio.run(_times(to, names, jobs=scale.jobs, in_flight=1))
        before = numbers(to)
        crowded = asyncio.run(_times(to, names, jobs=4 * scale.jobs, in_flight=MANY))
        after = numbers(to)
    beside = f"{count} agents, {MANY} in flight"
    return [
        *_figures(f"{count} agents, 1 in flight", alone, aimed=count == AIMED),
        *_figures(beside, crowded, aimed=False),
        *(writes(beside, before, after, crowded.took_s) if count == scale.crowd else ()),
    ]


def _figures(among: str, times: Times, *, aimed: bool) -> Iterator[Figure]:
    jobs = len(times.answered_ms)
    for what, taken in (("started", times.started_ms), ("answered", times.answered_ms)):
        for name, value in (("p50", median(taken)), ("p99", quantile(taken, 0.99))):
            yield Figure(
                what=f"POST → {what}, {among}, {name}",
                value=value,
                unit="ms",
                samples=jobs,
                aim=AIMS[name] if aimed and what == "started" else None,
                durable=True,
            )
    yield Figure(
        what=f"controller's time for a job, {among}",
        value=times.cpu_s * 1e3 / jobs,
        unit="ms",
        samples=jobs,
    )
    yield Figure(
        what=f"jobs, {among}", value=jobs / times.took_s, unit="1/s", samples=jobs, durable=True
    )


async def _times(to: Controller, names: Iterator[str], *, jobs: int, in_flight: int) -> Times:
    times, left = Times(), iter(range(jobs))

    async def ask() -> None:
        asker = await Asker.open(to)
        try:
            for _ in left:
                body = job_body(["stamp"], {"names": [next(names)]})
                began = time.monotonic_ns()
                result = await asker.post("/api/v1/jobs?wait_s=30", body)
                ended = time.monotonic_ns()
                (run,) = result["runs"]
                times.started_ms.append((int(run["stdout"]["text"]) - began) / 1e6)
                times.answered_ms.append((ended - began) / 1e6)
        finally:
            asker.close()

    began, used = time.monotonic(), cpu_s(to.pid)
    async with asyncio.timeout(BOUND_S), asyncio.TaskGroup() as tasks:
        for _ in range(in_flight):
            tasks.create_task(ask(), name="ask")
    times.took_s, times.cpu_s = time.monotonic() - began, cpu_s(to.pid) - used
    return times
