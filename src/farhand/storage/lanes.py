"""Which of the waiting changes go into the next commit: state first, output in portions.

Only sorts; what is one run's or one agent's keeps its order, whatever lane it is in.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from farhand.domain.ids import AgentId, RunId
from farhand.domain.limits import KIB, MIB
from farhand.ports import (
    Append,
    Change,
    EditAgent,
    JoinAgent,
    MoveRun,
    OpenSession,
    RemoveAgent,
    RequestCancel,
    SetLiveness,
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

    A change is held when its lane is full, or when an earlier change of the same run or agent is
    held. *inline_bytes* of a stream are rows; a chunk that ends behind them needs a file.
    """

    def __init__(
        self, lane: Lane, inline_bytes: int, agent_of: Callable[[RunId], AgentId | None]
    ) -> None:
        self._lane = lane
        self._inline_bytes = inline_bytes
        self._agent_of = agent_of
        self._bytes = 0
        self._bytes_of: dict[RunId, int] = {}
        self._files: set[RunId] = set()
        self._held_runs: set[RunId] = set()
        self._busy_agents: set[AgentId | None] = set()  # some run of theirs is held
        self._held_agents: set[AgentId | None] = set()

    def sort(self, waiting: Iterable[W]) -> tuple[list[W], list[W]]:
        """Return what goes now, and what waits for a later commit."""
        now: list[W] = []
        later: list[W] = []
        for item in waiting:
            (later if self._waits(item.change) else now).append(item)
        return now, later

    def _waits(self, change: Change) -> bool:
        match change:
            case Append(chunk=chunk):
                if self._run_waits(chunk.run):
                    return True
                if self._has_room(change):
                    return False
                self._hold_run(chunk.run)
                return True
            case MoveRun(run=run) | RequestCancel(run=run):
                return self._run_waits(run)
            case JoinAgent():
                return change.agent.id in self._held_agents
            case OpenSession(agent=agent) | RemoveAgent(agent=agent):
                if agent in self._busy_agents or agent in self._held_agents:
                    self._held_agents.add(agent)
                    return True
                return False
            case SetLiveness(agent=agent) | EditAgent(agent=agent):
                return agent in self._held_agents
            case _:
                return False

    def _run_waits(self, run: RunId) -> bool:
        if run in self._held_runs:
            return True
        if self._held_agents and self._agent_of(run) in self._held_agents:
            self._hold_run(run)
            return True
        return False

    def _hold_run(self, run: RunId) -> None:
        self._held_runs.add(run)
        self._busy_agents.add(self._agent_of(run))

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
