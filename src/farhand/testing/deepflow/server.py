"""A DeepFlow server on a real socket: streams come in, tests ask its agents for things.

Judges nothing that an agent says (`managers`). Never ends a stream by itself, however silent.
"""

import asyncio
from collections.abc import Hashable, Mapping
from types import TracebackType
from typing import Final, Self

from farhand.domain.deepflow.messages import (
    RESPONSE_BYTES,
    ExecType,
    LinuxNamespace,
    Parameter,
    RemoteCommand,
    Request,
    Response,
)
from farhand.domain.limits import MIB
from farhand.testing.deepflow.managers import CommandFailed, Managers, Waiting
from farhand.wire.deepflow import METHOD, decode_response, encode_request
from farhand.wire.grpc import Call, CallEnd, GrpcServer, Handler, LinkLimits, Status

LIMITS: Final = LinkLimits(queued_bytes_per_call=64 * MIB, large_messages_bytes=256 * MIB)


class _Stream(Handler):
    def __init__(self, call: Call, server: "FakeDeepFlowServer") -> None:
        self.call = call
        self._server = server
        call.identified(message_bytes=RESPONSE_BYTES)

    def on_message(self, message: bytes) -> None:
        self._server.receive(self, decode_response(message))

    def on_half_close(self) -> None:
        self.call.finish()

    def on_closed(self, end: CallEnd) -> None:
        self._server.ended(self, end)


class FakeDeepFlowServer:
    """A server that listens while it is entered: `async with FakeDeepFlowServer() as server`.

    `run`, `commands` and `namespaces` wait *timeout_s* seconds, 30 in real life, and raise
    TimeoutError after that, or CommandFailed. *keys* are the agents, `IP-MAC`.
    """

    def __init__(self, host: str = "127.0.0.1", *, timeout_s: float = 30.0) -> None:
        self.received: list[Response] = []
        self.ends: list[CallEnd] = []
        self.port = 0
        self.managers = Managers(self._send)
        self._streams: list[_Stream] = []
        self._host = host
        self._timeout_s = timeout_s
        self._server: GrpcServer | None = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._server = GrpcServer({METHOD: self._accept}, limits=LIMITS)
        _, self.port = await self._server.listen(self._host)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop hard, as it does: running commands are cut."""
        if self._server is not None:
            await self._server.close()

    # --- streams --------------------------------------------------------------------------

    def _accept(self, call: Call) -> _Stream:
        stream = _Stream(call, self)
        self._streams.append(stream)
        return stream

    def receive(self, stream: _Stream, response: Response) -> None:
        """A message came."""
        self.received.append(response)
        self.managers.receive(stream, response)
        self._changed.set()

    def ended(self, stream: _Stream, end: CallEnd) -> None:
        """A stream is over."""
        self.ends.append(end)
        self._streams.remove(stream)
        self.managers.ended(stream)
        self._changed.set()

    def _send(self, stream: Hashable, request: Request) -> None:
        if isinstance(stream, _Stream) and not stream.call.ended:
            stream.call.send(encode_request(request))

    # --- tests ----------------------------------------------------------------------------

    @property
    def keys(self) -> list[str]:
        """The agents that are connected."""
        return self.managers.keys

    @property
    def heartbeats(self) -> int:
        """Messages that said nothing."""
        return sum(response.empty for response in self.received)

    def send(self, request: Request) -> None:
        """Send a request to every stream, whatever it is. Its answer is in *received*."""
        for stream in self._streams:
            self._send(stream, request)

    def drop(self, status: Status = Status.UNAVAILABLE) -> None:
        """End every stream."""
        for stream in list(self._streams):
            stream.call.finish(status)

    async def agent(self, *, within_s: float = 10.0) -> str:
        """Wait until an agent is there, and return its key."""
        async with asyncio.timeout(within_s):
            while not self.keys:
                self._changed.clear()
                await self._changed.wait()
        return self.keys[0]

    async def run(
        self,
        key: str,
        ident: str,
        params: Mapping[str, str] | None = None,
        *,
        linux_ns_pid: int | None = None,
    ) -> bytes:
        """Run a command and return what it printed. Raises CommandFailed, TimeoutError.

        Nothing stops a second run while one is running: whoever asks has to see to that.
        """
        waiting = await self._ask(
            key,
            ExecType.RUN_COMMAND,
            ident=ident,
            params=tuple(Parameter(*item) for item in (params or {}).items()),
            linux_ns_pid=linux_ns_pid,
        )
        return waiting.content

    async def listing(
        self, key: str
    ) -> tuple[tuple[RemoteCommand, ...], tuple[LinuxNamespace, ...]]:
        """Commands, then namespaces, with one request id. Raises CommandFailed, TimeoutError.

        That namespaces cannot be listed is not told; there are none then.
        """
        commands = await self._ask(key, ExecType.LIST_COMMAND)
        request_id = commands.request.request_id
        try:
            found = await self._ask(key, ExecType.LIST_NAMESPACE, request_id=request_id)
        except CommandFailed:
            return commands.commands, ()
        return commands.commands, found.namespaces

    async def _ask(
        self,
        key: str,
        exec_type: ExecType,
        *,
        ident: str | None = None,
        params: tuple[Parameter, ...] = (),
        linux_ns_pid: int | None = None,
        request_id: int | None = None,
    ) -> Waiting:
        complete = asyncio.Event()
        waiting = self.managers.ask(
            key,
            exec_type,
            complete.set,
            ident=ident,
            params=params,
            linux_ns_pid=linux_ns_pid,
            request_id=request_id,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                await complete.wait()
        except TimeoutError as exc:
            raise TimeoutError(f"timeout({self._timeout_s:g}s) to run agent command") from exc
        finally:
            self.managers.forget(key, waiting)
        if waiting.errmsg is not None:
            raise CommandFailed(waiting.errmsg, waiting.content)
        return waiting
