"""DeepFlow agents come and go: who is let in, what a broken stream means, and other ports."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import structlog.testing

from farhand.controller.ids import new_agent
from farhand.domain.agent import Agent, Identity
from farhand.domain.deepflow.messages import Response, Sender
from farhand.domain.job import AllAgents, CommandCall, JobSpec
from farhand.domain.limits import DEFAULTS, MIB
from farhand.domain.output import StreamName
from farhand.domain.run import Run, RunState, Why
from farhand.ports import JoinAgent, MoveRun
from farhand.testing.deepflow import Responder, hold, print_out
from farhand.testing.deepflow.responder import SENDER
from farhand.wire import native
from farhand.wire.deepflow import METHOD
from farhand.wire.gen import agent_pb2 as pb
from farhand.wire.grpc import ConnectFailed, Status
from tests.integration.client.certificates import certificate
from tests.integration.deepflow.estate import DATE, NAME, Estate, estate
from tests.integration.deepflow.test_gateway_deepflow import asked, runs
from tests.integration.deepflow.test_gateway_deepflow_faults import Silent, status
from tests.until import until

SIZE = [("grpc.max_receive_message_length", 100 * MIB), ("grpc.max_send_message_length", -1)]


# --- streams that break -------------------------------------------------------------------


async def test_what_ran_when_the_stream_broke_ends_and_what_waited_runs_later(
    tmp_path: Path,
) -> None:
    async with estate(tmp_path) as it:
        async with it.agent(Responder(behaviour=hold())) as agent:
            await it.online()
            ran, waited = await it.submit(), await it.submit()
            await asked(agent)
            await it.in_state(waited, RunState.SENT)
        ended = await it.final(ran)

        assert (RunState.FAILED, Why.NO_ANSWER) == (ended.state, ended.why)
        assert "may still run" in ended.message
        await it.in_state(waited, RunState.QUEUED)
        async with it.agent(Responder(behaviour=print_out(b"later"))) as again:
            assert RunState.SUCCEEDED is (await it.final(waited)).state
            assert 1 == len(runs(again))


async def test_a_lost_run_whose_stream_breaks_ends(tmp_path: Path) -> None:
    async with estate(tmp_path) as it:
        async with it.agent(Responder(behaviour=hold())):
            await it.online()
            run = await it.submit(timeout_s=0.1)
            await it.in_state(run, RunState.LOST)

        assert Why.NO_ANSWER is (await it.final(run)).why


async def test_a_result_is_stored_also_when_the_agent_leaves_right_behind_it(
    tmp_path: Path,
) -> None:
    large = bytes(3 * MIB)
    limits = replace(DEFAULTS, grant_window_bytes=8192, grant_reserve_bytes=4096)
    async with estate(tmp_path, limits) as it:
        async with it.agent(Responder(behaviour=hold(large))) as agent:
            await it.online()
            run = await it.submit()
            await asked(agent)
            agent.finish()
            await until(lambda: it.room().used > 2 * MIB)
        ended = await it.final(run)

        assert RunState.SUCCEEDED is ended.state
        assert len(large) == (await it.tenant.store.offsets(run.id))[StreamName.STDOUT]
        await until(lambda: it.room().used == 0)


async def test_a_newer_stream_waits_until_the_older_ones_result_is_stored(tmp_path: Path) -> None:
    large = bytes(3 * MIB)
    limits = replace(DEFAULTS, grant_window_bytes=8192, grant_reserve_bytes=4096)
    async with estate(tmp_path, limits) as it, it.agent(Responder(behaviour=hold(large))) as older:
        await it.online()
        run = await it.submit()
        await asked(older)
        older.finish()
        await until(lambda: it.room().used > 2 * MIB)
        async with it.agent() as newer:
            await newer.until(lambda: newer.received)
            ended = await it.run(run)

            assert RunState.SUCCEEDED is ended.state
            assert RunState.SUCCEEDED is (await it.final(await it.submit())).state


# --- the controller starts again ----------------------------------------------------------


async def test_a_controller_that_stops_tells_its_agents_and_ends_what_ran(tmp_path: Path) -> None:
    async with estate(tmp_path) as it:
        agent = await it.agent(Responder(behaviour=hold())).__aenter__()
        known = await it.online()
        run = await it.submit()
        await asked(agent)
    try:
        assert Status.UNAVAILABLE is (await status(agent))[0]
    finally:
        await agent.__aexit__(None, None, None)
    async with estate(tmp_path) as it, it.agent() as again:
        assert known.id == (await it.online()).id
        assert Why.NO_ANSWER is (await it.final(run)).why
        assert RunState.SUCCEEDED is (await it.final(await it.submit())).state
        assert 1 == len(runs(again))


@pytest.mark.parametrize("state", [RunState.SENT, RunState.RUNNING, RunState.LOST])
async def test_what_a_controller_had_sent_when_it_crashed_is_never_sent_again(
    tmp_path: Path, state: RunState
) -> None:
    async with estate(tmp_path) as it:
        async with it.agent():
            known = await it.online()
        await until(lambda: it.tenant.sessions.get(known.id) is None)
        crashed, queued = await it.submit(), await it.submit()
        steps = [RunState.QUEUED, RunState.SENT, *([state] if state is not RunState.SENT else [])]
        for before, after in pairwise(steps):  # as its store has it
            move = MoveRun(run=crashed.id, expect=frozenset({before}), to=after, at=1.0)
            await it.tenant.store.apply([move])
        async with it.agent() as agent:
            ended = await it.final(crashed)

            assert (RunState.FAILED, Why.NO_ANSWER) == (ended.state, ended.why)
            assert RunState.SUCCEEDED is (await it.final(queued)).state
            assert 1 == len(runs(agent))


# --- who is let in ------------------------------------------------------------------------


async def test_a_native_agent_of_the_same_address_is_another_one(tmp_path: Path) -> None:
    async with estate(tmp_path) as it:
        identity = Identity(name=NAME, machine_id="m", ip=SENDER.ip or "", mac=SENDER.mac or "")
        proved = Agent(id=new_agent(), identity=identity, joined_at=1.0)
        await it.tenant.store.apply([JoinAgent(agent=proved)])
        async with it.agent():
            await until(lambda: len(it.tenant.sessions) == 1)
            mine = [agent for agent in await it.agents() if agent.identity.deepflow]

            assert proved.id not in {agent.id for agent in mine}
            assert it.tenant.sessions.get(proved.id) is None
            assert it.tenant.sessions.get(mine[0].id) is not None


async def test_there_are_no_more_of_them_than_may_be_known(tmp_path: Path) -> None:
    limits = replace(DEFAULTS, deepflow_agents=1)
    second = Sender("10.0.0.2", "00:00:00:00:00:02")
    async with estate(tmp_path, limits) as it, it.agent():
        known = await it.online()
        async with it.agent(Responder(sender=second)) as refused:
            told, message = await status(refused)

            assert Status.UNAUTHENTICATED is told
            assert "limit" in message
        await it.tenant.agents.remove(known.id, by="test")
        async with it.agent(Responder(sender=second)):
            await it.online(second.key)


async def test_an_agent_that_is_removed_is_let_go_and_joins_anew(tmp_path: Path) -> None:
    async with estate(tmp_path) as it:
        async with it.agent() as agent:
            known = await it.online()
            await it.tenant.agents.remove(known.id, by="test")

            assert Status.UNAUTHENTICATED is (await status(agent))[0]
        async with it.agent():
            assert known.id != (await it.online()).id


async def test_an_agent_that_comes_and_goes_is_told_in_the_log(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        async with estate(tmp_path) as it:
            async with it.agent():
                known = await it.online()
            await until(lambda: [one for one in lines if one["event"] == "session.ended"])
    told = [(one["event"], one["agent"]) for one in lines if one["event"].startswith("session.")]

    assert [("session.opened", known.id), ("session.ended", known.id)] == told
    assert NAME in {one.get("name") for one in lines}


async def test_a_first_message_has_a_bound(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, Silent(port=it.port) as agent:
        agent.say(Response(sender=SENDER, errmsg="x" * 4 * DEFAULTS.hello_bytes))

        assert Status.RESOURCE_EXHAUSTED is (await status(agent))[0]


async def test_many_streams_of_one_agent_at_once_leave_one(tmp_path: Path) -> None:
    async with estate(tmp_path) as it:
        agents = [await it.agent().__aenter__() for _ in range(8)]
        try:
            await until(lambda: sum(agent.over.is_set() for agent in agents) == 7)
            (left,) = [agent for agent in agents if not agent.over.is_set()]
            await left.until(lambda: left.received)

            assert 1 == len(await it.agents())
            assert 1 == len(it.tenant.sessions)
            assert RunState.SUCCEEDED is (await it.final(await it.submit())).state
            assert 1 == len(runs(left))
        finally:
            for agent in agents:
                await agent.__aexit__(None, None, None)


async def test_a_hundred_agents_run_one_job_each(tmp_path: Path) -> None:
    async with estate(tmp_path) as it:
        senders = [Sender(f"10.0.1.{n}", f"00:00:00:00:01:{n:02x}") for n in range(100)]
        behave = print_out(b"hi")
        agents = [it.agent(Responder(sender=each, behaviour=behave)) for each in senders]
        await asyncio.gather(*(agent.__aenter__() for agent in agents))
        try:
            await until(lambda: len(it.tenant.sessions) == 100)
            spec = JobSpec(what=CommandCall(DATE, {}))
            submitted = await it.tenant.jobs.submit(spec, AllAgents(), by="test")

            assert await it.tenant.followers.settled(submitted.job.id, 30)
            states = {(await it.run(run)).state for run in submitted.runs}
            assert {RunState.SUCCEEDED} == states
        finally:
            await asyncio.gather(*(agent.__aexit__(None, None, None) for agent in agents))


# --- ports --------------------------------------------------------------------------------


async def test_without_the_switch_there_is_no_such_service(tmp_path: Path) -> None:
    async with estate(tmp_path, deepflow_agents=False) as it, it.agent() as agent:
        assert Status.UNIMPLEMENTED is (await status(agent))[0]
        assert [] == await it.agents()


async def test_beside_tls_plaintext_carries_deepflow_agents_and_nothing_else(
    tmp_path: Path,
) -> None:
    made = certificate(tmp_path, days=2)
    tls: dict[str, Any] = {"tls_cert": made.chain, "tls_key": made.key}
    async with estate(tmp_path / "data", **tls) as it, it.agent():
        await it.online()

        assert RunState.SUCCEEDED is (await it.final(await it.submit())).state
        async with Silent(port=it.port, method=native.METHOD) as plain:
            assert Status.PERMISSION_DENIED is (await status(plain))[0]
    async with estate(tmp_path / "data", deepflow_agents=False, **tls) as it:
        with pytest.raises(ConnectFailed):
            await Silent(port=it.port).__aenter__()


# --- stock gRPC ---------------------------------------------------------------------------


@asynccontextmanager
async def stock_agent(it: Estate) -> AsyncIterator[Any]:
    """A call of grpcio's, as a DeepFlow agent opens it."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{it.port}", options=SIZE) as channel:
        call = channel.stream_stream(
            METHOD,
            request_serializer=pb.RemoteExecResponse.SerializeToString,
            response_deserializer=pb.RemoteExecRequest.FromString,
        )()
        yield call
        call.cancel()


async def test_a_stock_agent_gets_headers_at_once_and_is_answered(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, stock_agent(it) as call:
        async with asyncio.timeout(10):
            await call.initial_metadata()  # before it has said anything
        await call.write(pb.RemoteExecResponse(agent_id=_ID))

        assert b"\x08\x00" == (await call.read()).SerializeToString()


async def test_a_stock_agent_runs_what_it_is_asked_to(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, stock_agent(it) as call:
        await call.write(pb.RemoteExecResponse(agent_id=_ID))
        await call.read()
        run, request = await _submitted(it, call)
        await it.in_state(run, RunState.RUNNING)
        chunk = pb.DataChunk(errno=0, content=b"hello", total_len=5, pkt_count=1)
        chunk.md5 = "5d41402abc4b2a76b9719d911017c592"
        await call.write(
            pb.RemoteExecResponse(agent_id=_ID, request_id=request.request_id, command_result=chunk)
        )

        assert (pb.RUN_COMMAND, DATE) == (request.exec_type, request.command_ident)
        assert RunState.SUCCEEDED is (await it.final(run)).state
        assert b"hello" == await it.output(run)


async def test_one_message_of_a_stock_agent_may_be_large_once_it_is_known(tmp_path: Path) -> None:
    errmsg = "x" * (20 * MIB)
    async with estate(tmp_path) as it, stock_agent(it) as call:
        await call.write(pb.RemoteExecResponse(agent_id=_ID))
        await call.read()
        run, request = await _submitted(it, call)
        await call.write(
            pb.RemoteExecResponse(
                agent_id=_ID,
                request_id=request.request_id,
                errmsg=errmsg,
                command_result=pb.DataChunk(),
            )
        )
        ended = await it.final(run)

        assert (RunState.FAILED, Why.SIGNAL) == (ended.state, ended.why)
        assert len(errmsg) == (await it.tenant.store.offsets(run.id))[StreamName.STDERR]


_ID = pb.AgentId(ip=SENDER.ip, mac=SENDER.mac, team_id="", group_id="")


async def _submitted(it: Estate, call: Any) -> tuple[Run, Any]:
    """A run, and the request for it; the agent is asked for its commands first."""
    await it.online()
    submitting = asyncio.ensure_future(it.submit())
    asked_for = await call.read()
    await call.write(
        pb.RemoteExecResponse(
            agent_id=_ID,
            request_id=asked_for.request_id,
            commands=[pb.RemoteCommand(ident=DATE, cmd="date")],
        )
    )
    return await submitting, await call.read()
