"""The promises of AgentChannel, for every implementation."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from farhand.controller.session import Session
from farhand.domain.ids import RunId
from farhand.domain.messages import (
    CancelRun,
    FromController,
    Goodbye,
    Hello,
    Parting,
    Settled,
)
from farhand.errors import AgentGone
from farhand.gateway.stream import Channel
from farhand.ports import AgentChannel
from farhand.testing import FakeAgent, FakeChannel, settle
from farhand.wire import native
from farhand.wire.grpc import CallEnded, Handler, Metadata, Peer, Status

RUNS = [RunId(f"run_01h455vb4pex5vsknk084sn02{c}") for c in "abcdefgh"]
BYE = Goodbye(Parting.STOPPING, "see you")


class Way(Protocol):
    """One implementation, with what its far end got."""

    channel: AgentChannel

    def got(self) -> list[FromController]: ...

    def stall(self) -> None: ...

    def flow(self) -> None: ...

    def cut(self) -> None: ...


@dataclass
class FakeCall:
    """A call whose peer reads when it is told to."""

    handler: Handler = field(default_factory=Handler)
    sent: list[bytes] = field(default_factory=list)
    status: Status | None = None
    over: bool = False
    stuck: int = 0
    path: str = native.METHOD
    peer: Peer = field(default_factory=lambda: Peer("127.0.0.1", 1))
    metadata: Metadata = ()

    @property
    def ended(self) -> bool:
        return self.over

    @property
    def queued(self) -> int:
        return self.stuck

    @property
    def writable(self) -> bool:
        return not self.stuck

    def send(self, message: bytes) -> None:
        if self.over:
            raise CallEnded(Status.CANCELLED, "over")
        self.sent.append(message)

    def finish(self, status: Status = Status.OK, message: str = "", trailers: object = ()) -> None:
        del message, trailers
        self.status, self.over = status, True

    def half_close(self) -> None:
        """Say no more."""

    def cancel(self, message: str = "") -> None:
        del message
        self.over = True

    def pause_reading(self) -> None:
        """Hold messages back."""

    def resume_reading(self) -> None:
        """Take messages again."""

    def identified(self, *, message_bytes: int | None = None) -> None:
        """The peer is known."""


class GatewayWay:
    """The gateway's channel on a call."""

    def __init__(self) -> None:
        self._call = FakeCall()
        self._channel = Channel(self._call, outbox_bytes=100)
        self.channel: AgentChannel = self._channel

    def got(self) -> list[FromController]:
        return [o for message in self._call.sent for o in native.decode_from_controller(message)]

    def stall(self) -> None:
        self._call.stuck = 1000

    def flow(self) -> None:
        self._call.stuck = 0
        self._channel.wake()

    def cut(self) -> None:
        self._call.over = True
        self._channel.wake()


class FakeWay:
    """The fake agent's channel."""

    def __init__(self) -> None:
        self._agent = FakeAgent("web-1", controller=_Nobody(), spawn=lambda *_, **__: None)
        self._channel = self._agent.channel = FakeChannel(self._agent)
        self.channel: AgentChannel = self._channel

    def got(self) -> list[FromController]:
        return list(self._agent.received)

    def stall(self) -> None:
        self._channel.stall()

    def flow(self) -> None:
        self._channel.flow()

    def cut(self) -> None:
        self._channel.cut()


class _Nobody:
    async def open(self, hello: Hello, channel: FakeChannel) -> Session:
        raise NotImplementedError

    async def ended(self, session: object) -> None:
        raise NotImplementedError


@pytest.fixture(params=[GatewayWay, FakeWay])
def make(request: pytest.FixtureRequest) -> Callable[[], Way]:
    made: Callable[[], Way] = request.param
    return made


async def test_orders_arrive_in_order(make: Callable[[], Way]) -> None:
    way = make()
    for run in RUNS:
        await way.channel.send(Settled(run))
    await settle()

    assert [Settled(run) for run in RUNS] == way.got()


async def test_send_waits_while_the_outbox_is_full_and_keeps_the_order(
    make: Callable[[], Way],
) -> None:
    way = make()
    way.stall()
    async with asyncio.TaskGroup() as tasks:
        for run in RUNS:
            tasks.create_task(way.channel.send(Settled(run)))
        await settle()
        assert [] == way.got()
        way.flow()
    await settle()

    assert [Settled(run) for run in RUNS] == way.got()


async def test_offer_sends_at_once_or_not_at_all(make: Callable[[], Way]) -> None:
    way = make()
    assert way.channel.offer(Settled(RUNS[0]))
    way.stall()
    assert not way.channel.offer(Settled(RUNS[1]))
    way.flow()
    await settle()

    assert [Settled(RUNS[0])] == way.got()


async def test_send_raises_agent_gone_when_the_stream_has_ended(make: Callable[[], Way]) -> None:
    way = make()
    way.cut()

    with pytest.raises(AgentGone):
        await way.channel.send(CancelRun(RUNS[0], 1.0))
    assert not way.channel.offer(CancelRun(RUNS[0], 1.0))


async def test_whoever_waits_is_told_that_the_agent_is_gone(make: Callable[[], Way]) -> None:
    way = make()
    way.stall()
    waiting = asyncio.ensure_future(way.channel.send(Settled(RUNS[0])))
    await settle()
    way.cut()

    with pytest.raises(AgentGone):
        await waiting


async def test_close_says_goodbye_behind_what_was_sent_and_may_be_repeated(
    make: Callable[[], Way],
) -> None:
    way = make()
    await way.channel.send(Settled(RUNS[0]))
    way.channel.close(BYE)
    way.channel.close(BYE)
    await settle()

    assert [Settled(RUNS[0]), BYE] == way.got()
    with pytest.raises(AgentGone):
        await way.channel.send(Settled(RUNS[1]))
