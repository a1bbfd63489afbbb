"""HTTP/2 frames by hand, for what no honest library would send."""

import struct
from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    *(0, 1, 2, 3, 4, 6, 7, 8, 9),
)
END_STREAM, END_HEADERS, PADDED = 1, 4, 8


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name: bytes, value: bytes, *, first: bytes = b"\x00") -> bytes:
    """A header field that is not compressed; *first* 0x40 puts it into the dynamic table."""
    return first + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    size = len(text)
    if size < 127:
        return bytes((size,)) + text
    size -= 127
    coded = b"\x7f"
    while size >= 128:
        coded += bytes((size & 127 | 128,))
        size >>= 7
    return coded + bytes((size,)) + text


def head(path: str | bytes) -> bytes:
    """The header block of a gRPC call."""
    raw = path.encode() if isinstance(path, str) else path
    return (
        b"\x83\x86"
        + literal(b":path", raw)
        + literal(b":authority", b"a")
        + literal(b"content-type", b"application/grpc")
        + literal(b"te", b"trailers")
    )


START = PREFACE + frame(SETTINGS, 0, 0)


def call(path: str | bytes, stream: int = 1, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, head(path))


def message(data: bytes, stream: int = 1, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, b"\x00" + len(data).to_bytes(4, "big") + data)


def frames(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The whole frames in *data*."""
    while len(data) >= 9:
        size = int.from_bytes(data[:3], "big")
        if len(data) < 9 + size:
            return
        yield data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]
        data = data[9 + size :]
