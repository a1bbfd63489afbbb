"""TLS in memory: two pipes and nothing between them. Real certificates: tests/integration/grpc."""

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.wire.grpc import ProtocolError, client_context
from farhand.wire.grpc.tls import CLIENT_HELLO, TlsPipe

CONTEXT = client_context()


def client() -> TlsPipe:
    return TlsPipe(CONTEXT, serving=False, server_hostname="h.example")


def test_a_client_speaks_first_and_its_first_byte_is_the_one_to_sniff() -> None:
    pipe = client()
    pipe.start()
    hello = pipe.pending()

    assert CLIENT_HELLO == hello[0]
    assert not pipe.established
    assert pipe.certificate is None


def test_what_is_not_tls_is_a_protocol_error() -> None:
    pipe = client()
    pipe.start()

    with pytest.raises(ProtocolError, match="the TLS handshake failed"):
        list(pipe.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n"))


@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_are_silence_or_a_protocol_error(data: bytes) -> None:
    pipe = client()
    pipe.start()
    with contextlib.suppress(ProtocolError):
        assert [] == list(pipe.receive(data))


def test_contexts_want_http2_and_a_modern_tls() -> None:
    assert ssl.TLSVersion.TLSv1_2 == CONTEXT.minimum_version
    assert CONTEXT.check_hostname
    assert ssl.CERT_REQUIRED == CONTEXT.verify_mode


def test_a_goodbye_before_the_handshake_is_no_error() -> None:
    pipe = client()
    pipe.start()
    pipe.pending()

    assert b"" == pipe.goodbye()
