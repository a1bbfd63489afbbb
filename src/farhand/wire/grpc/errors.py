"""Say what went wrong on a link, in errors a caller can act on.

Never names an HTTP/2 library: what the engine raises is translated in core.py.

LinkError
├── ConnectFailed      no connection: name, network, TLS, or not HTTP/2 at the other end
│   └── ProxyRefused   the HTTP proxy would not open the tunnel
├── LinkClosed         the connection is over or draining; open another one
└── CallEnded          the call is over; nothing more can be sent on it

A peer that breaks HTTP/2 or gRPC is a farhand.errors.ProtocolError.
"""

from farhand.errors import FarhandError, ProtocolError
from farhand.wire.grpc.status import Status

__all__ = [
    "CallEnded",
    "ConnectFailed",
    "LinkClosed",
    "LinkError",
    "ProtocolError",
    "ProxyRefused",
]


class LinkError(FarhandError):
    """Something went wrong below the meaning of messages."""

    code = "link-error"


class ConnectFailed(LinkError):
    """No usable connection could be made; the message says which step failed."""

    code = "connect-failed"


class ProxyRefused(ConnectFailed):
    """The HTTP proxy did not open a tunnel."""

    code = "proxy-refused"


class LinkClosed(LinkError):
    """The connection is closed or draining and takes no new calls."""

    code = "link-closed"


class CallEnded(LinkError):
    """The call is over, or this side of it is."""

    code = "call-ended"

    def __init__(self, status: Status, message: str = "") -> None:
        super().__init__(f"the call ended with {status.name}" + (f": {message}" if message else ""))
        self.status = status
        self.message = message
