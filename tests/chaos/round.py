"""One round: start an estate, let people work while faults are inflicted, wait, look, judge.

The faults and the jobs come from the seed alone; how they meet is up to the machine.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import httpx

from tests.chaos import verdict
from tests.chaos.estate import START_S, Estate, estate, until
from tests.chaos.facts import Facts, Level, collect, levels, living, read_marks
from tests.chaos.faults import Fault, draw
from tests.chaos.inflict import Inflicter, Recovery
from tests.chaos.people import Auditor, People
from tests.chaos.verdict import Part
from tests.chaos.work import Drawer

LOOK_S: Final = 0.2
IDLE_S: Final = 10.0
QUESTIONS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of everything. *for_s* is how long faults are drawn for."""

    seed: int
    for_s: float = 45.0
    pace: float = 1.0
    agents: int = 3
    people: int = 3
    quiet_s: float = 90.0  # in which everything must settle
    disk: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"host-{at}" for at in range(1, self.agents + 1))

    @property
    def faults(self) -> list[Fault]:
        return draw(f"{self.seed}", self.names, for_s=self.for_s, pace=self.pace)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a round came to."""

    plan: Plan
    home: Path
    parts: list[Part] = field(default_factory=list)
    facts: Facts
    history: list[tuple[float, str]]
    recoveries: list[Recovery]
    answers: Mapping[str, int]
    disks: str
    took_s: float
    settled_s: float  # after the last fault was lifted and the last job asked for

    @property
    def findings(self) -> list[verdict.Finding]:
        return verdict.all_findings(self.parts)


async def play(plan: Plan, home: Path, programs: Path) -> Outcome:
    """Play one round in the empty directory *home* with the programs of a folder."""
    began = time.monotonic()
    async with estate(home, programs, plan.names, kind=plan.disk) as here:
        people, auditor = People(here), Auditor(here)
        await _warm_up(here, people, auditor, plan)
        before = await _idle(here, auditor, {})
        here.history.note("the faults begin")
        async with asyncio.TaskGroup() as tasks:
            inflicter = Inflicter(here, people, auditor, tasks)
            looking = tasks.create_task(auditor.watch(LOOK_S), name="auditor")
            working = [
                tasks.create_task(
                    people.work(f"{plan.seed}-{who}", _drawer(here, plan, str(who))), name="person"
                )
                for who in range(plan.people)
            ]
            await inflicter.all(plan.faults)
            people.close()
            here.history.note("quiet: nothing new is asked for, nothing more goes wrong")
            quiet = time.monotonic()
            problems = await _settled(here, people, auditor, working, plan.quiet_s)
            settled_s = time.monotonic() - quiet
            for task in (looking, *working):
                task.cancel()
        jobs, runs, outputs = await collect(here, auditor, people.asked, within_s=20.0)
        ids = list(people.accepted_runs)
        await until(lambda: not living(ids), 10.0)
        facts = Facts(
            asked=people.asked,
            jobs=jobs,
            runs=runs,
            outputs=outputs,
            marks=read_marks(here.marks),
            living=living(ids),
            before=before,
            after=await _idle(here, auditor, before),
            touched=inflicter.touched,
            problems=[*problems, *here.history.crashes, *people.problems, *inflicter.problems],
        )
        history, disks = here.history.lines, here.disks.name
    return Outcome(
        plan=plan,
        home=home,
        parts=verdict.judge(facts),
        facts=facts,
        history=history,
        recoveries=inflicter.recoveries,
        answers=people.answers,
        disks=disks,
        took_s=time.monotonic() - began,
        settled_s=settled_s,
    )


def _drawer(here: Estate, plan: Plan, who: str) -> Drawer:
    return Drawer(f"{plan.seed}-{who}", plan.names, here.marks, plan.pace)


async def _warm_up(here: Estate, people: People, auditor: Auditor, plan: Plan) -> None:
    """Let every agent run something, and come back once with the secret it was given."""
    work = replace(_drawer(here, plan, "first").quick(), agents=plan.names)
    await people.one(work)
    here.history.note("everybody is there")
    for link in here.links.values():
        link.cut()
    if not await until(lambda: all(len(here.sessions[n]) > 1 for n in plan.names), START_S):
        raise TimeoutError("the agents did not come back from the first cut")
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(START_S):
        await auditor.look(http)
        while auditor.open:
            await asyncio.sleep(LOOK_S)
            await auditor.look(http)


async def _idle(here: Estate, auditor: Auditor, wanted: Mapping[str, Level]) -> dict[str, Level]:
    """What the processes use, as soon as it is no more than was *wanted*; or after a while.

    Many questions at once come first, so that each pool has all the threads it will ever have.
    """
    async with httpx.AsyncClient(timeout=IDLE_S, trust_env=False) as http:
        await asyncio.gather(*(auditor.all(http, "/runs", []) for _ in range(QUESTIONS)))
    end = time.monotonic() + IDLE_S
    while True:
        async with httpx.AsyncClient(timeout=IDLE_S, trust_env=False) as http:
            found = await levels(here, auditor, http)
        if time.monotonic() > end or not any(
            name not in found or list(verdict.grown(level, found[name]))
            for name, level in wanted.items()
        ):
            return found
        await asyncio.sleep(LOOK_S)


async def _settled(
    here: Estate,
    people: People,
    auditor: Auditor,
    working: list[asyncio.Task[None]],
    within_s: float,
) -> list[str]:
    """Wait until every request is answered and no run is open; return what did not settle."""
    end = time.monotonic() + within_s
    closed = time.monotonic()
    await asyncio.wait(working, timeout=within_s)

    def still() -> bool:
        return not auditor.open and auditor.looked_at > closed

    await until(still, max(1.0, end - time.monotonic()))
    open_runs = [f"{run} is still {state}" for run, state in auditor.open.items()]
    waiting = [f"{task.get_name()} still waits" for task in working if not task.done()]
    here.history.note(f"settled: {len(open_runs)} runs are open")
    return [*waiting, *open_runs[:20]]
