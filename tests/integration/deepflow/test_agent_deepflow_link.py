"""How a farhand agent keeps its stream to servers that are slow, silent, strange or stock."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.domain.deepflow.messages import HEARTBEAT_REPLY, ExecType, Request, Response
from farhand.domain.limits import MIB
from farhand.domain.run import RunState, Why
from farhand.testing.deepflow import CommandFailed, FakeDeepFlowServer
from farhand.wire.deepflow import METHOD, decode_response, encode_request
from farhand.wire.gen import agent_pb2 as pb
from farhand.wire.grpc import Call, CallEnd, GrpcServer, Handler, LinkLimits, Status
from tests.acceptance.plant import alive
from tests.integration.deepflow.estate import estate
from tests.integration.deepflow.host import KEY, QUICK, running
from tests.integration.deepflow.test_deepflow_stock import stock_server
from tests.until import until


class Script(Handler):
    """One stream on a server that does as a test says."""

    def __init__(self, call: Call, server: "ScriptedServer") -> None:
        self.call = call
        self.got: list[Response] = []
        self.end: CallEnd | None = None
        self._server = server
        call.identified(message_bytes=100 * MIB)
        server.streams.append(self)

    def on_message(self, message: bytes) -> None:
        self.got.append(decode_response(message))
        if self._server.answers and self.got[-1].empty:
            self.say(HEARTBEAT_REPLY)

    def on_closed(self, end: CallEnd) -> None:
        self.end = end

    def say(self, request: Request) -> None:
        self.call.send(encode_request(request))

    def answered(self) -> list[Response]:
        return [each for each in self.got if not each.empty]


class ScriptedServer:
    """What a DeepFlow server could be. *answers* tells whether heartbeats are answered."""

    def __init__(self) -> None:
        self.answers = True
        self.streams: list[Script] = []
        self.port = 0


@asynccontextmanager
async def scripted(method: str = METHOD) -> AsyncIterator[ScriptedServer]:
    server = ScriptedServer()
    listener = GrpcServer(
        {method: lambda call: Script(call, server)},
        limits=LinkLimits(large_messages_bytes=256 * MIB),
    )
    _, server.port = await listener.listen("127.0.0.1")
    try:
        yield server
    finally:
        await listener.close()


def run_of(ident: str, number: int, batch_len: int | None = None) -> Request:
    return Request(
        request_id=number, exec_type=ExecType.RUN_COMMAND, ident=ident, batch_len=batch_len
    )


# --- strange servers ----------------------------------------------------------------------


async def test_a_server_that_answers_no_heartbeat_is_left_after_two() -> None:
    async with scripted() as server:
        server.answers = False
        async with running(server.port, heartbeat_s=0.02) as agent:
            await until(lambda: len(server.streams) > 1)

            assert 2 == len(server.streams[0].got)
            assert not agent.connected.is_set()
            server.answers = True
            await until(agent.connected.is_set)


async def test_a_server_that_goes_deaf_is_left_though_it_still_asks() -> None:
    async with scripted() as server, running(server.port, heartbeat_s=0.03) as agent:
        await until(agent.connected.is_set)
        server.answers = False
        number = 1
        while len(server.streams) < 2:
            number += 1
            if server.streams[0].end is None:
                server.streams[0].say(Request(request_id=number, exec_type=0))
            await asyncio.sleep(0.005)

        assert server.streams[0].answered()


async def test_a_server_that_is_too_old_is_tried_again() -> None:
    async with scripted("/trident.Synchronizer/RemoteExecute") as old, scripted() as server:
        async with running(old.port, server.port) as agent:
            await until(agent.connected.is_set)

        assert [] == old.streams


async def test_bytes_that_are_no_request_end_the_stream_and_nothing_else() -> None:
    async with scripted() as server, running(server.port) as agent:
        await until(agent.connected.is_set)
        server.streams[0].call.send(b"\xff")
        await until(lambda: len(server.streams) == 2)

        assert server.streams[0].end is not None


async def test_a_message_without_an_execution_type_is_answered_with_nothing() -> None:
    async with scripted() as server, running(server.port) as agent:
        await until(agent.connected.is_set)
        stream = server.streams[0]
        stream.say(Request(request_id=7, ident="say"))
        stream.say(Request(request_id=8, exec_type=99))
        await until(stream.answered)

        assert [8] == [each.request_id for each in stream.answered()]


async def test_more_requests_than_may_wait_are_all_answered_in_the_end() -> None:
    asked = 300
    async with scripted() as server, running(server.port) as agent:
        await until(agent.connected.is_set)
        stream = server.streams[0]
        for number in range(1, asked + 1):
            stream.say(Request(request_id=number, exec_type=0))
        await until(lambda: len(stream.answered()) == asked)

        assert set(range(1, asked + 1)) == {each.request_id for each in stream.answered()}


async def test_results_for_one_number_do_not_mix() -> None:
    size = 256 * 1024
    async with scripted() as server, running(server.port) as agent:
        await until(agent.connected.is_set)
        stream = server.streams[0]
        for _ in range(2):
            stream.say(run_of("large", 5, batch_len=size))
        await until(lambda: len([r for r in stream.answered() if r.result and r.result.md5]) == 2)
        ends = [bool(r.result and r.result.md5) for r in stream.answered()]

        assert [*([False] * 12), True] * 2 == ends


async def test_a_result_may_be_one_message_of_any_size() -> None:
    async with scripted() as server, running(server.port) as agent:
        await until(agent.connected.is_set)
        stream = server.streams[0]
        stream.say(run_of("large", 5, batch_len=2**32 - 1))
        await until(stream.answered)
        (only,) = stream.answered()

        assert only.result is not None
        assert 3 * MIB + 3 == len(only.result.content or b"")


async def test_runs_beyond_the_limit_are_refused_and_the_stream_goes_on() -> None:
    limits = replace(QUICK, deepflow_runs=1)
    async with FakeDeepFlowServer() as server, running(server.port, limits=limits):
        key = await server.agent()
        first = asyncio.ensure_future(server.run(key, "sleep", {"mark": "1.4011"}))
        await until(lambda: alive("1.4011"))
        with pytest.raises(CommandFailed, match="this agent runs 1 commands at once"):
            await server.run(key, "say", {"word": "x"})

        assert b"" == await first
        assert b"x\n" == await server.run(key, "say", {"word": "x"})


async def test_a_stream_that_is_dropped_again_and_again_is_not_opened_in_a_hurry() -> None:
    limits = replace(QUICK, backoff_first_s=0.2, backoff_cap_s=0.2)
    async with FakeDeepFlowServer() as server, running(server.port, limits=limits):
        for _ in range(4):
            await server.agent()
            server.drop(Status.INTERNAL)
            await until(lambda: not server.keys)

        assert 4 == len(server.ends)


# --- stock gRPC ---------------------------------------------------------------------------


async def test_a_stock_server_gets_lists_and_results() -> None:
    async with stock_server() as server, running(server.port):
        first = await asyncio.wait_for(server.received.get(), 10)
        assert KEY == f"{first.agent_id.ip}-{first.agent_id.mac}"
        assert first.agent_id.HasField("team_id")

        listed = await server.ask(request_id=2, exec_type=pb.LIST_COMMAND)
        spaces = await server.ask(request_id=2, exec_type=pb.LIST_NAMESPACE)
        silent = await server.ask(request_id=3, exec_type=2, command_ident="silent")
        failed = await server.ask(request_id=4, exec_type=2, command_ident="fail", batch_len=1)
        replay = await server.ask(request_id=5, exec_type=pb.DRY_REPLAY_PCAP)

        assert "system_l2s" == listed.commands[0].ident
        assert {"net"} == {each.ns_type for each in spaces.linux_namespaces}
        assert "d41d8cd98f00b204e9800998ecf8427e" == silent.command_result.md5
        assert ("err\n", 3, b"out\n") == (
            failed.errmsg,
            failed.command_result.errno,
            failed.command_result.content,
        )
        assert failed.command_result.HasField("md5")
        assert "unsupported execution type: DryReplayPcap" == replay.errmsg


# --- farhand's own controller -------------------------------------------------------------


async def test_at_a_farhand_controller_it_is_a_deepflow_agent(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, running(it.port):
        agent = await it.online(KEY)
        ends = {}
        for ident, params in (
            ("say", {"word": "hello"}),
            ("silent", {}),
            ("fail", {}),
            ("kill-itself", {}),
            ("missing", {}),
            ("system_l2s", {}),
        ):
            run = await it.final(await it.submit(ident, on=agent.name, params=params))
            ends[ident] = (run.state, run.why, run.exit_code)
            if ident == "say":
                assert b"hello\n" == await it.output(run)
            if ident == "fail":
                assert b"out\n" == await it.output(run)
                assert b"err\n" == await it.output(run, "stderr")

        failed = RunState.FAILED
        assert {
            "say": (RunState.SUCCEEDED, Why.EXIT, 0),
            "silent": (RunState.SUCCEEDED, Why.EXIT, 0),
            "fail": (failed, Why.EXIT, 3),
            "kill-itself": (failed, Why.SIGNAL, None),
            "missing": (failed, Why.PROGRAM_NOT_FOUND, None),
            "system_l2s": (RunState.SUCCEEDED, Why.EXIT, 0),
        } == ends


# --- a process of its own -----------------------------------------------------------------


async def test_a_process_serves_a_server_and_leaves_nothing_when_it_is_stopped(
    tmp_path: Path,
) -> None:
    commands = tmp_path / "commands.toml"
    commands.write_text('[[command]]\nident = "long"\nargv = ["sleep", "71.4012"]\n')
    commands.chmod(0o600)
    async with FakeDeepFlowServer() as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "farhand.boot.agent", "--protocol", "deepflow"),
            *("--controller", f"127.0.0.1:{server.port}", "--commands", str(commands)),
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            key = await server.agent(within_s=30)
            run = asyncio.ensure_future(server.run(key, "long"))
            await until(lambda: alive("71.4012"))
            assert b":" in await server.run(key, "system_d2e")

            process.send_signal(signal.SIGTERM)
            with pytest.raises(CommandFailed, match="the agent stops"):
                await run
            _, told = await asyncio.wait_for(process.communicate(), 20)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

        assert 0 == process.returncode
        assert f"connected to 127.0.0.1:{server.port} as {KEY}" in told.decode()
        assert "without TLS nothing proves" in told.decode()
        assert [] == alive("71.4012")
        assert ["commands.toml"] == await asyncio.to_thread(os.listdir, tmp_path)
