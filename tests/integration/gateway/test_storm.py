"""The controller is gone for a while, and everybody comes back at once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from farhand.boot.clock import SystemClock
from farhand.controller.jobs import Submitted
from farhand.domain.job import Argv, JobSpec, Names
from farhand.domain.limits import AGENT_DEFAULTS, DEFAULTS
from farhand.domain.output import StreamName
from farhand.domain.run import RunState
from farhand.gateway.server import Gateway
from farhand.ports import Change, OpenSession, Outcome
from farhand.storage.memory import MemoryStore
from farhand.testing.launcher import FakeProcess
from farhand.testing.proxy import NO_FAULTS, FaultProxy, Faults
from tests.integration.agent.estate import Estate, estate
from tests.until import until

AGENTS = 200
WORKING = 20
AT_ONCE = 8
# Everything twenty times as fast as the defaults, and few places at the door.
LIMITS = replace(
    DEFAULTS,
    admissions=AT_ONCE,
    admissions_waiting=40,
    admission_s=8.0,
    return_rate=400,
    sweep_s=0.05,
)
AGENT_LIMITS = replace(AGENT_DEFAULTS, backoff_first_s=0.025, backoff_cap_s=0.5, stop_s=5.0)


class HeldStore(MemoryStore):
    """A store that opens sessions while it may, and knows how many were to be opened at once."""

    def __init__(self) -> None:
        super().__init__()
        self.may_open = asyncio.Event()
        self.may_open.set()
        self._opening = 0
        self.forget()

    def forget(self) -> None:
        """Count anew."""
        self.opened: Counter[str] = Counter()
        self.most_at_once = 0

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        opening = [change.agent for change in changes if isinstance(change, OpenSession)]
        if opening:
            self._opening += len(opening)
            self.most_at_once = max(self.most_at_once, self._opening)
            await self.may_open.wait()
            self._opening -= len(opening)
            self.opened.update(opening)
        return await super().apply(changes)


class PatientClock(SystemClock):
    """Counts how often a link waited before it dialled again."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    async def sleep(self, seconds: float) -> None:
        self.waits += 1
        await super().sleep(seconds)


@asynccontextmanager
async def fleet(it: Estate, way: FaultProxy, stop: asyncio.Event) -> AsyncIterator[None]:
    """Agents that dial through *way*; on some, `work` goes on until it is told to stop."""

    async def work(process: FakeProcess) -> int:
        await process.print(b"before ")
        await stop.wait()
        await process.print(b"after")
        return 0

    async with asyncio.TaskGroup() as tasks:
        over = asyncio.Event()

        async def stay(name: str) -> None:
            async with it.agent(
                way.address, name=name, programs={"work": work}, limits=AGENT_LIMITS
            ):
                await over.wait()

        for number in range(AGENTS):
            tasks.create_task(stay(f"sim-{number:03}"), name="agent")
        try:
            yield
        finally:
            over.set()


@asynccontextmanager
async def strangers(gateway: Gateway) -> AsyncIterator[None]:
    """Some that dial in and say nothing, or half a word, and stay."""
    async with AsyncExitStack() as stack:
        for number in range(10):
            _, writer = await asyncio.open_connection(*gateway.address)
            stack.callback(writer.close)
            if number % 2:
                writer.write(b"PRI * HT")
        yield


async def working(it: Estate) -> Submitted:
    """A job on some of the agents, once all of its runs have printed something."""
    some = tuple(agent.id for agent in (await it.store.agents(limit=WORKING)).items)
    job = await it.at().jobs.submit(JobSpec(what=Argv(("work",))), Names(some), by="test")
    async with asyncio.timeout(20):
        for run in job.runs:
            while not (await it.store.offsets(run.id))[StreamName.STDOUT]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    return job


async def test_all_come_back_in_order_and_nobody_is_lost(tmp_path: Path) -> None:
    it = estate(tmp_path, LIMITS)
    it.store = store = HeldStore()
    it.clock = clock = PatientClock()
    stop = asyncio.Event()
    async with FaultProxy(("127.0.0.1", 1)) as way, AsyncExitStack() as stack:
        async with it.controller() as gateway:
            way.to = gateway.address
            await stack.enter_async_context(fleet(it, way, stop))
            await until(lambda: len(it.at().sessions) == AGENTS, within_s=40)
            job = await working(it)
            way.faults = Faults(refuse=True)
            way.cut()
            await until(lambda: len(it.at().sessions) == 0)
        await until(lambda: clock.waits > 3 * AGENTS)
        store.forget()
        store.may_open.clear()

        async with it.controller() as gateway, strangers(gateway):
            way.to = gateway.address
            way.faults = NO_FAULTS
            seen = gateway.admissions.counters
            await until(lambda: seen.turned_away > 0, within_s=40)
            store.may_open.set()
            await until(lambda: len(it.at().sessions) == AGENTS, within_s=40)
            stop.set()
            runs = await it.finished(job, within_s=40)

            assert AT_ONCE == store.most_at_once == seen.most_at_once
            assert LIMITS.admissions_waiting == seen.most_waiting
            assert {1} == set(store.opened.values())
            assert AGENTS == len(store.opened)

        printed = {
            await store.output(run.id, StreamName.STDOUT, offset=0, limit=100) for run in runs
        }
        told = await store.events(job.job.id, limit=1000)

        assert {RunState.SUCCEEDED} == {run.state for run in runs}
        assert {b"before after"} == printed
        assert RunState.LOST not in {event.run.state for event in told if event.run}
