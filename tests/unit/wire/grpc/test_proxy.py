"""CONNECT: the request, and every kind of answer."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.wire.grpc import HttpProxy, ProxyRefused
from farhand.wire.grpc.proxy import Tunnel

PROXY = HttpProxy("proxy.example", 3128)


def test_the_request_names_the_target_and_the_user() -> None:
    proxy = HttpProxy("proxy.example", 3128, username="me", password="a:b")

    assert (
        b"CONNECT h.example:443 HTTP/1.1\r\n"
        b"Host: h.example:443\r\n"
        b"Proxy-Authorization: Basic bWU6YTpi\r\n\r\n"
    ) == Tunnel(proxy, "h.example", 443).request()


def test_an_ipv6_target_is_bracketed() -> None:
    assert Tunnel(PROXY, "::1", 1).request().startswith(b"CONNECT [::1]:1 HTTP/1.1\r\n")


def test_a_password_is_not_printed() -> None:
    assert "secret" not in repr(HttpProxy("p", 1, username="me", password="secret"))


def test_what_follows_a_200_belongs_to_the_tunnel() -> None:
    tunnel = Tunnel(PROXY, "h", 1)

    assert tunnel.receive(b"HTTP/1.0 200 OK\r\nVia: x\r") is None
    assert b"first bytes" == tunnel.receive(b"\n\r\nfirst bytes")


@pytest.mark.parametrize(
    "answer",
    [b"SSH-2.0-x\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 " + bytes(17_000)],
)
def test_what_is_no_http_is_refused(answer: bytes) -> None:
    with pytest.raises(ProxyRefused, match="does not answer like an HTTP proxy"):
        Tunnel(PROXY, "h", 1).receive(answer)


def test_a_refusal_is_told_in_the_proxys_words() -> None:
    with pytest.raises(ProxyRefused, match="refused h:1: 403 Not for you"):
        Tunnel(PROXY, "h", 1).receive(b"HTTP/1.1 403 Not for you\r\n\r\n")


@given(st.lists(st.binary(max_size=50), max_size=6))
def test_any_answer_is_an_answer_or_a_refusal(pieces: list[bytes]) -> None:
    tunnel = Tunnel(PROXY, "h", 1)
    with contextlib.suppress(ProxyRefused):
        for piece in pieces:
            tunnel.receive(piece)
