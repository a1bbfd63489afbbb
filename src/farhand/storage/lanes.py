"""Which of the waiting changes go into the next commit: state first, output in portions.

Only sorts; nobody can tell from what it reads that others went first.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from farhand.domain.ids import RunId
from farhand.domain.limits import KIB, MIB
from farhand.ports import (
    AddJob,
    Append,
    CancelJob,
    Change,
    MoveRun,
    OpenSession,
    Prune,
    PruneOutput,
    RemoveAgent,
    RequestCancel,
)


class Waiting(Protocol):
    """Something that holds a change."""

    @property
    def change(self) -> Change: ...


W = TypeVar("W", bound=Waiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What one commit takes of output: bytes in all, bytes of one run, and runs with files.

    A first chunk is always taken, however large. Everything else is taken without a bound: the
    queue has one.
    """

    bytes_in_all: int
    bytes_of_run: int
    files: int


STATE: Final = Lane(bytes_in_all=1 * MIB, bytes_of_run=128 * KIB, files=0)
OUTPUT: Final = Lane(bytes_in_all=4 * MIB, bytes_of_run=1 * MIB, files=32)


class Sorter(Generic[W]):
    """Takes changes for one commit, in order, and holds back what must wait.

    A chunk is held when its lane is full, and with it all that is asked of its run later. A
    change of the run's agent or job that meets it waits too, and then everything behind waits:
    that is rare, and soon over. Only what prunes never waits, for it is about what rests.

    *inline_bytes* of a stream are rows; a chunk that ends behind them needs a file. *owners_of*
    tells the agent and the job of a run.
    """

    def __init__(
        self, lane: Lane, inline_bytes: int, owners_of: Callable[[RunId], Iterable[str]]
    ) -> None:
        self._lane = lane
        self._inline_bytes = inline_bytes
        self._owners_of = owners_of
        self._bytes = 0
        self._bytes_of: dict[RunId, int] = {}
        self._files: set[RunId] = set()
        self._held: set[str] = set()  # runs that wait, with their agents and jobs
        self._all_wait = False
        self._added: list[AddJob] = []

    def sort(self, waiting: Iterable[W]) -> tuple[list[W], list[W]]:
        """Return what goes now, and what waits for a later commit."""
        now: list[W] = []
        later: list[W] = []
        for item in waiting:
            (later if self._waits(item.change) else now).append(item)
        return now, later

    def _waits(self, change: Change) -> bool:
        match change:
            case Prune() | PruneOutput():
                return False
            case _ if self._all_wait:
                return True
            case Append(chunk=chunk):
                if chunk.run not in self._held and self._has_room(change):
                    return False
                self._hold(chunk.run)
                return True
            case MoveRun(run=run) | RequestCancel(run=run):
                return run in self._held
            case OpenSession(agent=owner) | RemoveAgent(agent=owner) | CancelJob(job=owner):
                self._all_wait = owner in self._held
            case AddJob(runs=runs):
                self._all_wait = bool(self._held) and any(run.id in self._held for run in runs)
                self._added.append(change)
            case _:
                pass
        return self._all_wait

    def _hold(self, run: RunId) -> None:
        """Let a run wait, with its agent and job: these may be as new as this commit."""
        new = (it for added in self._added for it in added.runs if it.id == run)
        owners = ((it.agent, it.job) for it in new)
        self._held.update((run, *self._owners_of(run), *next(owners, ())))

    def _has_room(self, append: Append) -> bool:
        run, size = append.chunk.run, len(append.chunk.data)
        of_run = self._bytes_of.get(run, 0)
        in_file = append.chunk.end > self._inline_bytes
        if in_file and run not in self._files and len(self._files) >= self._lane.files:
            return False
        if of_run and of_run + size > self._lane.bytes_of_run:
            return False
        if self._bytes and self._bytes + size > self._lane.bytes_in_all:
            return False
        self._bytes += size
        self._bytes_of[run] = of_run + size
        if in_file:
            self._files.add(run)
        return True
