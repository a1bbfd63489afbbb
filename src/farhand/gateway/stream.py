"""One agent's call: bytes to frames and back, within its limits.

Knows the native stream's messages and nothing of what they do; that is the controller's.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import structlog

from farhand.controller.session import Session
from farhand.domain.messages import FromAgent, FromController, Goodbye, Hello, Parting, StartRun
from farhand.errors import AgentGone, BadRequest, FarhandError, NotAllowed, ProtocolError
from farhand.gateway.admission import ComeLater
from farhand.ports import AgentChannel
from farhand.wire import native
from farhand.wire.grpc import Call, CallEnd, CallEnded, Handler, Status

log = structlog.get_logger()

MESSAGE_BYTES: Final = 1 << 20  # about; frames that are ready together share a message


class Door(Protocol):
    """The controller, as a stream sees it."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait until it is this stream's turn to be let in, or raise ComeLater."""
        ...

    async def open(self, hello: Hello, channel: AgentChannel) -> Session:
        """Let the agent in, or raise."""
        ...

    async def ended(self, session: Session) -> None:
        """The agent's stream is over."""
        ...


Spawn = Callable[[Coroutine[None, None, None], str], None]


class Channel:
    """The way to one agent (`farhand.ports.AgentChannel`)."""

    __slots__ = ("_call", "_flushing", "_most", "_ready", "_waiting")

    def __init__(self, call: Call, outbox_bytes: int) -> None:
        self._call = call
        self._most = outbox_bytes
        self._ready: list[FromController] = []
        self._flushing = False
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def _full(self) -> bool:
        return bool(self._waiting) or self._call.queued > self._most

    async def send(self, *orders: FromController) -> None:
        """Queue *orders*; wait first while the outbox is full. Raises AgentGone."""
        while self._full and not self._call.ended:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter
            if self._call.queued <= self._most:
                break
        if self._call.ended:
            raise AgentGone("the agent's stream has ended")
        self._put(orders)

    def offer(self, *orders: FromController) -> bool:
        """Queue *orders* if there is room at once."""
        if self._full or self._call.ended:
            return False
        self._put(orders)
        return True

    def close(self, parting: Goodbye) -> None:
        """Say goodbye behind what is queued, and end the call."""
        if self._call.ended:
            return
        self._put((parting,))
        self.flush()
        status, message = STATUS.get(parting.reason, Status.UNAVAILABLE), parting.message
        if not self._call.ended:
            self._call.finish(status, message or parting.reason.value)

    def _put(self, orders: tuple[FromController, ...]) -> None:
        self._ready += orders
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Frame what is ready; large orders go in messages of their own."""
        self._flushing = False
        ready, self._ready = self._ready, []
        group: list[FromController] = []
        size = 0
        for order in ready:
            weight = _weight(order)
            if group and size + weight > MESSAGE_BYTES:
                self._write(group)
                group, size = [], 0
            group.append(order)
            size += weight
        if group:
            self._write(group)

    def _write(self, orders: list[FromController]) -> None:
        if not self._call.ended:
            try:
                self._call.send(native.encode_from_controller(orders))
            except CallEnded:
                return

    def wake(self) -> None:
        """There is room again, or the stream is over: let the waiting ones look, in order."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


def _weight(order: FromController) -> int:
    """About how many bytes an order takes."""
    if isinstance(order, StartRun):
        return 64 * 1024 + len(order.spec.stdin)
    return 128


STATUS: Final = {
    Parting.STOPPING: Status.UNAVAILABLE,
    Parting.FENCED: Status.ABORTED,
    Parting.INACTIVE: Status.DEADLINE_EXCEEDED,
    Parting.REFUSED: Status.UNAUTHENTICATED,
    Parting.REMOVED: Status.UNAUTHENTICATED,
    Parting.PROTOCOL: Status.INVALID_ARGUMENT,
    Parting.OVERLOADED: Status.RESOURCE_EXHAUSTED,
}


class AgentStream(Handler):
    """The server side of `farhand.v1.AgentLink/Connect`."""

    __slots__ = ("_call", "_channel", "_door", "_ended", "_greeted", "_session", "_spawn")

    def __init__(self, call: Call, door: Door, spawn: Spawn, outbox_bytes: int) -> None:
        self._call = call
        self._door = door
        self._spawn = spawn
        self._channel = Channel(call, outbox_bytes)
        self._session: Session | None = None
        self._greeted = False
        self._ended = False

    def on_message(self, message: bytes) -> None:
        """The first message must begin with Hello; the session takes the rest."""
        try:
            frames = native.decode_from_agent(message)
            if self._session is not None:
                self._session.receive(frames)
            else:
                self._greet(frames)
        except ProtocolError as exc:
            log.warning("agent.protocol", peer=str(self._call.peer), error=str(exc))
            self._channel.close(Goodbye(Parting.PROTOCOL, str(exc)))

    def _greet(self, frames: list[FromAgent]) -> None:
        if self._greeted or len(frames) != 1 or not isinstance(frames[0], Hello):
            raise ProtocolError("the first message must be one Hello")
        self._greeted = True
        self._call.pause_reading()  # until it is known who this is
        self._spawn(self._admit(frames[0]), "admit-agent")

    async def _admit(self, hello: Hello) -> None:
        try:
            async with self._door.turn():
                if self._call.ended:
                    return
                session = await self._door.open(hello, self._channel)
        except AgentGone:
            return
        except ComeLater as exc:
            self._channel.close(Goodbye(Parting.OVERLOADED, str(exc), exc.after_s))
            return
        except (NotAllowed, BadRequest) as exc:
            log.warning("agent.refused", peer=str(self._call.peer), code=exc.code, error=str(exc))
            self._channel.close(Goodbye(Parting.REFUSED, str(exc)))
            return
        except FarhandError as exc:
            log.warning("agent.not_admitted", code=exc.code, error=str(exc))
            self._channel.close(Goodbye(Parting.OVERLOADED, str(exc)))
            return
        except Exception:  # one agent's greeting must not end the gateway
            log.exception("agent.admission_failed")
            self._channel.close(Goodbye(Parting.OVERLOADED, "the controller failed; try again"))
            return
        self._session = session
        if self._ended:
            await self._door.ended(session)
            return
        self._call.identified()
        self._call.resume_reading()

    def on_half_close(self) -> None:
        """The agent said all it has to say."""
        if not self._call.ended:
            self._call.finish()

    def on_writable(self) -> None:
        """The outbox has room."""
        self._channel.wake()

    def on_closed(self, end: CallEnd) -> None:  # noqa: ARG002  # the session knows its goodbye
        """The stream is over, however it ended."""
        self._ended = True
        self._channel.wake()
        if self._session is not None:
            self._spawn(self._door.ended(self._session), "agent-ended")
