"""What strangers and mistaken agents get at the agents' port: a status, a reason, and the door."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.domain.agent import Identity
from farhand.domain.limits import DEFAULTS, Limits
from farhand.domain.messages import (
    FromAgent,
    Goodbye,
    Heartbeat,
    HeartbeatReply,
    Held,
    Hello,
    Parting,
    UnknownFrame,
    Unsupported,
    Welcome,
)
from farhand.domain.run import RunState
from farhand.gateway.server import Gateway
from farhand.wire import native
from farhand.wire.grpc import Call, CallEnd, Connection, Handler, Status, connect
from tests.integration.agent.estate import Estate, estate
from tests.until import until


class Talk(Handler):
    """The far end of one call."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.heard: list[object] = []
        self.end: CallEnd | None = None
        self.over = asyncio.Event()

    def on_message(self, message: bytes) -> None:
        self.heard += native.decode_from_controller(message)

    def on_closed(self, end: CallEnd) -> None:
        self.end = end
        self.over.set()

    def say(self, *frames: FromAgent) -> None:
        self.call.send(native.encode_from_agent(frames))

    async def status(self) -> tuple[Status, str]:
        """How the call ended."""
        async with asyncio.timeout(10):
            await self.over.wait()
        assert self.end is not None
        return self.end.status, self.end.message


@asynccontextmanager
async def talk(gateway: Gateway, path: str = native.METHOD) -> AsyncIterator[Talk]:
    """A call to the gateway."""
    link: Connection = await connect(*gateway.address)
    made: list[Talk] = []

    def make(call: Call) -> Talk:
        made.append(Talk(call))
        return made[0]

    try:
        link.open(path, make)
        yield made[0]
    finally:
        link.close()
        await link.wait_closed()


@asynccontextmanager
async def open_gateway(
    path: Path, limits: Limits = DEFAULTS
) -> AsyncIterator[tuple[Estate, Gateway]]:
    """A gateway; at the end every stranger is gone and an innocent agent still gets its work."""
    it = estate(path, limits)
    async with it.controller() as gateway, it.agent(gateway.address) as agent:
        await agent.connected.wait()
        yield it, gateway
        await until(lambda: gateway.server.connections == 1)
        (run,) = await it.finished(await it.submit("echo", "hi"))

        assert RunState.SUCCEEDED is run.state
        assert 1 == len((await it.store.agents()).items)


def _hello(token: str, name: str = "web-9", **more: object) -> Hello:
    identity = replace(Identity(name=name, machine_id="m"), **more)  # type: ignore[arg-type]
    return Hello(protocols=(1,), join_token=token, identity=identity)


@pytest.mark.parametrize("first", [Heartbeat(seq=1), Held((), last=True)])
async def test_a_first_message_that_is_no_hello_is_told_so(
    tmp_path: Path, first: FromAgent
) -> None:
    async with open_gateway(tmp_path) as (_, gateway), talk(gateway) as stranger:
        stranger.say(first)
        status, message = await stranger.status()

        assert Status.INVALID_ARGUMENT is status
        assert "Hello" in message


async def test_bytes_that_are_no_message_are_told_so(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as (_, gateway), talk(gateway) as stranger:
        stranger.call.send(b"\xff" * 100)
        status, message = await stranger.status()

        assert Status.INVALID_ARGUMENT is status
        assert "cannot be read" in message


async def test_a_hello_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as (_, gateway), talk(gateway) as stranger:
        stranger.say(_hello("t", facts={"big": "x" * 20_000}))
        status, _ = await stranger.status()

        assert Status.RESOURCE_EXHAUSTED is status


async def test_a_caller_that_says_nothing_is_let_go(tmp_path: Path) -> None:
    limits = replace(DEFAULTS, first_message_s=0.2)
    async with open_gateway(tmp_path, limits) as (_, gateway), talk(gateway) as stranger:
        status, _ = await stranger.status()

        assert status is not Status.OK


async def test_a_wrong_token_is_refused_with_what_to_do(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as (_, gateway), talk(gateway) as stranger:
        stranger.say(_hello("wrong"))
        status, message = await stranger.status()
        (goodbye,) = stranger.heard

        assert Status.UNAUTHENTICATED is status
        assert "--join-token-file" in message
        assert isinstance(goodbye, Goodbye)
        assert Parting.REFUSED is goodbye.reason


@pytest.mark.parametrize("name", ["", "a b", "x" * 200, "-x"])
async def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    async with open_gateway(tmp_path) as (it, gateway), talk(gateway) as stranger:
        token = (it.directory / "join.token").read_text().strip()
        stranger.say(_hello(token, name=name))
        status, message = await stranger.status()

        assert Status.UNAUTHENTICATED is status
        assert "name" in message


async def test_another_protocol_is_refused(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as (it, gateway), talk(gateway) as stranger:
        token = (it.directory / "join.token").read_text().strip()
        stranger.say(replace(_hello(token), protocols=(99,)))
        status, message = await stranger.status()

        assert Status.UNAUTHENTICATED is status
        assert "protocol" in message


async def test_who_finds_the_door_full_is_told_when_to_come_back(tmp_path: Path) -> None:
    it = estate(tmp_path, replace(DEFAULTS, admissions=0, admissions_waiting=0))
    async with it.controller() as gateway, talk(gateway) as late:
        late.say(_hello((it.directory / "join.token").read_text().strip()))
        status, message = await late.status()
        (goodbye,) = late.heard

        assert Status.RESOURCE_EXHAUSTED is status
        assert "try again a little later" in message
        assert isinstance(goodbye, Goodbye)
        assert Parting.OVERLOADED is goodbye.reason
        assert 0 < goodbye.reconnect_after_s < 1


async def test_who_leaves_while_it_waits_at_the_door_is_not_let_in(tmp_path: Path) -> None:
    it = estate(tmp_path, replace(DEFAULTS, admissions=1))
    async with it.controller() as gateway:
        async with gateway.admissions.turn():
            async with talk(gateway) as gone:
                gone.say(_hello((it.directory / "join.token").read_text().strip()))
                await until(lambda: gateway.admissions.waiting == 1)
            await until(lambda: gateway.server.connections == 0)
        await until(lambda: gateway.admissions.counters.begun == 2)

        assert () == tuple((await it.store.agents()).items)
        assert 0 == gateway.admissions.at_once


async def test_an_unknown_method_is_unimplemented(tmp_path: Path) -> None:
    async with open_gateway(tmp_path) as (_, gateway), talk(gateway, "/x.Y/Z") as stranger:
        status, _ = await stranger.status()

        assert Status.UNIMPLEMENTED is status


async def test_a_frame_of_a_later_version_is_answered_with_unsupported(tmp_path: Path) -> None:
    it = estate(tmp_path)
    async with it.controller() as gateway, talk(gateway) as newer:
        token = (it.directory / "join.token").read_text().strip()
        newer.say(_hello(token))
        await until(lambda: any(isinstance(frame, Welcome) for frame in newer.heard))
        newer.call.send(b"\x0a\x03\xea\x3e\x00")  # a frame with field 1005, empty
        newer.say(Heartbeat(seq=1))
        await until(lambda: HeartbeatReply(1) in newer.heard)

        assert Unsupported(1005) in newer.heard
        assert not any(isinstance(frame, UnknownFrame) for frame in newer.heard)
