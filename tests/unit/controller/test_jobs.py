"""Jobs are taken whole or refused whole."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from farhand.controller import refusals
from farhand.domain.command import Command, Param, ParamType
from farhand.domain.ids import JobId, RunId
from farhand.domain.job import AllAgents, Argv, CommandCall, JobSpec, Names
from farhand.domain.limits import DEFAULTS
from farhand.domain.messages import CancelRun, StartRun
from farhand.domain.run import RunState, Why
from farhand.domain.selector import Selector
from farhand.errors import (
    AmbiguousName,
    FarhandError,
    IdempotencyConflict,
    InvalidJob,
    InvalidParameter,
    NoTargets,
    OverShare,
    StoreUnavailable,
    TooManyTargets,
    UnknownAgent,
    UnknownCommand,
    UnknownJob,
    UnknownRun,
)
from farhand.ports import AddJob, Change, Outcome, RunFilter
from farhand.storage.memory import MemoryStore
from farhand.testing import ManualClock, World, ended, hang, settle

S = RunState
TRUE = JobSpec(what=Argv(("true",)))
PING = Command(
    ident="ping",
    params=(
        Param(name="host", type=ParamType.HOST, required=True),
        Param(name="count", type=ParamType.INT, default="3", minimum=1, maximum=10),
    ),
)


async def test_a_selector_picks_by_label_and_fact() -> None:
    async with World.start() as world:
        for name, role in (("web-1", "web"), ("web-2", "web"), ("db-1", "db")):
            await world.join(name, labels={"role": role})
        submitted = await world.submit(on=Selector("role=web & os=linux"))

        assert ["web-1", "web-2"] == sorted(run.agent_name for run in submitted.runs)


async def test_an_agent_is_found_by_name_id_and_ip_mac() -> None:
    async with World.start(agents=["web-1"]) as world:
        agent = world.agent("web-1")
        assert agent.id is not None
        for name in ("web-1", agent.id, f"{agent.ip}-{agent.mac}"):
            (run,) = (await world.submit(on=name)).runs

            assert agent.id == run.agent


async def test_an_agent_named_twice_runs_once() -> None:
    async with World.start(agents=["web-1"]) as world:
        agent = world.agent("web-1")
        submitted = await world.submit(on=["web-1", str(agent.id)])

        assert 1 == len(submitted.runs)


async def test_a_name_that_two_agents_bear_lists_them() -> None:
    async with World.start(agents=["web-1"]) as world:
        first = world.agent("web-1")
        second = world.new_agent("other")
        second.name = "web-1"
        await second.connect()
        with pytest.raises(AmbiguousName) as caught:
            await world.submit(on="web-1")

        assert {first.id, second.id} == set(caught.value.details["agents"])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("targets", "error"),
    [
        (AllAgents(), NoTargets),
        (Names(()), NoTargets),
        (Selector("role=web"), NoTargets),
        (Names(("nobody",)), UnknownAgent),
        (Names(tuple(f"web-{n}" for n in range(30))), UnknownAgent),
        (Names(tuple(f"web-{n}" for n in range(10_001))), TooManyTargets),
    ],
)
async def test_targets_that_cannot_be_leave_nothing_behind(
    targets: Names, error: type[FarhandError]
) -> None:
    async with World.start() as world:
        with pytest.raises(error):
            await world.tenant.jobs.submit(TRUE, targets, by="me")

        assert [] == list((await world.store.jobs()).items)


async def test_a_bad_job_leaves_nothing_behind() -> None:
    async with World.start(agents=["web-1"]) as world:
        with pytest.raises(InvalidJob):
            await world.submit(JobSpec(what=Argv(())))

        assert [] == list((await world.store.jobs()).items)


async def test_the_same_key_is_the_same_job_and_another_body_is_a_conflict() -> None:
    async with World.start(agents=["web-1"]) as world:
        jobs = world.tenant.jobs
        first = await jobs.submit(TRUE, AllAgents(), by="me", key="k", digest="a")
        again = await jobs.submit(TRUE, AllAgents(), by="me", key="k", digest="a")
        other = await jobs.submit(TRUE, AllAgents(), by="you", key="k", digest="b")
        with pytest.raises(IdempotencyConflict):
            await jobs.submit(TRUE, AllAgents(), by="me", key="k", digest="b")
        await settle()

        assert (first.job.id, True) == (again.job.id, again.repeated)
        assert first.job.id != other.job.id
        assert 2 == len(world.agent("web-1").orders(StartRun))


async def test_a_used_key_is_known_whatever_became_of_the_targets() -> None:
    async with World.start(agents=["web-1"]) as world:
        jobs = world.tenant.jobs
        first = await jobs.submit(TRUE, Names(("web-1",)), by="me", key="k", digest="a")
        await settle()
        await world.tenant.agents.remove(first.runs[0].agent, by="test")
        again = await jobs.submit(TRUE, Names(("web-1",)), by="me", key="k", digest="a")
        with pytest.raises(UnknownAgent):
            await jobs.submit(TRUE, Names(("web-1",)), by="me", key="l", digest="a")

        assert (first.job.id, True) == (again.job.id, again.repeated)


class DeafStore(MemoryStore):
    """Commits what adds a job, and then does not answer, as one whose process was killed."""

    deaf = False

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = await super().apply(changes)
        if self.deaf and any(isinstance(change, AddJob) for change in changes):
            raise StoreUnavailable
        return outcomes


async def test_a_job_that_was_written_and_not_answered_is_whole_after_a_restart() -> None:
    store = DeafStore()
    async with World.start(agents=["web-1", "web-2"], store=store) as world:
        drained = (await world.tenant.agents.find("web-2")).id
        await world.tenant.agents.edit(drained, by="test", drained=True)
        store.deaf = True
        with pytest.raises(StoreUnavailable):
            await world.submit(on=["web-1", "web-2"])
        store.deaf = False
    async with World.start(world.clock, store=store, control=world.control) as after:
        for agent in world.agents.values():
            await after.bring(agent).connect()
        await settle()
        (job,) = (await store.jobs()).items
        runs = (await store.runs(RunFilter(job=job.id))).items
        lines = [record.action for record in (await store.audit()).items]

        assert [(S.SUCCEEDED, None), (S.REFUSED, Why.DRAINED)] == [
            (run.state, None if run.state is S.SUCCEEDED else run.why) for run in runs
        ]
        assert 1 == lines.count("job.submitted")
        assert [] == world.agent("web-2").orders(StartRun)


async def test_an_unknown_command_and_a_wrong_parameter_are_errors_when_no_agent_takes_them() -> (
    None
):
    async with World.start() as world:
        agent = world.new_agent("web-1")
        agent.commands = (PING,)
        await agent.connect()
        with pytest.raises(UnknownCommand):
            await world.submit(JobSpec(what=CommandCall("pong", {})))
        with pytest.raises(InvalidParameter):
            await world.submit(JobSpec(what=CommandCall("ping", {"host": "-rf"})))
        with pytest.raises(InvalidParameter):
            await world.submit(JobSpec(what=CommandCall("ping", {"host": "a", "count": "11"})))
        submitted = await world.submit(JobSpec(what=CommandCall("ping", {"host": "a"})))

        assert 1 == len(submitted.runs)


async def test_an_agent_without_the_command_refuses_while_the_others_run_it() -> None:
    async with World.start(agents=["old"]) as world:
        agent = world.new_agent("new")
        agent.commands = (PING,)
        await agent.connect()
        submitted = await world.submit(JobSpec(what=CommandCall("ping", {"host": "a"})))
        runs = {run.agent_name: await world.run(run) for run in submitted.runs}

        assert (RunState.REFUSED, Why.UNKNOWN_COMMAND) == (runs["old"].state, runs["old"].why)
        assert RunState.SUCCEEDED is runs["new"].state


async def test_agents_that_do_not_answer_for_their_catalogue_do_not_hold_up_a_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusals, "ASKED_S", 0.05)
    async with World.start() as world:
        for number in range(refusals.ASKED_AT_ONCE + 1):
            agent = world.new_agent(f"n-{number}")
            agent.commands = (replace(PING, description=agent.name),)  # a catalogue of its own
            await agent.connect()
            assert agent.channel is not None
            agent.channel.stall()
        last = agent.channel
        assert last is not None
        last.flow()
        submitted = await world.submit(JobSpec(what=CommandCall("ping", {"host": "a"})))
        states = [(await world.run(run)).state for run in submitted.runs]

        assert RunState.SUCCEEDED is states.pop()
        assert {RunState.QUEUED, RunState.SENT} >= set(states)


async def test_a_job_beyond_the_open_runs_of_the_org_is_refused_and_leaves_nothing() -> None:
    limits = replace(DEFAULTS, open_runs=3)
    async with World.start(agents=["web-1", "web-2"], limits=limits, behaviour=hang) as world:
        first = await world.submit()
        with pytest.raises(OverShare) as caught:
            await world.submit()
        listed = (await world.store.jobs()).items
        await world.tenant.jobs.cancel_job(first.job.id, by="me")
        for name, run in zip(("web-1", "web-2"), first.runs, strict=True):
            world.agent(name).say(ended(run.id))
        await settle()
        again = await world.submit()

        assert {"bound": "open_runs", "limit": 3, "open_runs": 2} == caught.value.details
        assert [first.job.id] == [job.id for job in listed]
        assert 2 == len(again.runs)


async def test_a_job_that_is_known_by_its_key_is_told_however_many_runs_are_open() -> None:
    async with World.start(agents=["web-1"], limits=replace(DEFAULTS, open_runs=1)) as world:
        world.agent("web-1").behaviour = hang
        submit = world.tenant.jobs.submit
        first = await submit(TRUE, AllAgents(), by="me", key="k", digest="d")
        again = await submit(TRUE, AllAgents(), by="me", key="k", digest="d")
        await settle()

        assert (first.job.id, True) == (again.job.id, again.repeated)


async def test_a_drained_agent_takes_no_new_runs() -> None:
    async with World.start(agents=["web-1", "web-2"]) as world:
        drained = world.agent("web-1")
        assert drained.id is not None
        await world.tenant.agents.edit(drained.id, by="me", drained=True)
        everywhere = await world.submit()
        (run,) = (await world.submit(on="web-1")).runs
        found = await world.run(run)

        assert ["web-2"] == [run.agent_name for run in everywhere.runs]
        assert (RunState.REFUSED, Why.DRAINED) == (found.state, found.why)
        assert [] == drained.orders(StartRun)


async def test_cancelling_a_job_ends_queued_runs_at_once_and_asks_running_ones() -> None:
    async with World.start(agents=["web-1", "web-2"], behaviour=hang) as world:
        world.agent("web-2").leave()
        await settle()
        submitted = await world.submit()
        await world.tenant.jobs.cancel_job(submitted.job.id, by="me")
        await settle()
        states = {run.agent_name: (await world.run(run)).state for run in submitted.runs}

        assert {"web-1": RunState.RUNNING, "web-2": RunState.CANCELLED} == states
        assert 1 == len(world.agent("web-1").orders(CancelRun))


async def test_cancelling_what_has_ended_changes_nothing() -> None:
    async with World.start(agents=["web-1"]) as world:
        (run,) = (await world.submit()).runs
        found = await world.tenant.jobs.cancel_run(run.id, by="me")

        assert RunState.SUCCEEDED is found.state


@pytest.mark.parametrize("name", ["job_01h455vb4pex5vsknk084sn02q", "../etc", ""])
async def test_an_unknown_job_or_run_says_so(name: str) -> None:
    async with World.start() as world:
        with pytest.raises(UnknownJob):
            await world.tenant.jobs.cancel_job(JobId(name), by="me")
        with pytest.raises(UnknownRun):
            await world.tenant.jobs.cancel_run(RunId(name), by="me")


async def test_a_job_is_audited_with_its_caller() -> None:
    async with World.start(agents=["web-1"]) as world:
        submitted = await world.submit()
        records = (await world.store.audit()).items

        assert ("test", "job.submitted", submitted.job.id) in [
            (record.by, record.action, record.subject) for record in records
        ]


async def test_a_held_job_is_sent_when_it_is_released_and_not_before() -> None:
    clock, limits = ManualClock(), replace(DEFAULTS, inactivity_s=1e9)
    async with World.start(clock, agents=["web-1", "web-2"], limits=limits) as world:
        jobs = world.tenant.jobs
        held = await jobs.submit(TRUE, AllAgents(), by="me", hold=True)
        await clock.advance(TRUE.queue_ttl_s + 10)
        before = {(await world.run(run)).state for run in held.runs}
        drained = world.agent("web-2").id
        assert drained is not None
        await world.tenant.agents.edit(drained, by="me", drained=True)
        await jobs.release(held.job.id, by="me")
        await settle()
        await jobs.release(held.job.id, by="me")
        after = {run.agent_name: (await world.run(run)).state for run in held.runs}

        assert {RunState.HELD} == before
        assert {"web-1": RunState.SUCCEEDED, "web-2": RunState.REFUSED} == after


async def test_a_held_job_can_be_cancelled() -> None:
    async with World.start(agents=["web-1"]) as world:
        held = await world.tenant.jobs.submit(TRUE, AllAgents(), by="me", hold=True)
        await world.tenant.jobs.cancel_job(held.job.id, by="me")
        await world.tenant.jobs.release(held.job.id, by="me")

        assert RunState.CANCELLED is (await world.run(held.runs[0])).state
        assert [] == world.agent("web-1").orders(StartRun)
