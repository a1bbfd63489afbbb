"""The header lists that begin calls."""

import pytest

from farhand.wire.grpc import CallEnd, Status, heads


def test_a_request_carries_what_grpc_demands() -> None:
    head = heads.request(
        "/a.B/C", authority="h:1", scheme="https", metadata=(("k", "v"),), timeout_s=1.5
    )

    assert (b":method", b"POST") == head[0]
    assert {
        (b":path", b"/a.B/C"),
        (b":authority", b"h:1"),
        (b":scheme", b"https"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"k", b"v"),
        (b"grpc-timeout", b"1500000u"),
    } <= set(head)


def test_a_path_that_is_not_ascii_is_refused() -> None:
    with pytest.raises(ValueError, match="ascii"):
        heads.request("/ü", authority="h", scheme="http", metadata=(), timeout_s=None)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({b":method": b"GET"}, b"405"),
        ({b":method": b"POST"}, b"415"),
        ({b":method": b"POST", b"content-type": b"text/html"}, b"415"),
    ],
)
def test_what_is_not_grpc_gets_an_http_status(fields: dict[bytes, bytes], status: bytes) -> None:
    assert [(b":status", status)] == heads.http_refusal(fields)


def test_grpc_with_any_encoding_is_taken() -> None:
    fields = {b":method": b"POST", b"content-type": b"application/grpc+proto"}

    assert heads.http_refusal(fields) is None


def test_a_refusal_is_an_answer_with_a_status() -> None:
    refusal = heads.refusal(CallEnd(Status.UNIMPLEMENTED, "no"))

    assert (b":status", b"200") == refusal[0]
    assert [(b"grpc-status", b"12"), (b"grpc-message", b"no")] == refusal[-2:]
