"""Answer grpc.health.v1.Health, so that load balancers and probes can ask.

Knows names and whether they serve, not why. Its two messages are written by hand: one field each.
"""

import enum
from typing import Final

from farhand.wire.grpc.call import Call, Handler
from farhand.wire.grpc.shell import Route
from farhand.wire.grpc.status import CallEnd, Status

CHECK: Final = "/grpc.health.v1.Health/Check"
WATCH: Final = "/grpc.health.v1.Health/Watch"
_SERVICE_FIELD: Final = b"\n"  # HealthCheckRequest.service: field 1, length-delimited
_STATUS_FIELD: Final = b"\x08"  # HealthCheckResponse.status: field 1, varint


class Serving(enum.IntEnum):
    """HealthCheckResponse.ServingStatus."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


class HealthService:
    """What this server says of its services; the empty name is the server as a whole."""

    def __init__(self) -> None:
        self._serving = {"": Serving.SERVING}
        self._watches: dict[_Watch, None] = {}

    def set(self, service: str, *, serving: bool) -> None:
        """Say whether *service* serves, and tell whoever watches it."""
        self._serving[service] = Serving.SERVING if serving else Serving.NOT_SERVING
        self._tell()

    def stop(self) -> None:
        """Say that nothing serves any more, and end whatever watches."""
        self._serving = dict.fromkeys(self._serving, Serving.NOT_SERVING)
        self._tell()
        for watch in list(self._watches):
            watch.stop()

    def of(self, service: str) -> Serving | None:
        """What is said of *service*; None when nothing was."""
        return self._serving.get(service)

    def routes(self) -> dict[str, Route]:
        """The two methods, open to strangers."""
        return {
            CHECK: Route(lambda call: _Check(self, call), needs_identity=False),
            WATCH: Route(lambda call: _Watch(self, call), needs_identity=False),
        }

    def _tell(self) -> None:
        for watch in list(self._watches):
            watch.tell()

    def watched(self, watch: "_Watch") -> None:
        """A watch begins."""
        self._watches[watch] = None

    def unwatched(self, watch: "_Watch") -> None:
        """A watch is over."""
        self._watches.pop(watch, None)


class _Check(Handler):
    __slots__ = ("_call", "_service", "_state")

    def __init__(self, service: HealthService, call: Call) -> None:
        self._service = service
        self._call = call

    def on_message(self, message: bytes) -> None:
        name = _service_from(message)
        state = None if name is None else self._service.of(name)
        if name is None:
            self._call.finish(Status.INVALID_ARGUMENT, "not a HealthCheckRequest")
        elif state is None:
            self._call.finish(Status.NOT_FOUND, "unknown service")
        else:
            self._call.send(_response(state))
            self._call.finish()

    def on_half_close(self) -> None:
        if not self._call.ended:
            self._call.finish(Status.INVALID_ARGUMENT, "a check needs a request")


class _Watch(Handler):
    __slots__ = ("_call", "_name", "_service", "_told")

    def __init__(self, service: HealthService, call: Call) -> None:
        self._service = service
        self._call = call
        self._name: str | None = None
        self._told: Serving | None = None

    def on_message(self, message: bytes) -> None:
        self._name = _service_from(message)
        if self._name is None:
            self._call.finish(Status.INVALID_ARGUMENT, "not a HealthCheckRequest")
            return
        self._service.watched(self)
        self.tell()

    def tell(self) -> None:
        """Send the state if the watcher does not know it; a slow one hears only the last."""
        if self._name is None or self._call.ended or not self._call.writable:
            return
        state = self._service.of(self._name)
        state = Serving.SERVICE_UNKNOWN if state is None else state
        if state is not self._told:
            self._told = state
            self._call.send(_response(state))

    def stop(self) -> None:
        """End the call."""
        if not self._call.ended:
            self._call.finish(Status.UNAVAILABLE, "the server is shutting down")

    def on_writable(self) -> None:
        self.tell()

    def on_closed(self, end: CallEnd) -> None:
        del end
        self._service.unwatched(self)


def _response(state: Serving) -> bytes:
    return _STATUS_FIELD + bytes((state,))


def _service_from(message: bytes) -> str | None:
    """The name in a HealthCheckRequest; None when it is none or is longer than 127 bytes."""
    if not message:
        return ""
    name = message[2:]
    if message[:1] != _SERVICE_FIELD or len(message) < 2 or message[1] != len(name):
        return None
    if len(name) > 127:
        return None
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None
