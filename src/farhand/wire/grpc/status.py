"""Speak of how calls end and what rides beside their messages: status, trailers, metadata.

Pure values and text rules; no connection, no clock.
"""

import base64
import binascii
import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import unquote_to_bytes

RawHeader: TypeAlias = tuple[bytes, bytes]
Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
"""Pairs in wire order; names are lower case, a name ending in ``-bin`` has a bytes value."""

MESSAGE_CHARACTERS: Final = 1024
"""``grpc-message`` is cut to this, so that a status always fits a peer's header limit."""


class Status(enum.IntEnum):
    """The seventeen gRPC status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class EndedBy(enum.Enum):
    """Why a call is over."""

    STATUS = "status"
    """Its status was exchanged in trailers."""
    HERE = "here"
    """It was cancelled on this side."""
    PEER = "peer"
    """The peer reset it."""
    DEADLINE = "deadline"
    """Its time was up."""
    LIMIT = "limit"
    """It broke a limit of this side."""
    FAULT = "fault"
    """Its handler raised."""
    LINK = "link"
    """The connection was lost or closed."""


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended."""

    status: Status
    message: str = ""
    trailers: Metadata = ()
    by: EndedBy = EndedBy.STATUS


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection."""

    host: str
    port: int
    tls: bool = False
    certificate: bytes | None = None
    """The verified client certificate in DER form; None without TLS or without one."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_OWN: Final = frozenset(
    (b"te", b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding")
)
_OWN_TRAILERS: Final = frozenset((b"grpc-status", b"grpc-message"))


def metadata_from(headers: Iterable[RawHeader]) -> Metadata:
    """The application's part of a header list; a ``-bin`` value that is no base64 is dropped."""
    pairs: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name.startswith(b":") or name in _OWN or name in _OWN_TRAILERS:
            continue
        if not name.endswith(b"-bin"):
            pairs.append((name.decode("latin-1"), value.decode("latin-1")))
            continue
        for part in value.split(b","):
            decoded = _unbase64(part)
            if decoded is not None:
                pairs.append((name.decode("latin-1"), decoded))
    return tuple(pairs)


def _unbase64(value: bytes) -> bytes | None:
    value = value.strip()
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def headers_from(metadata: Iterable[tuple[str, str | bytes]]) -> list[RawHeader]:
    """Encode metadata for the wire.

    Raises ValueError for a reserved or malformed name, and for text that is not printable ASCII.
    """
    headers: list[RawHeader] = []
    for name, value in metadata:
        key = name.lower().encode("ascii", "strict")
        if not key or key.startswith((b":", b"grpc-")) or key in _OWN:
            raise ValueError(f"metadata name {name!r} is reserved")
        if not all(c in _NAME_BYTES for c in key):
            raise ValueError(f"metadata name {name!r} may hold only a-z 0-9 _ - .")
        headers.append((key, _header_value(name, value)))
    return headers


_NAME_BYTES: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-.")


def _header_value(name: str, value: str | bytes) -> bytes:
    if name.lower().endswith("-bin"):
        raw = value if isinstance(value, bytes) else value.encode()
        return base64.b64encode(raw).rstrip(b"=")
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not all(" " <= c <= "~" for c in text) or text != text.strip():
        raise ValueError(f"metadata {name!r}: text must be printable ASCII; use a -bin name")
    return text.encode("ascii")


def status_trailers(status: Status, message: str, extra: Metadata = ()) -> list[RawHeader]:
    """The trailer list that ends a call."""
    trailers = [(b"grpc-status", b"%d" % status)]
    if message:
        trailers.append((b"grpc-message", percent_encode(message)))
    return trailers + headers_from(extra)


def end_from_trailers(headers: Iterable[RawHeader]) -> CallEnd | None:
    """Read a status from a trailer list; None when there is no ``grpc-status``."""
    status: Status | None = None
    message = ""
    found = tuple(headers)
    for name, value in found:
        if name == b"grpc-status":
            status = _status_from(value)
        elif name == b"grpc-message":
            message = percent_decode(value)
    if status is None:
        return None
    return CallEnd(status, message, metadata_from(found))


def _status_from(value: bytes) -> Status:
    if value.isdigit() and len(value) <= 2 and int(value) <= Status.UNAUTHENTICATED:
        return Status(int(value))
    return Status.UNKNOWN


def percent_encode(message: str) -> bytes:
    """Encode a status message: printable ASCII as it is, everything else as %XX of UTF-8."""
    raw = message[:MESSAGE_CHARACTERS].strip().encode("utf-8", "replace")
    return b"".join(_PERCENT[byte] for byte in raw)


_PERCENT: Final = tuple(
    bytes((b,)) if 0x20 <= b <= 0x7E and b != 0x25 else b"%%%02X" % b for b in range(256)
)


def percent_decode(value: bytes) -> str:
    """Decode a status message; what is not valid is kept or replaced, never an error."""
    return unquote_to_bytes(value).decode("utf-8", "replace")


_HTTP_STATUS: Final = {
    b"400": Status.INTERNAL,
    b"401": Status.UNAUTHENTICATED,
    b"403": Status.PERMISSION_DENIED,
    b"404": Status.UNIMPLEMENTED,
    b"429": Status.UNAVAILABLE,
    b"502": Status.UNAVAILABLE,
    b"503": Status.UNAVAILABLE,
    b"504": Status.UNAVAILABLE,
}
_RESET_STATUS: Final = {
    0x7: Status.UNAVAILABLE,
    0x8: Status.CANCELLED,
    0xB: Status.RESOURCE_EXHAUSTED,
    0xC: Status.PERMISSION_DENIED,
}


def end_from_http(http_status: bytes) -> CallEnd:
    """What an answer that is not gRPC means, by the table of the gRPC specification."""
    text = http_status.decode("latin-1")
    return CallEnd(
        _HTTP_STATUS.get(http_status, Status.UNKNOWN), f"the peer answered HTTP {text}, not gRPC"
    )


def end_from_reset(error_code: int) -> CallEnd:
    """What an RST_STREAM without a status means, by the table of the gRPC specification."""
    return CallEnd(
        _RESET_STATUS.get(error_code, Status.INTERNAL),
        f"the peer reset the call with HTTP/2 error {error_code}",
        by=EndedBy.PEER,
    )


_RESET_CODE: Final = {
    Status.OK: 0x0,
    Status.CANCELLED: 0x8,
    Status.DEADLINE_EXCEEDED: 0x8,
    Status.UNAVAILABLE: 0x7,
    Status.RESOURCE_EXHAUSTED: 0xB,
}


def reset_code(status: Status) -> int:
    """The HTTP/2 error that says a status where trailers cannot."""
    return _RESET_CODE.get(status, 0x2)


_UNIT_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def timeout_from(value: bytes) -> float | None:
    """Seconds in a ``grpc-timeout`` value; None when it is malformed."""
    digits, unit = value[:-1], value[-1:]
    if not digits.isdigit() or len(digits) > 8 or unit not in _UNIT_S:
        return None
    return int(digits) * _UNIT_S[unit]


def timeout_header(seconds: float) -> bytes:
    """A ``grpc-timeout`` value, in the finest unit that fits eight digits."""
    for unit, scale in ((b"u", 1e6), (b"m", 1e3), (b"S", 1.0), (b"M", 1 / 60)):
        amount = max(int(seconds * scale), 0)
        if amount < 100_000_000:
            return b"%d%s" % (amount, unit)
    return b"99999999H"
