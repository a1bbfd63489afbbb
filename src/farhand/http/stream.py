"""A job's events as server-sent events, for as long as somebody reads.

Holds one page of events and one piece of output for each reader: bytes are read from the store
when they are about to be written, so a reader that stops costs no more, and is let go in the end.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from farhand.api import writing
from farhand.domain.ids import JobId
from farhand.errors import FarhandError
from farhand.http.answer import problem
from farhand.http.door import Caller
from farhand.http.racing import first_of, gone
from farhand.ports import Event

PIECE_BYTES: Final = 256 * 1024
HEARTBEAT_S: Final = 15.0
ABORT: Final = "farhand.abort"  # extension of our server: cuts the connection at once

_FLUSH_BYTES: Final = 64 * 1024  # what a transport takes before it asks to wait


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


class EventStream(Response):
    """Follows *job* behind event *after*: `output`, `run`, `end`, and comments in between.

    Raises Overloaded, before anything is sent, when too many follow already.
    """

    media_type = "text/event-stream"

    def __init__(self, caller: Caller, job: JobId, *, after: int) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._caller = caller
        self._job = job
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        out = _Writer(self, send, self._caller.limits.follower_stuck_s)
        try:
            await self._follow(out, receive)
        except _Stuck:
            # A connection that takes no bytes would not take a farewell either.
            if (abort := scope.get("extensions", {}).get(ABORT)) is not None:
                abort["now"]()

    async def _follow(self, out: "_Writer", receive: Receive) -> None:
        try:
            ended = await first_of(
                copied=self._copy(out),
                gone=gone(receive),
                stopping=self._caller.stopping.wait(),
                beats=self._beat(out),
            )
        except FarhandError as error:
            if not out.begun:
                raise
            await out.send(message("error", bytes(problem(error).body)))
            await out.close()
        else:
            if ended != "gone":
                await out.close()

    async def _beat(self, out: "_Writer") -> None:
        """Begin at once, so that the reader knows; then say now and then that we live."""
        await asyncio.sleep(0)  # a follower that is refused at once gets a status instead
        await out.begin()
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await out.send(b":\n\n")

    async def _copy(self, out: "_Writer") -> None:
        """Write what happens: what is ready together is written together, and never waits."""
        followers = self._caller.tenant.followers
        async with aclosing(followers.follow(self._job, after=self._after)) as batches:
            async for events in batches:
                ready = bytearray()
                for event in joined(events):
                    async with aclosing(self._messages(event)) as messages:
                        async for one in messages:
                            ready += one
                            if len(ready) >= _FLUSH_BYTES:
                                await out.send(bytes(ready))
                                ready.clear()
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


class _Stuck(Exception):
    """The reader has taken no byte for too long."""


class _Writer:
    """Writes whole messages, one after the other, and gives up on a reader that takes none."""

    def __init__(self, response: Response, send: Send, stuck_s: float) -> None:
        self.begun = False
        self._response = response
        self._send = send
        self._stuck_s = stuck_s
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
        try:
            async with self._turn, asyncio.timeout(self._stuck_s):
                await self._send({"type": "http.response.body", "body": data, "more_body": more})
        except TimeoutError as exc:
            raise _Stuck from exc

    async def close(self) -> None:
        """Say that nothing follows."""
        await self.send(b"", more=False)
