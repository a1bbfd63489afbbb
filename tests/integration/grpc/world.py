"""What the tests of the link share: raw-bytes services, a collecting client, a way to wait."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from farhand.wire.grpc import (
    Call,
    CallEnd,
    Connection,
    GrpcServer,
    Handler,
    LinkLimits,
    Metadata,
    Status,
    client_context,
    connect,
    server_context,
)

ECHO = "/test.Raw/Echo"
HOLD = "/test.Raw/Hold"
FLOOD = "/test.Raw/Flood"
HEADERS = "/test.Raw/Headers"
STRANGER = "/test.Raw/Stranger"
FAULTY = "/test.Raw/Faulty"
MIB = 1 << 20
ROOMY = LinkLimits(message_bytes=16 * MIB, queued_bytes_per_call=32 * MIB)
MESSAGE = "no — 100 % ünïcode"
TRAILERS: Metadata = (("kept", "a b"), ("kept-bin", b"\x00\xff\x7f"))


@dataclass
class Seen:
    """What the handlers of a server went through."""

    calls: list[Call] = field(default_factory=list)
    ends: list[tuple[str, CallEnd]] = field(default_factory=list)

    def ended(self, path: str) -> list[CallEnd]:
        return [end for ended_path, end in self.ends if ended_path == path]


class Recording(Handler):
    """Known at once, silent for ever."""

    def __init__(self, call: Call, seen: Seen) -> None:
        self.call = call
        self.seen = seen
        seen.calls.append(call)
        call.identified()

    def on_closed(self, end: CallEnd) -> None:
        self.seen.ends.append((self.call.path, end))


class Echo(Recording):
    """Sends back what it gets; `fail` and `status N` end the call with that status."""

    def on_message(self, message: bytes) -> None:
        if message == b"fail":
            self.call.finish(Status.FAILED_PRECONDITION, MESSAGE, TRAILERS)
        elif message == b"cancel":
            self.call.cancel("asked to")
        else:
            self.call.send(message)

    def on_half_close(self) -> None:
        if not self.call.ended:
            self.call.finish()


class Headers(Recording):
    """Answers with the metadata it got."""

    def on_half_close(self) -> None:
        for name, value in self.call.metadata:
            self.call.send(f"{name}={value!r}".encode())
        self.call.finish()


class Flood(Recording):
    """Sends without end, as fast as it may, pieces as large as the first message says."""

    piece = b""

    def on_message(self, message: bytes) -> None:
        self.piece = bytes(int(message))
        self.on_writable()

    def on_writable(self) -> None:
        while self.call.writable:
            self.call.send(self.piece)


class Stranger(Handler):
    """Never says that it knows who calls."""

    def __init__(self, call: Call, seen: Seen) -> None:
        self.call = call
        self.seen = seen

    def on_closed(self, end: CallEnd) -> None:
        self.seen.ends.append((self.call.path, end))


class Faulty(Recording):
    """Raises wherever it is told to."""

    def on_message(self, message: bytes) -> None:
        if message == b"now":
            raise RuntimeError("on_message")

    def on_half_close(self) -> None:
        raise RuntimeError("on_half_close")

    def on_closed(self, end: CallEnd) -> None:
        super().on_closed(end)
        raise RuntimeError("on_closed")


def raw_server(
    seen: Seen, *, limits: LinkLimits = ROOMY, tls: ssl.SSLContext | None = None
) -> GrpcServer:
    kinds = {
        ECHO: Echo,
        HOLD: Recording,
        FLOOD: Flood,
        HEADERS: Headers,
        STRANGER: Stranger,
        FAULTY: Faulty,
    }
    return GrpcServer(
        {path: _factory(kind, seen) for path, kind in kinds.items()}, limits=limits, tls=tls
    )


def _factory(kind: Callable[[Call, Seen], Handler], seen: Seen) -> Callable[[Call], Handler]:
    return lambda call: kind(call, seen)


class Client(Handler):
    """A call of ours, with what came back."""

    def __init__(self, link: Connection, path: str, **options: object) -> None:
        self.headers: Metadata | None = None
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.ends: list[CallEnd] = []
        self.over = asyncio.Event()
        self.room = asyncio.Event()
        self.call = link.open(path, lambda _: self, **options)  # type: ignore[arg-type]  # open's own

    def on_headers(self, metadata: Metadata) -> None:
        self.headers = metadata

    def on_message(self, message: bytes) -> None:
        self.messages.put_nowait(message)

    def on_writable(self) -> None:
        self.room.set()

    def on_closed(self, end: CallEnd) -> None:
        self.ends.append(end)
        self.over.set()

    async def message(self) -> bytes:
        return await asyncio.wait_for(self.messages.get(), 10)

    async def end(self) -> CallEnd:
        await asyncio.wait_for(self.over.wait(), 10)
        return self.ends[0]


@dataclass(frozen=True)
class Certificates:
    """PEM files of one authority, a server on loopback and a client."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    def for_server(self, *, demand_client: bool = False) -> ssl.SSLContext:
        ca = str(self.ca) if demand_client else None
        return server_context(str(self.server), str(self.server_key), client_ca=ca)

    def for_client(self, *, known: bool = False) -> ssl.SSLContext:
        if not known:
            return client_context(ca=str(self.ca))
        return client_context(
            ca=str(self.ca), certificate=str(self.client), key=str(self.client_key)
        )


@dataclass
class Place:
    """A running server and how to reach it."""

    server: GrpcServer
    seen: Seen
    port: int
    certificates: Certificates
    tls: bool

    @property
    def target(self) -> str:
        return f"localhost:{self.port}"

    async def connect(self, limits: LinkLimits = ROOMY) -> Connection:
        tls = self.certificates.for_client() if self.tls else None
        return await connect("127.0.0.1", self.port, tls=tls, limits=limits)
