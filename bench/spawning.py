"""What the agent adds to a bare spawn: journal, pipes, watching, clearing up, telling.

Runs the agent's own executor and launcher in this process, with no link; bare spawns take turns
with runs, so that both meet the same weather.
"""

import asyncio
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.figures import AtMost, BenchError, Figure, median
from bench.scale import Site
from farhand.agent.budget import Budget
from farhand.agent.catalogue import Catalogue
from farhand.agent.daemon import boot_id
from farhand.agent.executor import Executor
from farhand.agent.journal import Journal
from farhand.agent.process import PosixLauncher
from farhand.agent.scripts import ScriptFiles
from farhand.agent.spoolfile import SpoolDir
from farhand.boot.clock import SystemClock
from farhand.controller.ids import new_run
from farhand.domain.job import Argv, JobSpec
from farhand.domain.limits import AGENT_DEFAULTS, MIB
from farhand.domain.messages import RunEnded, Settled, StartRun
from farhand.domain.policy import AgentPolicy, Permission

BOUND_S: Final = 60.0
PROGRAM: Final = "/bin/true"
TURN: Final = 10  # of one kind, before the other has its turn


@dataclass(slots=True)
class Cost:
    """Time on the wall of each, in milliseconds; processor time of all, in seconds."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        before = _cpu_s()
        yield
        self.cpu_s += _cpu_s() - before

    @contextmanager
    def one(self) -> Iterator[None]:
        began = time.perf_counter_ns()
        yield
        self.wall_ms.append((time.perf_counter_ns() - began) / 1e6)

    @property
    def cpu_ms(self) -> float:
        """Of one."""
        return self.cpu_s * 1e3 / len(self.wall_ms)


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def spawn(site: Site) -> list[Figure]:
    """A run of `true` on the agent, and `Popen` and `wait` in turn with it."""
    runs, bare = asyncio.run(asyncio.wait_for(_measured(site.home, site.scale.spawns), BOUND_S))
    size = len(runs.wall_ms)
    wall, alone = median(runs.wall_ms), median(bare.wall_ms)
    return [
        Figure(what="bare Popen and wait, median", value=alone, unit="ms", samples=size),
        Figure(
            what="a run of true on the agent, median",
            value=wall,
            unit="ms",
            samples=size,
            durable=True,
        ),
        Figure(what="one by the other, time", value=wall / alone, unit="x", durable=True),
        Figure(
            what="one by the other, processor time",
            value=runs.cpu_ms / bare.cpu_ms,
            unit="x",
            samples=size,
            aim=AtMost(1.5),
        ),
    ]


async def _measured(home: Path, count: int) -> tuple[Cost, Cost]:
    limits, clock = AGENT_DEFAULTS, SystemClock()
    journal = Journal.open(home / "journal", size=4 * MIB, ids=limits.ended_runs)
    spools = SpoolDir(home / "spool", Budget(limits))
    runs, bare = Cost(), Cost()
    try:
        async with Executor(
            launcher=PosixLauncher(),
            catalogue=Catalogue(()),
            policy=AgentPolicy(frozenset({Permission.ARGV})),
            journal=journal,
            scripts=ScriptFiles(home / "scripts"),
            spools=spools,
            clock=clock,
            limits=limits,
            env={"PATH": os.defpath},
            boot_id=boot_id(),
        ) as executor:
            ready = asyncio.Event()
            executor.notify(ready.set)
            await _run(executor, ready)  # code is loaded
            while len(runs.wall_ms) < count:
                turn = min(TURN, count - len(runs.wall_ms))
                with runs.turn():
                    for _ in range(turn):
                        with runs.one():
                            await _run(executor, ready)
                with bare.turn():
                    for _ in range(turn):
                        with bare.one():
                            subprocess.Popen([PROGRAM]).wait()  # noqa: ASYNC220  # as bare as can be
    finally:
        spools.shut()
        journal.close()
    return runs, bare


async def _run(executor: Executor, ready: asyncio.Event) -> None:
    """Send one run and settle it, as a controller would."""
    run = new_run()
    spec = JobSpec(what=Argv((PROGRAM,)))
    executor.handle(StartRun(run=run, spec=spec, grant=MIB))
    while True:
        await ready.wait()
        ready.clear()
        for frame in executor.collect(MIB):
            if isinstance(frame, RunEnded):
                if frame.ending.exit_code != 0:
                    raise BenchError(f"{PROGRAM}: {frame.ending.message}")
                executor.handle(Settled(run))
                return
