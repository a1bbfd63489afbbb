"""What lies below the clients: TLS, and peers that do not speak HTTP."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from farhand.client import ClientError, ConnectionFailed, TlsFailed, UnexpectedAnswer
from farhand.client._transport import Origin, origin_of
from tests.integration.client.certificates import Certificate, certificate
from tests.integration.client.clients import Kind, facing
from tests.integration.client.stub import Stub, stub_server, told


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("good"), days=90)


@pytest.fixture
def secure(good: Certificate) -> Iterator[Stub]:
    with stub_server(tls=good) as stub:
        stub.on("GET", "/api/v1/version", told({"version": "0.1.0"}))
        yield stub


def test_a_controller_whose_ca_is_known_is_spoken_to(
    kind: Kind, secure: Stub, good: Certificate
) -> None:
    with facing(kind, secure.url, ca=str(good.chain)) as face:
        assert "0.1.0" == face.do("version").version


def test_a_certificate_that_nobody_vouches_for_is_refused(kind: Kind, secure: Stub) -> None:
    with facing(kind, secure.url) as face, pytest.raises(TlsFailed, match="not trusted"):
        face.do("version")


def test_a_certificate_for_another_name_is_refused(kind: Kind, tmp_path: Path) -> None:
    other = certificate(tmp_path, name="other.example", days=90)
    with (
        stub_server(tls=other) as stub,
        facing(kind, stub.url, ca=str(other.chain)) as face,
        pytest.raises(TlsFailed, match="not trusted"),
    ):
        face.do("version")


def test_tls_with_a_plain_port_fails_as_tls(kind: Kind, stub: Stub) -> None:
    url = stub.url.replace("http:", "https:")

    with facing(kind, url) as face, pytest.raises(TlsFailed):
        face.do("version")


def test_plain_http_with_a_tls_port_is_an_error_of_its_own(kind: Kind, secure: Stub) -> None:
    url = secure.url.replace("https:", "http:")

    with (
        facing(kind, url) as face,
        pytest.raises((ConnectionFailed, UnexpectedAnswer)),
    ):
        face.do("version")


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 500, b""]
)
def test_a_peer_that_does_not_speak_http_is_no_traceback(kind: Kind, said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)

        thread = threading.Thread(target=answer, name="peer")
        thread.start()
        port = server.getsockname()[1]
        with facing(kind, f"http://127.0.0.1:{port}") as face, pytest.raises(ClientError):
            face.do("remove", "x")
        thread.join()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h", Origin(scheme="http", host="h", port=80)),
        ("https://h/", Origin(scheme="https", host="h", port=443)),
        ("https://[::1]:7443/a/b/", Origin(scheme="https", host="::1", port=7443, prefix="/a/b")),
    ],
)
def test_a_url_says_where_a_controller_is(url: str, expected: Origin) -> None:
    assert expected == origin_of(url)


def test_an_address_is_written_as_people_do() -> None:
    assert ["h:80", "[::1]:7443"] == [
        origin_of(u).netloc for u in ("http://h", "http://[::1]:7443")
    ]
