"""Cut a byte stream into gRPC's length-prefixed messages, however it was cut into frames.

Knows no HTTP/2; holds what was added and not yet taken, and copies each byte at most twice.
"""

from collections import deque
from typing import Final

PREFIX_BYTES: Final = 5
_SMALL_BYTES: Final = 64
_SMALL_RUN: Final = 256


class BadMessage(Exception):
    """A message that cannot be taken: compressed, or longer than allowed."""

    def __init__(self, *, compressed: bool, size: int) -> None:
        super().__init__(f"{'compressed' if compressed else 'uncompressed'}, {size} bytes")
        self.compressed = compressed
        self.size = size


class MessageReader:
    """Collects the pieces of messages in order."""

    __slots__ = ("_have", "_need", "_offset", "_pieces", "_small")

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._offset = 0  # bytes of the first piece that were taken already
        self._have = 0
        self._need = 0  # bytes of the unfinished message with its prefix; 0 before it is known
        self._small = 0  # small pieces in a row at the end

    @property
    def held(self) -> int:
        """Bytes added and not yet taken."""
        return self._have

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        if not data:
            return
        self._pieces.append(data)
        self._have += len(data)
        self._small = self._small + 1 if len(data) <= _SMALL_BYTES else 0
        if self._small == _SMALL_RUN:
            self._join_small()

    def _join_small(self) -> None:
        """A message sent byte by byte must not cost an object for each of its bytes."""
        self._small = 0
        run = min(_SMALL_RUN, len(self._pieces) - 1)  # the first piece may be half taken
        tail = [self._pieces.pop() for _ in range(run)]
        self._pieces.append(b"".join(reversed(tail)))

    def announced(self) -> int | None:
        """The length of the unfinished message, as soon as its prefix is there.

        Raises BadMessage for a compressed one.
        """
        if self._need == 0:
            if self._have < PREFIX_BYTES:
                return None
            self._gather_prefix()
            start = self._offset
            head = self._pieces[0][start : start + PREFIX_BYTES]
            size = int.from_bytes(head[1:], "big")
            if head[0] != 0:
                raise BadMessage(compressed=True, size=size)
            self._need = size + PREFIX_BYTES
        return self._need - PREFIX_BYTES

    def _gather_prefix(self) -> None:
        pieces = self._pieces
        while len(pieces[0]) - self._offset < PREFIX_BYTES:
            joined = pieces.popleft()[self._offset :] + pieces.popleft()
            pieces.appendleft(joined)
            self._offset = 0

    def next(self, limit: int) -> bytes | None:
        """The next whole message, or None until more is added.

        Raises BadMessage as soon as a prefix announces what cannot be taken.
        """
        size = self.announced()
        if size is None:
            return None
        if size > limit:
            raise BadMessage(compressed=False, size=size)
        if self._have < self._need:
            return None
        self._have -= self._need
        self._need = 0
        return self._take(size)

    def _take(self, size: int) -> bytes:
        pieces, start = self._pieces, self._offset + PREFIX_BYTES
        first = pieces[0]
        if len(first) >= start + size:
            self._advance(first, start + size)
            return first[start : start + size]
        parts = [first[start:]]
        pieces.popleft()
        missing = size - len(parts[0])
        while len(pieces[0]) < missing:
            parts.append(pieces.popleft())
            missing -= len(parts[-1])
        parts.append(pieces[0][:missing])
        self._advance(pieces[0], missing)
        return b"".join(parts)

    def _advance(self, first: bytes, offset: int) -> None:
        if offset == len(first):
            self._pieces.popleft()
            self._offset = 0
        else:
            self._offset = offset
