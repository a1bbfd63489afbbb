"""A store that fails, stalls or does not answer when it is told to, and a witness of its commits.

What it holds outlives every controller. The witness knows nothing that was not committed.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from farhand.domain.ids import AgentId, JobId, OrgId, RunId
from farhand.domain.job import JobSpec
from farhand.domain.output import StreamName
from farhand.domain.run import NEXT, Run, RunState
from farhand.errors import DataDirUnwritable, StoreUnavailable
from farhand.ports import (
    Added,
    AddJob,
    Append,
    CancelJob,
    Change,
    Kept,
    Moved,
    MoveRun,
    Opened,
    OpenSession,
    Outcome,
    RunFilter,
    Store,
)
from farhand.storage import open_storage
from farhand.storage.memory import MemoryStore

T = TypeVar("T")

ORG = OrgId("org_00000000000000000000000001")
INLINE = 24  # bytes of a stream in the database, so that small outputs reach files


class Shelf(Protocol):
    """Where a store really is."""

    def store(self) -> Store: ...
    async def do(self, work: Coroutine[Any, Any, T]) -> T: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...


class MemoryShelf:
    """Memory that outlives its process."""

    def __init__(self) -> None:
        self._store = MemoryStore()

    def store(self) -> Store:
        return self._store

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        return await work

    def reopen(self) -> None:
        pass

    def close(self) -> None:
        pass


class SqliteShelf:
    """SQLite on a loop of its own: whoever asks stands still until it has answered."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="shelf")
        self._thread.start()
        self._stack = AsyncExitStack()
        self._store = self._wait(self._open())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> Store:
        storage = await self._stack.enter_async_context(
            open_storage(self._directory, inline_bytes=INLINE)
        )
        return await storage.store(ORG)

    def store(self) -> Store:
        return self._store

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._wait(work)

    def reopen(self) -> None:
        self._wait(self._stack.aclose())
        self._store = self._wait(self._open())

    def close(self) -> None:
        self._wait(self._stack.aclose())
        self._wait(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Mood(Enum):
    """What the store does with whoever asks it."""

    GOOD = auto()
    DOWN = auto()
    FULL = auto()  # the disk is
    DEAF = auto()  # commits, and answers that it could not
    LATE = auto()  # commits when it is let
    MUTE = auto()  # commits, and answers when it is let


@dataclass(slots=True)
class Known:
    """A run, as the commits tell it."""

    run: Run
    spec: JobSpec
    history: list[RunState]
    stored: dict[StreamName, int] = field(default_factory=lambda: dict.fromkeys(StreamName, 0))
    cancel_at: float | None = None


class Vault:
    """The Store of the controllers."""

    def __init__(self, shelf: Shelf, now: Callable[[], float]) -> None:
        self.writing = Mood.GOOD
        self.spared: tuple[type, ...] = ()  # changes that are written all the same
        self.reading = Mood.GOOD  # GOOD, DOWN or MUTE: what it says may be old
        self.known: dict[RunId, Known] = {}
        self.jobs: list[JobId] = []
        self.epochs: dict[AgentId, int] = {}
        self._shelf = shelf
        self._now = now
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def spoiled(self) -> bool:
        return self.writing is not Mood.GOOD or self.reading is not Mood.GOOD

    def release(self) -> None:
        """Be good again, and answer those who wait."""
        self.writing = self.reading = Mood.GOOD
        self.spared = ()
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def reopen(self) -> None:
        """The process that used it is dead; the next one opens what is there."""
        self._shelf.reopen()

    def close(self) -> None:
        self._shelf.close()

    async def look(self, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
        """Read what is there, whatever the mood."""
        return await self._shelf.do(work(self._shelf.store()))

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    # --- writing --------------------------------------------------------------------------

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        spared = any(isinstance(change, self.spared) for change in changes)
        mood = Mood.GOOD if spared else self.writing
        if mood is Mood.DOWN:
            raise StoreUnavailable("the store is down")
        if mood is Mood.FULL:
            raise DataDirUnwritable("the disk is full")
        if mood is Mood.LATE:
            await self._wait()
        outcomes = await self._shelf.do(self._shelf.store().apply(changes))
        for change, outcome in zip(changes, outcomes, strict=True):
            await self._witness(change, outcome)
        if mood is Mood.DEAF:
            raise StoreUnavailable("the store does not know what became of it")
        if mood is Mood.MUTE:
            await self._wait()
        return outcomes

    async def _witness(self, change: Change, outcome: Outcome) -> None:
        match change, outcome:
            case AddJob(job=job, runs=runs), Added() if job.id not in self.jobs:
                self.jobs.append(job.id)
                for run in runs:
                    self.known[run.id] = Known(run, job.spec, [run.state])
            case OpenSession(agent=agent), Opened(epoch):
                assert epoch > self.epochs.get(agent, 0), "epochs grow"
                self.epochs[agent] = epoch
            case Append(chunk=chunk, agent=agent, epoch=epoch), Kept(through):
                known = self.known[chunk.run]
                assert known.stored[chunk.stream] <= through, "output never shrinks"
                known.stored[chunk.stream] = through
                self._check_session(known.run, agent, epoch)
            case MoveRun(agent=agent, epoch=epoch), Moved(run):
                self._check_session(run, agent, epoch)
                self._note(run)
            case _, Moved(run):
                self._note(run)
            case CancelJob(job=job), _:
                found = await self.look(lambda store: store.runs(RunFilter(job=job), limit=1000))
                for run in found.items:
                    self._note(run)
            case _:
                pass

    def _check_session(self, run: Run, agent: AgentId | None, epoch: int | None) -> None:
        if epoch is not None:
            assert run.agent == agent, "a session writes to the runs of its agent alone"
            assert epoch == self.epochs[run.agent], "a fenced session changes nothing"

    def _note(self, run: Run) -> None:
        known = self.known[run.id]
        before, known.run = known.history[-1], run
        if run.cancel_requested and known.cancel_at is None:
            known.cancel_at = self._now()
        if run.state is not before:
            assert run.state in NEXT[before], f"{before} -> {run.state}"
            known.history.append(run.state)

    # --- reading --------------------------------------------------------------------------

    @property
    def front(self) -> Store:
        """The vault as what it is to a controller: reads go the way of `__getattr__`."""
        return cast("Store", self)

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def read(*args: Any, **options: Any) -> Any:
            if self.reading is Mood.DOWN:
                raise StoreUnavailable("the store cannot be read")
            mute = self.reading is Mood.MUTE
            found = await self._shelf.do(getattr(self._shelf.store(), name)(*args, **options))
            if mute:
                await self._wait()
            return found

        return read
