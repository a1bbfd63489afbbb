"""Call handlers back, one after the other, and never inside the application's own calls.

Knows no HTTP/2; what a handler raises ends its own call and nothing else.
"""

import logging
from collections.abc import Callable

from farhand.wire.grpc.errors import CallEnded
from farhand.wire.grpc.status import EndedBy, Status
from farhand.wire.grpc.stream import Stream

log = logging.getLogger("farhand.wire.grpc")


def guarded(stream: Stream, action: Callable[..., None], *args: object) -> None:
    """Do *action* for a stream, which may lead into its handler."""
    try:
        action(*args)
    except CallEnded as exc:  # it sent on a call that was over before it could know
        stream.fail(exc.status, exc.message, EndedBy.LINK)
    except Exception:
        log.exception("call.fault path=%s peer=%s", stream.path, stream.peer)
        stream.fail(Status.INTERNAL, "the handler of the call failed", EndedBy.FAULT)


class Callbacks:
    """The streams of one connection whose handlers are owed something."""

    __slots__ = ("_owed", "parked")

    def __init__(self) -> None:
        self._owed: dict[Stream, None] = {}
        self.parked: dict[Stream, None] = {}
        """Streams that are closed, with an answer that waits behind paused reading."""

    def __bool__(self) -> bool:
        return bool(self._owed)

    def owe(self, stream: Stream) -> None:
        """Have a stream settled at the next occasion."""
        self._owed[stream] = None

    def settle(self) -> None:
        """Make the callbacks that are owed, and those that they lead to."""
        while self._owed:
            owed, self._owed = self._owed, {}
            for stream in owed:
                guarded(stream, stream.settle)
                if stream.end is not None:
                    self.parked.pop(stream, None)
