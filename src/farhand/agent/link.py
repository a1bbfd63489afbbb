"""Keep one stream to a controller, and come back when it is lost.

Carries frames between the stream and the executor; decides nothing about runs. One address after
the other is tried, with full-jitter exponential backoff, unless a controller said how long to wait.
"""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from farhand.domain.ids import AgentId
from farhand.domain.limits import AgentLimits
from farhand.domain.messages import (
    Commands,
    FromAgent,
    FromController,
    Goodbye,
    Heartbeat,
    HeartbeatReply,
    Held,
    HeldRun,
    Hello,
    ListCommands,
    ListNamespaces,
    Namespaces,
    Parting,
    UnknownFrame,
    Unsupported,
    Welcome,
)
from farhand.errors import FarhandError, ProtocolError
from farhand.ports import Clock
from farhand.wire import native
from farhand.wire.grpc import (
    Call,
    CallEnd,
    CallEnded,
    Handler,
    HttpProxy,
    LinkError,
    LinkLimits,
    connect,
)

log = logging.getLogger(__name__)

MESSAGE_BYTES: Final = 512 * 1024  # of output in one message
HELD_PAGE: Final = 500
MISSED_HEARTBEATS: Final = 2
TOLD_MOST_S: Final = 3600.0  # the longest that a controller can send an agent away for


@dataclass(frozen=True, slots=True)
class Address:
    """Where a controller listens for agents."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Connected(Protocol):
    """A connection on which calls can be opened (`farhand.wire.grpc.Connection`)."""

    def open(self, path: str, factory: Callable[[Call], Handler]) -> Call: ...
    def close(self) -> None: ...
    async def wait_closed(self) -> str: ...


class Connect(Protocol):
    """Makes a connection to a controller. Raises LinkError or OSError."""

    async def __call__(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        proxy: HttpProxy | None,
        limits: LinkLimits,
    ) -> Connected: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """How controllers are reached: their addresses in turn, TLS, and a proxy where one is set.

    *connect* makes the connections; *rng* spreads what a fleet does at the same time.
    """

    addresses: tuple[Address, ...]
    tls: ssl.SSLContext | None = None
    proxy: HttpProxy | None = None
    limits: LinkLimits
    connect: Connect = connect
    rng: random.Random = field(default_factory=random.Random)


class Work(Protocol):
    """The executor, as the link sees it."""

    @property
    def free_bytes(self) -> int: ...
    @property
    def running(self) -> int: ...
    def held(self) -> list[HeldRun]: ...
    def collect(self, most: int) -> list[FromAgent]: ...
    def handle(self, order: FromController) -> None: ...


class Host(Protocol):
    """The daemon, as the link sees it: who this agent is, and what it knows of its host."""

    def hello(self) -> Hello: ...
    def welcomed(self, welcome: Welcome) -> None: ...
    def load(self) -> float: ...
    def commands(self, request: int) -> Commands: ...
    async def namespaces(self, request: int) -> Namespaces: ...


class Backoff:
    """Full-jitter exponential waiting: 0.5 s doubling to a cap, and a higher cap later on.

    No wait is longer than the controller has been gone, so that a few short draws do not make a
    short absence a long one.
    """

    def __init__(self, limits: AgentLimits, clock: Clock, rng: random.Random) -> None:
        self._limits = limits
        self._clock = clock
        self._rng = rng
        self._failures = 0
        self._since = clock.now()

    def reset(self) -> None:
        """A stream was welcomed."""
        self._failures = 0

    def next(self, told_s: float = 0.0) -> float:
        """Seconds to wait now.

        A controller that says when to come back is there, and has spread its agents already: what
        is added to *told_s* begins anew, with the shortest wait.
        """
        told_s = min(max(0.0, told_s), TOLD_MOST_S)
        if told_s > 0:
            self._failures = 0
        if self._failures == 0:
            self._since = self._clock.now()
        gone_s = self._clock.now() - self._since
        late = gone_s > self._limits.backoff_late_after_s
        cap = self._limits.backoff_late_cap_s if late else self._limits.backoff_cap_s
        first = self._limits.backoff_first_s
        most = min(cap, first * 2 ** min(self._failures, 16), max(first, gone_s))
        self._failures += 1
        return told_s + self._rng.uniform(0.0, most)


class Rhythm:
    """When the heartbeats of one stream are due.

    The first comes at a random time within the interval: agents that arrived together, after the
    controller was away, beat apart from their first round on.
    """

    def __init__(self, interval_s: float, rng: random.Random) -> None:
        self._interval_s = interval_s
        self._rng = rng
        self._earliest = 0.0

    def next(self) -> float:
        """Seconds until the next one."""
        share = self._rng.uniform(self._earliest, 1.0)
        self._earliest = 0.8
        return self._interval_s * share


class _Stream(Handler):
    """One call on one connection: the handler the link calls back."""

    def __init__(self, call: Call, link: "Link") -> None:
        self.call = call
        self.end: CallEnd | None = None
        self.goodbye: Goodbye | None = None
        self.welcome: Welcome | None = None
        self.changed = asyncio.Event()
        self.over = asyncio.Event()
        self.unanswered = 0
        self._link = link

    def on_message(self, message: bytes) -> None:
        for order in native.decode_from_controller(message):
            self._on_order(order)

    def _on_order(self, order: FromController | UnknownFrame) -> None:
        match order:
            case Welcome():
                if self.welcome is None:
                    self.welcome = order
                    self.changed.set()
            case Goodbye():
                self.goodbye = order
                self.changed.set()
            case HeartbeatReply():
                self.unanswered = 0
            case UnknownFrame(number):
                self.say(Unsupported(number))
            case Unsupported(number):
                log.warning("the controller does not know frame %d", number)
            case _:
                self._link.on_order(order)

    def on_writable(self) -> None:
        self._link.flush()

    def on_closed(self, end: CallEnd) -> None:
        self.end = end
        self.over.set()
        self.changed.set()

    def say(self, *frames: FromAgent) -> None:
        """Send *frames* in one message, if the stream is still there."""
        if self.end is None and not self.call.ended:
            try:
                self.call.send(native.encode_from_agent(frames))
            except CallEnded:
                return


class Link:
    """The agent's way to its controllers. `run` it until it is told to stop."""

    def __init__(
        self, dial: Dial, host: Host, work: Work, clock: Clock, limits: AgentLimits
    ) -> None:
        self._dial = dial
        self._host = host
        self._work = work
        self._clock = clock
        self._limits = limits
        self._rng = dial.rng
        self._backoff = Backoff(limits, clock, self._rng)
        self._stream: _Stream | None = None
        self._flushing = False
        self._beats = 0
        self._tasks: asyncio.TaskGroup | None = None
        self.connected = asyncio.Event()
        self.agent: AgentId | None = None

    async def run(self) -> None:
        """Stay connected until cancelled."""
        at = 0
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                address = self._dial.addresses[at % len(self._dial.addresses)]
                at += 1
                told_s = await self._visit(address)
                await self._clock.sleep(self._backoff.next(told_s))

    async def leave(self, *, within_s: float) -> None:
        """Tell the controller that this agent stops, and wait until it has ended the stream."""
        stream = self._stream
        if stream is None or stream.end is not None:
            return
        self.flush()
        stream.say(Goodbye(Parting.STOPPING))
        stream.call.half_close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await stream.over.wait()

    # --- one connection -------------------------------------------------------------------

    async def _visit(self, address: Address) -> float:
        """Connect, serve until the stream ends; return how long the controller says to wait."""
        try:
            link = await self._dial.connect(
                address.host,
                address.port,
                tls=self._dial.tls,
                proxy=self._dial.proxy,
                limits=self._dial.limits,
            )
        except (LinkError, OSError) as exc:
            log.warning("%s does not answer: %s", address, exc)
            return 0.0
        try:
            link.open(native.METHOD, self._made)
            return await self._converse(address)
        except (LinkError, FarhandError) as exc:
            log.warning("the stream to %s ended: %s", address, exc)
            return 0.0
        finally:
            self.connected.clear()
            self._stream = None
            self._work.held()  # mutes: nothing goes out before a controller asks again
            link.close()
            await link.wait_closed()

    def _made(self, call: Call) -> _Stream:
        self._stream = _Stream(call, self)
        return self._stream

    async def _converse(self, address: Address) -> float:
        stream = self._stream
        if stream is None:
            raise ProtocolError("the call was not opened")
        stream.say(self._host.hello())
        welcome = await self._welcome(stream)
        if welcome is None:
            self._explain(address, stream)
            return stream.goodbye.reconnect_after_s if stream.goodbye else 0.0
        self._backoff.reset()
        self.agent = welcome.agent
        self._host.welcomed(welcome)
        fenced = "; an older stream of this agent was ended" if welcome.fenced else ""
        log.info("connected to %s as %s, epoch %d%s", address, welcome.agent, welcome.epoch, fenced)
        self._tell_held(stream)
        self.connected.set()
        self.flush()
        await self._beat(stream, welcome.heartbeat_s)
        self._explain(address, stream)
        return stream.goodbye.reconnect_after_s if stream.goodbye else 0.0

    async def _welcome(self, stream: _Stream) -> Welcome | None:
        try:
            async with asyncio.timeout(self._limits.connect_s):
                while stream.welcome is None and stream.end is None and stream.goodbye is None:
                    stream.changed.clear()
                    await stream.changed.wait()
        except TimeoutError:
            log.warning("the controller did not welcome this agent in time")
        return stream.welcome

    def _tell_held(self, stream: _Stream) -> None:
        held = self._work.held()
        for at in range(0, len(held), HELD_PAGE):
            stream.say(Held(tuple(held[at : at + HELD_PAGE]), last=False))
        stream.say(Held((), last=True))

    async def _beat(self, stream: _Stream, interval_s: float) -> None:
        """Send heartbeats until the stream is over; two without an answer end it."""
        rhythm = Rhythm(interval_s, self._rng)
        while not await self._changed(stream, rhythm.next()):
            if stream.unanswered >= MISSED_HEARTBEATS:
                log.warning("the controller does not answer heartbeats; dialling again")
                stream.call.cancel("heartbeats are not answered")
                return
            self._beats += 1
            stream.unanswered += 1
            stream.say(
                Heartbeat(
                    seq=self._beats,
                    load=self._host.load(),
                    spool_free_bytes=self._work.free_bytes,
                    runs=self._work.running,
                )
            )

    @staticmethod
    async def _changed(stream: _Stream, within_s: float) -> bool:
        """Whether the stream is over, or is about to be, before so many seconds have passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while stream.end is None and stream.goodbye is None:
                    stream.changed.clear()
                    await stream.changed.wait()
        return stream.end is not None or stream.goodbye is not None

    @staticmethod
    def _explain(address: Address, stream: _Stream) -> None:
        if stream.goodbye is not None:
            told = stream.goodbye.message or stream.goodbye.reason.value
            log.warning("%s said goodbye: %s", address, told)
        elif stream.end is not None:
            log.warning("the stream to %s ended: %s", address, stream.end.message or "cut off")

    # --- frames ---------------------------------------------------------------------------

    def wake(self) -> None:
        """The executor has something to tell; frames that are ready together share a message."""
        if not self._flushing and self._stream is not None:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what may go out now, as long as the stream takes it."""
        self._flushing = False
        stream = self._stream
        if stream is None or not self.connected.is_set():
            return
        while stream.end is None and not stream.call.ended and stream.call.writable:
            frames = self._work.collect(MESSAGE_BYTES)
            if not frames:
                return
            stream.say(*frames)

    def on_order(self, order: FromController) -> None:
        """Carry an order to whoever it is for."""
        stream = self._stream
        match order:
            case ListCommands(request) if stream is not None:
                stream.say(self._host.commands(request))
            case ListNamespaces(request) if stream is not None and self._tasks is not None:
                self._tasks.create_task(self._list(stream, request), name="list-namespaces")
            case _:
                self._work.handle(order)

    async def _list(self, stream: _Stream, request: int) -> None:
        stream.say(await self._host.namespaces(request))


def addresses(texts: Sequence[str]) -> tuple[Address, ...]:
    """Read `HOST:PORT[,HOST:PORT…]`; raises ValueError that names the wrong one."""
    found = []
    for text in ",".join(texts).split(","):
        host, colon, port = text.strip().rpartition(":")
        if not colon or not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
            raise ValueError(f"{text.strip()!r} is not HOST:PORT")
        found.append(Address(host.strip("[]"), int(port)))
    return tuple(found)
