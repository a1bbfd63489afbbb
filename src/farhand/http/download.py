"""Stored output as a body, for as long as somebody reads.

Reads a piece from the store when the one before was taken, never ahead: a reader that stops holds
one piece, and is let go by its connection.
"""

import asyncio
from typing import Final

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from farhand.domain.ids import RunId
from farhand.domain.output import StreamName
from farhand.errors import StoreUnavailable, Unavailable
from farhand.http.door import Caller
from farhand.http.racing import first_of, gone
from farhand.http.ranges import Span
from farhand.http.stream import CONNECTION

_NOTHING: Final = {"type": "http.response.body", "body": b"", "more_body": True}

log = structlog.get_logger("farhand.http")


class Download(Response):
    """The bytes in *span* of one stream of *run*; *headers* describe them, their length above all.

    When they are deleted meanwhile, or the store fails, the body ends early, which its reader sees.
    """

    media_type = "application/octet-stream"

    def __init__(
        self, caller: Caller, run: RunId, stream: StreamName, span: Span, headers: dict[str, str]
    ) -> None:
        super().__init__(None, 206 if span.part else 200, headers)
        self._caller = caller
        self._run = run
        self._stream = stream
        self._span = span

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        try:
            await first_of(copied=self._copy(send), gone=gone(receive))
        except Unavailable as exc:
            log.warning("download.cut", run=self._run, error=str(exc))
            connection = scope.get("extensions", {}).get(CONNECTION, {}).get("transport")
            if connection is not None:
                connection.abort()
                await asyncio.sleep(0)  # for the server to see it, and not to call it unfinished

    async def _copy(self, send: Send) -> None:
        at, end = self._span.start, self._span.end
        while at < end:
            with self._caller.pieces.piece() as size:
                data = await self._caller.tenant.store.output(
                    self._run, self._stream, offset=at, limit=min(size, end - at)
                )
                if not data:
                    raise StoreUnavailable(
                        f"the output of {self._run} was deleted while it was read"
                    )
                at += len(data)
                await send({"type": "http.response.body", "body": data, "more_body": True})
                await send(_NOTHING)  # until this piece is taken
            await asyncio.sleep(0)  # a fast reader must not starve everybody else
        await send({"type": "http.response.body", "body": b"", "more_body": False})
