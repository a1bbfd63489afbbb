"""The header lists that begin a call, on both sides.

Knows names and values; what they do to a call is decided in core.py.
"""

from typing import Final

from farhand.wire.grpc.status import (
    CallEnd,
    Metadata,
    RawHeader,
    headers_from,
    status_trailers,
    timeout_header,
)

ANSWER: Final[tuple[RawHeader, ...]] = (
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", b"identity"),
)


def request(
    path: str, *, authority: str, scheme: str, metadata: Metadata, timeout_s: float | None
) -> list[RawHeader]:
    """The head of a call. Raises ValueError for what cannot be sent."""
    headers = [
        (b":method", b"POST"),
        (b":scheme", scheme.encode("ascii")),
        (b":path", path.encode("ascii")),
        (b":authority", authority.encode("ascii")),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"grpc-python-farhand"),
        *headers_from(metadata),
    ]
    if timeout_s is not None:
        headers.append((b"grpc-timeout", timeout_header(timeout_s)))
    return headers


def refusal(end: CallEnd) -> list[RawHeader]:
    """An answer that is nothing but a status."""
    return [*ANSWER, *status_trailers(end.status, end.message)]


def http_refusal(fields: dict[bytes, bytes]) -> list[RawHeader] | None:
    """The answer to a request that is not gRPC; None for one that is."""
    if fields.get(b":method") != b"POST":
        return [(b":status", b"405")]
    if not fields.get(b"content-type", b"").startswith(b"application/grpc"):
        return [(b":status", b"415")]
    return None
