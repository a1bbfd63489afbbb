"""What a job that is spread over its hosts does next: a state machine over what the store counts.

Does no I/O and knows no clock. Every decision follows from the rollout and from how its runs stand,
so that whoever looks at them again, after a crash, decides the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar, Final

from farhand.domain.ids import JobId
from farhand.domain.run import RunState
from farhand.domain.spread import Share, Spread

FAILURES: Final = frozenset({RunState.FAILED, RunState.TIMED_OUT})
ABSENT: Final = frozenset({RunState.REFUSED, RunState.EXPIRED, RunState.LOST, RunState.CANCELLED})
BEGUN: Final = frozenset({RunState.QUEUED, RunState.SENT, RunState.RUNNING})
WAITING: Final = frozenset({RunState.HELD, RunState.QUEUED})


class Phase(StrEnum):
    """What a rollout is about."""

    ROLLING = "rolling"  # runs of the wave are begun, or under way
    RETRYING = "retrying"  # the wave rests; its failed runs are made again at `until`
    PAUSING = "pausing"  # between two waves, until `until`
    GATING = "gating"  # between two waves; a job of its own is asked
    ABORTING = "aborting"  # nothing is begun any more; what runs goes on
    DONE = "done"


class HoldWhy(StrEnum):
    """Why a rollout is held."""

    HAND = "hand"  # somebody asked
    PAUSE = "pause"  # so it was asked for, between waves
    NOTHING_WORKED = "nothing_worked"  # no run of the wave succeeded
    GATE_UNKNOWN = "gate_unknown"  # the gate could not be asked, or has no answer


class Ended(StrEnum):
    """Why a rollout is over, or is being ended."""

    COMPLETED = "completed"
    FAILURES = "failures"  # the abort threshold
    GATE = "gate"  # it said no
    HAND = "hand"  # somebody aborted it
    CANCELLED = "cancelled"  # somebody cancelled the job


class Verdict(StrEnum):
    """What a gate's job says."""

    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"  # somebody did not answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """It begins nothing until somebody says `resume`. *by* is who asked, or `rollout`."""

    why: HoldWhy
    by: str
    at: float
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The spread of one job, whose id it bears. Times are wall-clock seconds.

    *sizes* are those of its waves, *wave* counts from 1, *round* how often failed runs of the wave
    were made again, *asked* how often a gate was. A rollout that is held keeps its phase.
    """

    KIND: ClassVar[str] = "rollout"

    id: str
    spread: Spread
    sizes: tuple[int, ...]
    created_at: float
    version: int = 0
    phase: Phase = Phase.ROLLING
    wave: int = 1
    round: int = 0
    until: float | None = None
    gate: str | None = None
    asked: int = 0
    hold: Hold | None = None
    ended: Ended | None = None
    by: str = ""  # who aborted it
    message: str = ""

    @property
    def job(self) -> JobId:
        """The job that it drives."""
        return JobId(self.id)

    @property
    def total(self) -> int:
        """How many hosts it is for."""
        return sum(self.sizes)

    @property
    def due_at(self) -> float | None:
        """When somebody must look at it: while it is not over, always."""
        return None if self.phase is Phase.DONE else self.created_at


@dataclass(frozen=True, slots=True)
class Standing:
    """How the runs of one wave stand; *retries* of them were made because another had failed."""

    wave: int
    counts: Mapping[RunState, int] = field(default_factory=dict)
    retries: int = 0

    def of(self, states: frozenset[RunState]) -> int:
        """How many are in one of *states*."""
        return sum(self.counts.get(state, 0) for state in states)


def counted(rows: Iterable[tuple[int, RunState, int, int]]) -> tuple[Standing, ...]:
    """How each wave stands: rows are a wave, a state, how many runs, how many of them retries."""
    counts: dict[int, dict[RunState, int]] = {}
    again: dict[int, int] = {}
    for wave, state, number, retries in rows:
        here = counts.setdefault(wave, {})
        here[state] = here.get(state, 0) + number
        again[wave] = again.get(wave, 0) + retries
    return tuple(Standing(wave, counts[wave], again[wave]) for wave in sorted(counts))


# --- what is to be done -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Release:
    """Queue *count* held runs of *wave*, in the order they were made."""

    wave: int
    count: int


@dataclass(frozen=True, slots=True)
class Retry:
    """Make a new run, held, for each failed run of *wave* that has none yet."""

    wave: int


@dataclass(frozen=True, slots=True)
class StartGate:
    """Submit the gate's job; asking again with the same *key* is the same job."""

    key: str


@dataclass(frozen=True, slots=True)
class Abort:
    """Cancel what is held or queued; with *gate*, that job too."""

    gate: str | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """No run is begun any more, and none is open: the job is over."""


Action = Release | Retry | StartGate | Abort | Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known beside the runs: the time, a cancelled job, a freeze, the gate's verdict."""

    now: float
    cancelled: bool = False
    frozen: bool = False
    verdict: Verdict = Verdict.PENDING
    told: str = ""  # about the verdict


def step(
    rollout: Rollout, standings: Sequence[Standing], facts: Facts
) -> tuple[Rollout, tuple[Action, ...]]:
    """Return the rollout after one step, and what is to be done before it is written.

    Doing the same twice must change nothing. Step again until neither comes: the same rollout and
    no action mean that there is nothing to do before a run moves or time passes.
    """
    if rollout.phase is Phase.DONE:
        return rollout, ()
    if rollout.phase is Phase.ABORTING:
        return _abort(rollout, standings)
    if facts.cancelled:
        return aborted(rollout, Ended.CANCELLED, "the job was cancelled"), ()
    if (told := _too_many_failures(rollout.spread.abort_after, standings)) is not None:
        return aborted(rollout, Ended.FAILURES, told), ()
    if rollout.hold is not None and not _at_its_end(rollout, standings):
        return rollout, ()
    if (sooner := _not_beyond(rollout, facts.now)) != rollout:
        return sooner, ()
    match rollout.phase:
        case Phase.ROLLING:
            return _roll(rollout, standings, facts)
        case Phase.RETRYING:
            if facts.frozen or facts.now < (rollout.until or 0.0):
                return rollout, ()
            again = replace(rollout, phase=Phase.ROLLING, round=rollout.round + 1, until=None)
            return again, (Retry(rollout.wave),)
        case Phase.PAUSING:
            return _pause(rollout, facts)
        case Phase.GATING:
            return _gate(rollout, facts)


# --- what people and gates say ------------------------------------------------------------


def held(rollout: Rollout, why: HoldWhy, *, by: str, now: float, message: str = "") -> Rollout:
    """The rollout, begun no further until it is resumed. One that is held stays as it is."""
    if rollout.hold is not None:
        return rollout
    return replace(rollout, hold=Hold(why=why, by=by, at=now, message=message))


def resumed(rollout: Rollout) -> Rollout:
    """The rollout, not held any more."""
    return replace(rollout, hold=None)


def aborted(rollout: Rollout, ended: Ended, message: str, *, by: str = "") -> Rollout:
    """The rollout, about to end. One that is ending already stays as it is."""
    if rollout.phase in {Phase.ABORTING, Phase.DONE}:
        return rollout
    return replace(
        rollout,
        phase=Phase.ABORTING,
        ended=ended,
        message=message,
        by=by,
        hold=None,
        until=None,
    )


def gate_key(rollout: Rollout) -> str:
    """What makes a gate's job the same one when it is submitted again."""
    return f"rollout:{rollout.id}:gate:{rollout.wave}:{rollout.asked}"


def gate_unknown(rollout: Rollout, now: float, message: str) -> Rollout:
    """The rollout, held since its gate has no answer; when it is resumed, it is asked again."""
    asked = replace(rollout, gate=None, asked=rollout.asked + 1)
    return held(asked, HoldWhy.GATE_UNKNOWN, by="rollout", now=now, message=message)


# --- the phases ---------------------------------------------------------------------------


def _all(standings: Sequence[Standing], states: frozenset[RunState]) -> int:
    return sum(standing.of(states) for standing in standings)


def _abort(rollout: Rollout, standings: Sequence[Standing]) -> tuple[Rollout, tuple[Action, ...]]:
    if _all(standings, WAITING) or rollout.gate is not None:
        return replace(rollout, gate=None), (Abort(rollout.gate),)
    if _all(standings, BEGUN):
        return rollout, ()
    return replace(rollout, phase=Phase.DONE), (Finish(),)


def _too_many_failures(after: Share | None, standings: Sequence[Standing]) -> str | None:
    """Why it must stop; None while it need not. Hosts that did not execute do not count."""
    failures = _all(standings, FAILURES)
    if after is None or failures == 0:
        return None
    counted = _all(standings, frozenset(RunState) - ABSENT - {RunState.HELD})
    most = after.of(counted)
    if failures < most:
        return None
    return f"{failures} of {counted} executions failed; it stops at {after}, which is {most}"


def _roll(
    rollout: Rollout, standings: Sequence[Standing], facts: Facts
) -> tuple[Rollout, tuple[Action, ...]]:
    here = _here(rollout, standings)
    begun = _all(standings, BEGUN)
    if waiting := here.counts.get(RunState.HELD, 0):
        most = rollout.spread.concurrency
        room = waiting if most is None else min(waiting, most.of(rollout.total) - begun)
        if room <= 0 or facts.frozen:
            return rollout, ()
        return rollout, (Release(rollout.wave, room),)
    if begun:
        return rollout, ()
    if _retries_left(rollout, here):
        until = facts.now + rollout.spread.retry_delay_s
        return replace(rollout, phase=Phase.RETRYING, until=until), ()
    if rollout.wave == len(rollout.sizes):
        done = replace(rollout, phase=Phase.DONE, ended=Ended.COMPLETED, hold=None)
        return done, (Finish(),)
    return _rest(rollout, here, facts.now), ()


def _rest(rollout: Rollout, here: Standing, now: float) -> Rollout:
    """The wave is over, and another comes."""
    pausing = replace(rollout, phase=Phase.PAUSING, until=now + rollout.spread.pause_s)
    if here.counts.get(RunState.SUCCEEDED, 0) == 0:
        told = f"no run of wave {rollout.wave} succeeded; look at it before you go on"
        return held(pausing, HoldWhy.NOTHING_WORKED, by="rollout", now=now, message=told)
    if rollout.spread.by_hand:
        told = f"wave {rollout.wave} is over; resume begins the next"
        return held(pausing, HoldWhy.PAUSE, by="rollout", now=now, message=told)
    return pausing


def _not_beyond(rollout: Rollout, now: float) -> Rollout:
    """No pause is longer than was asked, though the wall clock was set back meanwhile."""
    spread = rollout.spread
    asked = spread.retry_delay_s if rollout.phase is Phase.RETRYING else spread.pause_s
    if rollout.until is None or rollout.until <= now + asked:
        return rollout
    return replace(rollout, until=now + asked)


def _pause(rollout: Rollout, facts: Facts) -> tuple[Rollout, tuple[Action, ...]]:
    if facts.now < (rollout.until or 0.0):
        return rollout, ()
    if rollout.spread.gate is None:
        return _next_wave(rollout), ()
    return replace(rollout, phase=Phase.GATING, until=None), ()


def _gate(rollout: Rollout, facts: Facts) -> tuple[Rollout, tuple[Action, ...]]:
    if rollout.gate is None:
        return rollout, () if facts.frozen else (StartGate(gate_key(rollout)),)
    match facts.verdict:
        case Verdict.PENDING:
            return rollout, ()
        case Verdict.PASSED:
            return _next_wave(rollout), ()
        case Verdict.FAILED:
            return aborted(replace(rollout, gate=None), Ended.GATE, facts.told), ()
        case Verdict.UNKNOWN:
            return gate_unknown(rollout, facts.now, facts.told), ()


def _next_wave(rollout: Rollout) -> Rollout:
    return replace(
        rollout, phase=Phase.ROLLING, wave=rollout.wave + 1, round=0, until=None, gate=None
    )


def _here(rollout: Rollout, standings: Sequence[Standing]) -> Standing:
    found = [standing for standing in standings if standing.wave == rollout.wave]
    return found[0] if found else Standing(rollout.wave)


def _retries_left(rollout: Rollout, here: Standing) -> bool:
    return rollout.round < rollout.spread.retries and here.of(FAILURES) > here.retries


def _at_its_end(rollout: Rollout, standings: Sequence[Standing]) -> bool:
    """Whether there is nothing that a hold could keep back."""
    last = rollout.phase is Phase.ROLLING and rollout.wave == len(rollout.sizes)
    here = _here(rollout, standings)
    left = _all(standings, BEGUN | {RunState.HELD}) or _retries_left(rollout, here)
    return last and not left
