"""HTTP/1.1 over http.client: connections that are kept, time limits, one kind of errors out.

Knows nothing of jobs and repeats nothing but what a connection that had gone stale swallowed.
"""

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from farhand.client._calls import ANSWER_BYTES, Answer, Call
from farhand.client._errors import (
    AnswerLost,
    ClientError,
    ConnectionFailed,
    NotConfigured,
    TimedOut,
    TlsFailed,
    UnexpectedAnswer,
)

T = TypeVar("T")

CONNECT_S: Final = 5.0
READ_S: Final = 30.0
_IDLE: Final = 4  # connections kept; more are closed
_READ_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a controller is: *prefix* is the path below which it answers, without a last slash."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def netloc(self) -> str:
        """Host and port, as people write them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def origin_of(url: str) -> Origin:
    """Read a URL; raise NotConfigured for one that no controller can have."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise NotConfigured(
            f"{url!r} is not the URL of a controller",
            code="invalid-url",
            hint="it looks like https://controller.example:7443",
        )
    host, prefix = parts.hostname, parts.path.rstrip("/")
    return Origin(scheme=parts.scheme, host=host, port=port, prefix=prefix)


def tls_context(ca: str | None) -> ssl.SSLContext:
    """Return a context that trusts *ca*, or the system's authorities; raise NotConfigured."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as exc:
        raise NotConfigured(
            f"the CA file {ca} cannot be used: {exc.strerror or exc}",
            code="invalid-ca",
            hint="give a PEM file with the certificate that signed the controller's",
        ) from exc
    # What *ca* holds is trusted as it is, also the server's own certificate without its authority.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def explained(
    exc: OSError, netloc: str, *, established: bool = False
) -> ConnectionFailed | TimedOut:
    """Say in words what went wrong between here and *netloc*, before or behind the connecting."""
    match exc:
        case ConnectionError() | ssl.SSLEOFError() | ssl.SSLZeroReturnError() if established:
            return AnswerLost(f"{netloc} closed the connection before it answered")
        case TimeoutError():
            return TimedOut(
                f"{netloc} did not answer in time", hint="`farhand doctor` looks for the reason"
            )
        case ssl.SSLCertVerificationError(verify_message=why):
            return TlsFailed(
                f"the certificate of {netloc} is not trusted: {why}",
                hint="give the CA that signed it with --ca or FARHAND_CA",
            )
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return ConnectionFailed(
                f"{netloc} closed the connection in the TLS handshake",
                hint="it may just be starting or stopping; or is it http:// rather than https://?",
            )
        case ssl.SSLError(reason=why):
            return TlsFailed(
                f"no TLS with {netloc}: {why or exc}", hint="is it http:// rather than https://?"
            )
        case ConnectionRefusedError():
            return ConnectionFailed(
                f"nothing listens at {netloc}",
                hint="start the controller, or set FARHAND_URL; `farhand doctor` looks closer",
            )
        case socket.gaierror():
            return ConnectionFailed(
                f"the name of {netloc} has no address: {exc.strerror}", hint="look at FARHAND_URL"
            )
        case _:
            return ConnectionFailed(
                f"no connection to {netloc}: {exc.strerror or exc}",
                hint="`farhand doctor` looks for the reason",
            )


class Streaming:
    """An answer that is still arriving: its head is in `head`. Close it, by `with`."""

    __slots__ = ("_connection", "_response", "_sock", "_transport", "head")

    def __init__(
        self,
        transport: "Transport",
        connection: http.client.HTTPConnection,
        sock: socket.socket,
        response: http.client.HTTPResponse,
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._sock = sock
        self._response = response
        headers = {name.lower(): value for name, value in response.getheaders()}
        self.head = Answer(response.status, headers)

    def read(self) -> bytes:
        """Return the next bytes as soon as there are any; b"" at the end."""
        with self._transport.errors(established=True):
            return self._response.read1(_READ_BYTES)

    def whole(self) -> Answer:
        """Return the answer with its whole body, of at most ANSWER_BYTES."""
        with self._transport.errors(established=True):
            body = self._response.read(ANSWER_BYTES)
        if len(body) == ANSWER_BYTES:
            raise UnexpectedAnswer(f"the answer has {ANSWER_BYTES} bytes or more")
        if self._response.length:  # `read` with an amount is silent about this
            raise AnswerLost(f"{self._transport.origin.netloc} cut its answer short")
        return Answer(self.head.status, self.head.headers, body)

    def patient(self, silence_s: float) -> None:
        """Let each read wait for *silence_s* at most."""
        self._sock.settimeout(silence_s)

    def close(self) -> None:
        """Give the connection back when the answer was read to its end, else up."""
        over = self._response.isclosed() or self._response.length == 0
        self._response.close()
        self._transport.give_back(self._connection, usable=over and not self._response.will_close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Transport:
    """Sends calls to one controller. May be used from several threads at once.

    *connect_s* bounds the connecting and the TLS handshake, *read_s* each wait for bytes.
    """

    def __init__(
        self, url: str, token: str | None, *, ca: str | None, connect_s: float, read_s: float
    ) -> None:
        self.origin = origin_of(url)
        self._read_s = read_s
        self._connect_s = connect_s
        self._context = tls_context(ca) if self.origin.scheme == "https" else None
        self._headers = headers_of(token)
        self._idle: list[http.client.HTTPConnection] = []
        self.met = False  # somebody answered

    def send(self, call: Call[T]) -> T:
        """Send *call* and return what the answer says."""
        with self.open(call) as stream:
            answer = stream.whole()
        return call.answered(answer)

    def open(self, call: Call[T]) -> Streaming:
        """Send *call* and return its answer as soon as the head of it is there."""
        while True:
            connection, reused = self._take(call)
            try:
                stream = self._exchange(connection, call)
            except (http.client.HTTPException, OSError) as exc:
                connection.close()
                if not (reused and isinstance(exc, _STALE)):
                    raise self._explained(exc, established=True) from exc
            else:
                self.met = True
                return stream

    def _take(self, call: Call[T]) -> tuple[http.client.HTTPConnection, bool]:
        """Return a kept connection and True, or a new one and False.

        What must not be sent twice gets a new one: a kept one may turn out to be closed.
        """
        if call.repeatable:
            with suppress(IndexError):  # none is kept, or another thread was faster
                return self._idle.pop(), True
        origin, timeout = self.origin, self._connect_s
        if self._context is None:
            new = http.client.HTTPConnection(origin.host, origin.port, timeout=timeout)
        else:
            new = http.client.HTTPSConnection(
                origin.host, origin.port, timeout=timeout, context=self._context
            )
        with self.errors():
            new.connect()
        return new, False

    def _exchange(self, connection: http.client.HTTPConnection, call: Call[T]) -> Streaming:
        sock = connection.sock
        sock.settimeout(self._read_s)
        connection.request(
            call.method,
            self.origin.prefix + call.path,
            body=call.body,
            headers={**self._headers, **call.headers},
        )
        return Streaming(self, connection, sock, connection.getresponse())

    def give_back(self, connection: http.client.HTTPConnection, *, usable: bool) -> None:
        """Keep a connection for the next call, or close it."""
        if usable and len(self._idle) < _IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    @contextmanager
    def errors(self, *, established: bool = False) -> Iterator[None]:
        """Turn what http.client, ssl and sockets raise into ClientErrors."""
        try:
            yield
        except (http.client.HTTPException, OSError) as exc:
            raise self._explained(exc, established=established) from exc

    def _explained(
        self, exc: http.client.HTTPException | OSError, *, established: bool
    ) -> ClientError:
        netloc = self.origin.netloc
        match exc:
            case http.client.RemoteDisconnected():
                return AnswerLost(f"{netloc} closed the connection without an answer")
            case OSError():
                return explained(exc, netloc, established=established)
            case http.client.IncompleteRead():
                return AnswerLost(f"{netloc} cut its answer short")
            case _:
                return UnexpectedAnswer(f"{netloc} does not speak HTTP as farhand does: {exc!r}")

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop().close()


_STALE: Final = (
    *(http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError),
    *(ssl.SSLEOFError, ssl.SSLZeroReturnError),
)


def headers_of(token: str | None) -> dict[str, str]:
    """Return what every request carries."""
    headers = {"Accept": "application/json", "User-Agent": "farhand"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return headers
