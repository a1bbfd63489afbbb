"""A TCP proxy whose faults can be changed while bytes pass through it.

Knows nothing of what the bytes mean, and adds nothing to them. What it holds is bounded: when
bytes may not pass, at most 256 KiB of each way of a connection are kept and then no more is read.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import Final, Self, TypeAlias

CHUNK: Final = 16 * 1024
CHUNKS: Final = 16
_RESET_AT_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Stall(Enum):
    """What becomes of bytes that may not pass."""

    HOLD = auto()
    """They wait, as behind a cable that is unplugged and plugged in again: nothing is missing."""
    SWALLOW = auto()
    """They vanish. A connection that lost some passes nothing more that way: TCP has no gaps."""


class Cut(Enum):
    """How a connection ends."""

    RESET = auto()
    """At once; what is on its way is lost and both peers see an error."""
    FIN = auto()
    """In order, as if each peer had closed; what is on its way is lost all the same."""


class Side(Enum):
    """A peer of the proxy."""

    CLIENT = auto()
    SERVER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The faults of one direction. Without any, bytes pass at once."""

    stall: Stall | None = None
    delay_s: float = 0.0
    """How long each byte is on its way."""
    piece: int = CHUNK
    """The most bytes in one write; 1 is byte by byte."""
    pause_s: float = 0.0
    """The time between two writes."""
    reset_after: int | None = None
    """Carry so many bytes this way since it began, and reset it when another comes."""


CLEAR: Final = Way()
HELD: Final = Way(stall=Stall.HOLD)
SWALLOWED: Final = Way(stall=Stall.SWALLOW)
BYTE_BY_BYTE: Final = Way(piece=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong now: *up* is from client to server, *down* is back."""

    up: Way = CLEAR
    down: Way = CLEAR
    refuse: bool = False
    """Refuse new connections, as a port where nobody listens. Those that exist go on."""

    @classmethod
    def both(cls, way: Way) -> Self:
        """The same faults in both directions."""
        return cls(up=way, down=way)


NO_FAULTS: Final = Faults()
BLACK_HOLE: Final = Faults.both(SWALLOWED)
UNPLUGGED: Final = Faults.both(HELD)
SLOW: Final = Faults.both(Way(delay_s=0.05, piece=512, pause_s=0.005))


_Queue: TypeAlias = asyncio.Queue[tuple[float, bytes]]  # when it was read, what; b"" is the end


class Connection:
    """One client's connection and the proxy's own to the server.

    Its `faults` stand in for the proxy's as soon as they are set; None gives it back.
    """

    def __init__(self, proxy: "FaultProxy", client: socket.socket) -> None:
        self.up_bytes = 0
        self.down_bytes = 0
        self.beginning = bytearray()
        """The first bytes that the client sent, as many as the proxy was told to keep."""
        self._proxy = proxy
        self._client = client
        self._server: socket.socket | None = None
        self._faults: Faults | None = None
        self._changed = asyncio.Event()
        self._asked: asyncio.Future[Cut | Side] = asyncio.get_running_loop().create_future()

    @property
    def faults(self) -> Faults:
        return self._faults or self._proxy.faults

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        self._faults = faults
        self.wake()

    def wake(self) -> None:
        """Look at the faults again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def cut(self, how: Cut = Cut.RESET) -> None:
        """End it for both peers."""
        if not self._asked.done():
            self._asked.set_result(how)

    def half_open(self, closed: Side) -> None:
        """Close one side without telling the other, whose bytes vanish until it gives up."""
        if not self._asked.done():
            self._asked.set_result(closed)

    async def carry(self) -> None:
        """Pass bytes both ways until both peers have ended or somebody cuts."""
        end: Cut | Side = Cut.RESET
        try:
            end = await self._until_asked(self._pass())
            if isinstance(end, Side):
                self._asked = asyncio.get_running_loop().create_future()
                end = await self._until_asked(self._strand(end))
        finally:
            for each in (self._client, self._server):
                _close(each, Cut.FIN if end is Cut.FIN else Cut.RESET)

    async def _until_asked(self, work: Coroutine[None, None, None]) -> Cut | Side:
        """Do *work* until it, or somebody else, has said how this ends."""
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(work, name="proxy-work")
            asked = await self._asked
            task.cancel()
        return asked

    async def _pass(self) -> None:
        while self.faults.up.stall is Stall.HOLD:
            await self._changed.wait()
        if self.faults.up.stall is Stall.SWALLOW:  # the server never hears of it
            self.half_open(Side.SERVER)
            return
        try:
            self._server = server = await _dial(self._proxy.to)
            async with asyncio.TaskGroup() as ways:
                for up, source, target in (
                    (True, self._client, server),
                    (False, server, self._client),
                ):
                    queue: _Queue = asyncio.Queue(CHUNKS)
                    ways.create_task(_read(source, queue), name="proxy-read")
                    ways.create_task(self._write(queue, target, up=up), name="proxy-write")
        except* OSError:
            self.cut(Cut.RESET)
        self.cut(Cut.FIN)

    async def _strand(self, closed: Side) -> None:
        """Close one side; read what the other says to nobody."""
        client, server = self._client, self._server
        gone, left = (client, server) if closed is Side.CLIENT else (server, client)
        _close(gone, Cut.RESET)
        if left is not None:
            with contextlib.suppress(OSError):
                while await asyncio.get_running_loop().sock_recv(left, CHUNK):
                    pass
        self.cut(Cut.FIN)

    def _way(self, *, up: bool) -> Way:
        return self.faults.up if up else self.faults.down

    async def _write(self, queue: _Queue, target: socket.socket, *, up: bool) -> None:
        data = b"?"
        while data:
            read_at, data = await queue.get()
            await self._delay(read_at, up=up)
            if not await self._send(target, data, up=up):
                while data:  # swallowed: a gap cannot be mended
                    _, data = await queue.get()

    async def _delay(self, since: float, *, up: bool) -> None:
        loop = asyncio.get_running_loop()
        while (wait_s := since + self._way(up=up).delay_s - loop.time()) > 0:
            await self._pause(wait_s)

    async def _send(self, target: socket.socket, data: bytes, *, up: bool) -> bool:
        """Pass *data*, or the end when it is empty, as the faults allow; False: swallowed."""
        while True:
            while (stall := self._way(up=up).stall) is not None:
                if stall is Stall.SWALLOW:
                    return False
                await self._changed.wait()
            if not data:
                target.shutdown(socket.SHUT_WR)
                return True
            way = self._way(up=up)
            size = way.piece
            if way.reset_after is not None:
                size = min(size, way.reset_after - self._carried(up=up))
            if size <= 0:
                self.cut(Cut.RESET)
                return False
            piece, data = data[:size], data[size:]
            await asyncio.get_running_loop().sock_sendall(target, piece)
            self._count(piece, up=up)
            if not data:
                return True
            await self._pause(way.pause_s)

    def _carried(self, *, up: bool) -> int:
        return self.up_bytes if up else self.down_bytes

    def _count(self, sent: bytes, *, up: bool) -> None:
        if up:
            self.up_bytes += len(sent)
            if (room := self._proxy.keep_bytes - len(self.beginning)) > 0:
                self.beginning += sent[:room]
        else:
            self.down_bytes += len(sent)

    async def _pause(self, for_s: float) -> None:
        """Wait so long, or until the faults change."""
        if for_s <= 0:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_s):
                await self._changed.wait()


class FaultProxy:
    """Listens inside its `async with` and carries each connection to the server at *to*.

    Keeps its address while it refuses, and when *to* is set anew (for connections that follow).
    Above *connections* at a time, further ones wait in the listener's backlog. Of what each client
    sends first, *keep_bytes* are kept, so that it can be replayed.
    """

    def __init__(
        self,
        to: tuple[str, int],
        *,
        at: tuple[str, int] = ("127.0.0.1", 0),
        connections: int = 4096,
        keep_bytes: int = 0,
    ) -> None:
        self.to = to
        self._at = at
        self._most = connections
        self.keep_bytes = keep_bytes
        self._faults = NO_FAULTS
        self._open: dict[Connection, None] = {}
        self._tasks = asyncio.TaskGroup()
        self._place: socket.socket | None = None  # bound for ever, so that the port stays ours
        self._listener: socket.socket | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._place = _bound(self._at)
        self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._deafen()
        if self._place is not None:
            self._place.close()
        self.cut()
        if error is not None and not isinstance(error, asyncio.CancelledError):
            kind = error = trace = None  # the block's own error leaves it as it is, in no group
        await self._tasks.__aexit__(kind, error, trace)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        if self._place is None:
            raise RuntimeError("the proxy is not open: use it in `async with`")
        host, port = self._place.getsockname()[:2]
        return host, port

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        if faults.refuse:
            self._deafen()
        else:
            self._listen()
        for each in self._open:
            each.wake()

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Those that are open, oldest first."""
        return tuple(self._open)

    def cut(self, how: Cut = Cut.RESET) -> None:
        """End every connection for both peers."""
        for each in self._open:
            each.cut(how)

    def half_open(self, closed: Side) -> None:
        """Close one side of every connection without telling the other."""
        for each in self._open:
            each.half_open(closed)

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = _bound(self.address)
            self._listener.listen(1024)
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _deafen(self) -> None:
        """Stop listening; who waits in the backlog is reset."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        if self._listener is None:
            return
        if len(self._open) >= self._most:
            asyncio.get_running_loop().remove_reader(self._listener)
            return
        try:
            client, _ = self._listener.accept()
        except OSError:  # it left again, or there is no descriptor: the backlog keeps the others
            return
        _prepare(client)
        connection = Connection(self, client)
        self._open[connection] = None
        self._tasks.create_task(self._carry(connection), name="proxy-connection")

    async def _carry(self, connection: Connection) -> None:
        try:
            await connection.carry()
        finally:
            del self._open[connection]
            if self._listener is not None:
                asyncio.get_running_loop().add_reader(self._listener, self._accept)


async def _read(source: socket.socket, queue: _Queue) -> None:
    loop = asyncio.get_running_loop()
    data = b"?"
    while data:
        data = await loop.sock_recv(source, CHUNK)
        await queue.put((loop.time(), data))


async def _dial(to: tuple[str, int]) -> socket.socket:
    server = socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET)
    _prepare(server)
    try:
        await asyncio.get_running_loop().sock_connect(server, to)
    except BaseException:
        server.close()
        raise
    return server


def _bound(at: tuple[str, int]) -> socket.socket:
    place = socket.socket(socket.AF_INET6 if ":" in at[0] else socket.AF_INET)
    place.setblocking(False)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind(at)
    except BaseException:
        place.close()
        raise
    return place


def _prepare(connection: socket.socket) -> None:
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _close(connection: socket.socket | None, how: Cut) -> None:
    if connection is None:
        return
    with contextlib.suppress(OSError):  # the peer was faster
        if how is Cut.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        else:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(CHUNK):  # unread bytes would make it a reset
                pass
    connection.close()
