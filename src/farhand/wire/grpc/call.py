"""The contract between a connection and whoever gives its calls a meaning.

Contains no behaviour: stream.py implements Call, applications implement Handler.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from farhand.wire.grpc.status import CallEnd, Metadata, Peer, Status


class Handler:
    """What happens on one call. Every callback may be left out.

    Callbacks come one after the other on the loop and must not block; never inside `send`,
    `finish`, `cancel`, `resume_reading` or `open`. What one raises is logged and ends the call
    with INTERNAL; the connection goes on.
    """

    __slots__ = ()

    def on_headers(self, metadata: Metadata) -> None:
        """Client: the server has taken the call; its initial metadata."""

    def on_message(self, message: bytes) -> None:
        """The next message, whole and in order."""

    def on_half_close(self) -> None:
        """Server: the client will send no more; the answer still can."""

    def on_writable(self) -> None:
        """The queue of a call that was not writable has drained; send again."""

    def on_closed(self, end: CallEnd) -> None:
        """The call is over. Comes exactly once, and nothing comes after it."""


class Call(Protocol):
    """One call, in either role. Use it on the loop's thread only."""

    @property
    def path(self) -> str:
        """The method, as `/package.Service/Method`."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end of the connection."""

    @property
    def metadata(self) -> Metadata:
        """Server: what the client sent beside the call. Client: what it was opened with."""

    @property
    def handler(self) -> Handler:
        """What the factory made."""

    @property
    def ended(self) -> bool:
        """Whether nothing more can be sent on it."""

    @property
    def queued(self) -> int:
        """Bytes that were sent here and not yet framed; 0 when the call is over."""

    @property
    def writable(self) -> bool:
        """Whether a sender with more to say should go on; else `on_writable` will come."""

    def send(self, message: bytes) -> None:
        """Queue one message. Raises CallEnded.

        A call whose queue grows beyond its limit is reset: `on_closed` will say so.
        """

    def finish(
        self, status: Status = Status.OK, message: str = "", trailers: Metadata = ()
    ) -> None:
        """Server: end the call after what is queued. Raises CallEnded, ValueError for trailers.

        *message* is text for people, cut at 1024 characters.
        """

    def half_close(self) -> None:
        """Client: say that no more messages come. Does nothing when the call is over."""

    def cancel(self, message: str = "") -> None:
        """Reset the call now and drop what is queued. Does nothing when the call is over."""

    def pause_reading(self) -> None:
        """Hold back messages and the peer's window; at most one window of bytes is held."""

    def resume_reading(self) -> None:
        """Take up reading again, beginning with what was held."""

    def identified(self, *, message_bytes: int | None = None) -> None:
        """Server: the peer of this call is known; lift the limits for strangers.

        *message_bytes* replaces the limit for one message; what is above the usual one comes
        out of a budget that all connections of the server share.
        """


Factory: TypeAlias = Callable[[Call], Handler]
"""Makes the handler of a call. Server: an exception here ends the call with INTERNAL."""
