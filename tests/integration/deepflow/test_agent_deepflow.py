"""A farhand agent on a DeepFlow server: real sockets, real processes of this host."""

import asyncio
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.domain.deepflow.catalogue import OFFERS
from farhand.domain.deepflow.messages import Request
from farhand.domain.deepflow.texts import NOT_FOUND
from farhand.testing.deepflow import CommandFailed, FakeDeepFlowServer
from tests.acceptance.plant import alive
from tests.integration.deepflow.host import KEY, QUICK, running
from tests.until import until


def net_of(pid: int | str) -> str:
    """The network namespace of a process, as `net:[…]`."""
    return Path(f"/proc/{pid}/ns/net").readlink().name


async def test_an_agent_says_at_once_who_it_is_and_is_found_by_it() -> None:
    async with FakeDeepFlowServer() as server, running(server.port) as agent:
        key = await server.agent()
        await until(agent.connected.is_set)

        assert KEY == key
        sender = server.received[0].sender
        assert sender is not None
        assert ("", "") == (sender.team_id, sender.group_id)
        assert server.received[0].heartbeat


async def test_an_agent_lists_deepflows_commands_and_its_own() -> None:
    async with FakeDeepFlowServer() as server, running(server.port):
        commands, namespaces = await server.listing(await server.agent())

        expected = [o.command for o in OFFERS if o.command.type_name == "system"]
        assert expected == list(commands[: len(expected)])
        idents = {command.ident for command in commands}
        assert {"uptime", "say", "strace"} < idents
        assert net_of("self") in {f"net:[{each.id}]" for each in namespaces}
        assert {"net"} == {each.ns_type for each in namespaces}


async def test_commands_run_and_what_they_print_comes_back() -> None:
    async with FakeDeepFlowServer() as server, running(server.port):
        key = await server.agent()

        assert b"hello\n" == await server.run(key, "say", {"word": "hello"})
        assert re.search(rb"\d\d:\d\d", await server.run(key, "system_d2e"))
        assert (await server.run(key, "system_l2s")).startswith(b"        NS TYPE   NPROCS   PID ")


async def test_success_without_output_is_seen_at_once() -> None:
    async with FakeDeepFlowServer(timeout_s=10) as server, running(server.port):
        assert b"" == await server.run(await server.agent(), "silent")


async def test_a_failure_comes_with_what_was_printed() -> None:
    async with FakeDeepFlowServer() as server, running(server.port):
        key = await server.agent()
        with pytest.raises(CommandFailed, match=r"^err\n$") as failed:
            await server.run(key, "fail")
        with pytest.raises(CommandFailed, match=r"^command 'fail-silently' failed$"):
            await server.run(key, "fail-silently")

        assert b"out\n" == failed.value.content
        chunk = server.received[-1].result
        assert chunk is not None
        assert 1 == chunk.errno


async def test_a_signal_is_told_as_deepflows_agents_tell_it() -> None:
    async with FakeDeepFlowServer() as server, running(server.port):
        with pytest.raises(CommandFailed, match=r"^command 'kill-itself' failed$"):
            await server.run(await server.agent(), "kill-itself")

        chunk = server.received[-1].result
        assert chunk is not None
        assert (0, b"out\n") == (chunk.errno, chunk.content)


async def test_large_output_comes_in_batches_of_the_size_that_was_asked_for_last() -> None:
    async with FakeDeepFlowServer() as server, running(server.port):
        key = await server.agent()
        expected = bytes(range(256)) * 4096 * 3 + b"end"

        assert expected == await server.run(key, "large")
        assert 4 == len([each for each in server.received if each.result])


async def test_what_cannot_be_run_is_answered_in_the_agents_words() -> None:
    nobody = 2**22 - 1
    async with FakeDeepFlowServer() as server, running(server.port):
        key = await server.agent()
        said = []
        for ident, params, pid in (
            ("system_x", {}, None),
            ("say", {}, None),
            ("missing", {}, None),
            ("net", {}, nobody),
            ("system_l2s", {}, nobody),
        ):
            with pytest.raises(CommandFailed) as failed:
                await server.run(key, ident, params, linux_ns_pid=pid)
            said.append(str(failed.value))

        gone = f"open namespace file /proc/{nobody}/ns/net failed: {NOT_FOUND}"
        assert [
            "command not found for id system_x",
            "rejected run command 'say' with invalid params: param `word` not found",
            f"command 'missing' execute failed: command execution failed with {NOT_FOUND}",
            gone,
            gone,
        ] == said


async def test_an_agents_own_pid_is_its_own_namespace() -> None:
    async with FakeDeepFlowServer() as server, running(server.port):
        out = await server.run(await server.agent(), "net", linux_ns_pid=os.getpid())

        assert net_of("self") == out.decode().strip()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root")
async def test_a_command_runs_in_the_network_namespace_of_the_process() -> None:
    other = await asyncio.create_subprocess_exec("unshare", "--net", "sleep", "600")
    try:
        await until(lambda: net_of(other.pid) != net_of("self"))
        async with FakeDeepFlowServer() as server, running(server.port):
            out = await server.run(await server.agent(), "net", linux_ns_pid=other.pid)

            assert net_of(other.pid) == out.decode().strip()
    finally:
        other.kill()
        await other.wait()


async def test_runs_at_the_same_time_are_told_apart() -> None:
    async with FakeDeepFlowServer() as server, running(server.port):
        key = await server.agent()
        words = [f"w{number}" for number in range(4)]
        outs = await asyncio.gather(*(server.run(key, "say", {"word": word}) for word in words))

        assert [f"{word}\n".encode() for word in words] == outs


async def test_a_run_past_the_time_limit_is_killed_and_says_so() -> None:
    limits = replace(QUICK, deepflow_run_s=0.3)
    async with FakeDeepFlowServer() as server, running(server.port, limits=limits):
        with pytest.raises(CommandFailed, match=r"killed after 0\.3 s, its time limit"):
            await server.run(await server.agent(), "sleep", {"mark": "71.4001"})

        assert [] == alive("71.4001")


async def test_a_stream_that_ends_takes_its_runs_along_and_the_agent_comes_back() -> None:
    async with FakeDeepFlowServer() as server, running(server.port):
        key = await server.agent()
        lost = asyncio.ensure_future(server.run(key, "sleep", {"mark": "71.4002"}))
        await until(lambda: alive("71.4002"))
        server.drop()
        with pytest.raises(CommandFailed, match="is lost"):
            await lost
        await until(lambda: not alive("71.4002"))

        assert b"back\n" == await server.run(await server.agent(), "say", {"word": "back"})


async def test_an_agent_that_stops_kills_what_runs_and_says_so() -> None:
    async with FakeDeepFlowServer() as server, running(server.port) as agent:
        key = await server.agent()
        run = asyncio.ensure_future(server.run(key, "sleep", {"mark": "71.4003"}))
        await until(lambda: alive("71.4003"))
        agent.stop()
        with pytest.raises(CommandFailed, match="the agent stops"):
            await run

        assert [] == alive("71.4003")
        await until(lambda: server.ends)


async def test_the_next_server_is_tried_when_one_does_not_answer() -> None:
    async with FakeDeepFlowServer() as server:
        async with FakeDeepFlowServer() as gone:
            pass
        async with running(gone.port, server.port):
            assert b"x\n" == await server.run(await server.agent(), "say", {"word": "x"})


async def test_other_kinds_of_requests_are_refused_by_their_number() -> None:
    async with FakeDeepFlowServer() as server, running(server.port):
        await server.agent()
        server.send(Request(request_id=42, exec_type=99))
        server.send(Request(request_id=43, exec_type=3))
        await until(lambda: len([each for each in server.received if each.errmsg]) == 2)

        told = {each.request_id: each.errmsg for each in server.received if each.errmsg}
        assert {
            42: "unsupported execution type: 99",
            43: "unsupported execution type: DryReplayPcap",
        } == told


async def test_heartbeats_go_on_while_commands_run() -> None:
    async with FakeDeepFlowServer() as server, running(server.port, heartbeat_s=0.02) as agent:
        key = await server.agent()
        run = asyncio.ensure_future(server.run(key, "sleep", {"mark": "1.4004"}))
        before = server.heartbeats
        await until(lambda: server.heartbeats > before + 5)
        await run

        assert agent.connected.is_set()
        assert not server.ends
