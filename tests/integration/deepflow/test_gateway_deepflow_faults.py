"""The faults of DeepFlow's own server, each shown absent at this controller's agents' port."""

import asyncio
import gc
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.domain.deepflow.messages import DataChunk, Response, Sender, heartbeat
from farhand.domain.limits import DEFAULTS
from farhand.domain.run import RunState, Why
from farhand.gateway.deepflow import DeepFlowStream
from farhand.testing.deepflow import FakeDeepFlowAgent, Responder, hold, print_out
from farhand.testing.deepflow.responder import SENDER
from farhand.wire.grpc import Status
from tests.integration.deepflow.estate import estate
from tests.integration.deepflow.test_gateway_deepflow import asked, runs
from tests.until import until

OTHER = Sender("10.0.0.2", "00:00:00:00:00:02", team_id="", group_id="")


class Silent(FakeDeepFlowAgent):
    """A caller that says nothing by itself."""

    def poke(self) -> None:
        """Nothing is ready."""


def answer(request_id: int, content: bytes, sender: Sender = SENDER) -> Response:
    """A whole result."""
    return Response(sender=sender, request_id=request_id, result=DataChunk(content=content, md5=""))


async def status(agent: FakeDeepFlowAgent) -> tuple[Status, str]:
    """How the agent's stream ended."""
    await asyncio.wait_for(agent.over.wait(), 15)
    assert agent.end is not None
    return agent.end.status, agent.end.message


async def test_s3_of_two_streams_with_one_identity_the_newer_gets_everything(
    tmp_path: Path,
) -> None:
    ours, theirs = (Responder(behaviour=print_out(it)) for it in (b"old", b"new"))
    async with estate(tmp_path) as it, it.agent(ours) as older:
        known = await it.online()
        async with it.agent(theirs) as newer:
            assert Status.ABORTED is (await status(older))[0]
            await until(lambda: newer.received)
            for _ in range(3):
                run = await it.final(await it.submit())

                assert b"new" == await it.output(run)
            assert [] == runs(older)
            assert [known.id] == [agent.id for agent in await it.agents()]


async def test_s4_an_answer_counts_only_on_the_stream_that_was_asked(tmp_path: Path) -> None:
    async with (
        estate(tmp_path) as it,
        it.agent(Responder(behaviour=hold(b"true"))) as victim,
        it.agent(Responder(sender=OTHER)) as stranger,
    ):
        await it.online()
        await it.online(OTHER.key)
        run = await it.submit()
        request = await asked(victim)
        for sender in (SENDER, OTHER):
            stranger.say(answer(request, b"FORGED", sender))
            stranger.beat()
        await stranger.until(lambda: len(stranger.received) >= 3)

        await it.in_state(run, RunState.RUNNING)
        assert b"" == await it.output(run)
        victim.finish()
        assert RunState.SUCCEEDED is (await it.final(run)).state
        assert b"true" == await it.output(run)
        assert request > 1 << 32  # and nobody guesses it


async def test_s5_callers_that_never_say_who_they_are_leave_nothing(tmp_path: Path) -> None:
    limits = replace(DEFAULTS, first_message_s=0.3)
    async with estate(tmp_path, limits) as it:
        async with Silent(port=it.port) as late:
            assert Status.DEADLINE_EXCEEDED is (await status(late))[0]
        for _ in range(20):
            async with Silent(port=it.port) as caller:
                caller.cancel()
                await caller.over.wait()
        server, unproved = it.controller.gateway.server, it.controller.gateway.unproved
        await until(lambda: server.connections == 0)
        gc.collect()

        assert {} == (unproved and unproved.newest)
        assert [] == [it for it in gc.get_objects() if type(it) is DeepFlowStream]
        assert [] == await it.agents()


async def test_b1_a_silent_agent_is_let_go_by_the_controllers_own_timer(tmp_path: Path) -> None:
    limits = replace(DEFAULTS, inactivity_s=0.4, sweep_s=0.05)
    async with estate(tmp_path, limits) as it, it.agent() as agent:
        await it.online()
        told, message = await status(agent)

        assert Status.DEADLINE_EXCEEDED is told
        assert "nothing was heard" in message
        (known,) = await it.agents()
        await until(lambda: it.tenant.sessions.get(known.id) is None)


async def test_b2_success_without_output_ends_at_once(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent():
        await it.online()

        assert RunState.SUCCEEDED is (await it.final(await it.submit(timeout_s=600.0))).state


async def test_b3_no_namespaces_are_no_heartbeat(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(namespaces=())):
        known = await it.online()

        assert () == tuple(await it.tenant.agents.namespaces(known.id))


async def test_b6_a_stream_that_ends_takes_nothing_from_the_newer_one(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent() as older:
        await it.online()
        async with it.agent(Responder(behaviour=print_out(b"on"))) as newer:
            await status(older)
            await until(lambda: newer.received)
            await older.__aexit__(None, None, None)
            for _ in range(2):
                run = await it.final(await it.submit())

                assert b"on" == await it.output(run)
            assert not newer.over.is_set()


async def test_b7_a_stream_that_was_dropped_is_over_without_another_message(
    tmp_path: Path,
) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(behaviour=hold())) as agent:
        known = await it.online()
        run = await it.submit()
        await asked(agent)
        agent.cancel()
        ended = await it.final(run)

        assert (RunState.FAILED, Why.NO_ANSWER) == (ended.state, ended.why)
        await until(lambda: it.tenant.sessions.get(known.id) is None)
        await until(lambda: it.controller.gateway.server.calls == 0)


async def test_b8_an_agent_that_calls_itself_otherwise_later_is_the_same_to_its_end(
    tmp_path: Path,
) -> None:
    async with estate(tmp_path) as it:
        async with it.agent() as agent:
            known = await it.online()
            agent.responder.sender = OTHER
            agent.beat()
            for _ in range(2):
                assert RunState.SUCCEEDED is (await it.final(await it.submit())).state
            assert [known.id] == [each.id for each in await it.agents()]
            assert it.session(known) is not None
        await until(lambda: it.tenant.sessions.get(known.id) is None)  # the old name is not left


@pytest.mark.parametrize(
    "first", [Response(), Response(sender=Sender("10.0.0.1")), Response(sender=Sender("a b", "c"))]
)
async def test_b9_a_first_message_without_an_identity_is_told_so(
    tmp_path: Path, first: Response
) -> None:
    async with estate(tmp_path) as it, Silent(port=it.port) as agent:
        agent.say(first)
        told, message = await status(agent)

        assert Status.INVALID_ARGUMENT is told
        assert "ip" in message
        assert [] == await it.agents()


async def test_b9_a_message_without_an_identity_later_is_its_agents(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent() as agent:
        await it.online()
        agent.say(Response())
        await agent.until(lambda: len(agent.received) == 2)

        assert RunState.SUCCEEDED is (await it.final(await it.submit())).state


async def test_b9_bytes_that_are_no_message_end_the_stream_with_a_reason(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(behaviour=hold())) as agent:
        await it.online()
        run = await it.submit()
        await asked(agent)
        agent.say_bytes(b"\xff" * 50)

        assert Status.INVALID_ARGUMENT is (await status(agent))[0]
        assert Why.NO_ANSWER is (await it.final(run)).why


async def test_b10_answers_that_come_again_and_again_stop_nothing(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(behaviour=hold())) as agent:
        await it.online()
        run = await it.submit()
        request = await asked(agent)
        for _ in range(50):
            agent.say(Response(sender=SENDER, request_id=request, result=DataChunk(content=b"")))
        before = len(agent.received)
        for _ in range(3):
            agent.beat()
        await agent.until(lambda: len(agent.received) >= before + 3)
        agent.responder.behaviour = print_out(b"next")
        agent.finish()

        assert b"" == await it.output(await it.final(run))
        assert RunState.SUCCEEDED is (await it.final(await it.submit())).state


@pytest.mark.parametrize(
    ("last", "named"),
    [
        (DataChunk(errno=0, content=b"abc", md5="0" * 32), "MD5"),
        (DataChunk(errno=0, content=b"abc", md5="", total_len=4), "announced 4 bytes"),
        (DataChunk(errno=0, content=b"abc", md5="", pkt_count=2), "announced 2 batches"),
    ],
)
async def test_b15_md5_length_and_count_are_compared_with_what_came(
    tmp_path: Path, last: DataChunk, named: str
) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(behaviour=hold())) as agent:
        await it.online()
        run = await it.submit()
        agent.say(Response(sender=SENDER, request_id=await asked(agent), result=last))
        ended = await it.final(run)

        assert (RunState.FAILED, Why.OUTPUT_CORRUPT) == (ended.state, ended.why)
        assert named in ended.message


async def test_b16_what_came_before_the_limit_is_kept_and_what_comes_after_is_too(
    tmp_path: Path,
) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(behaviour=hold())) as agent:
        await it.online()
        run = await it.submit(timeout_s=0.3)
        request = await asked(agent)
        for content in (b"a", b"b"):
            chunk = DataChunk(errno=0, content=content, total_len=2, pkt_count=2)
            if content == b"b":
                await it.in_state(run, RunState.LOST)
                assert b"a" == await it.output(run)
                chunk = replace(chunk, md5="187ef4436122d1cc2f40dc2b92f0eba0")
            agent.say(Response(sender=SENDER, request_id=request, result=chunk))
        ended = await it.final(run)

        assert RunState.SUCCEEDED is ended.state
        assert b"ab" == await it.output(run)


async def test_b17_the_log_does_not_grow_with_every_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with estate(tmp_path) as it, it.agent() as agent:
        await it.online()
        capsys.readouterr()
        before = len(agent.received)
        for _ in range(40):
            agent.say(heartbeat(SENDER), answer(12345, b"?"))
        await agent.until(lambda: len(agent.received) >= before + 40)
        said = capsys.readouterr()

        # The first stray answer, the tenth, and a line for 20 heartbeats.
        assert 4 >= len((said.out + said.err).splitlines())
