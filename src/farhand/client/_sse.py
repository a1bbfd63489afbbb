"""Server-sent events, from bytes that arrive cut anywhere.

Does no I/O and knows nothing of jobs. An event that never ends is refused, not collected.
"""

from dataclasses import dataclass
from typing import Final

from farhand.client._errors import UnexpectedAnswer

EVENT_BYTES: Final = 16 * 1024 * 1024  # the largest event that is taken; more is no farhand


@dataclass(frozen=True, slots=True)
class Sent:
    """One event. *id* is the last id that the stream has named so far, or empty."""

    event: str
    data: str
    id: str


class EventReader:
    """Feed it what arrives; it returns the events that are complete.

    An event that the end of the stream cut off is never returned. Raises UnexpectedAnswer above
    *limit* bytes for one event.
    """

    __slots__ = ("_data", "_event", "_held", "_id", "_limit", "_parts", "_size")

    def __init__(self, *, limit: int = EVENT_BYTES) -> None:
        self._limit = limit
        self._parts: list[bytes] = []  # the line that has not ended yet
        self._held = False  # the last byte was a CR: an LF that follows belongs to it
        self._size = 0  # bytes of the event so far, with the unfinished line
        self._event = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, received: bytes) -> list[Sent]:
        """Take the next bytes of the stream; return the events that they complete, in order."""
        if self._held and received:
            self._held = False
            received = received.removeprefix(b"\n")
        found: list[Sent] = []
        for line in received.splitlines(keepends=True):
            self._size += len(line)
            if self._size > self._limit:
                raise UnexpectedAnswer(f"an event has more than {self._limit} bytes")
            if line[-1] not in b"\r\n":
                self._parts.append(line)
                continue
            self._parts.append(line.rstrip(b"\r\n"))
            whole = b"".join(self._parts)
            self._parts.clear()
            if sent := self._line(whole):
                found.append(sent)
        self._held = received.endswith(b"\r")
        return found

    def _line(self, line: bytes) -> Sent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        match name:
            case b"data":
                self._data.append(text)
            case b"event":
                self._event = text
            case b"id" if "\0" not in text:
                self._id = text
            case b"":  # a comment, sent to keep the stream alive
                self._size -= min(self._size, len(line) + 2)
        return None

    def _dispatch(self) -> Sent | None:
        data, event = "\n".join(self._data), self._event or "message"
        has_data = bool(self._data)
        self._data, self._event, self._size = [], "", 0
        return Sent(event, data, self._id) if has_data else None
