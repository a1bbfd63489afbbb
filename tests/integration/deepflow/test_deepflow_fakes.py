"""The fake DeepFlow agent and the fake DeepFlow server on real sockets, with each other."""

import asyncio

import pytest

from farhand.domain.deepflow.catalogue import OFFERS
from farhand.domain.deepflow.messages import HEARTBEAT_REPLY, Request, Sender
from farhand.domain.limits import MIB
from farhand.testing.deepflow import (
    CommandFailed,
    FakeDeepFlowAgent,
    FakeDeepFlowServer,
    Outcome,
    Responder,
    hold,
    print_out,
)
from farhand.testing.deepflow.responder import INIT
from farhand.wire.deepflow import OLD_METHOD
from farhand.wire.grpc import Status
from tests.until import until

DATE = "system_d2e"


def agent(server: FakeDeepFlowServer, responder: Responder | None = None) -> FakeDeepFlowAgent:
    return FakeDeepFlowAgent(port=server.port, responder=responder)


async def test_an_agent_says_who_it_is_at_once_and_is_answered() -> None:
    async with FakeDeepFlowServer() as server, agent(server) as client:
        assert "10.0.0.1-00:00:00:00:00:01" == await server.agent()
        await client.until(lambda: client.received)

        assert [HEARTBEAT_REPLY] == client.received
        assert client.headers is not None


async def test_a_command_is_run_and_its_output_comes_back() -> None:
    large = bytes(range(256)) * 16 * 1024  # 4 MiB: four batches
    responder = Responder(behaviour=print_out(large))
    async with FakeDeepFlowServer() as server, agent(server, responder):
        assert large == await server.run(await server.agent(), DATE)


async def test_an_error_of_the_agent_is_told_with_what_was_printed() -> None:
    responder = Responder(behaviour=print_out(b"out", b"err", code=3))
    async with FakeDeepFlowServer() as server, agent(server, responder):
        with pytest.raises(CommandFailed, match="err") as failed:
            await server.run(await server.agent(), DATE)

        assert b"out" == failed.value.content


async def test_lists_come_with_one_request_id() -> None:
    async with FakeDeepFlowServer() as server, agent(server) as client:
        commands, namespaces = await server.listing(await server.agent())

        assert [each.command for each in OFFERS] == list(commands)
        assert (INIT,) == namespaces
        assert [2, 2] == [request.request_id for request in client.ordered]


async def test_namespaces_that_cannot_be_listed_are_none() -> None:
    responder = Responder(namespaces="Permission denied (os error 13)")
    async with FakeDeepFlowServer() as server, agent(server, responder):
        assert () == (await server.listing(await server.agent()))[1]


async def test_success_without_output_is_never_seen() -> None:
    async with FakeDeepFlowServer(timeout_s=0.05) as server, agent(server):
        with pytest.raises(TimeoutError, match=r"timeout\(0.05s\) to run agent command"):
            await server.run(await server.agent(), DATE)


async def test_heartbeats_go_on_while_a_command_runs() -> None:
    responder = Responder(behaviour=hold(b"done"))
    async with FakeDeepFlowServer() as server, agent(server, responder) as client:
        running = asyncio.ensure_future(server.run(await server.agent(), DATE))
        await client.until(lambda: client.ordered)
        client.beat()
        await until(lambda: server.heartbeats == 2)
        client.finish()

        assert b"done" == await running


async def test_heartbeats_can_be_left_to_time() -> None:
    async with (
        FakeDeepFlowServer() as server,
        FakeDeepFlowAgent(port=server.port, heartbeat_s=0.01),
    ):
        await until(lambda: server.heartbeats >= 3)


async def test_an_agent_that_is_gone_fails_what_it_was_asked() -> None:
    responder = Responder(behaviour=hold())
    async with FakeDeepFlowServer() as server:
        async with agent(server, responder) as client:
            running = asyncio.ensure_future(server.run(await server.agent(), DATE))
            await client.until(lambda: client.ordered)
        with pytest.raises(CommandFailed, match="command manager is lost"):
            await running

        await until(lambda: server.ends)
        assert [] == server.keys


async def test_an_agent_that_drops_its_stream_arrives_as_cancelled() -> None:
    async with FakeDeepFlowServer() as server, agent(server) as client:
        await server.agent()
        client.cancel()
        await until(lambda: server.ends)

        assert Status.CANCELLED is server.ends[0].status


async def test_a_server_that_drops_its_streams_is_seen() -> None:
    async with FakeDeepFlowServer() as server, agent(server) as client:
        await server.agent()
        server.drop()
        await asyncio.wait_for(client.over.wait(), 10)

        assert client.end is not None
        assert Status.UNAVAILABLE is client.end.status


async def test_an_agent_takes_no_request_above_1_mib() -> None:
    async with FakeDeepFlowServer() as server, agent(server) as client:
        await server.agent()
        server.send(Request(request_id=9, ident="x" * (MIB - 100)))
        await client.until(lambda: len(client.received) == 2)
        client.say_bytes(b"\xff")  # and the server no message that is none

        await until(lambda: server.ends)


async def test_the_service_of_old_agents_is_gone_from_new_servers() -> None:
    async with (
        FakeDeepFlowServer() as server,
        FakeDeepFlowAgent(port=server.port, method=OLD_METHOD) as client,
    ):
        await asyncio.wait_for(client.over.wait(), 10)

        assert client.end is not None
        assert Status.UNIMPLEMENTED is client.end.status


async def test_what_a_scripted_command_does_can_depend_on_its_words() -> None:
    def behave(argv: list[str]) -> Outcome:
        return Outcome(stdout=" ".join(argv).encode())

    responder = Responder(sender=Sender("10.0.0.7", "m"), behaviour=behave)
    ident = "kubernetes_k5l_-n_$ns_d6e_pod_$pod"
    async with FakeDeepFlowServer() as server, agent(server, responder):
        key = await server.agent()

        assert "10.0.0.7-m" == key
        assert b"kubectl -n kube-system describe pod web-1" == await server.run(
            key, ident, {"ns": "kube-system", "pod": "web-1"}
        )
