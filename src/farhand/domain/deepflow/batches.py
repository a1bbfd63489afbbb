"""How an agent cuts a result into responses, so that its server sees the end of it.

Only cuts and marks; sends nothing. A server takes a result for complete at a chunk with an MD5,
or at an error without content. So every result made here ends with one of the two.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from farhand.domain.deepflow.messages import (
    BATCH_BYTES,
    BATCH_BYTES_MIN,
    DataChunk,
    LinuxNamespace,
    Response,
    Sender,
)

NO_NAMESPACES: Final = "no namespaces found"


def batch_bytes(asked: int | None, before: int = BATCH_BYTES) -> int:
    """The size of batches after a request that asked for *asked*; without one it stays."""
    return before if asked is None else max(BATCH_BYTES_MIN, asked)


def batches(
    stdout: bytes, size: int = BATCH_BYTES, *, errno: int | None = 0
) -> Iterator[DataChunk]:
    """*stdout* in chunks of *size* bytes, each with the numbers of the whole; the last has the MD5.

    No output gives one chunk all the same, since only that ends the wait of a server.
    """
    total = len(stdout)
    count = max(1, -(-total // size))
    digest = hashlib.md5(stdout, usedforsecurity=False).hexdigest()
    for at in range(count):
        yield DataChunk(
            errno=errno,
            content=stdout[at * size : (at + 1) * size],
            md5=digest if at == count - 1 else None,
            total_len=total,
            pkt_count=count,
        )


def result(
    sender: Sender,
    request_id: int | None,
    *,
    stdout: bytes = b"",
    errno: int | None = 0,
    errmsg: str | None = None,
    size: int = BATCH_BYTES,
) -> Iterator[Response]:
    """The responses that tell how a command ended, in order. *errmsg* means that it failed.

    *errno* is the exit code; with output it is 0 for a program that a signal ended, without
    output absent.
    """
    if errmsg is not None and not stdout:
        yield failure(sender, request_id, errmsg, errno=errno)
        return
    for chunk in batches(stdout, size, errno=errno):
        yield Response(
            sender=sender,
            request_id=request_id,
            errmsg=errmsg if chunk.md5 is not None else None,
            result=chunk,
        )


def failure(
    sender: Sender, request_id: int | None, errmsg: str, *, errno: int | None = None
) -> Response:
    """One response that says what went wrong; nothing was printed to stdout."""
    return Response(
        sender=sender, request_id=request_id, errmsg=errmsg, result=DataChunk(errno=errno)
    )


def namespaces(sender: Sender, request_id: int | None, found: Iterable[LinuxNamespace]) -> Response:
    """The answer to LIST_NAMESPACE. An empty list would look like a heartbeat: it is an error."""
    listed = tuple(found)
    if not listed:
        return Response(sender=sender, request_id=request_id, errmsg=NO_NAMESPACES)
    return Response(sender=sender, request_id=request_id, namespaces=listed)
