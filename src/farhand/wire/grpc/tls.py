"""TLS over bytes in memory, and the contexts that gRPC wants.

Does no I/O. A connection costs two small buffers instead of the 256 KiB of asyncio's own TLS.
"""

import contextlib
import ssl
from collections.abc import Iterator
from typing import Final

from farhand.wire.grpc.errors import ProtocolError

CLIENT_HELLO: Final = 0x16
"""The first byte of every TLS connection, and of no HTTP/2 one."""
_PIECE_BYTES: Final = 16 * 1024  # one TLS record; a memory BIO keeps the largest size it ever had


def server_context(certificate: str, key: str, *, client_ca: str | None = None) -> ssl.SSLContext:
    """A context for `GrpcServer` from PEM files; *client_ca* demands client certificates.

    Raises OSError and ssl.SSLError for files that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.num_tickets = 0  # nobody resumes a connection that lives for days
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    *, ca: str | None = None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """A context for `connect` from PEM files; without *ca* the system's authorities count.

    Raises OSError and ssl.SSLError for files that cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    # What *ca* holds is trusted as it is, also the server's own certificate without its authority.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


class TlsPipe:
    """One side of a TLS connection: ciphertext in, plaintext out, and back."""

    __slots__ = ("_in", "_object", "_out", "established")

    def __init__(
        self, context: ssl.SSLContext, *, serving: bool, server_hostname: str | None = None
    ) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._in, self._out, server_side=serving, server_hostname=server_hostname
        )
        self.established = False

    def start(self) -> None:
        """Client: make the first flight. Raises ProtocolError."""
        self._handshake()

    def receive(self, data: bytes) -> Iterator[bytes]:
        """Take ciphertext and yield the plaintext that it completes. Raises ProtocolError.

        An empty piece means that the peer said goodbye in TLS. Look at `pending` afterwards.
        """
        for start in range(0, len(data), _PIECE_BYTES):
            self._in.write(data[start : start + _PIECE_BYTES])
            if not self.established:
                self._handshake()
            while self.established:
                try:
                    plain = self._object.read(_PIECE_BYTES)
                except ssl.SSLWantReadError:
                    break
                except ssl.SSLZeroReturnError:
                    plain = b""
                except ssl.SSLError as exc:
                    raise ProtocolError(f"the peer broke TLS: {_reason(exc)}") from exc
                yield plain
                if not plain:
                    return

    def encrypt(self, data: bytes) -> bytes:
        """Ciphertext for *data* and for what TLS itself has to say. Raises ProtocolError."""
        sealed = []
        try:
            for start in range(0, len(data), _PIECE_BYTES):
                self._object.write(data[start : start + _PIECE_BYTES])
                sealed.append(self._out.read())
        except ssl.SSLError as exc:
            raise ProtocolError(f"TLS is over: {_reason(exc)}") from exc
        return b"".join(sealed)

    def pending(self) -> bytes:
        """What TLS itself has to say."""
        return self._out.read()

    def goodbye(self) -> bytes:
        """The close_notify."""
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()
        return self._out.read()

    @property
    def certificate(self) -> bytes | None:
        """The peer's verified certificate in DER form; None before the handshake or without."""
        if not self.established:
            return None
        return self._object.getpeercert(binary_form=True)

    def _handshake(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as exc:
            raise ProtocolError(f"the TLS handshake failed: {_reason(exc)}") from exc
        if self._object.selected_alpn_protocol() != "h2":
            raise ProtocolError("the peer does not offer HTTP/2 in TLS (ALPN h2)")
        self.established = True


def _reason(exc: ssl.SSLError) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"the certificate was not accepted: {exc.verify_message}"
    return exc.reason or str(exc)
