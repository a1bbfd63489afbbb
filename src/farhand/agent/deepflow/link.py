"""Keep one stream to a DeepFlow server, and come back when it is lost.

Carries requests to the desk and answers to the server; decides nothing about commands. A stream
that ends takes along what runs for it: nobody will ask for the result again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from farhand.agent.deepflow.desk import Branch, Desk
from farhand.agent.link import MISSED_HEARTBEATS, Address, Backoff, Connected, Dial, Rhythm
from farhand.domain.deepflow.messages import HEARTBEAT_S, Request, Response, Sender, heartbeat
from farhand.domain.limits import AgentLimits
from farhand.ports import Clock
from farhand.wire.deepflow import METHOD, decode_request, encode_response
from farhand.wire.grpc import Call, CallEnd, CallEnded, Handler, LinkError, Status

log = logging.getLogger(__name__)

UNANSWERED_MOST: Final = 64  # requests; beyond it the server is not read until one is answered


class _Stream(Handler):
    """One call on one connection, and the requests on it that are not answered yet."""

    def __init__(self, call: Call, desk: Desk, tasks: asyncio.TaskGroup) -> None:
        self.end: CallEnd | None = None
        self.over = asyncio.Event()
        self.answered = 0  # heartbeats
        self.unanswered = 0
        self.answering: set[asyncio.Task[None]] = set()
        self._call = call
        self._desk = desk
        self._tasks = tasks
        self._shut = False
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    # --- Handler --------------------------------------------------------------------------

    def on_message(self, message: bytes) -> None:
        request = decode_request(message)
        if request.exec_type is None:  # a heartbeat's answer
            self.unanswered = 0
            self.answered += 1
            self._changed.set()
        elif not self._shut:
            self._take(request)

    def on_writable(self) -> None:
        self._changed.set()

    def on_closed(self, end: CallEnd) -> None:
        self.end = end
        self.over.set()
        self._changed.set()

    # --- requests -------------------------------------------------------------------------

    def _take(self, request: Request) -> None:
        task = self._tasks.create_task(
            self._desk.answer(request, self._reply), name=f"answer-{request.request_id}"
        )
        self.answering.add(task)
        task.add_done_callback(self._answered)
        if len(self.answering) == UNANSWERED_MOST:
            self._call.pause_reading()

    def _answered(self, task: "asyncio.Task[None]") -> None:
        self.answering.discard(task)
        if len(self.answering) == UNANSWERED_MOST - 1 and not self._call.ended:
            self._call.resume_reading()

    async def _reply(self, responses: Iterable[Response]) -> None:
        """Send an answer as fast as the server takes it; no other answer comes in between."""
        async with self._turn:
            for response in responses:
                await self.until(lambda: self._call.writable)
                self._say(response)

    def shut(self) -> None:
        """Give up what is not answered, and take nothing more."""
        self._shut = True
        for task in self.answering:
            task.cancel()

    # --- the other direction --------------------------------------------------------------

    def beat(self) -> None:
        """Send a heartbeat; between the batches of a result as well."""
        self.unanswered += 1
        self._say(heartbeat(self._desk.sender))

    def _say(self, response: Response) -> None:
        if not self._call.ended:
            with contextlib.suppress(CallEnded):
                self._call.send(encode_response(response))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* holds or the stream is over."""
        while not condition() and self.end is None:
            self._changed.clear()
            await self._changed.wait()

    def half_close(self) -> None:
        """Say that nothing more comes."""
        self._call.half_close()

    def cancel(self, why: str) -> None:
        """End the stream now."""
        self._call.cancel(why)


class DeepFlowLink:
    """The way to DeepFlow's servers. `run` it until it is told to stop.

    *sender* says who this agent is, each time it dials. The waits between two attempts are
    farhand's own; DeepFlow's 10 s after a stream and 60 s after a failed call bound them.
    """

    def __init__(
        self,
        dial: Dial,
        sender: Callable[[], Sender],
        branches: Mapping[int, Branch],
        clock: Clock,
        limits: AgentLimits,
        *,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._dial = dial
        self._sender = sender
        self._branches = branches
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._backoff = Backoff(limits, clock, dial.rng)
        self._stream: _Stream | None = None
        self.connected = asyncio.Event()
        """Set while a server answers this agent."""

    @property
    def idle(self) -> bool:
        """No request waits for its answer."""
        return self._stream is None or not self._stream.answering

    async def run(self) -> None:
        """Stay connected until cancelled."""
        at = 0
        while True:
            address = self._dial.addresses[at % len(self._dial.addresses)]
            at += 1
            await self._visit(address)
            await self._clock.sleep(self._backoff.next())

    async def leave(self, *, within_s: float) -> None:
        """Say that nothing more comes, and wait until the server has ended the stream."""
        stream = self._stream
        if stream is None or stream.end is not None:
            return
        stream.half_close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await stream.over.wait()

    # --- one connection -------------------------------------------------------------------

    async def _visit(self, address: Address) -> None:
        """Connect, and serve until the stream ends."""
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
            return
        try:
            await self._serve(address, link)
        except LinkError as exc:
            log.warning("the stream to %s could not be opened: %s", address, exc)
        finally:
            self.connected.clear()
            self._stream = None
            link.close()
            await link.wait_closed()

    async def _serve(self, address: Address, link: Connected) -> None:
        """Open a stream, answer what comes, and return when it is over."""
        sender = self._sender()
        desk = Desk(sender, self._branches)
        tasks = asyncio.TaskGroup()

        def made(call: Call) -> _Stream:
            self._stream = _Stream(call, desk, tasks)
            return self._stream

        link.open(METHOD, made)
        stream = self._stream
        if stream is None:
            return
        async with tasks:
            stream.beat()
            beating = tasks.create_task(self._beat(stream), name="heartbeats")
            try:
                await stream.until(lambda: stream.answered > 0)
                if stream.end is None:
                    self.connected.set()
                    log.info("connected to %s as %s", address, sender.key)
                await stream.over.wait()
            finally:
                beating.cancel()
                stream.shut()
        _explain(address, stream)

    async def _beat(self, stream: _Stream) -> None:
        """Send heartbeats; two without an answer end the stream."""
        rhythm = Rhythm(self._heartbeat_s, self._dial.rng)
        while True:
            await self._clock.sleep(rhythm.next())
            if stream.unanswered >= MISSED_HEARTBEATS:
                log.warning("the server does not answer heartbeats; dialling again")
                stream.cancel("heartbeats are not answered")
                return
            if stream.answered > 1:  # the stream has lasted: the next wait may be short again
                self._backoff.reset()
            stream.beat()


def _explain(address: Address, stream: _Stream) -> None:
    end = stream.end
    if end is None:
        return
    if end.status is Status.UNIMPLEMENTED:
        log.warning("%s has no remote execution for agents of this version", address)
    else:
        log.warning("the stream to %s ended: %s", address, end.message or "cut off")
