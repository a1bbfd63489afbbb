"""One HTTP connection, with the bounds that uvicorn leaves to a proxy in front of it.

A head that is too long or too slow ends the connection, and so does one connection too many.
Knows nothing of the API.
"""

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from farhand.api.writing import dumped
from farhand.domain.limits import Limits
from farhand.http.stream import CONNECTION


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection under *limits*. Make the class with `bounded`."""

    limits: Limits

    _slow: asyncio.TimerHandle | None = None
    _head = 0  # bytes of the head that is being read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self.limits.connections:
            self._refuse(503, "overloaded", "too many connections; try again in a moment")

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._head += len(data)
        super().data_received(data)
        if self._slow is not None and self._head > self.limits.head_bytes:
            most = self.limits.head_bytes
            self._refuse(431, "head-too-large", f"the head has more than {most} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: {"transport": self.transport}}
        self._await_head()

    def on_headers_complete(self) -> None:
        self._head_is_here()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the form of every other error."""
        self._refuse(400, "bad-request", msg)

    def _await_head(self) -> None:
        if self._slow is None:
            self._slow = self.loop.call_later(self.limits.head_s, self._too_slow)

    def _head_is_here(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _too_slow(self) -> None:
        self._slow = None
        self._refuse(408, "timeout", f"no whole head within {self.limits.head_s:g} s")

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Say why, unless another answer is under way, and close."""
        cycle = self.cycle
        begun = cycle is not None and cycle.response_started and not cycle.response_complete
        if begun or self.pipeline:
            self.transport.close()
        if self.transport.is_closing():
            return
        title = HTTPStatus(status).phrase
        body = dumped(
            {
                "type": f"urn:farhand:error:{code}",
                "title": title,
                "status": status,
                "detail": detail,
                "code": code,
            }
        )
        head = (
            f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def bounded(limits: Limits) -> type[BoundedConnection]:
    """Return the class of connections that keep to *limits*; uvicorn makes them itself."""
    return type("BoundedConnection", (BoundedConnection,), {"limits": limits})
