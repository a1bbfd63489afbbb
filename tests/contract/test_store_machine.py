"""Random changes mean the same in memory and in SQLite, however they share commits."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from farhand.domain.agent import Liveness
from farhand.domain.history import JobFilter, JobStanding
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import RunState, Why
from farhand.ports import (
    AddJob,
    AddRuns,
    CancelJob,
    Change,
    ClampTimes,
    EditAgent,
    EndRollout,
    Event,
    Outcome,
    Prune,
    PruneOutput,
    RemoveAgent,
    Repeat,
    RequestCancel,
    RunFilter,
    SetLiveness,
    Store,
)
from tests.contract.storing import (
    INLINE,
    Opened,
    agent_id,
    append,
    job,
    job_id,
    join,
    move,
    run,
    run_id,
)

T = TypeVar("T")

FEW = range(1, 4)
few = st.sampled_from(FEW)
epochs = st.none() | few
times = st.sampled_from([100.0, 200.0, 300.0])


@st.composite
def jobs(draw: st.DrawFn) -> AddJob:
    """A job whose runs are numbered after it: 10, 11, … belong to job 1."""
    n, at = draw(few), draw(times)
    key = draw(st.sampled_from([None, "k", "l"]))
    until, digest = draw(times), draw(st.sampled_from("de"))
    runs = [
        replace(
            run(10 * n + place, job=n, of=draw(few)),
            state=draw(st.sampled_from(RunState)),
            wave=draw(few),
        )
        for place in range(draw(few))
    ]
    repeat = Repeat(by="a", key=key, digest=digest, until=until) if key else None
    added = replace(job(n, at=at), rolling=draw(st.booleans()))
    return AddJob(job=added, runs=tuple(runs), repeat=repeat)


@st.composite
def retries(draw: st.DrawFn) -> AddRuns:
    """A run that repeats another of its job; it is one of those that the job may have anyway."""
    n = draw(few)
    again = replace(run(10 * n + 2, job=n, of=draw(few), state=RunState.HELD), wave=draw(few))
    return AddRuns(job=job_id(n), runs=(replace(again, retry_of=run_id(10 * n)),), at=170.0)


runs = st.builds(lambda n, place: 10 * n + place, few, st.integers(0, 2))
moves = st.builds(
    move,
    runs,
    st.sampled_from(RunState),
    expect=st.frozensets(st.sampled_from(RunState), min_size=4),
    epoch=epochs,
    of=few,
    at=times,
    why=st.none() | st.sampled_from(Why),
)
appends = st.builds(
    append,
    st.binary(max_size=2 * INLINE),
    n=runs,
    offset=st.integers(0, 3 * INLINE),
    stream=st.sampled_from(StreamName),
    epoch=epochs,
    of=few,
)
ends = st.builds(
    lambda change, stream, kept: replace(
        change, streams={stream: StreamEnd(total=kept, kept=kept)}
    ),
    moves,
    st.sampled_from(StreamName),
    st.integers(0, INLINE),
)
run_changes = st.one_of(
    moves,
    ends,
    appends,
    appends.map(lambda change: replace(change, chunk=replace(change.chunk, offset=0))),
    st.builds(lambda n: RequestCancel(run=run_id(n), at=150.0), runs),
)
agent_changes = st.one_of(
    few.map(lambda n: join(n)[0]),
    few.map(lambda n: join(n)[1]),
    st.builds(
        lambda n, epoch, liveness, at: SetLiveness(
            agent=agent_id(n), epoch=epoch, liveness=liveness, at=at
        ),
        few,
        few,
        st.sampled_from(Liveness),
        times,
    ),
    st.builds(
        lambda n, name, unname: EditAgent(agent=agent_id(n), name=name, unname=unname),
        few,
        st.sampled_from([None, "web-1", "x"]),
        st.booleans(),
    ),
    st.builds(lambda n, epoch: RemoveAgent(agent=agent_id(n), at=160.0, epoch=epoch), few, epochs),
)
job_changes = st.one_of(
    times.map(lambda at: ClampTimes(at=at - 250.0)),
    jobs(),
    few.map(lambda n: CancelJob(job=job_id(n), at=140.0)),
    retries(),
    few.map(lambda n: EndRollout(job=job_id(n), at=180.0)),
)
changes = st.one_of(run_changes, run_changes, agent_changes, job_changes)


def by_run(events: Sequence[Event]) -> dict[str | None, list[Event]]:
    """What happened to each run. Between runs of a job a store may choose the order."""
    assert list(range(1, len(events) + 1)) == [event.seq for event in events]
    found: dict[str | None, list[Event]] = {}
    for event in events:
        if event.kind != "end":
            found.setdefault(event.run_id, []).append(replace(event, seq=0))
    return found


async def everything(store: Store) -> list[object]:
    """All that can be read of a store."""
    which = [
        RunFilter(),
        RunFilter(states=frozenset({RunState.QUEUED, RunState.LOST})),
        *(RunFilter(agent=agent_id(n)) for n in FEW),
        *(RunFilter(job=job_id(n)) for n in FEW),
    ]
    found: list[object] = [
        (await store.jobs()).items,
        *[(await store.jobs(JobFilter(standing=standing))).items for standing in JobStanding],
        (await store.agents()).items,
        await store.agents_named("web-1"),
        await store.due(400.0),
        await store.silent(250.0),
        *[(await store.runs(chosen)).items for chosen in which],
        *[by_run(await store.events(job_id(n), limit=1000)) for n in FEW],
        *[await store.standings(job_id(n)) for n in FEW],
    ]
    for a_run in (await store.runs(RunFilter())).items:
        found.append(await store.offsets(a_run.id))
        for stream in StreamName:
            found.append(await store.output(a_run.id, stream, offset=0, limit=100_000))
            found.append(await store.output(a_run.id, stream, offset=INLINE - 3, limit=9))
    return found


class Machine(RuleBasedStateMachine):
    """The same changes to both stores, and the same outcomes and reads from both."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="farhand-"))
        self.memory = Opened(None, restarts=False)
        self.sql = Opened(self.directory / "data", restarts=False)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.run(self.sql.close())
        self.run(self.memory.close())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.directory)

    @rule(calls=st.lists(st.lists(changes, min_size=1, max_size=6), min_size=1, max_size=6))
    def apply(self, calls: Sequence[Sequence[Change]]) -> None:
        async def overlapping(subject: Opened) -> Sequence[Sequence[Outcome]]:
            await subject.store()
            return await asyncio.gather(*(subject.apply(*call) for call in calls))

        assert self.run(overlapping(self.memory)) == self.run(overlapping(self.sql))

    @rule(before=times, at=times)
    def prune(self, before: float, at: float) -> None:
        change = Prune(before=before, at=at, limit=1)

        assert self.run(self.memory.apply(change)) == self.run(self.sql.apply(change))

    @rule(before=times, most=st.none() | st.integers(0, 3 * INLINE), limit=few)
    def prune_output(self, before: float, most: int | None, limit: int) -> None:
        change = PruneOutput(before=before, most_bytes=most, limit=limit)

        assert self.run(self.memory.apply(change)) == self.run(self.sql.apply(change))

    @rule()
    def restart(self) -> None:
        self.run(self.sql.close())

    @invariant()
    def agree(self) -> None:
        async def read(subject: Opened) -> list[object]:
            return await everything(await subject.store())

        assert self.run(read(self.memory)) == self.run(read(self.sql))


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=15, stateful_step_count=12)
