"""What a session may write, when a cancel reaches its run, and how a lost run heals."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from farhand.controller.session import Session
from farhand.domain.agent import Liveness
from farhand.domain.ids import RunId
from farhand.domain.limits import DEFAULTS
from farhand.domain.messages import (
    CancelRun,
    FromAgent,
    HeldRun,
    HeldState,
    Parting,
    Resume,
    RunEnded,
    RunRefused,
    RunStarted,
    Settled,
    StartRun,
    Welcome,
)
from farhand.domain.output import StreamName
from farhand.domain.run import Ending, Run, RunState, Why
from farhand.errors import AgentGone
from farhand.ports import Append, Change, MoveRun, Outcome, RunFilter
from farhand.storage.memory import MemoryStore
from farhand.testing import (
    FakeAgent,
    FakeChannel,
    ManualClock,
    World,
    ended,
    hang,
    ignore,
    output,
    settle,
)

LEASE = DEFAULTS.lease_s

# --- fencing ------------------------------------------------------------------------------


async def test_a_second_stream_fences_the_first_with_notice_to_both() -> None:
    async with World.start(agents=["web-1"], behaviour=hang) as world:
        first = world.agent("web-1")
        (run,) = (await world.submit()).runs
        twin = world.new_agent("twin")
        twin.name, twin.id, twin.secret = first.name, first.id, first.secret
        twin.machine_id = "machine-of-web-1"
        twin.held = [HeldRun(run=run.id, state=HeldState.RUNNING)]
        await twin.connect()
        await settle()

        assert first.goodbye is not None
        assert Parting.FENCED is first.goodbye.reason
        (welcome,) = twin.orders(Welcome)
        assert isinstance(welcome, Welcome)
        assert (2, True) == (welcome.epoch, welcome.fenced)


class GatedStore(MemoryStore):
    """What sessions write to runs waits, in order, while *gate* is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        if any(isinstance(change, Append | MoveRun) and change.epoch for change in changes):
            await self.gate.wait()
        return await super().apply(changes)


SAYINGS: dict[str, Callable[[RunId], list[FromAgent]]] = {
    "output": lambda run: [output(run, b"stale")],
    "start": lambda run: [RunStarted(run, 7)],
    "end": lambda run: [ended(run)],
    "refusal": lambda run: [RunRefused(run, Why.POLICY, "no")],
}


async def _fence(world: World, run: Run | None = None) -> tuple[Session, FakeAgent]:
    """Connect web-1 a second time; return the session that is fenced, and the newer agent."""
    first = world.agent("web-1")
    stale = first.session
    assert stale is not None
    twin = world.new_agent("twin", behaviour=ignore)
    twin.name, twin.id, twin.secret = first.name, first.id, first.secret
    twin.machine_id = "machine-of-web-1"
    twin.held = [HeldRun(run=run.id, state=HeldState.ACCEPTED)] if run else []
    await twin.connect()
    await settle()
    return stale, twin


@pytest.mark.parametrize("saying", SAYINGS)
async def test_a_fenced_stream_can_write_nothing(saying: str) -> None:
    async with World.start(agents=["web-1"], behaviour=ignore) as world:
        (run,) = (await world.submit()).runs
        stale, _ = await _fence(world, run)
        stale.receive(SAYINGS[saying](run.id))
        await settle()

        assert RunState.SENT is (await world.run(run)).state
        assert b"" == await world.output(run)


@pytest.mark.parametrize("saying", SAYINGS)
async def test_what_was_in_flight_when_a_stream_was_fenced_is_not_written(saying: str) -> None:
    store = GatedStore()
    async with World.start(agents=["web-1"], behaviour=ignore, store=store) as world:
        (run,) = (await world.submit()).runs
        store.gate.clear()
        world.agent("web-1").say(*SAYINGS[saying](run.id))
        await settle()
        await _fence(world, run)
        store.gate.set()
        await settle()

        assert RunState.SENT is (await world.run(run)).state
        assert b"" == await world.output(run)


async def test_a_fenced_stream_starts_no_run() -> None:
    store = GatedStore()
    async with World.start(agents=["web-1"], behaviour=ignore, store=store) as world:
        store.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            submitting = tasks.create_task(world.submit(), name="submit")
            await settle()
            _, twin = await _fence(world)
            store.gate.set()
        (run,) = submitting.result().runs
        await settle()

        assert [] == world.agent("web-1").orders(StartRun)
        assert [run.id] == [
            order.run for order in twin.orders(StartRun) if isinstance(order, StartRun)
        ]


async def test_a_fenced_stream_says_nothing_of_its_agents_liveness() -> None:
    async with World.start(agents=["web-1"], behaviour=ignore) as world:
        stale, twin = await _fence(world)
        await world.ended(stale)
        await settle()

        assert twin.id is not None
        found = await world.store.agent(twin.id)
        assert found is not None
        assert Liveness.ONLINE is found.liveness


async def test_a_first_stream_that_was_cut_early_does_not_remove_the_agent_that_came_back() -> None:
    async with World.start() as world:
        agent = world.new_agent("web-1")
        first = await _welcome_only(world, agent)
        again = world.new_agent("again")  # it heard its secret, and dials again
        again.name, again.id, again.secret = agent.name, agent.id, agent.secret
        again.machine_id = "machine-of-web-1"
        await again.connect()
        await world.ended(first)
        await settle()

        (found,) = (await world.store.agents()).items
        assert 2 == found.epoch


# --- joining, cut short -------------------------------------------------------------------


async def test_an_agent_that_lost_its_welcome_is_forgotten_when_it_joins_again() -> None:
    async with World.start() as world:
        await world.ended(await _welcome_only(world, world.new_agent("web-1")))
        agent = await world.join("web-1")
        (found,) = (await world.store.agents()).items

        assert agent.id == found.id
        assert found.liveness is Liveness.ONLINE


async def test_an_agent_that_heard_its_secret_and_no_more_is_let_in_with_it() -> None:
    async with World.start() as world:
        agent = world.new_agent("web-1")
        await world.ended(await _welcome_only(world, agent))
        first = agent.id
        await agent.connect()
        await settle()
        again = world.new_agent("web-1")
        await again.connect()  # the same name and machine; the first one is no stranger now
        await settle()

        assert first in [found.id for found in (await world.store.agents()).items]
        assert first != again.id


async def test_an_agent_that_never_confirmed_its_secret_is_forgotten_after_a_day() -> None:
    clock, limits = ManualClock(), replace(DEFAULTS, sweep_s=600.0, lease_s=1000.0)
    async with World.start(clock, agents=["web-2"], limits=limits) as world:
        await world.ended(await _welcome_only(world, world.new_agent("web-1")))
        world.agent("web-2").vanish()
        await settle()
        await clock.advance(23 * 3600)
        early = [found.name for found in (await world.store.agents()).items]
        await clock.advance(3 * 3600)

        assert {"web-1", "web-2"} == set(early)
        assert ["web-2"] == [found.name for found in (await world.store.agents()).items]


async def test_an_agent_that_is_gone_before_its_welcome_is_not_believed_to_be_here() -> None:
    async with World.start() as world:
        agent = world.new_agent("web-1")
        channel = FakeChannel(agent)
        channel.cut()
        with pytest.raises(AgentGone):
            await world.open(agent.hello(), channel)
        (found,) = (await world.store.agents()).items

        assert Liveness.SUSPECT is found.liveness
        assert 0 == len(world.tenant.sessions)


async def _welcome_only(world: World, agent: FakeAgent) -> Session:
    return await world.open(agent.hello(), FakeChannel(agent))


# --- cancels ------------------------------------------------------------------------------


async def test_a_cancel_is_sent_again_until_the_run_is_settled() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"], behaviour=hang) as world:
        (run,) = (await world.submit()).runs
        agent = world.agent("web-1")
        await world.tenant.jobs.cancel_run(run.id, by="test")
        await clock.advance(25)
        sent = len(agent.orders(CancelRun))
        agent.say(RunEnded(run.id, Ending(why=Why.CANCELLED, signal=15)))
        await clock.advance(25)

        assert 3 == sent
        assert sent == len(agent.orders(CancelRun))
        assert RunState.CANCELLED is (await world.run(run)).state


async def test_a_cancel_reaches_an_agent_that_was_away() -> None:
    async with World.start(agents=["web-1"], behaviour=hang) as world:
        (run,) = (await world.submit()).runs
        agent = world.agent("web-1")
        agent.vanish()
        await settle()
        await world.tenant.jobs.cancel_run(run.id, by="test")
        agent.held = [HeldRun(run=run.id, state=HeldState.RUNNING)]
        await agent.connect()
        await settle()

        assert [run.id] == [o.run for o in agent.orders(CancelRun) if isinstance(o, CancelRun)]


class SlowStore(MemoryStore):
    """While *gate* is closed, what sessions write to runs is kept at once and answered later."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = await super().apply(changes)
        if any(isinstance(change, Append | MoveRun) and change.epoch for change in changes):
            await self.gate.wait()
        return outcomes

    async def offsets(self, run: RunId) -> Mapping[StreamName, int]:
        await self.gate.wait()
        return await super().offsets(run)


async def test_a_cancel_that_comes_while_its_run_is_being_sent_follows_it() -> None:
    store = SlowStore()
    async with World.start(agents=["web-1"], behaviour=hang, store=store) as world:
        store.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(world.submit(), name="submit")
            await settle()
            (run,) = (await world.store.runs(RunFilter())).items
            state = run.state
            await world.tenant.jobs.cancel_run(run.id, by="test")
            store.gate.set()
        await settle()
        orders = world.agent("web-1").received

        assert RunState.SENT is state
        assert [StartRun, CancelRun] == [
            type(order) for order in orders if isinstance(order, StartRun | CancelRun)
        ]


async def test_a_cancel_that_comes_while_its_run_is_being_resumed_follows_it() -> None:
    store = SlowStore()
    async with World.start(agents=["web-1"], behaviour=hang, store=store) as world:
        agent = world.agent("web-1")
        (run,) = (await world.submit()).runs
        agent.vanish()
        await settle()
        store.gate.clear()
        agent.held = [HeldRun(run=run.id, state=HeldState.RUNNING)]
        await agent.connect()
        await settle()
        await world.tenant.jobs.cancel_run(run.id, by="test")
        store.gate.set()
        await settle()

        assert [Resume, CancelRun] == [
            type(order) for order in agent.received if isinstance(order, Resume | CancelRun)
        ]


async def test_a_cancelled_run_that_never_reached_its_agent_is_not_sent_again() -> None:
    async with World.start(agents=["web-1"], behaviour=ignore) as world:
        agent = world.agent("web-1")
        (run,) = (await world.submit()).runs
        agent.vanish()
        await settle()
        await world.tenant.jobs.cancel_run(run.id, by="test")
        await agent.connect()  # it holds nothing
        await settle()
        found = await world.run(run)

        assert (RunState.CANCELLED, Why.CANCELLED) == (found.state, found.why)
        assert 1 == len(agent.orders(StartRun))


# --- what was lost ------------------------------------------------------------------------


def _told_end(run: RunId, why: Why, **how: int) -> list[FromAgent]:
    return [RunEnded(run, Ending(why=why, **how))]  # type: ignore[arg-type] # exit_code, signal


# What a returning agent holds of a lost run, what it says, and where that leads.
HEALINGS: dict[str, tuple[HeldState | None, Callable[[RunId], list[FromAgent]], RunState, Why]] = {
    "succeeded": (HeldState.ENDED, lambda r: [ended(r)], RunState.SUCCEEDED, Why.EXIT),
    "exit code": (HeldState.ENDED, lambda r: [ended(r, code=3)], RunState.FAILED, Why.EXIT),
    "signal": (
        HeldState.ENDED,
        lambda r: _told_end(r, Why.SIGNAL, signal=9),
        RunState.FAILED,
        Why.SIGNAL,
    ),
    "timed out": (
        HeldState.ENDED,
        lambda r: _told_end(r, Why.TIME_LIMIT),
        RunState.TIMED_OUT,
        Why.TIME_LIMIT,
    ),
    "cancelled": (
        HeldState.ENDED,
        lambda r: _told_end(r, Why.CANCELLED),
        RunState.CANCELLED,
        Why.CANCELLED,
    ),
    "restarted": (
        HeldState.ENDED,
        lambda r: _told_end(r, Why.AGENT_RESTARTED),
        RunState.FAILED,
        Why.AGENT_RESTARTED,
    ),
    "refused": (
        HeldState.REFUSED,
        lambda r: [RunRefused(r, Why.POLICY, "no")],
        RunState.REFUSED,
        Why.POLICY,
    ),
    "never there": (None, lambda _: [], RunState.EXPIRED, Why.CONTACT_LOST),
}


@pytest.mark.parametrize("healing", HEALINGS)
async def test_a_lost_run_heals_into_whatever_its_agent_tells(healing: str) -> None:
    holds, says, state, why = HEALINGS[healing]
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"], behaviour=ignore) as world:
        submitted = await world.submit()
        (run,) = submitted.runs
        agent = world.agent("web-1")
        agent.vanish()
        await clock.advance(2 * LEASE)
        lost, waiting = await world.run(run), await world.store.waiting(run.job)
        agent.held = [HeldRun(run=run.id, state=holds)] if holds else []
        await agent.connect()
        await settle()
        if holds:
            agent.say(*says(run.id))
            await settle()
        found = await world.run(run)
        counts = (await world.tenant.store.job(run.job) or submitted.job).counts

        assert (RunState.LOST, Why.CONTACT_LOST, 0) == (lost.state, lost.why, waiting)
        assert (state, why) == (found.state, found.why)
        assert {state: 1} == counts
        assert Settled(run.id) in agent.received


async def test_a_job_with_agents_that_never_return_ends_by_its_own_clock() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1", "web-2"], behaviour=hang) as world:
        await world.join("web-3", behaviour=ignore)
        world.agent("web-1").vanish()
        await settle()
        submitted = await world.submit(on=["web-1", "web-2", "web-3"])
        world.agent("web-2").vanish()
        world.agent("web-3").vanish()
        await clock.advance(LEASE + DEFAULTS.queue_ttl_s + 2)
        states = [(await world.run(run)).state for run in submitted.runs]
        pages = [page async for page in world.tenant.followers.follow(submitted.job.id)]

        assert [RunState.EXPIRED, RunState.LOST, RunState.LOST] == states
        assert await world.tenant.followers.settled(submitted.job.id, 1.0)
        assert "end" == pages[-1][-1].kind
