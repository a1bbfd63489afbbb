"""An agent without a host or a network: it answers as it is told to.

Speaks the same messages as a real one, over an in-memory `AgentChannel`.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from farhand.controller.session import Session
from farhand.domain.agent import Identity
from farhand.domain.command import Command
from farhand.domain.ids import AgentId, RunId
from farhand.domain.messages import (
    Commands,
    FromAgent,
    FromController,
    Goodbye,
    Heartbeat,
    Held,
    HeldRun,
    Hello,
    ListCommands,
    ListNamespaces,
    Namespace,
    Namespaces,
    Output,
    Parting,
    RunEnded,
    RunStarted,
    StartRun,
    Welcome,
)
from farhand.domain.output import Chunk, StreamEnd, StreamName
from farhand.domain.run import Ending, Why
from farhand.errors import AgentGone, ProtocolError

Behaviour = Callable[[StartRun], Iterable[FromAgent]]


class Controller(Protocol):
    """What a fake agent connects to."""

    async def open(self, hello: Hello, channel: "FakeChannel") -> Session: ...

    async def ended(self, session: Session) -> None: ...


def output(run: RunId, data: bytes, *, offset: int = 0, stream: str = "stdout") -> Output:
    """Bytes of a stream."""
    return Output(Chunk(run, StreamName(stream), offset, data))


def stream_end(data: bytes) -> StreamEnd:
    """The end of a stream that printed *data* and lost nothing."""
    digest = hashlib.sha256(data).hexdigest()
    return StreamEnd(total=len(data), kept=len(data), sha256_kept=digest, sha256_all=digest)


def ended(run: RunId, *, stdout: bytes = b"", stderr: bytes = b"", code: int = 0) -> RunEnded:
    """The end of a run that printed this."""
    streams = {StreamName.STDOUT: stream_end(stdout), StreamName.STDERR: stream_end(stderr)}
    return RunEnded(run, Ending(why=Why.EXIT, exit_code=code, duration_s=0.01, streams=streams))


def succeed(data: bytes = b"") -> Behaviour:
    """Start, print *data* to stdout, exit with 0."""

    def behave(order: StartRun) -> Iterable[FromAgent]:
        yield RunStarted(order.run, 4242)
        if data:
            yield output(order.run, data)
        yield ended(order.run, stdout=data)

    return behave


def hang(order: StartRun) -> Iterable[FromAgent]:
    """Start, and go on for ever."""
    yield RunStarted(order.run, 4242)


def ignore(order: StartRun) -> Iterable[FromAgent]:  # noqa: ARG001  # says nothing at all
    """Take the order and say nothing."""
    return ()


class FakeChannel:
    """The way to a fake agent. *full* makes it behave as an outbox without room."""

    def __init__(self, agent: "FakeAgent") -> None:
        self._agent = agent
        self._room = asyncio.Event()
        self._room.set()
        self.open = True

    def stall(self) -> None:
        """The agent reads no more."""
        self._room.clear()

    def flow(self) -> None:
        """The agent reads again."""
        self._room.set()

    async def send(self, *orders: FromController) -> None:
        """Give *orders* to the agent; wait while it does not read. Raises AgentGone."""
        if self.open:
            await self._room.wait()
        if not self.open:
            raise AgentGone
        self._agent.receive(orders)

    def offer(self, *orders: FromController) -> bool:
        """Give *orders* to the agent if it reads."""
        if not self.open or not self._room.is_set():
            return False
        self._agent.receive(orders)
        return True

    def close(self, parting: Goodbye) -> None:
        """Say goodbye and end the stream."""
        if self.open:
            self._agent.receive((parting,))
            self.cut()

    def cut(self) -> None:
        """End the stream without a word."""
        if self.open:
            self.open = False
            self._room.set()
            self._agent.lost()


@dataclass(eq=False)
class FakeAgent:
    """A host that exists only here. Change *behaviour* to say what its runs do."""

    name: str
    controller: Controller
    spawn: Callable[..., object]
    join_token: str = ""
    machine_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=lambda: {"os": "linux", "arch": "x86_64"})
    ip: str = "10.0.0.1"
    mac: str = "02:00:00:00:00:01"
    behaviour: Behaviour = field(default_factory=succeed)
    commands: tuple[Command, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    namespaces_error: str = ""
    capabilities: tuple[str, ...] = ()
    mute: bool = False  # answers no questions
    id: AgentId | None = None
    secret: str = ""
    held: Sequence[HeldRun] = ()
    received: list[FromController] = field(default_factory=list)
    channel: FakeChannel | None = None
    session: Session | None = None
    goodbye: Goodbye | None = None

    def hello(self) -> Hello:
        """How it introduces itself."""
        return Hello(
            protocols=(1,),
            agent=self.id,
            secret=self.secret,
            join_token="" if self.secret else self.join_token,
            identity=Identity(
                name=self.name,
                machine_id=self.machine_id or f"machine-of-{self.name}",
                boot_id="boot",
                ip=self.ip,
                mac=self.mac,
                labels=self.labels,
                facts=self.facts,
                software="fake",
                capabilities=self.capabilities,
                catalogue=str(hash(self.commands)),
            ),
        )

    async def connect(self) -> None:
        """Dial in and tell what it holds. Raises what the controller refuses with."""
        self.channel = FakeChannel(self)
        self.goodbye = None
        self.session = await self.controller.open(self.hello(), self.channel)
        self.say(Held(tuple(self.held), last=True))

    def say(self, *frames: FromAgent) -> None:
        """Send frames; breaking the rules ends the stream, as the gateway would."""
        if self.session is None or self.channel is None:
            raise AgentGone(f"{self.name} is not connected")
        try:
            self.session.receive(list(frames))
        except ProtocolError as exc:
            self.channel.close(Goodbye(Parting.PROTOCOL, str(exc)))

    def beat(self, seq: int = 1) -> None:
        """Send a heartbeat."""
        self.say(Heartbeat(seq=seq))

    def vanish(self) -> None:
        """Lose the stream without a goodbye."""
        if self.channel is not None:
            self.channel.cut()

    def leave(self) -> None:
        """Say goodbye and end the stream."""
        self.say(Goodbye(Parting.STOPPING))
        self.vanish()

    def lost(self) -> None:
        """The stream is over."""
        session, self.session, self.channel = self.session, None, None
        if session is not None:
            self.spawn(self.controller.ended(session), name=f"ended-{self.name}")

    def receive(self, orders: Sequence[FromController]) -> None:
        """Take orders, and do with them what *behaviour* says, in the loop's next turn."""
        self.received += orders
        for order in orders:
            match order:
                case Welcome(agent=agent, secret=secret):
                    self.id = agent
                    self.secret = secret or self.secret
                case Goodbye():
                    self.goodbye = order
                case StartRun():
                    asyncio.get_running_loop().call_soon(self._behave, order)
                case ListCommands(request):
                    self._answer(Commands(request, self.commands))
                case ListNamespaces(request):
                    self._answer(Namespaces(request, self.namespaces, self.namespaces_error))
                case _:
                    pass

    def orders(self, kind: type) -> list[FromController]:
        """The orders of one kind that it received."""
        return [order for order in self.received if isinstance(order, kind)]

    def _answer(self, frame: FromAgent) -> None:
        if not self.mute:
            asyncio.get_running_loop().call_soon(self._say_if_connected, frame)

    def _behave(self, order: StartRun) -> None:
        for frame in self.behaviour(order):
            self._say_if_connected(frame)

    def _say_if_connected(self, frame: FromAgent) -> None:
        if self.session is not None:
            self.say(frame)
