"""DeepFlow's messages between this link and stock gRPC (grpcio), in both roles."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from farhand.domain.deepflow.messages import (
    DataChunk,
    Parameter,
    Request,
    Response,
)
from farhand.domain.limits import MIB
from farhand.testing.deepflow import FakeDeepFlowAgent, FakeDeepFlowServer, Responder, print_out
from farhand.wire.deepflow import METHOD
from farhand.wire.gen import agent_pb2 as pb
from tests.until import until

SIZE = [("grpc.max_receive_message_length", 100 * MIB), ("grpc.max_send_message_length", -1)]
SENDER = pb.AgentId(ip="10.0.0.1", mac="00:00:00:00:00:01", team_id="", group_id="")
KEY = "10.0.0.1-00:00:00:00:00:01"


# --- a stock agent, our server ------------------------------------------------------------


@asynccontextmanager
async def stock_agent(port: int) -> AsyncIterator[Any]:
    """A call as a DeepFlow agent opens it: it writes responses and reads requests."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=SIZE) as channel:
        call = channel.stream_stream(
            METHOD,
            request_serializer=pb.RemoteExecResponse.SerializeToString,
            response_deserializer=pb.RemoteExecRequest.FromString,
        )()
        yield call
        call.cancel()


async def test_a_stock_agent_is_answered() -> None:
    async with FakeDeepFlowServer() as server, stock_agent(server.port) as call:
        await call.write(pb.RemoteExecResponse(agent_id=SENDER))

        assert pb.RemoteExecRequest(request_id=0) == await call.read()
        assert [KEY] == server.keys


async def test_a_stock_agent_runs_what_it_is_asked_to() -> None:
    async with FakeDeepFlowServer() as server, stock_agent(server.port) as call:
        await call.write(pb.RemoteExecResponse(agent_id=SENDER))
        await call.read()
        running = asyncio.ensure_future(
            server.run(KEY, "system_x", {"a": "1", "b": ""}, linux_ns_pid=1)
        )
        asked = await call.read()
        await call.write(
            pb.RemoteExecResponse(
                agent_id=SENDER,
                request_id=asked.request_id,
                command_result=pb.DataChunk(errno=0, content=b"hello", md5="", total_len=5),
            )
        )

        assert b"hello" == await running
        assert (
            pb.RemoteExecRequest(
                request_id=2,
                exec_type=pb.RUN_COMMAND,
                command_ident="system_x",
                linux_ns_pid=1,
                params=[pb.Parameter(key="a", value="1"), pb.Parameter(key="b", value="")],
            )
            == asked
        )


async def test_absent_and_zero_are_told_apart_on_the_way() -> None:
    zeros = pb.RemoteExecResponse(
        request_id=0, errmsg="", agent_id=pb.AgentId(ip=""), command_result=pb.DataChunk(errno=0)
    )
    async with FakeDeepFlowServer() as server, stock_agent(server.port) as call:
        await call.write(zeros)
        await call.write(pb.RemoteExecResponse(agent_id=SENDER, command_result=pb.DataChunk()))
        await until(lambda: len(server.received) == 2)

        first, second = server.received
        assert (0, "", "", None) == (
            first.request_id,
            first.errmsg,
            first.sender and first.sender.ip,
            first.sender and first.sender.mac,
        )
        assert DataChunk(errno=0) == first.result
        assert (None, None, DataChunk()) == (second.request_id, second.errmsg, second.result)


@pytest.mark.parametrize("size", [5 * MIB, 100 * MIB - 1024])
async def test_a_stock_agent_may_send_messages_up_to_100_mib(size: int) -> None:
    content = bytes(size)
    async with FakeDeepFlowServer() as server, stock_agent(server.port) as call:
        message = pb.RemoteExecResponse(agent_id=SENDER, command_result=pb.DataChunk())
        message.command_result.content = content
        await call.write(message)
        await until(lambda: server.received, within_s=30)

        (received,) = server.received
        assert received.result is not None
        assert content == received.result.content


async def test_a_stock_agent_that_goes_away_arrives_as_cancelled() -> None:
    async with FakeDeepFlowServer() as server:
        async with stock_agent(server.port) as call:
            await call.write(pb.RemoteExecResponse(agent_id=SENDER))
            await call.read()
        await until(lambda: server.ends)

        assert "CANCELLED" == server.ends[0].status.name


# --- a stock server, our agent ------------------------------------------------------------


class StockServer:
    """A DeepFlow server on grpcio: what came is in *received*; `ask` writes."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[Any] = asyncio.Queue()
        self.requests: asyncio.Queue[Any] = asyncio.Queue()
        self.port = 0

    async def remote_execute(self, responses: AsyncIterator[Any], context: Any) -> None:
        await context.send_initial_metadata(())

        async def write() -> None:
            while True:
                await context.write(await self.requests.get())

        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(write(), name="write")
            async for response in responses:
                self.received.put_nowait(response)
            writer.cancel()

    async def ask(self, **fields: Any) -> Any:
        """Send a request and return the next message that is no heartbeat."""
        self.requests.put_nowait(pb.RemoteExecRequest(**fields))
        return await self.next()

    async def next(self) -> Any:
        while True:
            response = await asyncio.wait_for(self.received.get(), 10)
            if response.HasField("request_id"):
                return response


@asynccontextmanager
async def stock_server() -> AsyncIterator[StockServer]:
    stock = StockServer()
    handler = grpc.stream_stream_rpc_method_handler(
        stock.remote_execute,
        request_deserializer=pb.RemoteExecResponse.FromString,
        response_serializer=pb.RemoteExecRequest.SerializeToString,
    )
    server = grpc.aio.server(options=SIZE)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("agent.Synchronizer", {"RemoteExecute": handler}),)
    )
    stock.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield stock
    await server.stop(grace=None)


async def test_a_stock_server_hears_the_first_heartbeat_at_once() -> None:
    async with stock_server() as server, FakeDeepFlowAgent(port=server.port) as agent:
        first = await asyncio.wait_for(server.received.get(), 10)

        assert pb.RemoteExecResponse(agent_id=SENDER) == first
        await agent.until(lambda: agent.headers is not None)


async def test_a_stock_server_gets_lists_and_results() -> None:
    responder = Responder(behaviour=print_out(b"x" * 1500, b"err", code=3))
    async with (
        stock_server() as server,
        FakeDeepFlowAgent(port=server.port, responder=responder),
    ):
        listed = await server.ask(request_id=2, exec_type=pb.LIST_COMMAND)
        spaces = await server.ask(request_id=2, exec_type=pb.LIST_NAMESPACE)
        first = await server.ask(
            request_id=3, exec_type=pb.RUN_COMMAND, command_ident="system_d2e", batch_len=1
        )
        last = await server.next()

        assert 10 == len(listed.commands)
        assert "kubernetes_k5l_-n_$ns_d6e_pod_$pod" == listed.commands[7].ident
        assert [1] == [namespace.pid for namespace in spaces.linux_namespaces]
        assert (1024, False, False) == (
            len(first.command_result.content),
            first.command_result.HasField("md5"),
            first.HasField("errmsg"),
        )
        assert (476, 3, 1500, 2, "err") == (
            len(last.command_result.content),
            last.command_result.errno,
            last.command_result.total_len,
            last.command_result.pkt_count,
            last.errmsg,
        )


async def test_an_unknown_execution_type_of_a_stock_server_keeps_its_number() -> None:
    async with stock_server() as server, FakeDeepFlowAgent(port=server.port):
        answer = await server.ask(request_id=42, exec_type=99)

        assert "unsupported execution type: 99" == answer.errmsg
        assert answer.HasField("command_result")


async def test_what_a_stock_server_sends_arrives_as_it_was() -> None:
    async with stock_server() as server, FakeDeepFlowAgent(port=server.port) as agent:
        server.requests.put_nowait(
            pb.RemoteExecRequest(
                request_id=0,
                params=[pb.Parameter(key="a", value=""), pb.Parameter()],
                linux_ns_pid=0,
                command_data=pb.DataChunk(),
            )
        )
        await agent.until(lambda: agent.received)

        assert [
            Request(
                request_id=0,
                params=(Parameter("a", ""), Parameter()),
                linux_ns_pid=0,
                data=DataChunk(),
            )
        ] == agent.received


async def test_what_our_agent_says_arrives_as_it_was() -> None:
    async with stock_server() as server, FakeDeepFlowAgent(port=server.port) as agent:
        agent.say(Response(request_id=0, errmsg="", result=DataChunk(content=b"")))
        said = await server.next()

        assert (
            pb.RemoteExecResponse(request_id=0, errmsg="", command_result=pb.DataChunk(content=b""))
            == said
        )
