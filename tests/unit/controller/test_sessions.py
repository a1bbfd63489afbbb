"""Agents come, go, are fenced and come back; what their runs become."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from farhand.domain.agent import Liveness
from farhand.domain.ids import AgentId, RunId
from farhand.domain.job import Argv, JobSpec
from farhand.domain.limits import DEFAULTS, KIB
from farhand.domain.messages import (
    Ack,
    Held,
    HeldRun,
    HeldState,
    Output,
    Parting,
    Resume,
    RunEnded,
    RunRefused,
    RunStarted,
    Settled,
    StartRun,
    Stop,
)
from farhand.domain.output import StreamName
from farhand.domain.run import RunState, Why
from farhand.errors import AgentBusy, AgentGone, CloneRefused, JoinRefused, StoreUnavailable
from farhand.ports import Append, Change, MoveRun, Outcome
from farhand.storage.memory import MemoryStore
from farhand.testing import (
    ManualClock,
    World,
    ended,
    hang,
    ignore,
    output,
    settle,
    succeed,
)

LEASE = DEFAULTS.lease_s


async def test_a_run_succeeds_with_its_output() -> None:
    async with World.start(agents=["web-1"], behaviour=succeed(b"up 3 days\n")) as world:
        (run,) = (await world.submit("uptime")).runs

        found = await world.run(run)

        assert (RunState.SUCCEEDED, Why.EXIT, 0) == (found.state, found.why, found.exit_code)
        assert b"up 3 days\n" == await world.output(run)


async def test_a_finished_run_is_settled_so_that_the_agent_may_forget_it() -> None:
    async with World.start(agents=["web-1"]) as world:
        (run,) = (await world.submit()).runs

        assert [Settled(run.id)] == world.agent("web-1").orders(Settled)


async def test_a_non_zero_exit_code_is_a_failure() -> None:
    def fail(order: StartRun) -> list[RunStarted | RunEnded]:
        return [RunStarted(order.run, 1), ended(order.run, code=3)]

    async with World.start(agents=["web-1"], behaviour=fail) as world:
        (run,) = (await world.submit()).runs
        found = await world.run(run)

        assert (RunState.FAILED, 3) == (found.state, found.exit_code)


async def test_a_refusal_says_why() -> None:
    def refuse(order: StartRun) -> list[RunRefused]:
        return [RunRefused(order.run, Why.POLICY, "not here")]

    async with World.start(agents=["web-1"], behaviour=refuse) as world:
        (run,) = (await world.submit()).runs
        found = await world.run(run)

        assert (RunState.REFUSED, Why.POLICY, "not here") == (found.state, found.why, found.message)


async def test_output_is_acknowledged_once_it_is_stored_and_more_is_granted() -> None:
    async with World.start(agents=["web-1"], behaviour=hang) as world:
        (run,) = (await world.submit()).runs
        agent = world.agent("web-1")
        agent.say(output(run.id, b"abc"))
        await settle()

        (ack,) = agent.orders(Ack)
        assert isinstance(ack, Ack)
        assert (StreamName.STDOUT, 3) == (ack.stream, ack.kept)
        assert ack.up_to > 3


async def test_output_beyond_the_grant_ends_the_stream() -> None:
    async with World.start(agents=["web-1"], behaviour=hang) as world:
        (run,) = (await world.submit()).runs
        agent = world.agent("web-1")
        agent.say(output(run.id, bytes(DEFAULTS.grant_reserve_bytes + 1)))

        assert agent.goodbye is not None
        assert Parting.PROTOCOL is agent.goodbye.reason


async def test_a_gap_in_the_output_is_asked_for_again() -> None:
    async with World.start(agents=["web-1"], behaviour=hang) as world:
        (run,) = (await world.submit()).runs
        agent = world.agent("web-1")
        agent.say(output(run.id, b"late", offset=10))
        await settle()
        (resume,) = agent.orders(Resume)

        assert isinstance(resume, Resume)
        assert 0 == resume.from_offsets[StreamName.STDOUT]
        assert b"" == await world.output(run)


async def test_output_that_differs_from_its_digest_fails_the_run_visibly() -> None:
    async with World.start(agents=["web-1"], behaviour=hang) as world:
        (run,) = (await world.submit()).runs
        agent = world.agent("web-1")
        agent.say(output(run.id, b"abX"), ended(run.id, stdout=b"abc"))
        await settle()
        found = await world.run(run)

        assert (RunState.FAILED, Why.OUTPUT_CORRUPT) == (found.state, found.why)


async def test_an_end_before_all_its_output_is_not_believed() -> None:
    async with World.start(agents=["web-1"], behaviour=hang) as world:
        (run,) = (await world.submit()).runs
        agent = world.agent("web-1")
        agent.say(output(run.id, b"ab"), ended(run.id, stdout=b"abc"))
        await settle()
        assert RunState.RUNNING is (await world.run(run)).state
        agent.say(output(run.id, b"abc"), ended(run.id, stdout=b"abc"))
        await settle()

        assert RunState.SUCCEEDED is (await world.run(run)).state
        assert b"abc" == await world.output(run)


async def test_a_run_waits_for_an_agent_that_is_away() -> None:
    async with World.start(agents=["web-1"]) as world:
        agent = world.agent("web-1")
        agent.leave()
        await settle()
        (run,) = (await world.submit()).runs
        assert RunState.QUEUED is (await world.run(run)).state
        await agent.connect()
        await settle()

        assert RunState.SUCCEEDED is (await world.run(run)).state


async def test_a_queued_run_expires_by_its_ttl() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"]) as world:
        world.agent("web-1").leave()
        await settle()
        spec = JobSpec(what=Argv(("true",)), queue_ttl_s=30)
        (run,) = (await world.submit(spec)).runs
        await clock.advance(32)
        found = await world.run(run)

        assert (RunState.EXPIRED, Why.QUEUE_TTL) == (found.state, found.why)
        assert [] == world.agent("web-1").orders(StartRun)


async def test_a_silent_agent_is_lost_after_its_lease() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"], behaviour=hang) as world:
        (run,) = (await world.submit("sleep 60")).runs
        world.agent("web-1").vanish()
        await clock.advance(LEASE - 5)
        assert RunState.RUNNING is (await world.run(run)).state
        await clock.advance(10)

        found = await world.run(run)
        assert (RunState.LOST, Why.CONTACT_LOST) == (found.state, found.why)


async def test_a_lost_run_heals_when_its_agent_comes_back() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"], behaviour=hang) as world:
        (run,) = (await world.submit("sleep 60")).runs
        agent = world.agent("web-1")
        agent.say(output(run.id, b"abc"))
        await settle()
        agent.vanish()
        await clock.advance(LEASE + 5)
        assert RunState.LOST is (await world.run(run)).state

        agent.held = [HeldRun(run=run.id, state=HeldState.RUNNING)]
        await agent.connect()
        await settle()
        (resume,) = agent.orders(Resume)
        assert isinstance(resume, Resume)
        assert 3 == resume.from_offsets[StreamName.STDOUT]
        agent.say(RunStarted(run.id, 4242))
        await settle()
        assert RunState.RUNNING is (await world.run(run)).state
        agent.say(output(run.id, b"def", offset=3), ended(run.id, stdout=b"abcdef"))
        await settle()

        assert RunState.SUCCEEDED is (await world.run(run)).state
        assert b"abcdef" == await world.output(run)


async def test_a_sent_run_that_the_agent_never_journalled_is_sent_again() -> None:
    async with World.start(agents=["web-1"], behaviour=ignore) as world:
        (run,) = (await world.submit()).runs
        agent = world.agent("web-1")
        assert RunState.SENT is (await world.run(run)).state
        agent.vanish()
        await settle()
        agent.behaviour = succeed()
        await agent.connect()
        await settle()

        assert RunState.SUCCEEDED is (await world.run(run)).state
        assert 2 == len(agent.orders(StartRun))


async def test_a_running_run_of_which_the_agent_has_no_record_ends_as_failed() -> None:
    async with World.start(agents=["web-1"], behaviour=hang) as world:
        (run,) = (await world.submit()).runs
        agent = world.agent("web-1")
        agent.vanish()
        await settle()
        await agent.connect()
        await settle()
        found = await world.run(run)

        assert (RunState.FAILED, Why.AGENT_RESTARTED) == (found.state, found.why)


async def test_a_lost_run_that_was_never_started_expires_when_the_agent_is_back() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1"], behaviour=ignore) as world:
        (run,) = (await world.submit()).runs
        agent = world.agent("web-1")
        agent.vanish()
        await clock.advance(LEASE + 5)
        assert RunState.LOST is (await world.run(run)).state
        await agent.connect()
        await settle()

        assert RunState.EXPIRED is (await world.run(run)).state


async def test_a_run_that_is_not_known_here_is_stopped_and_audited() -> None:
    stranger = RunId("run_01h455vb4pex5vsknk084sn02q")
    async with World.start(agents=["web-1"]) as world:
        agent = world.agent("web-1")
        agent.vanish()
        await settle()
        agent.held = [HeldRun(run=stranger, state=HeldState.RUNNING)]
        await agent.connect()
        await settle()

        assert [Stop(stranger)] == agent.orders(Stop)
        assert "run.stopped" in [record.action for record in (await world.store.audit()).items]


async def test_another_agents_run_is_not_given_to_whoever_claims_it() -> None:
    async with World.start(agents=["web-1", "web-2"], behaviour=hang) as world:
        submitted = await world.submit()
        theirs = next(run for run in submitted.runs if run.agent_name == "web-1")
        thief = world.agent("web-2")
        thief.vanish()
        await settle()
        thief.held = [HeldRun(run=theirs.id, state=HeldState.ENDED)]
        await thief.connect()
        await settle()
        thief.say(ended(theirs.id))
        await settle()

        assert RunState.RUNNING is (await world.run(theirs)).state


async def test_the_same_id_from_another_machine_is_a_clone() -> None:
    async with World.start(agents=["web-1"]) as world:
        first = world.agent("web-1")
        clone = world.new_agent("clone")
        clone.id, clone.secret, clone.machine_id = first.id, first.secret, "another"

        with pytest.raises(CloneRefused):
            await clone.connect()


@pytest.mark.parametrize("token", ["", "wrong"])
async def test_a_wrong_join_token_is_refused(token: str) -> None:
    async with World.start() as world:
        agent = world.new_agent("web-1")
        agent.join_token = token

        with pytest.raises(JoinRefused):
            await agent.connect()
        assert [] == list((await world.store.agents()).items)


async def test_an_api_token_does_not_let_an_agent_in() -> None:
    async with World.start() as world:
        agent = world.new_agent("web-1")
        agent.join_token = world.admin_token

        with pytest.raises(JoinRefused):
            await agent.connect()


async def test_an_agent_cannot_use_the_secret_of_another() -> None:
    async with World.start(agents=["web-1", "web-2"]) as world:
        thief = world.new_agent("thief")
        thief.id, thief.secret = world.agent("web-1").id, world.agent("web-2").secret

        with pytest.raises(JoinRefused):
            await thief.connect()


async def test_a_goodbye_means_offline_and_a_cut_means_suspect() -> None:
    async with World.start(agents=["web-1", "web-2"]) as world:
        world.agent("web-1").leave()
        world.agent("web-2").vanish()
        await settle()
        liveness = {a.name: a.liveness for a in (await world.store.agents()).items}

        assert {"web-1": Liveness.OFFLINE, "web-2": Liveness.SUSPECT} == liveness


async def test_a_session_that_is_silent_is_ended_by_the_controllers_own_timer() -> None:
    clock = ManualClock()
    async with World.start(clock, agents=["web-1", "web-2"]) as world:
        for _ in range(4):
            await clock.advance(20)
            world.agent("web-2").beat()
        silent, lively = world.agent("web-1"), world.agent("web-2")

        assert silent.goodbye is not None
        assert Parting.INACTIVE is silent.goodbye.reason
        assert lively.goodbye is None


async def test_heartbeats_are_answered_and_counted() -> None:
    async with World.start(agents=["web-1"]) as world:
        agent = world.agent("web-1")
        for seq in range(1, 41):
            agent.beat(seq)
        session = agent.session

        assert session is not None
        assert 40 == session.machine.heartbeats


async def test_a_question_to_an_agent_that_leaves_is_answered_with_agent_gone() -> None:
    async with World.start(agents=["web-1"]) as world:
        agent = world.agent("web-1")
        await settle()
        assert agent.channel is not None
        agent.channel.stall()
        agent_id = agent.id
        assert agent_id is not None
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(_namespaces(world, agent_id))
            await settle()
            agent.vanish()

        assert isinstance(asked.result(), AgentGone)


async def test_a_question_to_an_agent_that_does_not_read_is_answered_in_time() -> None:
    limits = replace(DEFAULTS, request_s=0.05)
    async with World.start(agents=["web-1"], limits=limits) as world:
        agent = world.agent("web-1")
        assert agent.channel is not None
        assert agent.id is not None
        agent.channel.stall()
        with pytest.raises(AgentBusy):
            await world.tenant.agents.namespaces(agent.id)


async def test_a_question_too_many_is_refused() -> None:
    limits = replace(DEFAULTS, requests_per_agent=2)
    async with World.start(agents=["web-1"], limits=limits) as world:
        agent = world.agent("web-1")
        assert agent.channel is not None
        assert agent.id is not None
        agent.channel.stall()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(_namespaces(world, agent.id))
            await settle()
            with pytest.raises(AgentBusy):
                await world.tenant.agents.namespaces(agent.id)
            agent.vanish()


async def _namespaces(world: World, agent: AgentId) -> object:
    try:
        return await world.tenant.agents.namespaces(agent)
    except AgentGone as exc:
        return exc


class FailingStore(MemoryStore):
    """Fails to keep the first *failures* batches that hold output."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        if self.failures and any(isinstance(change, Append) for change in changes):
            self.failures -= 1
            raise StoreUnavailable
        return await super().apply(changes)


async def test_output_that_could_not_be_stored_is_not_acknowledged_and_not_lost() -> None:
    clock = ManualClock()
    store = FailingStore(failures=2)
    async with World.start(clock, agents=["web-1"], behaviour=hang, store=store) as world:
        (run,) = (await world.submit()).runs
        agent = world.agent("web-1")
        agent.say(output(run.id, b"abc"))
        await settle()
        assert [] == agent.orders(Ack)
        await clock.advance(2)

        assert 1 == len(agent.orders(Ack))
        assert b"abc" == await world.output(run)


class ForgetfulStore(MemoryStore):
    """Commits, and says once of the first change of a kind that it does not know."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self._kind = kind
        self.failures = 1

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = await super().apply(changes)
        if self.failures and any(isinstance(change, self._kind) for change in changes):
            self.failures -= 1
            raise StoreUnavailable("the connection was lost in the middle")
        return outcomes


async def test_a_run_that_is_sent_though_the_store_did_not_say_so_is_started_once() -> None:
    clock = ManualClock()
    store = ForgetfulStore(MoveRun)
    async with World.start(clock, agents=["web-1"], store=store) as world:
        agent = world.agent("web-1")
        agent.vanish()
        await settle()
        (run,) = (await world.submit()).runs
        await agent.connect()
        await settle()
        assert RunState.SENT is (await world.run(run)).state
        await clock.advance(1)

        assert RunState.SUCCEEDED is (await world.run(run)).state
        assert 1 == len(world.agent("web-1").orders(StartRun))


async def test_one_agent_that_does_not_read_does_not_delay_the_others() -> None:
    async with World.start(agents=["slow", "web-1"], behaviour=succeed(b"x")) as world:
        slow = world.agent("slow")
        assert slow.channel is not None
        slow.channel.stall()
        runs = {run.agent_name: run for run in (await world.submit()).runs}

        assert RunState.SUCCEEDED is (await world.run(runs["web-1"])).state
        assert RunState.SENT is (await world.run(runs["slow"])).state


async def test_a_flood_of_frames_is_bounded() -> None:
    clock, store = ManualClock(), FailingStore(failures=10_000)
    async with World.start(clock, agents=["web-1"], behaviour=hang, store=store) as world:
        (run,) = (await world.submit()).runs
        agent = world.agent("web-1")
        agent.say(output(run.id, b"x"))
        await settle()
        for _ in range(25):
            if agent.session is not None:
                agent.say(*(RunStarted(run.id, 1) for _ in range(1000)))
        await clock.advance(1)

        assert agent.goodbye is not None
        assert Parting.PROTOCOL is agent.goodbye.reason


async def test_grants_of_all_streams_together_stay_within_the_pool() -> None:
    limits = replace(DEFAULTS, grants_bytes=64 * KIB)
    async with World.start(agents=["web-1"], behaviour=hang, limits=limits) as world:
        runs = [(await world.submit()).runs[0] for _ in range(8)]
        agent = world.agent("web-1")
        sent = dict.fromkeys([run.id for run in runs], 0)
        granted = dict.fromkeys(sent, limits.grant_reserve_bytes)
        for _ in range(6):
            for run in sent:
                size = granted[run] - sent[run]
                agent.say(output(run, bytes(size), offset=sent[run]))
                sent[run] += size
            await settle()
            for ack in agent.orders(Ack):
                assert isinstance(ack, Ack)
                granted[ack.run] = max(granted[ack.run], ack.up_to)
            ahead = sum(granted[run] - sent[run] for run in sent)

            assert ahead <= limits.grants_bytes + len(runs) * limits.grant_reserve_bytes


async def test_held_frames_after_the_last_page_end_the_stream() -> None:
    async with World.start(agents=["web-1"]) as world:
        agent = world.agent("web-1")
        agent.say(Held((), last=True))

        assert agent.goodbye is not None
        assert Parting.PROTOCOL is agent.goodbye.reason


async def test_output_of_a_run_that_was_never_sent_here_is_dropped() -> None:
    stranger = RunId("run_01h455vb4pex5vsknk084sn02q")
    async with World.start(agents=["web-1"]) as world:
        agent = world.agent("web-1")
        agent.say(Output(output(stranger, b"abc").chunk))
        await settle()

        assert agent.goodbye is None
