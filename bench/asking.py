"""HTTP with as little of its own as can be, so that the controller is measured and not the asker.

One kept connection each, one request at a time; no retries, no redirects, no parsing but of
lengths.
"""

import asyncio
import http.client
import json
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

from bench.figures import BenchError
from bench.processes import Controller

RUN_END_S: Final = 90.0
_POLL_S: Final = 0.02


def job_body(argv: Sequence[str], targets: Mapping[str, Any]) -> bytes:
    """The body of a job; *targets* as the API has them."""
    return json.dumps({"argv": list(argv), "targets": dict(targets)}).encode()


def trusting(to: Controller) -> ssl.SSLContext | None:
    """What a connection to this controller's API needs; None for plaintext."""
    return ssl.create_default_context(cafile=str(to.ca)) if to.ca else None


class Asker:
    """A connection in an event loop."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._head = head

    @classmethod
    async def open(cls, to: Controller) -> Self:
        reader, writer = await asyncio.open_connection(to.host, to.port, ssl=trusting(to))
        head = f"Host: {to.host}:{to.port}\r\nAuthorization: Bearer {to.token}\r\n"
        return cls(reader, writer, head.encode())

    def close(self) -> None:
        self._writer.close()

    async def post(self, path: str, body: bytes) -> dict[str, Any]:
        """Post JSON and return JSON; raise BenchError unless the status is 200."""
        asked = (
            b"POST %b HTTP/1.1\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        self._writer.write(asked % (path.encode(), self._head, len(body)) + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        _, _, after = head.partition(b"content-length:")
        answer = await self._reader.readexactly(int(after.partition(b"\r\n")[0] or 0))
        if not head.startswith(b"http/1.1 200"):
            raise BenchError(f"{path}: {head[9:12].decode()} {answer[:200]!r}")
        found: dict[str, Any] = json.loads(answer)
        return found


@contextmanager
def connection(to: Controller) -> Iterator[http.client.HTTPConnection]:
    """A blocking connection."""
    made = http.client.HTTPConnection(to.host, to.port, timeout=RUN_END_S)
    if (trusted := trusting(to)) is not None:
        made = http.client.HTTPSConnection(to.host, to.port, timeout=RUN_END_S, context=trusted)
    try:
        yield made
    finally:
        made.close()


def asked(
    on: http.client.HTTPConnection, to: Controller, method: str, path: str, body: bytes = b""
) -> dict[str, Any]:
    """Ask for JSON on a blocking connection; raise BenchError for an error."""
    headers = {"Authorization": f"Bearer {to.token}", "Content-Type": "application/json"}
    on.request(method, path, body or None, headers)
    answer = on.getresponse()
    content = answer.read()
    if answer.status >= 400:
        raise BenchError(f"{path}: {answer.status} {content[:200]!r}")
    found: dict[str, Any] = json.loads(content)
    return found


def wait_for_end(on: http.client.HTTPConnection, to: Controller, run: str) -> dict[str, Any]:
    """Ask for a run until it has ended."""
    until = time.monotonic() + RUN_END_S
    while (found := asked(on, to, "GET", f"/api/v1/runs/{run}"))["ended_at"] is None:
        if time.monotonic() > until:
            raise BenchError(f"the run did not end within {RUN_END_S:g} s: {found['state']}")
        time.sleep(_POLL_S)
    return found
