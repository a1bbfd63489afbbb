"""The bounded way to a writer: who calls while it is full waits outside, in order.

Holds no change longer than its caller does, and carries none out. Lives on one loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from farhand.domain.job import Argv, CommandCall, Script, What
from farhand.domain.limits import MIB
from farhand.errors import Overloaded
from farhand.ports import AddJob, AddRuns, Append, Outcome, Put
from farhand.storage.writer import Call

QUEUE_CHANGES: Final = 20_000
QUEUE_BYTES: Final = 64 * MIB
DOCUMENT_BYTES: Final = 64 * 1024  # a large one; it is written out later


class Door:
    """Lets a call in when fewer than *changes* changes and *size* bytes are inside.

    One call may exceed both. A caller that leaves while it waits outside takes its call along.
    New jobs do not wait outside, they are refused: their number has no other bound. Everybody else
    has one: an agent's session waits for each of its calls, and sends no more than it was granted.
    """

    def __init__(self, *, changes: int = QUEUE_CHANGES, size: int = QUEUE_BYTES) -> None:
        self._changes = changes
        self._bytes = size
        self._outside: deque[Call] = deque()
        self._futures: dict[Call, asyncio.Future[Sequence[Outcome]]] = {}
        self._inside_changes = 0
        self._inside_bytes = 0

    @property
    def changes(self) -> int:
        """How many changes are inside."""
        return self._inside_changes

    @property
    def size(self) -> int:
        """About how many bytes are inside."""
        return self._inside_bytes

    @property
    def waiting(self) -> int:
        """How many calls wait outside."""
        return len(self._outside)

    async def pass_in(self, call: Call, submit: Callable[[Call], None]) -> Sequence[Outcome]:
        """Hand *call* to *submit* when there is room; return its outcomes or raise its error.

        Raises Overloaded for a new job when there is none.
        """
        if (self._full or self._outside) and any(isinstance(it, AddJob) for it in call.changes):
            msg = "more waits to be written than the store may hold; no job is taken meanwhile"
            raise Overloaded(msg, bound="store_queue", limit=self._bytes)
        future: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()
        self._futures[call] = future
        self._outside.append(call)
        self._let_in(submit)
        return await future

    async def emptied(self) -> None:
        """Wait until nobody waits; for who lets nobody come any more."""
        while waiting := [future for future in self._futures.values() if not future.done()]:
            await asyncio.wait(waiting)

    def settled(self, calls: Sequence[Call], submit: Callable[[Call], None]) -> None:
        """Answer the callers of *calls*, and let in who fits now."""
        for call in calls:
            self._inside_changes -= len(call.changes)
            self._inside_bytes -= _size_of(call)
            future = self._futures.pop(call)
            if future.done():
                continue  # the caller has left
            if call.error is None:
                future.set_result([call.outcomes[n] for n in range(len(call.changes))])
            else:
                future.set_exception(call.error)
        self._let_in(submit)

    @property
    def _full(self) -> bool:
        return self._inside_changes >= self._changes or self._inside_bytes >= self._bytes

    def _let_in(self, submit: Callable[[Call], None]) -> None:
        while self._outside:
            if self._full:
                return
            call = self._outside.popleft()
            if self._futures[call].cancelled():
                del self._futures[call]
                continue
            self._inside_changes += len(call.changes)
            self._inside_bytes += _size_of(call)
            submit(call)


def _size_of(call: Call) -> int:
    """About how many bytes a waiting call holds."""
    size = 0
    for change in call.changes:
        match change:
            case Append():
                size += 512 + len(change.chunk.data)
            case AddJob():
                spec = change.job.spec
                size += 2048 + len(spec.stdin) + _length(spec.what) + 1024 * len(change.runs)
            case AddRuns():
                size += 512 + 1024 * len(change.runs)
            case Put():
                size += DOCUMENT_BYTES
            case _:
                size += 512
    return size


def _length(what: What) -> int:
    match what:
        case Script(text):
            return len(text)
        case Argv(words):
            return sum(map(len, words))
        case CommandCall(_, params):
            return sum(map(len, params.values()))
