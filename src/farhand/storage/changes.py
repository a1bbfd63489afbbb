"""What each change means: the rules every store keeps, in one place.

Looks at and writes rows through a Ledger; never asks where they live, and does no I/O itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, assert_never

from farhand.domain.agent import Agent, Liveness
from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.job import Job
from farhand.domain.output import StreamName
from farhand.domain.run import NEXT, Run, RunState, Why
from farhand.ports import (
    Added,
    AddJob,
    AddRuns,
    Append,
    CancelJob,
    Change,
    Clamped,
    ClampTimes,
    Document,
    Done,
    Drop,
    EditAgent,
    EndRollout,
    Event,
    Fenced,
    Freed,
    Full,
    Gap,
    JoinAgent,
    Kept,
    Lost,
    Moved,
    MoveRun,
    Opened,
    OpenSession,
    Outcome,
    Prune,
    Pruned,
    PruneOutput,
    Put,
    Record,
    RemoveAgent,
    Repeat,
    Repeated,
    RequestCancel,
    SetLiveness,
)

RESTING: Final = frozenset(state for state in RunState if state.resting)
FINAL: Final = frozenset(state for state in RunState if state.final)
OPEN: Final = frozenset(RunState) - RESTING
WAITING: Final = frozenset({RunState.HELD, RunState.QUEUED})


@dataclass(slots=True)
class Tally:
    """The moving part of a job: runs by state, the number of its last event, a wish to cancel.

    *output_bytes* are kept of what its runs printed. *spared*: all of that which may be deleted is.
    """

    counts: dict[RunState, int]
    seq: int = 0
    cancel_requested: bool = False
    rolling: bool = False
    output_bytes: int = 0
    spared: bool = False

    @property
    def open(self) -> int:
        """How many runs are neither final nor lost."""
        return sum(n for state, n in self.counts.items() if state not in RESTING)

    @property
    def left(self) -> int:
        """What somebody waits for: open runs, and those that a rollout may still begin."""
        return self.open + self.rolling


class Ledger(Protocol):
    """The rows a change looks at. What is put is seen by the next change.

    `tally` returns the one mutable value of a job; a caller that changed it says so with
    `put_tally`. `keep` takes bytes that begin exactly where the stream ends.
    """

    def tally(self, job: JobId) -> Tally | None: ...

    def put_tally(self, job: JobId, tally: Tally) -> None: ...

    def add_job(self, job: Job, runs: Sequence[Run], tally: Tally) -> None: ...

    def add_runs(self, job: JobId, runs: Sequence[Run]) -> None: ...

    def repeat(self, by: str, key: str) -> tuple[Repeat, JobId] | None: ...

    def put_repeat(self, repeat: Repeat, job: JobId) -> None: ...

    def run(self, run: RunId) -> Run | None: ...

    def put_run(self, run: Run) -> None: ...

    def open_runs(self) -> int: ...

    def open_runs_of(self, agent: AgentId) -> Sequence[Run]: ...

    def open_runs_in(self, job: JobId) -> Sequence[Run]: ...

    def kept(self, run: RunId, stream: StreamName) -> int: ...

    def keep(self, run: RunId, stream: StreamName, offset: int, data: bytes) -> None: ...

    def add_event(self, job: JobId, event: Event) -> None: ...

    def epoch(self, agent: AgentId) -> int | None: ...

    def agent(self, agent: AgentId) -> Agent | None: ...

    def put_agent(self, agent: Agent) -> None: ...

    def see_agent(self, agent: AgentId, liveness: Liveness, at: float) -> None:
        """Write how an agent that is there stands; it was seen at *at*, or later."""
        ...

    def drop_agent(self, agent: AgentId) -> None: ...

    def add_record(self, record: Record) -> None: ...

    def prune(self, prune: Prune) -> int: ...

    def prune_output(self, prune: PruneOutput) -> tuple[int, int]:
        """Carry out PruneOutput; return of how many runs it deleted how many bytes."""
        ...

    def document_version(self, kind: type[Document], id_: str) -> int:
        """0 when there is none."""
        ...

    def put_document(self, document: Document, version: int) -> None: ...

    def drop_document(self, kind: type[Document], id_: str) -> None: ...

    def clamp(self, at: float) -> tuple[int, int]:
        """Carry out ClampTimes; return how many agents and runs it changed."""
        ...


def carry_out(change: Change, ledger: Ledger) -> Outcome:
    """Write *change* if the rows allow it, and say what became of it."""
    match change:
        case MoveRun():
            return _move_run(change, ledger)
        case Append():
            return _append(change, ledger)
        case SetLiveness():
            return _set_liveness(change, ledger)
        case AddJob():
            return _add_job(change, ledger)
        case RequestCancel():
            return _request_cancel(change, ledger)
        case CancelJob():
            return _cancel_job(change, ledger)
        case OpenSession():
            return _open_session(change, ledger)
        case JoinAgent():
            if ledger.epoch(change.agent.id) is None:
                ledger.put_agent(change.agent)
            return Done()
        case EditAgent():
            return _edit_agent(change, ledger)
        case RemoveAgent():
            return _remove_agent(change, ledger)
        case Record():
            ledger.add_record(change)
            return Done()
        case Prune():
            return Pruned(ledger.prune(change))
        case PruneOutput():
            return Freed(*ledger.prune_output(change))
        case ClampTimes():
            return Clamped(*ledger.clamp(change.at))
        case AddRuns():
            return _add_runs(change, ledger)
        case EndRollout():
            return _end_rollout(change, ledger)
        case Put():
            return _put(change.document, ledger)
        case Drop():
            if ledger.document_version(change.kind, change.id) == 0:
                return Lost()
            ledger.drop_document(change.kind, change.id)
            return Done()
        case _:
            assert_never(change)


# --- jobs ---------------------------------------------------------------------------------


def _add_job(change: AddJob, ledger: Ledger) -> Outcome:
    job, repeat = change.job, change.repeat
    if ledger.tally(job.id) is not None:
        return Added()  # sent again after an answer that was lost
    if repeat is not None:
        known = ledger.repeat(repeat.by, repeat.key)
        if known is not None and known[0].until > job.created_at:
            return Repeated(known[1], same=known[0].digest == repeat.digest)
    tally = Tally({}, cancel_requested=job.cancel_requested, rolling=job.rolling)
    for run in change.runs:
        tally.counts[run.state] = tally.counts.get(run.state, 0) + 1
    if change.open_runs is not None:
        there = ledger.open_runs()
        if there + tally.open > change.open_runs:
            return Full(there)
    ledger.add_job(job, change.runs, tally)
    if repeat is not None:
        ledger.put_repeat(repeat, job.id)
    if change.record is not None:
        ledger.add_record(change.record)
    for document in change.documents:
        _put(document, ledger)
    if tally.left == 0:
        _write_event(Event(seq=1, kind="end", at=job.created_at), job.id, tally, ledger)
    return Added()


def _add_runs(change: AddRuns, ledger: Ledger) -> Outcome:
    tally = ledger.tally(change.job)
    if tally is None or not tally.rolling or tally.cancel_requested:
        return Lost()
    fresh = [run for run in change.runs if ledger.run(run.id) is None]
    ledger.add_runs(change.job, fresh)
    for run in fresh:
        tally.counts[run.state] = tally.counts.get(run.state, 0) + 1
        told = Event(seq=tally.seq + 1, kind="run", at=change.at, run_id=run.id, run=run)
        _write_event(told, change.job, tally, ledger)
    return Added()


def _end_rollout(change: EndRollout, ledger: Ledger) -> Outcome:
    tally = ledger.tally(change.job)
    if tally is None or not tally.rolling:
        return Lost()
    tally.rolling = False
    ledger.put_tally(change.job, tally)
    if tally.left == 0:
        _write_event(Event(seq=tally.seq + 1, kind="end", at=change.at), change.job, tally, ledger)
    return Done()


def _cancel_job(change: CancelJob, ledger: Ledger) -> Outcome:
    tally = ledger.tally(change.job)
    if tally is None:
        return Lost()
    tally.cancel_requested = True
    ledger.put_tally(change.job, tally)
    for run in ledger.open_runs_in(change.job):
        _cancel(run, change.at, ledger)
    return Done()


# --- runs ---------------------------------------------------------------------------------


def _move_run(change: MoveRun, ledger: Ledger) -> Outcome:
    run = ledger.run(change.run)
    if run is None:
        return Lost()
    if (barred := _barred(change, run, ledger)) is not None:
        return barred
    if run.state not in change.expect or change.to not in NEXT[run.state]:
        return Lost(run.state)
    for stream, end in (change.streams or {}).items():
        if (stored := ledger.kept(run.id, stream)) < end.kept:
            return Gap(stored)
    if change.to is RunState.QUEUED and run.cancel_requested:
        wish = {"why": Why.CANCELLED}
        return Moved(_moved(run, RunState.CANCELLED, change.at, wish, ledger))
    return Moved(_moved(run, change.to, change.at, _told(change), ledger))


def _barred(change: MoveRun | Append, run: Run, ledger: Ledger) -> Outcome | None:
    """Why the session that wants to write may not; None when it may, or none is named."""
    if change.agent is None and change.epoch is None:
        return None
    if change.agent != run.agent:
        return Lost()  # it is told no more than of a run that is not there
    newest = ledger.epoch(run.agent)
    return None if newest is not None and newest == change.epoch else Fenced()


def _told(change: MoveRun) -> dict[str, Any]:
    """The fields of a run that *change* sets."""
    told = {
        "why": change.why,
        "message": change.message,
        "exit_code": change.exit_code,
        "signal": change.signal,
        "pid": change.pid,
        "duration_s": change.duration_s,
        "usage": change.usage,
        "streams": change.streams,
    }
    return {name: value for name, value in told.items() if value is not None}


def _moved(run: Run, to: RunState, at: float, fields: Mapping[str, Any], ledger: Ledger) -> Run:
    """Write the run in its new state, and the events that tell of it."""
    moved = run.moved_to(to, **{**_stamps(run, to, at), **fields})
    ledger.put_run(moved)
    tally = ledger.tally(run.job)
    if tally is None:
        return moved  # a run without its job cannot be; losing its event is the least harm
    tally.spared = tally.spared and run.state is not RunState.LOST
    tally.counts[run.state] = tally.counts.get(run.state, 1) - 1
    tally.counts[to] = tally.counts.get(to, 0) + 1
    told = Event(seq=tally.seq + 1, kind="run", at=at, run_id=run.id, run=moved)
    _write_event(told, run.job, tally, ledger)
    if to in RESTING and run.state not in RESTING and tally.left == 0:
        _write_event(Event(seq=tally.seq + 1, kind="end", at=at), run.job, tally, ledger)
    return moved


def _stamps(run: Run, to: RunState, at: float) -> dict[str, Any]:
    """What goes with a state by itself: its times, and no reason to rest while it does not."""
    stamps: dict[str, Any] = {} if to in RESTING else {"why": None, "message": ""}
    if to is RunState.QUEUED and run.state is RunState.HELD:
        stamps["queue_until"] = at + (run.queue_until - run.created_at)
    elif to is RunState.QUEUED:
        stamps["sent_at"] = None
    elif to is RunState.SENT:
        stamps["sent_at"] = at
    elif to is RunState.RUNNING and run.started_at is None:
        stamps["started_at"] = at
    elif to in FINAL:
        stamps["ended_at"] = at
    return stamps


def _write_event(event: Event, job: JobId, tally: Tally, ledger: Ledger) -> None:
    tally.seq = event.seq
    ledger.put_tally(job, tally)
    ledger.add_event(job, event)


def _append(change: Append, ledger: Ledger) -> Outcome:
    chunk = change.chunk
    run = ledger.run(chunk.run)
    if run is None:
        return Lost()
    if (barred := _barred(change, run, ledger)) is not None:
        return barred
    if run.state in FINAL:
        return Lost(run.state)
    stored = ledger.kept(chunk.run, chunk.stream)
    if chunk.offset > stored:
        return Gap(stored)
    fresh = chunk.from_offset(stored)
    if not fresh.data:
        return Kept(stored)
    ledger.keep(chunk.run, chunk.stream, stored, fresh.data)
    tally = ledger.tally(run.job)
    if tally is not None:
        tally.output_bytes += len(fresh.data)
        event = Event(
            seq=tally.seq + 1,
            kind="output",
            at=change.at,
            run_id=run.id,
            stream=chunk.stream,
            offset=stored,
            length=len(fresh.data),
        )
        _write_event(event, run.job, tally, ledger)
    return Kept(fresh.end)


def _request_cancel(change: RequestCancel, ledger: Ledger) -> Outcome:
    run = ledger.run(change.run)
    if run is None:
        return Lost()
    if run.state in FINAL:
        return Lost(run.state)
    return Moved(_cancel(run, change.at, ledger))


def _cancel(run: Run, at: float, ledger: Ledger) -> Run:
    if run.state in WAITING:
        wish = {"cancel_requested": True, "why": Why.CANCELLED}
        return _moved(run, RunState.CANCELLED, at, wish, ledger)
    marked = replace(run, cancel_requested=True)
    ledger.put_run(marked)
    return marked


# --- agents -------------------------------------------------------------------------------


def _open_session(change: OpenSession, ledger: Ledger) -> Outcome:
    agent = ledger.agent(change.agent)
    if agent is None:
        return Lost()
    epoch = agent.epoch + 1
    ledger.put_agent(
        replace(
            agent,
            identity=change.identity,
            controller=change.controller,
            liveness=Liveness.ONLINE,
            epoch=epoch,
            last_seen_at=change.at,
        )
    )
    return Opened(epoch)


def _set_liveness(change: SetLiveness, ledger: Ledger) -> Outcome:
    if ledger.epoch(change.agent) != change.epoch:
        return Fenced()
    ledger.see_agent(change.agent, change.liveness, change.at)
    return Done()


def _edit_agent(change: EditAgent, ledger: Ledger) -> Outcome:
    agent = ledger.agent(change.agent)
    if agent is None:
        return Lost()
    name = agent.given_name if change.name is None else change.name
    ledger.put_agent(
        replace(
            agent,
            given_name=None if change.unname else name,
            given_labels={**agent.given_labels, **(change.labels or {})},
            drained=agent.drained if change.drained is None else change.drained,
        )
    )
    return Done()


def _remove_agent(change: RemoveAgent, ledger: Ledger) -> Outcome:
    newest = ledger.epoch(change.agent)
    if newest is None:
        return Lost()
    if change.epoch is not None and newest != change.epoch:
        return Fenced()
    for run in ledger.open_runs_of(change.agent):
        rest = RunState.CANCELLED if run.state in WAITING else RunState.LOST
        _moved(run, rest, change.at, {"why": Why.AGENT_REMOVED}, ledger)
    ledger.drop_agent(change.agent)
    return Done()


# --- documents ----------------------------------------------------------------------------


def _put(document: Document, ledger: Ledger) -> Outcome:
    if ledger.document_version(type(document), document.id) != document.version:
        return Lost()
    ledger.put_document(document, document.version + 1)
    return Done()
