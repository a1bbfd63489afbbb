"""A DeepFlow agent on a real connection, without a host: its responder says what it answers.

Dials once and does not come back by itself; a real one waits 10 s after a lost stream and 60 s
after a failed call. Its heartbeats come when `beat` is called, or every *heartbeat_s* seconds.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from farhand.domain.deepflow.messages import Request, Response
from farhand.domain.limits import MIB
from farhand.testing.deepflow.responder import Outcome, Responder
from farhand.wire.deepflow import METHOD, decode_request, encode_response
from farhand.wire.grpc import (
    Call,
    CallEnd,
    Connection,
    Handler,
    LinkLimits,
    Metadata,
    connect,
)

LIMITS: Final = LinkLimits(message_bytes=MIB, queued_bytes_per_call=128 * MIB)


class FakeDeepFlowAgent(Handler):
    """An agent that is connected while it is entered: `async with FakeDeepFlowAgent(port=…)`.

    *responder* is what it answers; script it between two messages. `poke` sends what became ready
    through that. *method* may be the old service's.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        responder: Responder | None = None,
        heartbeat_s: float | None = None,
        method: str = METHOD,
    ) -> None:
        self.responder = responder or Responder()
        self.headers: Metadata | None = None
        self.end: CallEnd | None = None
        self.over = asyncio.Event()
        self.heard = asyncio.Event()
        """Set by whatever arrives; clear it before waiting."""
        self._host, self._port, self._method = host, port, method
        self._heartbeat_s = heartbeat_s
        self._link: Connection | None = None
        self._call: Call | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Dial and send the first heartbeat. Raises LinkError, OSError."""
        self._link = await connect(self._host, self._port, limits=LIMITS)
        self._call = self._link.open(self._method, lambda _: self)
        self.poke()
        if self._heartbeat_s is not None:
            self._beat_later(self._heartbeat_s)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Go away without a word, as a killed agent does."""
        if self._timer is not None:
            self._timer.cancel()
        if self._link is not None:
            self._link.close()
            await self._link.wait_closed()

    def _beat_later(self, after_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(after_s, self._beat_again, after_s)

    def _beat_again(self, after_s: float) -> None:
        self.beat()
        self._beat_later(after_s)

    # --- the script -----------------------------------------------------------------------

    @property
    def received(self) -> list[Request]:
        """Everything that the controller sent, answers to heartbeats included."""
        return self.responder.received

    @property
    def ordered(self) -> list[Request]:
        """What the controller asked for."""
        return [request for request in self.received if request.exec_type is not None]

    def beat(self) -> None:
        """Send a heartbeat as soon as nothing else is to be sent."""
        self.responder.beat()
        self.poke()

    def finish(self, outcome: Outcome | None = None) -> None:
        """End the command that runs."""
        self.responder.finish(outcome)
        self.poke()

    def say(self, *responses: Response) -> None:
        """Send messages that no real agent would send at this point."""
        for response in responses:
            self.say_bytes(encode_response(response))

    def say_bytes(self, message: bytes) -> None:
        """Send a message whatever it is."""
        if self._call is not None and not self._call.ended:
            self._call.send(message)

    def cancel(self) -> None:
        """Drop the stream, as an agent does when its configuration changes; keep the connection."""
        if self._call is not None:
            self._call.cancel("the agent leaves")

    async def until(self, condition: Callable[[], object], *, within_s: float = 10.0) -> None:
        """Wait until *condition* holds, looking again whenever something arrives."""
        async with asyncio.timeout(within_s):
            while not condition():
                self.heard.clear()
                await self.heard.wait()

    def poke(self) -> None:
        """Send what is ready, as far as the stream takes it."""
        while self._call is not None and self._call.writable:
            response = self.responder.poll()
            if response is None:
                return
            self._call.send(encode_response(response))

    # --- Handler --------------------------------------------------------------------------

    def on_headers(self, metadata: Metadata) -> None:
        """The server has taken the call: a real agent waits 30 s for this."""
        self.headers = metadata
        self.heard.set()

    def on_message(self, message: bytes) -> None:
        """A request."""
        self.responder.receive(decode_request(message))
        self.heard.set()
        self.poke()

    def on_writable(self) -> None:
        """There is room for more."""
        self.poke()

    def on_closed(self, end: CallEnd) -> None:
        """The stream is over."""
        self.end = end
        self.over.set()
        self.heard.set()
