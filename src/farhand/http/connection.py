"""One HTTP connection, with the bounds that uvicorn leaves to a proxy in front of it.

A head or a body that is too long on its way ends the connection, and so do a reader that takes
nothing and one connection too many. Knows nothing of the API.
"""

import asyncio
from http import HTTPStatus
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from farhand.api.writing import dumped
from farhand.domain.limits import Limits
from farhand.errors import Overloaded
from farhand.http.answer import retry_after
from farhand.http.counts import Counts
from farhand.http.stream import CONNECTION
from farhand.http.watched import Watched

REST_S: Final = 5.0  # for a body that nobody waits for any more, beyond its own deadline


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection under *limits*. Make the class with `bounded`."""

    limits: Limits
    counts: Counts

    _watched: Watched | None = None
    _slow: asyncio.TimerHandle | None = None  # until the head is here, or the body
    _heading = False  # it is the head
    _head = 0  # bytes of it so far

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        self._watched = Watched(transport, self.limits.reader_stuck_s, self._stuck)
        super().connection_made(self._watched)
        self.counts.connections += 1
        self._await_head()
        if len(self.connections) > self.limits.connections:
            self._refuse(503, "overloaded", "too many connections; try again in a moment")

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        if self._watched is not None:
            self._watched.over()
            self.counts.connections -= 1
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._head += len(data)
        super().data_received(data)
        if self._heading and self._head > self.limits.head_bytes:
            most = self.limits.head_bytes
            self._refuse(431, "head-too-large", f"the head has more than {most} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: {"transport": self.transport}}
        self._await_head()

    def on_headers_complete(self) -> None:
        self._in_time()
        self._slow = self.loop.call_later(self.limits.body_s + REST_S, self._body_too_slow)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_time()
        self._head = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the form of every other error."""
        self._refuse(400, "bad-request", msg)

    def _await_head(self) -> None:
        if not self._heading:
            self._in_time()
            self._heading = True
            self._slow = self.loop.call_later(self.limits.head_s, self._head_too_slow)

    def _in_time(self) -> None:
        self._heading = False
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _head_too_slow(self) -> None:
        self._in_time()
        self._refuse(408, "timeout", f"no whole head within {self.limits.head_s:g} s")

    def _body_too_slow(self) -> None:
        """Whoever wanted the body has given up by now, or never wanted it."""
        self._in_time()
        if self.flow.read_paused:  # it is we who let it wait
            self._slow = self.loop.call_later(self.limits.body_s, self._body_too_slow)
        elif self.cycle is not None and self.cycle.response_complete:
            self.transport.close()
        else:
            self._refuse(408, "timeout", f"no whole body within {self.limits.body_s:g} s")

    def _stuck(self) -> None:
        self.counts.stuck += 1

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Say why, unless another answer is under way, and close."""
        cycle = self.cycle
        begun = cycle is not None and cycle.response_started and not cycle.response_complete
        if begun or self.pipeline:
            self.transport.close()
        if self.transport.is_closing():
            return
        self.counts.refused[code] += 1
        self.counts.answers[status] += 1
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
        again = retry_after(Overloaded) if status == 503 else {}
        headers = {
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **again,
        }
        head = "".join(f"{name}: {told}\r\n" for name, told in headers.items())
        self.transport.write(f"HTTP/1.1 {status} {title}\r\n{head}\r\n".encode() + body)
        self.transport.close()


def bounded(limits: Limits, counts: Counts) -> type[BoundedConnection]:
    """Return the class of connections that keep to *limits*; the server makes them."""
    return type("BoundedConnection", (BoundedConnection,), {"limits": limits, "counts": counts})
