"""What one agent's stream means: frames in, effects out.

Does no I/O and knows no clock. It numbers, grants and checks output, and says what is to be
written; the controller's `sessions` writes it and reports back what was kept.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from farhand.domain.ids import RunId
from farhand.domain.limits import Limits
from farhand.domain.messages import (
    Ack,
    Commands,
    FromAgent,
    FromController,
    Goodbye,
    Heartbeat,
    HeartbeatReply,
    Held,
    HeldRun,
    HeldState,
    Hello,
    Namespaces,
    Output,
    Resume,
    RunAccepted,
    RunEnded,
    RunRefused,
    RunStarted,
    Settled,
    UnknownFrame,
    Unsupported,
)
from farhand.domain.output import Chunk, StreamName
from farhand.domain.run import Ending, Run, RunState, Why
from farhand.errors import ProtocolError

# --- effects ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Say:
    """Send this to the agent."""

    order: FromController


@dataclass(frozen=True, slots=True)
class Keep:
    """Store this chunk, then report `kept` or `keep_failed`."""

    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Move:
    """The agent says the run is here now. Written only if the run is in one of *expect*."""

    run: RunId
    expect: frozenset[RunState]
    to: RunState
    why: Why | None = None
    message: str | None = None
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """The run ended and all its output was handed to Keep before. Settle it when written.

    *sha256* are digests of what was received, for the streams where all of it came this way.
    """

    run: RunId
    ending: Ending
    sha256: Mapping[StreamName, str]


@dataclass(frozen=True, slots=True)
class Reconcile:
    """The agent told everything it holds: compare it with the store."""

    held: tuple[HeldRun, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question that was asked with this number."""

    request: int
    value: Commands | Namespaces


@dataclass(frozen=True, slots=True)
class Parted:
    """The agent said goodbye."""

    goodbye: Goodbye


Effect = Say | Keep | Move | Finish | Reconcile | Answer | Parted


# --- grants -------------------------------------------------------------------------------


class Grants:
    """The bytes that all agents together may send before they are stored.

    Each stream has a small reserve of its own, so that nobody starves; what goes beyond it comes
    from one bounded pool. A stream's window grows while it uses it up.
    """

    __slots__ = ("_limits", "free")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.free = limits.grants_bytes

    @property
    def reserve(self) -> int:
        """Bytes every stream may send without asking the pool."""
        return self._limits.grant_reserve_bytes

    def settle(self, lane: "Lane", kept: int) -> int:
        """Everything below *kept* is stored: return how far the stream may send now."""
        used = lane.up_to - kept < lane.window // 2
        if used and lane.window < self._limits.grant_window_bytes:
            lane.window = min(lane.window * 4, self._limits.grant_window_bytes)
        self.free += lane.charged
        lane.kept = kept
        more = min(max(lane.window - self.reserve, 0), self.free // 2)
        lane.up_to = max(lane.up_to, kept + self.reserve + more)
        lane.charged = max(0, lane.up_to - kept - self.reserve)
        self.free -= lane.charged
        return lane.up_to

    def release(self, lane: "Lane") -> None:
        """The stream is over: give back what it held."""
        self.free += lane.charged
        lane.charged = 0


class Lane:
    """One stream of one run on its way through the controller. Offsets in kept bytes."""

    __slots__ = ("asked", "charged", "digest", "kept", "received", "up_to", "window")

    def __init__(self, kept: int, reserve: int) -> None:
        self.kept = kept  # stored
        self.received = kept  # handed to Keep
        self.window = reserve
        self.up_to = kept + reserve
        self.charged = 0  # bytes of the pool
        self.asked = False  # a Resume is under way; what is beyond a gap was sent before it
        # Only a stream that came whole through this session has a digest here.
        self.digest = hashlib.sha256() if kept == 0 else None


@dataclass(slots=True)
class _Active:
    """A run that this session may hear of."""

    lanes: dict[StreamName, Lane]
    cancelling: bool = False
    ends: int = 0  # how often it ended with output missing, since the last fresh byte


# --- the machine --------------------------------------------------------------------------

_ACCEPTED_FROM = frozenset({RunState.SENT, RunState.LOST})
_OPEN = frozenset({RunState.SENT, RunState.RUNNING, RunState.LOST})
_HELD_MOST = 100_000  # more runs than an agent can hold
_ASK_MOST = 3  # times for output that a run ended without

NO_ANSWER = (
    "the agent's stream ended before its answer came, and such an agent keeps none; "
    "the command may have run to its end, or may still run on its host"
)


class AgentSession:
    """The rules of one stream after its Hello. Not shared between streams."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants
        self._active: dict[RunId, _Active] = {}
        self._held: list[HeldRun] | None = []  # None once the list was closed
        self.heartbeats = 0
        self.last_heartbeat = Heartbeat(seq=0)

    @property
    def reconciled(self) -> bool:
        """The agent has told all it holds."""
        return self._held is None

    @property
    def runs(self) -> Iterable[RunId]:
        """The runs this session may hear of."""
        return self._active.keys()

    @property
    def cancelling(self) -> list[RunId]:
        """Runs whose cancel has been sent and that are not settled."""
        return [run for run, active in self._active.items() if active.cancelling]

    def knows(self, run: RunId) -> bool:
        """This session has started or resumed the run, and it is not settled."""
        return run in self._active

    # What the controller tells the machine.

    def begin(
        self, run: RunId, kept: Mapping[StreamName, int] | None = None
    ) -> dict[StreamName, int]:
        """The run is started (nothing kept) or resumed here; return how far it may send."""
        self.forget(run)
        offsets = kept or {}
        lanes = {
            name: Lane(offsets.get(name, 0), self._grants.reserve)
            for name in (StreamName.STDOUT, StreamName.STDERR)
        }
        self._active[run] = _Active(lanes)
        return {name: lane.up_to for name, lane in lanes.items()}

    def cancel(self, run: RunId) -> bool:
        """Note that a cancel is on its way; False when the run is not here."""
        active = self._active.get(run)
        if active is not None:
            active.cancelling = True
        return active is not None

    def kept(self, run: RunId, stream: StreamName, through: int) -> list[Effect]:
        """Bytes below *through* are stored: acknowledge them and grant more."""
        active = self._active.get(run)
        if active is None:
            return []
        lane = active.lanes[stream]
        up_to = self._grants.settle(lane, through)
        if lane.received < through:  # it was asked for again while it was being stored
            lane.received, lane.digest = through, None
        return [Say(Ack(run, stream, through, up_to))]

    def keep_failed(self, run: RunId, stored: Mapping[StreamName, int]) -> list[Effect]:
        """What was handed over last is not stored: ask for the same bytes again."""
        active = self._active.get(run)
        if active is None:
            return []
        for name, lane in active.lanes.items():
            lane.received = lane.kept = stored.get(name, 0)
            lane.digest = hashlib.sha256() if lane.received == 0 else None
            lane.up_to = max(lane.up_to, lane.kept + self._grants.reserve)
            lane.asked = True
        return [
            Say(
                Resume(
                    run,
                    {name: lane.received for name, lane in active.lanes.items()},
                    {name: lane.up_to for name, lane in active.lanes.items()},
                )
            )
        ]

    def settled(self, run: RunId) -> list[Effect]:
        """The run's end is stored: the agent may forget it."""
        self.forget(run)
        return [Say(Settled(run))]

    def forget(self, run: RunId) -> None:
        """This session hears no more of the run."""
        active = self._active.pop(run, None)
        if active is not None:
            for lane in active.lanes.values():
                self._grants.release(lane)

    def close(self) -> None:
        """The stream is over: give every grant back."""
        for run in list(self._active):
            self.forget(run)

    # What the agent tells the machine.

    def handle(self, frame: FromAgent) -> list[Effect]:
        """One frame; raises ProtocolError when the agent breaks the rules."""
        match frame:
            case Output(chunk):
                return self._on_output(chunk)
            case Heartbeat():
                self.heartbeats += 1
                self.last_heartbeat = frame
                return [Say(HeartbeatReply(frame.seq))]
            case RunStarted(run) | RunEnded(run) | RunRefused(run) if run not in self._active:
                return []  # settled meanwhile; or it is not this agent's, and not its to move
            case RunStarted(run, pid):
                return [Move(run, _ACCEPTED_FROM, RunState.RUNNING, pid=pid)]
            case RunEnded(run, ending):
                return self._on_ended(run, ending)
            case RunRefused(run, why, message):
                return [Move(run, _ACCEPTED_FROM, RunState.REFUSED, why, message)]
            case RunAccepted():
                return []
            case Held(runs, last):
                return self._on_held(runs, last=last)
            case Commands(request) | Namespaces(request):
                return [Answer(request, frame)]
            case Goodbye():
                return [Parted(frame)]
            case UnknownFrame(number):
                return [Say(Unsupported(number))]
            case Unsupported():
                return []
            case Hello():
                raise ProtocolError("a second Hello on the same stream")

    def _on_held(self, runs: tuple[HeldRun, ...], *, last: bool) -> list[Effect]:
        if self._held is None:
            raise ProtocolError("the list of held runs was closed before")
        self._held.extend(runs)
        if len(self._held) > _HELD_MOST:
            raise ProtocolError(f"the agent holds more than {_HELD_MOST} runs")
        if not last:
            return []
        held, self._held = self._held, None
        return [Reconcile(tuple(held))]

    def _on_output(self, chunk: Chunk) -> list[Effect]:
        active = self._active.get(chunk.run)
        if active is None:
            return []  # settled or stopped meanwhile; Settled or Stop is on its way
        lane = active.lanes[chunk.stream]
        if chunk.end > lane.up_to:
            msg = f"{chunk.run} sent {chunk.stream} up to {chunk.end}; granted was {lane.up_to}"
            raise ProtocolError(msg)
        if chunk.offset > lane.received:
            return [] if lane.asked else self._ask_again(chunk.run, active)
        lane.asked = False
        fresh = chunk.from_offset(lane.received)
        if not fresh.data:
            return [Say(Ack(chunk.run, chunk.stream, lane.kept, lane.up_to))]
        lane.received = fresh.end
        active.ends = 0
        if lane.digest is not None:
            lane.digest.update(fresh.data)
        return [Keep(fresh)]

    def _on_ended(self, run: RunId, ending: Ending) -> list[Effect]:
        active = self._active[run]
        missing = {
            name: end.kept - active.lanes[name].received
            for name, end in ending.streams.items()
            if active.lanes[name].received < end.kept
        }
        if missing:
            active.ends += 1
            if active.ends <= _ASK_MOST:
                return self._ask_again(run, active)
            return [Finish(run, _lacking(ending, missing), {})]
        digests = {
            name: lane.digest.hexdigest() for name, lane in active.lanes.items() if lane.digest
        }
        return [Finish(run, ending, digests)]

    def _ask_again(self, run: RunId, active: _Active) -> list[Effect]:
        return self.keep_failed(run, {name: lane.kept for name, lane in active.lanes.items()})


def _lacking(ending: Ending, missing: Mapping[StreamName, int]) -> Ending:
    """The end of a run of whose output neither side has all, such as after a restored backup."""
    lost = " and ".join(f"{size} bytes of {name}" for name, size in missing.items())
    told = f"the agent does not have {lost} any more, and they are not stored"
    return replace(ending, why=Why.OUTPUT_CORRUPT, message=told, streams={})


# --- coming back --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Homecoming:
    """What a comparison of the agent's journal with the store asks for.

    *resume*: open here and held there. *settle*: final here. *stop*: not known here.
    *moves*: what the agent cannot tell any more; sent but never journalled is queued again.
    """

    resume: list[Run] = field(default_factory=list)
    settle: list[RunId] = field(default_factory=list)
    stop: list[RunId] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)


def compare(
    held: Iterable[HeldRun], stored: Mapping[RunId, Run], *, journals: bool = True
) -> Homecoming:
    """Compare what an agent holds with its runs in the store.

    *stored* has every open or lost run of the agent, and each held run that exists. Of an agent
    that *journals* nothing nobody can say what became of a run that was sent: it ends.
    """
    found = Homecoming()
    there = {run.run: run.state for run in held}
    for run, state in there.items():
        known = stored.get(run)
        if known is None:
            found.stop.append(run)
        elif known.state in _OPEN:
            found.resume.append(known)
        elif known.state.final and state in {HeldState.ENDED, HeldState.REFUSED}:
            found.settle.append(run)
        else:
            found.stop.append(run)
    for run, known in stored.items():
        if run not in there and known.state in _OPEN:
            found.moves.append(_untold(known) if journals else _unknowable(known))
    return found


def _unknowable(run: Run) -> Move:
    """Where a run goes of which its agent cannot tell anything any more."""
    only = frozenset({run.state})
    return Move(run.id, only, RunState.FAILED, Why.NO_ANSWER, NO_ANSWER)


def _untold(run: Run) -> Move:
    """Where a run goes of which the returning agent has no record."""
    only = frozenset({run.state})
    match run.state:
        case RunState.SENT:
            return Move(run.id, only, RunState.QUEUED)
        case RunState.LOST if run.started_at is None:
            return Move(run.id, only, RunState.EXPIRED, Why.CONTACT_LOST, "it was never started")
        case _:
            told = "the agent came back without a record of this run"
            return Move(run.id, only, RunState.FAILED, Why.AGENT_RESTARTED, told)
