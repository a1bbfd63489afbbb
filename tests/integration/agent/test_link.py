"""Agents stay connected through everything that happens to controllers and networks."""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.agent.daemon import StateDir
from farhand.domain.agent import Liveness
from farhand.domain.limits import DEFAULTS
from farhand.domain.output import StreamName
from farhand.domain.run import RunState, Why
from farhand.errors import DataDirInUse
from farhand.testing.launcher import FakeProcess
from farhand.wire.grpc import HttpProxy
from tests.integration.agent.estate import QUICK, estate
from tests.until import until


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


async def test_an_agent_joins_runs_and_says_goodbye(tmp_path: Path) -> None:
    it = estate(tmp_path)
    async with it.controller() as gateway:
        async with it.agent(gateway.address) as agent:
            await agent.connected.wait()
            (run,) = await it.finished(await it.submit("echo", "hi"))
            assert RunState.SUCCEEDED is run.state
            agent_id = agent.id
        assert agent_id is not None
        await until(lambda: len(it.at().sessions) == 0)
        found = await it.store.agent(agent_id)

        assert found is not None
        assert Liveness.OFFLINE is found.liveness


async def test_an_agent_that_stops_ends_its_runs_and_tells_how(tmp_path: Path) -> None:
    it, started = estate(tmp_path), asyncio.Event()

    async def block(process: FakeProcess) -> int:
        started.set()
        return await process.block()

    async with it.controller() as gateway:
        async with it.agent(gateway.address, programs={"block": block}) as agent:
            await agent.connected.wait()
            submitted = await it.submit("block")
            await started.wait()
        (run,) = await it.finished(submitted)

        assert Why.AGENT_STOPPED is run.why


async def test_an_agent_keeps_its_identity_over_restarts(tmp_path: Path) -> None:
    it = estate(tmp_path)
    ids = []
    async with it.controller() as gateway:
        for _ in range(2):
            async with it.agent(gateway.address) as agent:
                await agent.connected.wait()
                ids.append(agent.id)

        assert 1 == len(set(ids))
        assert 1 == len((await it.store.agents()).items)


async def test_an_agent_waits_for_a_controller_that_is_not_there_yet(tmp_path: Path) -> None:
    it = estate(tmp_path)
    port = _free_port()
    async with it.controller():
        pass  # makes the tokens
    async with it.agent(("127.0.0.1", port)) as agent:
        assert not agent.connected.is_set()
        async with it.controller(port):
            await asyncio.wait_for(agent.connected.wait(), 10)


async def test_an_agent_comes_back_and_its_run_goes_on(tmp_path: Path) -> None:
    it = estate(tmp_path)
    port, started, going = _free_port(), asyncio.Event(), asyncio.Event()

    async def patient(process: FakeProcess) -> int:
        await process.print(b"one\n")
        started.set()
        await going.wait()
        await process.print(b"two\n")
        return 0

    async with it.controller(port):
        pass
    async with it.agent(("127.0.0.1", port), programs={"patient": patient}) as agent:
        async with it.controller(port):
            await agent.connected.wait()
            submitted = await it.submit("patient")
            run = submitted.runs[0]
            await started.wait()
        async with it.controller(port):
            going.set()
            (found,) = await it.finished(submitted)

    assert RunState.SUCCEEDED is found.state
    printed = await it.store.output(run.id, StreamName.STDOUT, offset=0, limit=100)
    assert b"one\ntwo\n" == printed


async def test_the_next_controller_is_tried_when_one_does_not_answer(tmp_path: Path) -> None:
    it = estate(tmp_path)
    dead = ("127.0.0.1", _free_port())
    async with it.controller() as gateway, it.agent(dead, gateway.address) as agent:
        await asyncio.wait_for(agent.connected.wait(), 10)


async def test_a_listener_that_never_answers_is_given_up(tmp_path: Path) -> None:
    it = estate(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        limits = replace(QUICK, connect_s=0.2)
        async with (
            it.controller() as gateway,
            it.agent(mute.getsockname(), gateway.address, limits=limits) as agent,
        ):
            await asyncio.wait_for(agent.connected.wait(), 10)


async def test_two_agents_cannot_share_a_state_directory(tmp_path: Path) -> None:
    it = estate(tmp_path)
    async with it.controller() as gateway, it.agent(gateway.address, state=tmp_path / "state"):
        with pytest.raises(DataDirInUse):
            StateDir.open(tmp_path / "state")


async def test_a_session_without_heartbeats_is_ended_and_the_agent_dials_again(
    tmp_path: Path,
) -> None:
    it = estate(tmp_path, replace(DEFAULTS, inactivity_s=0.3, sweep_s=0.05, heartbeat_s=1000.0))
    async with it.controller() as gateway, it.agent(gateway.address) as agent:
        await agent.connected.wait()
        session = it.at().sessions.get(agent.id) if agent.id else None
        assert session is not None
        await until(lambda: (now := it.at().sessions.get(session.agent)) and now.epoch > 1)


async def test_heartbeats_keep_a_session_alive(tmp_path: Path) -> None:
    it = estate(tmp_path, replace(DEFAULTS, inactivity_s=0.5, sweep_s=0.05, heartbeat_s=0.05))
    async with it.controller() as gateway, it.agent(gateway.address) as agent:
        await agent.connected.wait()
        session = it.at().sessions.get(agent.id) if agent.id else None
        assert session is not None
        await until(lambda: session.machine.heartbeats >= 20)

        assert session is it.at().sessions.get(session.agent)


async def test_an_agent_dials_through_a_proxy(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n", 1)[0])
        host, _, port = head.split(b" ")[1].rpartition(b":")
        away, to = await asyncio.open_connection(host.decode(), int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        await asyncio.gather(pipe(reader, to), pipe(away, writer), return_exceptions=True)

    it = estate(tmp_path)
    proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    at = HttpProxy("127.0.0.1", proxy.sockets[0].getsockname()[1])
    async with it.controller() as gateway, it.agent(gateway.address, proxy=at) as agent:
        await asyncio.wait_for(agent.connected.wait(), 10)
        port = gateway.address[1]
    proxy.close()

    assert f"CONNECT 127.0.0.1:{port} HTTP/1.1".encode() == asked[0]


async def test_two_hundred_agents_take_a_job_each_at_the_same_time(tmp_path: Path) -> None:
    it = estate(tmp_path)
    async with it.controller() as gateway, asyncio.TaskGroup() as tasks:
        done = asyncio.Event()

        async def stay(name: str) -> None:
            async with it.agent(gateway.address, name=name) as agent:
                await agent.connected.wait()
                await done.wait()

        for number in range(200):
            tasks.create_task(stay(f"sim-{number:03}"))
        await until(lambda: len(it.at().sessions) == 200, within_s=30)
        runs = await it.finished(await it.submit("echo", "hi"), within_s=30)
        done.set()

    assert {RunState.SUCCEEDED} == {run.state for run in runs}
    assert 200 == len(runs)
