"""Server-sent events for as long as somebody reads: what happens to a job, above all.

Holds one page of events and one piece of output for each reader: bytes are read from the store
when they are about to be written, so a reader that stops costs no more, and is let go in the end.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Final, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from farhand.api import writing
from farhand.domain.ids import JobId
from farhand.errors import FarhandError
from farhand.http.answer import problem
from farhand.http.door import Caller
from farhand.http.racing import first_of, gone
from farhand.ports import Event

PIECE_BYTES: Final = 64 * 1024
HEARTBEAT_S: Final = 15.0
CLOSE_S: Final = 1.0  # for the last words to a reader
CONNECTION: Final = "farhand.connection"  # extension of our server: `transport`, a Connection

_FLUSH_BYTES: Final = 64 * 1024  # what a transport takes before it asks to wait


class Connection(Protocol):
    """What a stream may do to the connection under it; asyncio's transports are some."""

    def abort(self) -> None:
        """Cut it at once, and forget what waits."""
        ...


def joined(events: Iterable[Event]) -> Iterator[Event]:
    """Make one event of output that follows on output, numbered as the last, in the same order."""
    held: Event | None = None
    for event in events:
        if held is not None:
            if (
                event.kind == held.kind == "output"
                and (event.run_id, event.stream) == (held.run_id, held.stream)
                and event.offset == held.offset + held.length
                and held.length + event.length <= PIECE_BYTES
            ):
                held = replace(held, seq=event.seq, length=held.length + event.length)
                continue
            yield held
        held = event
    if held is not None:
        yield held


def message(kind: str, data: bytes, seq: int | None = None) -> bytes:
    """Write one server-sent event; *data* is JSON, which has no line break."""
    number = b"" if seq is None else b"id: %d\n" % seq
    return b"%bevent: %b\ndata: %b\n\n" % (number, kind.encode(), data)


class LiveStream(Response, ABC):
    """Something told to its end, with comments in between; a subclass says what.

    What it raises before anything is sent is answered as a status, later as `event: error`.
    """

    media_type = "text/event-stream"

    def __init__(self, caller: Caller, job: JobId) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._caller = caller
        self._job = job

    @abstractmethod
    async def copy(self, out: "Writer") -> None:
        """Write all there is to tell; return behind the last."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        extension = scope.get("extensions", {}).get(CONNECTION, {})
        connection: Connection | None = extension.get("transport")
        out = Writer(self, send)
        try:
            ended = await first_of(
                copied=self.copy(out),
                gone=gone(receive),
                stopping=self._caller.stopping.wait(),
                beats=self._beat(out),
            )
            closed = ended == "gone" or await out.close()
        except FarhandError as error:
            if not out.begun:
                raise
            closed = await out.close(message("error", bytes(problem(error).body)))
        if not closed and connection is not None:
            connection.abort()
            await asyncio.sleep(0)  # for the server to see it, and not to call it unfinished

    async def _beat(self, out: "Writer") -> None:
        """Begin at once, so that the reader knows; then say now and then that we live."""
        await asyncio.sleep(0)  # a follower that is refused at once gets a status instead
        await out.begin()
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await out.send(b":\n\n")


class EventStream(LiveStream):
    """Follows *job* behind event *after*: `output`, `run`, `end`.

    Raises OverShare, before anything is sent, when too many follow already.
    """

    def __init__(self, caller: Caller, job: JobId, *, after: int) -> None:
        super().__init__(caller, job)
        self._after = after

    async def copy(self, out: "Writer") -> None:
        """Write what happens: what is ready together is written together, and never waits."""
        followers = self._caller.tenant.followers
        async with aclosing(followers.follow(self._job, after=self._after)) as batches:
            async for events in batches:
                ready = bytearray()
                await out.send(b"")  # when the one before is taken, the next is read
                for event in joined(events):
                    async with aclosing(self._messages(event)) as messages:
                        async for one in messages:
                            ready += one
                            if len(ready) >= _FLUSH_BYTES:
                                await out.send(bytes(ready))
                                ready.clear()
                                await out.send(b"")
                if ready:
                    await out.send(bytes(ready))

    async def _messages(self, event: Event) -> AsyncGenerator[bytes, None]:
        match event:
            case Event(kind="output"):
                async with aclosing(self._output(event)) as pieces:
                    async for piece in pieces:
                        yield piece
            case Event(kind="run", run=run) if run is not None:
                yield message("run", writing.dumped(writing.run_event(run)), event.seq)
            case Event(kind="end"):
                job = await self._caller.tenant.store.job(self._job)
                if job is not None:
                    yield message("end", writing.dumped(writing.end_event(job)), event.seq)

    async def _output(self, event: Event) -> AsyncGenerator[bytes, None]:
        """Yield the bytes in pieces; only the last has the number: it says that all were here."""
        assert event.run_id is not None
        assert event.stream is not None
        at, end = event.offset, event.offset + event.length
        while at < end:
            data = await self._caller.tenant.store.output(
                event.run_id, event.stream, offset=at, limit=min(PIECE_BYTES, end - at)
            )
            if not data:
                return  # the job was deleted meanwhile; its `end` follows
            written = writing.output_event(event.run_id, event.stream, at, data)
            at += len(data)
            yield message("output", written, event.seq if at >= end else None)


class Writer:
    """Writes whole messages, one after the other."""

    def __init__(self, response: Response, send: Send) -> None:
        self.begun = False
        self._response = response
        self._send = send
        self._turn = asyncio.Lock()

    async def begin(self) -> None:
        """Send the head, unless it is sent."""
        async with self._turn:
            if not self.begun:
                self.begun = True
                head = {"status": self._response.status_code, "headers": self._response.raw_headers}
                await self._send({"type": "http.response.start", **head})

    async def send(self, data: bytes, *, more: bool = True) -> None:
        """Write *data*; return when the connection has taken what was there before it."""
        await self.begin()
        async with self._turn:
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
        await asyncio.sleep(0)  # a fast reader must not starve everybody else

    async def close(self, parting: bytes = b"") -> bool:
        """Say *parting* and that nothing follows; False when the reader takes not even that."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.send(parting, more=False)
        except TimeoutError:
            return False
        return True
