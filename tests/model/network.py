"""A network between agents and a controller, in memory, that does what it is told to.

Keeps what gRPC promises: a call's messages arrive in order, each once, until it breaks. Whoever
wants them repeated or reordered says so for one call, which is then marked as tampered with.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from farhand.testing import Life, VirtualLoop
from farhand.wire.grpc import (
    Call,
    CallEnd,
    CallEnded,
    ConnectFailed,
    EndedBy,
    Handler,
    Metadata,
    Peer,
    Status,
)

WRITABLE: Final = 512  # bytes on their way, up to which a call takes more
KEEPALIVE_S: Final = 45.0  # until a side sees by itself that nobody is there
LOST: Final = CallEnd(Status.UNAVAILABLE, "the connection was lost", by=EndedBy.LINK)


@dataclass(frozen=True, slots=True)
class HalfClose:
    """The agent says no more on this call."""


Item = bytes | HalfClose | CallEnd


class End:
    """One side of a call (`farhand.wire.grpc.Call`), and what is on its way to it."""

    path = "/farhand.v1.AgentLink/Connect"
    peer = Peer("192.0.2.1", 1)
    metadata: Metadata = ()

    def __init__(self, wire: "Wire", life: Life, *, serving: bool) -> None:
        self.wire = wire
        self.life = life
        self.handler = Handler()
        self.inbound: deque[Item] = deque()
        self.held = False  # nothing arrives here until somebody lets it
        self.end: CallEnd | None = None
        self._serving = serving
        self._saying = True
        self._paused = False
        self._blocked = False

    @property
    def other(self) -> "End":
        return self.wire.agent if self._serving else self.wire.controller

    # --- what the application does --------------------------------------------------------

    @property
    def ended(self) -> bool:
        return self.end is not None or not self._saying

    @property
    def queued(self) -> int:
        return sum(len(item) for item in self.other.inbound if isinstance(item, bytes))

    @property
    def writable(self) -> bool:
        self._blocked = self.queued > WRITABLE
        return not self._blocked and not self.ended

    def send(self, message: bytes) -> None:
        if self.ended:
            raise CallEnded(Status.UNAVAILABLE)
        self._push(self.wire.watch(self, message))
        self._blocked = self.queued > WRITABLE

    def finish(
        self, status: Status = Status.OK, message: str = "", trailers: Metadata = ()
    ) -> None:
        if self.ended:
            raise CallEnded(Status.UNAVAILABLE)
        self._saying = False
        end = CallEnd(status, message, trailers)
        self._push(end)
        if self.wire.broken or not self.other.life.alive:
            self._conclude(end)

    def half_close(self) -> None:
        if not self.ended:
            self._saying = False
            self._push(HalfClose())

    def cancel(self, message: str = "") -> None:
        if self.end is None:
            self._push(CallEnd(Status.CANCELLED, message, by=EndedBy.PEER))
            self._conclude(CallEnd(Status.CANCELLED, message, by=EndedBy.HERE))

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self.flow()

    def identified(self, *, message_bytes: int | None = None) -> None:
        pass

    def _push(self, item: Item) -> None:
        if not self.wire.broken:
            self.other.inbound.append(item)
            self.other.flow()

    # --- what the network does ------------------------------------------------------------

    def flow(self) -> None:
        """Let arrive what is on its way, in the loop's next turn."""
        if not self.held and self.inbound:
            self.life.soon(self._arrive_all)

    def release(self) -> None:
        """Hold nothing back any more."""
        self.held = False
        self.flow()

    def _arrive_all(self) -> None:
        while self.inbound and not self.held and self.end is None and not self._paused:
            self.arrive(self.inbound.popleft())

    def arrive_one(self) -> None:
        """Let the first item arrive, though the others are held."""
        if self.inbound and self.end is None and not self._paused:
            self.life.soon(self.arrive, self.inbound.popleft())

    def arrive(self, item: Item) -> None:
        """One item is here."""
        match item:
            case CallEnd():
                self._conclude(item)
                if not self._serving and self.other.end is None and self.other.ended:
                    self.other.conclude(item)
            case HalfClose():
                self.handler.on_half_close()
            case _ if self._saying or not self._serving:
                self.wire.arrived(self, item)
                self.handler.on_message(item)
            case _:
                pass
        self.other.room()

    # --- what it must not do, and does when it is told to ---------------------------------

    def inject(self, message: bytes, *, at: int = 0) -> None:
        """Let a message arrive that nobody sent on this call, or not now."""
        if self.end is None:
            self.wire.tampered = True
            self.inbound.insert(at, message)
            self.flow()

    def swap(self) -> None:
        """Let the second arrive before the first of what is on its way."""
        if len(self.inbound) > 1 and isinstance(self.inbound[1], bytes):
            self.wire.tampered = True
            self.inbound[0], self.inbound[1] = self.inbound[1], self.inbound[0]

    def replace(self, change: Callable[[bytes], bytes]) -> None:
        """Change each message that is on its way."""
        for at, item in enumerate(self.inbound):
            if isinstance(item, bytes):
                self.inbound[at] = change(item)

    def room(self) -> None:
        """The other side took something."""
        if self._blocked and not self.ended and self.queued <= WRITABLE:
            self._blocked = False
            self.life.soon(self.handler.on_writable)

    def conclude(self, end: CallEnd) -> None:
        """Tell this side that the call is over."""
        self.life.soon(self._conclude, end)

    def _conclude(self, end: CallEnd) -> None:
        if self.end is None:
            self.end = end
            self._saying = False
            self.inbound.clear()
            self.life.soon(self.handler.on_closed, end)

    def close_now(self) -> None:
        """The application closes the connection: `on_closed` comes inside this."""
        if self.end is None:
            self._push(LOST)
            self.end = CallEnd(Status.CANCELLED, "closed here", by=EndedBy.HERE)
            self._saying = False
            self.inbound.clear()
            self.handler.on_closed(self.end)

    def lose(self, *, told: bool, flying: bool) -> None:
        """The connection breaks: is what flies here lost, and does this side hear of it?"""
        if not flying:
            self.inbound.clear()
        if told:
            self.inbound.append(LOST)
            self.flow()


class Watcher(Protocol):
    """Looks at every message on its way."""

    def said(self, end: End, message: bytes) -> bytes:
        """A side gives it to the network; return what the network takes."""
        ...

    def heard(self, end: End, message: bytes) -> None:
        """It reached this side."""
        ...


class Wire:
    """One call from an agent to a controller."""

    def __init__(
        self, loop: VirtualLoop, which: int, agent: Life, controller: Life, watcher: Watcher
    ) -> None:
        self.loop = loop
        self.which = which  # whose call: the agent's number
        self.agent = End(self, agent, serving=False)
        self.controller = End(self, controller, serving=True)
        self.tampered = False
        self.broken = False
        self._watcher = watcher

    @property
    def ends(self) -> tuple[End, End]:
        return self.agent, self.controller

    @property
    def over(self) -> bool:
        """Nobody uses it any more."""
        return all(end.end is not None or not end.life.alive for end in self.ends)

    def watch(self, end: End, message: bytes) -> bytes:
        return self._watcher.said(end, message)

    def arrived(self, end: End, message: bytes) -> None:
        self._watcher.heard(end, message)

    def cut(
        self,
        *,
        told: tuple[bool, bool] = (True, True),
        flying: tuple[bool, bool] = (False, False),
    ) -> None:
        """Break it. For agent and controller: does it hear of it, does what flies there arrive?"""
        if self.broken:
            return
        self.broken = True
        for end, hears, arrives in zip(self.ends, told, flying, strict=True):
            end.lose(told=hears, flying=arrives)
            self.loop.call_later(KEEPALIVE_S, end.conclude, LOST)


@dataclass(slots=True)
class Connection:
    """An agent's connection (`farhand.agent.link.Connected`): one call at most."""

    make: Callable[[Callable[[Call], Handler]], Wire]
    wire: Wire | None = None

    def open(self, path: str, factory: Callable[[Call], Handler]) -> Call:
        assert End.path == path
        self.wire = self.make(factory)
        return self.wire.agent

    def close(self) -> None:
        if self.wire is not None:
            self.wire.agent.close_now()

    async def wait_closed(self) -> str:
        return "closed"


Serve = Callable[[Call], Handler]


@dataclass(slots=True)
class Network:
    """All calls between the agents and whichever controller is there."""

    loop: VirtualLoop
    watcher: Watcher
    controller: tuple[Life, Serve] | None = None  # who answers
    down: set[int] = field(default_factory=set)  # agents that reach nobody
    sluggish: bool = False  # new calls hold their messages
    wires: list[Wire] = field(default_factory=list)

    async def connect(self, which: int, life: Life) -> Connection:
        """Dial the controller for an agent. Raises ConnectFailed."""
        if self.controller is None or which in self.down:
            raise ConnectFailed("nobody answers")
        here, serve = self.controller

        def make(factory: Callable[[Call], Handler]) -> Wire:
            wire = Wire(self.loop, which, life, here, self.watcher)
            wire.agent.handler = factory(wire.agent)
            wire.controller.handler = here.call(serve, wire.controller) or Handler()
            wire.agent.held = wire.controller.held = self.sluggish
            self.wires = [known for known in self.wires if not known.over]
            self.wires.append(wire)
            return wire

        return Connection(make)

    @property
    def live(self) -> list[Wire]:
        """The calls that somebody still uses, oldest first."""
        return [wire for wire in self.wires if not wire.over]

    def heal(self) -> None:
        """Let everything through; what was tampered with begins anew."""
        self.down.clear()
        self.sluggish = False
        for wire in self.live:
            if wire.tampered:
                wire.cut()
            for end in wire.ends:
                end.release()
