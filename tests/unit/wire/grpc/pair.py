"""Two cores in one place, with a shell that only remembers and a clock to turn by hand."""

from dataclasses import dataclass, field
from math import inf

from farhand.errors import ProtocolError
from farhand.wire.grpc import Call, CallEnd, Handler, LinkLimits, Metadata, Peer, Status
from farhand.wire.grpc.core import Core
from farhand.wire.grpc.shell import Budget, Role, Route

PEER = Peer("192.0.2.1", 50051)
ECHO = "/test.Raw/Echo"
OPEN = "/test.Raw/Open"
MIB = 1 << 20


class Recorder(Handler):
    """Remembers every callback, and breaks when one comes after the last."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.headers: Metadata | None = None
        self.messages: list[bytes] = []
        self.half_closed = 0
        self.writable = 0
        self.ends: list[CallEnd] = []

    def _alive(self) -> None:
        assert not self.ends, "a callback after on_closed"

    def on_headers(self, metadata: Metadata) -> None:
        self._alive()
        self.headers = metadata

    def on_message(self, message: bytes) -> None:
        self._alive()
        self.messages.append(message)

    def on_half_close(self) -> None:
        self._alive()
        self.half_closed += 1

    def on_writable(self) -> None:
        self._alive()
        self.writable += 1

    def on_closed(self, end: CallEnd) -> None:
        self._alive()
        self.ends.append(end)


class Echo(Recorder):
    """Known at once; sends back what comes and finishes when the client has."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        call.identified()

    def on_message(self, message: bytes) -> None:
        super().on_message(message)
        self.call.send(message)

    def on_half_close(self) -> None:
        super().on_half_close()
        self.call.finish()


@dataclass
class Shell:
    """What a core asks of its connection."""

    handlers: list[Recorder] = field(default_factory=list)
    due: float = inf
    known: int = 0
    woken: int = 0
    peer: Peer = PEER

    def wake(self) -> None:
        self.woken += 1

    def schedule(self, due: float) -> None:
        self.due = min(self.due, due)

    def route(self, path: str) -> Route | CallEnd:
        match path:
            case "/test.Raw/Echo":
                return Route(self.echo)
            case "/test.Raw/Open":
                return Route(self.recorder, needs_identity=False)
            case "/test.Raw/Stranger":
                return Route(self.recorder)
            case _:
                return CallEnd(Status.UNIMPLEMENTED, f"no method {path}")

    def echo(self, call: Call) -> Handler:
        self.handlers.append(Echo(call))
        return self.handlers[-1]

    def recorder(self, call: Call) -> Handler:
        self.handlers.append(Recorder(call))
        return self.handlers[-1]

    def identified(self) -> None:
        self.known += 1


class Side:
    """One end: a core, its shell and the time."""

    def __init__(self, role: Role, limits: LinkLimits) -> None:
        self.now = 0.0
        self.shell = Shell()
        self.budget = Budget(limits.large_messages_bytes)
        self.core = Core(role, limits, self.shell, clock=lambda: self.now, large=self.budget)

    def take(self) -> bytes:
        """Everything there is to write."""
        out = b""
        while piece := self.core.take(65536):
            out += piece
        return out

    def feed(self, data: bytes) -> str | None:
        """Give it bytes as a shell does; the ProtocolError's text, if there is one."""
        try:
            self.core.receive(data)
            self.take()
        except ProtocolError as exc:
            self.core.abandon(str(exc))
            return str(exc)
        return None


class Pair:
    """A client and a server without anything between them."""

    def __init__(self, limits: LinkLimits | None = None) -> None:
        limits = limits or LinkLimits()
        self.server = Side(Role.SERVER, limits)
        self.client = Side(Role.CLIENT, limits)
        self.pump()

    def pump(self) -> None:
        """Carry bytes until both are silent."""
        while True:
            up = self.client.take()
            if up:
                self.server.core.receive(up)
            down = self.server.take()
            if down:
                self.client.core.receive(down)
            if not up and not down:
                return

    def open(self, path: str = ECHO, **options: object) -> Recorder:
        made: list[Recorder] = []

        def factory(call: Call) -> Handler:
            made.append(Recorder(call))
            return made[0]

        self.client.core.open(path, factory, authority="test", scheme="http", **options)  # type: ignore[arg-type]  # core's own
        return made[0]

    def at(self, now: float) -> None:
        """Turn the clock and let both do what is due."""
        for side in (self.server, self.client):
            side.now = now
            side.shell.due = inf
            side.core.tick(now)
