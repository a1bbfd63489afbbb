"""Drive the jobs that are spread over their hosts, wave by wave, to their end.

What to do is decided by `domain.rollout` from what the store says; here it is done and written. A
controller that dies at any point does the same again from the store, and nothing twice.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Container, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, Self

import structlog

from farhand.controller.ids import new_run
from farhand.controller.paging import pages
from farhand.controller.sessions import Sessions
from farhand.domain.ids import JobId
from farhand.domain.job import Job, JobSpec
from farhand.domain.rollout import (
    BEGUN,
    FAILURES,
    Abort,
    Action,
    Ended,
    Facts,
    Finish,
    HoldWhy,
    Phase,
    Release,
    Retry,
    Rollout,
    Standing,
    StartGate,
    Verdict,
    aborted,
    gate_unknown,
    held,
    resumed,
    step,
)
from farhand.domain.run import Run, RunState, Why
from farhand.domain.spread import Spread
from farhand.errors import CannotCancel, FarhandError, NotRolling, Unavailable, UnknownJob
from farhand.ports import (
    AddRuns,
    Bus,
    Change,
    EndRollout,
    Hint,
    Lost,
    MoveRun,
    Put,
    Record,
    RunFilter,
)

log = structlog.get_logger()

PACE_S: Final = 0.02  # between two looks at one job: hints come by the thousand
PAUSES: Final = 4.0  # times as long as counting its runs takes: large jobs come less often
LOOK_S: Final = 5.0  # hints may be lost
ADOPT_S: Final = 30.0  # between two looks for rollouts that nobody told of
STEPS: Final = 64  # of one look
BITE: Final = 1_000  # runs that are moved at once
_ALL: Final = 1 << 30
_CANCELLED: Final = frozenset({RunState.CANCELLED})
_GATE_STAYS: Final = (CannotCancel, UnknownJob)


class Work(Protocol):
    """The jobs of the org, as far as they are needed here."""

    async def begin(self, job: Job, runs: Sequence[Run]) -> None:
        """Queue held runs, or refuse them, and send what can be sent."""
        ...

    async def submit_gate(self, spec: JobSpec, targets: str, *, by: str, key: str) -> JobId:
        """Submit a gate's job; the same *key* is the same job."""
        ...

    async def cancel_job(self, job: JobId, *, by: str) -> Job: ...

    async def frozen(self) -> bool:
        """Whether nothing may be begun just now."""
        ...


@dataclass(eq=False, slots=True)
class _Driven:
    """A job that is being spread. One look at a time; who comes meanwhile has another follow."""

    job: JobId
    unsubscribe: list[Callable[[], None]] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    again: bool = False
    looking: bool = False
    took: float = 0.0  # to count its runs
    gate: str | None = None  # whose hints are heard
    due: float = 0.0  # when it is looked at without a hint
    trouble: bool = False  # at the last look


class Rollouts:
    """The rollouts of one org that are not over. Use it inside `async with`: leaving stops them."""

    def __init__(self, sessions: Sessions, bus: Bus, work: Work) -> None:
        self._sessions = sessions
        self._store = sessions.store
        self._clock = sessions.clock
        self._limits = sessions.limits
        self._bus = bus
        self._work = work
        self._driven: dict[JobId, _Driven] = {}
        self._tasks = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        await self._adopt()
        self._spawn(self._tick(), f"rollouts-{self._sessions.org}")
        return self

    async def __aexit__(self, *exc: object) -> None:
        for job in list(self._driven):
            self._forget(job)
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def __len__(self) -> int:
        """How many are not over."""
        return len(self._driven)

    # --- by hand --------------------------------------------------------------------------

    async def hold(self, job: JobId, *, by: str) -> Rollout:
        """Begin no further run until somebody says resume. Raises NotRolling."""
        now = self._clock.wall()
        return await self._edit(
            job, "job.held", by, lambda found: held(found, HoldWhy.HAND, by=by, now=now)
        )

    async def resume(self, job: JobId, *, by: str) -> Rollout:
        """Go on with what is held. Raises NotRolling."""
        return await self._edit(job, "job.resumed", by, resumed)

    async def abort(self, job: JobId, *, by: str) -> Rollout:
        """Begin nothing any more; what runs goes on. Raises NotRolling."""
        told = f"{by} aborted it"
        return await self._edit(
            job, "job.aborted", by, lambda found: aborted(found, Ended.HAND, told, by=by)
        )

    async def _edit(
        self, job: JobId, action: str, by: str, change: Callable[[Rollout], Rollout]
    ) -> Rollout:
        driven = self.watch(job)
        async with driven.lock:
            found = await self._store.document(Rollout, job)
            if found is None or found.phase is Phase.DONE:
                self._forget(job)
                told = "its rollout is over" if found else "it was not spread"
                raise NotRolling(f"the job {job} cannot be held, resumed or aborted: {told}")
            after = change(found)
            if after != found:
                record = Record(at=self._clock.wall(), by=by, action=action, subject=job)
                written, _ = await self._store.apply([Put(after), record])
                if isinstance(written, Lost):
                    raise Unavailable("the rollout moved meanwhile; say it again")
        self.wake(job)
        self._sessions.hint([job])
        return after

    # --- looking --------------------------------------------------------------------------

    def watch(self, job: JobId) -> _Driven:
        """Drive a job from now on, if it has a rollout that is not over."""
        if (driven := self._driven.get(job)) is None:
            driven = self._driven[job] = _Driven(job)
            driven.unsubscribe.append(self._listen(job, job))
        return driven

    def wake(self, job: JobId) -> None:
        """Look at a job soon, if it is driven here."""
        if (driven := self._driven.get(job)) is None:
            return
        driven.again = True
        if not driven.looking:
            driven.looking = True
            self._spawn(self._drive(driven), f"rollout-{job}")

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = self._tasks.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _listen(self, to: str, job: JobId) -> Callable[[], None]:
        hint = Hint(self._sessions.org, "job", to)
        return self._bus.subscribe(hint, lambda: self.wake(job))

    def _forget(self, job: JobId) -> None:
        if (driven := self._driven.pop(job, None)) is not None:
            driven.again = False
            for unsubscribe in driven.unsubscribe:
                unsubscribe()

    async def _tick(self) -> None:
        """Look at what is due, and now and then for what nobody told of."""
        adopt_at = self._clock.now() + ADOPT_S
        while True:
            await self._clock.sleep(self._limits.sweep_s)
            now = self._clock.now()
            for job, driven in list(self._driven.items()):
                if driven.due <= now:
                    self.wake(job)
            if adopt_at <= now:
                adopt_at = now + ADOPT_S
                try:
                    await self._adopt()
                except Unavailable:
                    continue  # then at the next time
                except Exception:  # one bad document must not stop the clockwork
                    log.exception("rollouts.unread")

    async def _adopt(self) -> None:
        """Take up every rollout that is not over."""
        for rollout in await self._store.documents_due(Rollout, float("inf"), limit=_ALL):
            if rollout.job not in self._driven:
                self.watch(rollout.job)
                self.wake(rollout.job)

    async def _drive(self, driven: _Driven) -> None:
        """Look at a job until nobody asks for another look."""
        try:
            while driven.again:
                driven.again = False
                await self._once(driven)
                await self._clock.sleep(max(PACE_S, PAUSES * driven.took))
        finally:
            driven.looking = False

    async def _once(self, driven: _Driven) -> None:
        driven.due = self._clock.now() + LOOK_S
        try:
            async with driven.lock:
                await self._look(driven)
            driven.trouble = False
        except Unavailable as exc:  # it is looked at again when it is due
            if not driven.trouble:
                log.warning("rollout.waits", job=driven.job, error=str(exc))
            driven.trouble = True
        except Exception:  # one job that cannot be driven must not stop the others
            log.exception("rollout.failed", job=driven.job)

    async def _look(self, driven: _Driven) -> None:
        """Take all the steps that can be taken now."""
        rollout = await self._store.document(Rollout, driven.job)
        for _ in range(STEPS):
            if rollout is None or rollout.phase is Phase.DONE:
                self._forget(driven.job)
                return
            began = self._clock.now()
            standings = await self._store.standings(driven.job)
            driven.took = self._clock.now() - began
            facts = await self._facts(rollout, standings)
            after, actions = step(rollout, standings, facts)
            if actions and not isinstance(actions[0], Abort | Finish) and await self._work.frozen():
                after, actions = step(rollout, standings, replace(facts, frozen=True))
            if after == rollout and not actions:
                break
            for action in actions:
                after = await self._do(after, action)
            rollout = await self._written(rollout, after, last=Finish() in actions)
        else:
            driven.due = 0.0  # there is more to do; the others have their turn
        self._plan(driven, rollout)

    def _plan(self, driven: _Driven, rollout: Rollout | None) -> None:
        """Be there when its pause is over and when its gate moves."""
        if rollout is None:
            return
        if rollout.until is not None:
            left = max(0.0, rollout.until - self._clock.wall())
            driven.due = min(driven.due, self._clock.now() + left)
        if rollout.gate is not None and rollout.gate != driven.gate:
            driven.gate = rollout.gate
            driven.unsubscribe.append(self._listen(rollout.gate, driven.job))
            driven.again = True  # it may have ended before we listened

    async def _written(
        self, before: Rollout, after: Rollout, *, last: bool = False
    ) -> Rollout | None:
        """Write what became of it, at *last* with the end of its job; return what is stored."""
        if after == before:
            return before
        ending: list[Change] = [EndRollout(job=after.job, at=self._clock.wall())] if last else []
        *_, outcome = await self._store.apply([*ending, Put(after)])
        if isinstance(outcome, Lost):
            return await self._store.document(Rollout, before.id)
        told = {"phase": after.phase.value, "wave": after.wave, "of": len(after.sizes)}
        log.info("rollout.moved", job=after.id, **told, held=after.hold is not None)
        self._sessions.hint([after.job])
        return replace(after, version=after.version + 1)

    # --- what is known --------------------------------------------------------------------

    async def _facts(self, rollout: Rollout, standings: Sequence[Standing]) -> Facts:
        cancelled = False
        begun = sum(standing.of(BEGUN) for standing in standings)
        if not begun or any(standing.of(_CANCELLED) for standing in standings):
            job = await self._store.job(rollout.job)  # with all its text, so not at every look
            cancelled = job is not None and job.cancel_requested
        verdict, told = await self._verdict(rollout)
        now = self._clock.wall()
        return Facts(now=now, cancelled=cancelled, verdict=verdict, told=told)

    async def _verdict(self, rollout: Rollout) -> tuple[Verdict, str]:
        if rollout.gate is None or rollout.phase is not Phase.GATING:
            return Verdict.PENDING, ""
        gate = await self._store.job(JobId(rollout.gate))
        if gate is None:
            return Verdict.UNKNOWN, f"the gate {rollout.gate} was deleted"
        if gate.open:
            return Verdict.PENDING, ""
        counts = {state: n for state, n in gate.counts.items() if n}
        found = ", ".join(f"{n} {state.value}" for state, n in sorted(counts.items()))
        told = f"the gate {gate.id} after wave {rollout.wave}: {found}"
        if counts.keys() & FAILURES:
            return Verdict.FAILED, told
        passed = counts.keys() == {RunState.SUCCEEDED}
        return (Verdict.PASSED if passed else Verdict.UNKNOWN), told

    # --- what is done ---------------------------------------------------------------------

    async def _do(self, rollout: Rollout, action: Action) -> Rollout:
        match action:
            case Release(wave, count):
                await self._release(rollout, wave, count)
            case Retry(wave):
                await self._retry(rollout, wave)
            case StartGate(key):
                return await self._start_gate(rollout, key)
            case Abort(gate):
                await self._abort(rollout, gate)
            case Finish():
                pass  # it is written with the rollout, so that nobody sees one without the other
        return rollout

    async def _release(self, rollout: Rollout, wave: int, count: int) -> None:
        which = RunFilter(job=rollout.job, wave=wave, states=frozenset({RunState.HELD}))
        page = await self._store.runs(which, limit=min(count, BITE))
        job = await self._sessions.job(rollout.job)
        if job is not None:
            await self._work.begin(job, page.items)

    async def _retry(self, rollout: Rollout, wave: int) -> None:
        """Make runs for those that failed and have none: never for one that may still run."""
        job = await self._sessions.job(rollout.job)
        if job is None:
            return
        runs = await self._runs(RunFilter(job=rollout.job, wave=wave))
        retried = {run.retry_of for run in runs}
        now = self._clock.wall()
        again = tuple(
            Run(
                id=new_run(),
                job=job.id,
                agent=run.agent,
                agent_name=run.agent_name,
                state=RunState.HELD,
                created_at=now,
                queue_until=now + job.spec.queue_ttl_s,
                timeout_s=job.spec.timeout_s,
                wave=wave,
                retry_of=run.id,
            )
            for run in runs
            if run.state in FAILURES and run.why is not Why.NO_ANSWER and run.id not in retried
        )
        await self._store.apply([AddRuns(job=job.id, runs=again, at=now)])
        self._sessions.hint([job.id])

    async def _start_gate(self, rollout: Rollout, key: str) -> Rollout:
        gate, job = rollout.spread.gate, await self._sessions.job(rollout.job)
        if gate is None or job is None:
            return rollout
        try:
            submitted = await self._work.submit_gate(gate.spec, gate.targets, by=job.by, key=key)
        except Unavailable:
            raise
        except FarhandError as exc:
            told = f"the gate cannot run: {exc}"
            return gate_unknown(rollout, self._clock.wall(), told)
        return replace(rollout, gate=submitted)

    async def _abort(self, rollout: Rollout, gate: str | None) -> None:
        why = Why.CANCELLED if rollout.ended is Ended.CANCELLED else Why.ABORTED
        waiting = frozenset({RunState.HELD, RunState.QUEUED})
        now, told = self._clock.wall(), f"never sent: {rollout.message}"
        runs = await self._runs(RunFilter(job=rollout.job, states=waiting))
        for at in range(0, len(runs), BITE):
            changes: list[Change] = [
                MoveRun(
                    run=run.id,
                    expect=waiting,
                    to=RunState.CANCELLED,
                    at=now,
                    why=why,
                    message=told,
                )
                for run in runs[at : at + BITE]
            ]
            await self._store.apply(changes)
            self._sessions.hint([rollout.job])
        if gate is not None:
            with suppress(*_GATE_STAYS):
                await self._work.cancel_job(JobId(gate), by=rollout.by or "rollout")

    async def _runs(self, which: RunFilter) -> list[Run]:
        read = pages(lambda cursor: self._store.runs(which, cursor=cursor, limit=BITE))
        return [run async for page in read for run in page]


def laid_out(
    job: Job, runs: Sequence[Run], spread: Spread, *, refused: Container[str], hold: bool
) -> tuple[Job, list[Run], Rollout]:
    """Put the runs of a new job into waves, held but for those whose agent is *refused*.

    Raises InvalidSpread, WaveTooLarge.
    """
    began = job.created_at
    rollout = Rollout(id=job.id, spread=spread, sizes=spread.sizes(len(runs)), created_at=began)
    if hold:
        rollout = held(rollout, HoldWhy.HAND, by=job.by, now=began)
    waves = (wave for wave, size in enumerate(rollout.sizes, start=1) for _ in range(size))
    spread_out = [
        replace(run, wave=wave, state=RunState.QUEUED if run.agent in refused else RunState.HELD)
        for run, wave in zip(runs, waves, strict=True)
    ]
    counts = Counter(run.state for run in spread_out)
    return replace(job, rolling=True, counts=counts), spread_out, rollout
