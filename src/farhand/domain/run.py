"""One agent doing one job: its states, and the one table of how they follow each other.

Nothing but `Run.moved_to` moves a run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.output import StreamEnd, StreamName
from farhand.errors import IllegalTransition


class RunState(StrEnum):
    """Where a run stands. `lost` ends the waiting, not the record."""

    HELD = "held"
    QUEUED = "queued"
    SENT = "sent"
    RUNNING = "running"
    LOST = "lost"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """No transition leads out of this state."""
        return not NEXT[self]

    @property
    def resting(self) -> bool:
        """Nobody waits for this run any more: it is final, or lost."""
        return self is RunState.LOST or self.final


_EXECUTED: Final = frozenset(
    {RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT, RunState.CANCELLED}
)

NEXT: Final[Mapping[RunState, frozenset[RunState]]] = {
    RunState.HELD: frozenset({RunState.QUEUED, RunState.CANCELLED}),
    RunState.QUEUED: frozenset(
        {RunState.SENT, RunState.REFUSED, RunState.CANCELLED, RunState.EXPIRED}
    ),
    RunState.SENT: _EXECUTED
    | {RunState.QUEUED, RunState.RUNNING, RunState.REFUSED, RunState.EXPIRED, RunState.LOST},
    RunState.RUNNING: _EXECUTED | {RunState.LOST},
    RunState.LOST: _EXECUTED | {RunState.RUNNING, RunState.REFUSED, RunState.EXPIRED},
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.TIMED_OUT: frozenset(),
    RunState.CANCELLED: frozenset(),
    RunState.REFUSED: frozenset(),
    RunState.EXPIRED: frozenset(),
}


class Why(StrEnum):
    """What brought a run to where it rests: stable codes, explained in docs/concepts/states.md."""

    EXIT = "exit"
    SIGNAL = "signal"
    TIME_LIMIT = "time_limit"
    CANCELLED = "cancelled"
    PROGRAM_NOT_FOUND = "program_not_found"
    NOT_EXECUTABLE = "not_executable"
    NO_SUCH_DIRECTORY = "no_such_directory"
    SPAWN_FAILED = "spawn_failed"
    AGENT_RESTARTED = "agent_restarted"
    AGENT_STOPPED = "agent_stopped"
    AGENT_FAILED = "agent_failed"
    NO_ANSWER = "no_answer"
    OUTPUT_CORRUPT = "output_corrupt"
    NO_CANCEL = "no_cancel"
    CONTACT_LOST = "contact_lost"
    QUEUE_TTL = "queue_ttl"
    POLICY = "policy"
    DRAINED = "drained"
    AGENT_REMOVED = "agent_removed"
    AGENT_FULL = "agent_full"
    ALREADY_RUN = "already_run"
    UNKNOWN_COMMAND = "unknown_command"
    INVALID_PARAMETER = "invalid_parameter"
    NAMESPACES = "namespaces"
    JOURNAL_FULL = "journal_full"
    UNSUPPORTED = "unsupported"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a run used on its host: seconds of CPU, bytes of memory at its peak."""

    user_s: float = 0.0
    system_s: float = 0.0
    max_rss_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the agent says a run ended.

    *duration_s* is monotonic, from spawn to end. *streams* describes each output stream.
    """

    why: Why
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""
    duration_s: float = 0.0
    usage: Usage = field(default_factory=Usage)
    streams: Mapping[StreamName, StreamEnd] = field(default_factory=dict)

    @property
    def state(self) -> RunState:
        """The final state this ending means."""
        match self.why:
            case Why.EXIT if self.exit_code == 0:
                return RunState.SUCCEEDED
            case Why.TIME_LIMIT:
                return RunState.TIMED_OUT
            case Why.CANCELLED:
                return RunState.CANCELLED
            case _:
                return RunState.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One command on one agent. Times are wall-clock seconds of the controller.

    *retry_of* is the run before, on the same agent, which failed. *output_pruned*: it printed
    something, which was deleted since.
    """

    id: RunId
    job: JobId
    agent: AgentId
    agent_name: str
    state: RunState = RunState.QUEUED
    why: Why | None = None
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    pid: int | None = None
    cancel_requested: bool = False
    created_at: float
    queue_until: float  # queued past this: expired
    timeout_s: float
    sent_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    duration_s: float | None = None
    usage: Usage | None = None
    streams: Mapping[StreamName, StreamEnd] = field(default_factory=dict)
    wave: int = 0  # of a job that is spread, from 1; else 0
    retry_of: RunId | None = None
    output_pruned: bool = False

    def whole(self, stored: Mapping[StreamName, int]) -> bool:
        """Whether as much is stored as its end told; else it was pruned since it was read."""
        return all(stored.get(name, 0) >= end.kept for name, end in self.streams.items())

    def moved_to(self, state: RunState, **changes: Any) -> "Run":
        """Return the run in *state*; raise IllegalTransition where the table has no such step."""
        if state not in NEXT[self.state]:
            msg = f"run {self.id} is {self.state.value}; it cannot become {state.value}"
            raise IllegalTransition(msg, run=self.id, state=self.state.value)
        return replace(self, state=state, **changes)
