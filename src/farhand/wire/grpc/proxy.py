"""Ask an HTTP proxy for a tunnel with CONNECT.

Does no I/O: a request to write, and a parser for the answer.
"""

import base64
from dataclasses import dataclass, field
from typing import Final

from farhand.wire.grpc.errors import ProxyRefused

_ANSWER_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """Where the proxy is, and who we are to it."""

    host: str
    port: int
    username: str | None = None
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Tunnel:
    """One CONNECT request and its answer."""

    __slots__ = ("_answer", "_proxy", "_target")

    def __init__(self, proxy: HttpProxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._answer = b""

    def request(self) -> bytes:
        """The bytes to send first."""
        lines = [f"CONNECT {self._target} HTTP/1.1", f"Host: {self._target}"]
        if self._proxy.username is not None:
            secret = f"{self._proxy.username}:{self._proxy.password}".encode()
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(secret).decode()}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def receive(self, data: bytes) -> bytes | None:
        """What follows the answer, once it is whole; None before. Raises ProxyRefused."""
        self._answer += data
        head, found, rest = self._answer.partition(b"\r\n\r\n")
        if not found:
            if len(self._answer) > _ANSWER_BYTES or not b"HTTP/1.".startswith(self._answer[:7]):
                raise ProxyRefused(f"{self._proxy} does not answer like an HTTP proxy")
            return None
        status_line = head.split(b"\r\n", maxsplit=1)[0].decode("latin-1")
        words = status_line.split(maxsplit=2)
        if len(words) < 2 or not words[0].startswith("HTTP/1."):
            raise ProxyRefused(f"{self._proxy} does not answer like an HTTP proxy")
        if words[1] != "200":
            said = " ".join(words[1:])
            raise ProxyRefused(f"the proxy {self._proxy} refused {self._target}: {said}")
        return rest
