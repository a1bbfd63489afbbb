"""Take jobs: pick the targets, ask policy, write job and runs at once, send what can be sent.

A job that is answered is stored; nothing is half done when it is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from farhand.controller.ids import new_job, new_run
from farhand.controller.paging import pages
from farhand.controller.refusals import Refusal, Refusals, forbidden, refusals
from farhand.controller.rollouts import Rollouts, laid_out
from farhand.controller.sending import Sending
from farhand.controller.sessions import Sessions
from farhand.controller.targets import Fleet, Picked, check_count
from farhand.domain.agent import Agent
from farhand.domain.ids import AgentId, JobId, RunId, is_id
from farhand.domain.job import (
    Job,
    JobSpec,
    Names,
    Previewed,
    Targets,
    check_target_count,
    checked,
    targets_text,
)
from farhand.domain.run import Run, RunState
from farhand.domain.selector import Selector
from farhand.domain.spread import Spread
from farhand.domain.spread import check as check_spread
from farhand.domain.targets import Preview
from farhand.errors import (
    BadRequest,
    CannotCancel,
    GateCannotRun,
    IdempotencyConflict,
    NotFound,
    OverShare,
    UnknownJob,
    UnknownRun,
)
from farhand.ports import (
    AddJob,
    Bus,
    CancelJob,
    Change,
    Document,
    Full,
    Moved,
    MoveRun,
    Record,
    Repeat,
    Repeated,
    RequestCancel,
    RunFilter,
)

FEW_RUNS = 200  # up to here each agent is looked up; above, all are read once


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that was accepted, its runs as they began, and whether it was there before."""

    job: Job
    runs: Sequence[Run]
    repeated: bool


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Whom a job would be for, and who of them would refuse it."""

    preview: Preview
    picked: Picked
    refusals: Mapping[AgentId, Refusal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A job that a schedule makes: the id it gets, and what is written in the same commit.

    *counted*: whoever added the schedule said how many targets it had then.
    """

    job: JobId
    schedule: str
    documents: tuple[Document, ...]
    counted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """An earlier job that is run again: on *picked*, which *targets* says in one line."""

    of: JobId
    picked: Picked
    targets: str


class Jobs:
    """The jobs of one org."""

    def __init__(self, sessions: Sessions, bus: Bus) -> None:
        self._sessions = sessions
        self._store = sessions.store
        self._clock = sessions.clock
        self._limits = sessions.limits
        self.fleet = Fleet(self._store, self._clock, self._limits)
        self.rollouts = Rollouts(sessions, bus, self)

    async def submit(
        self,
        spec: JobSpec,
        targets: Targets,
        *,
        by: str,
        key: str | None = None,
        digest: str = "",
        hold: bool = False,
        scheduled: Scheduled | None = None,
        spread: Spread | None = None,
        expect: int | None = None,
        again: Again | None = None,
    ) -> Submitted:
        """Accept a job for *targets*; the same *key* of the same caller is the same job.

        With *hold* its runs are held until `release`; *spread* begins them by and by.
        *scheduled* says what made it, *expect* how many targets it must have, *again* which job it
        repeats; then *targets* names the agents that were picked.

        Raises InvalidJob, UnknownCommand, InvalidParameter, CountMismatch, CountUnnamed, Frozen,
        IdempotencyConflict, OverShare, Overloaded, StoreUnavailable, and what `Fleet.pick` raises.
        """
        if key is not None and (known := await self.known(by, key, digest)) is not None:
            return known  # whatever has become of the targets since
        spec = checked(spec, self._limits)
        picked = again.picked if again else await self.fleet.pick(targets)
        agents = picked.agents
        check_target_count(len(agents), self._limits)
        looked_at = isinstance(targets, Names | Previewed) or (scheduled and scheduled.counted)
        if expect is not None or not looked_at:
            check_count(len(agents), expect, self._limits)
        if spread is not None:
            await self._check_spread(spread, spec)
        found = await refusals(self._sessions, spec, agents)
        if found.error is not None and _hopeless(found, agents):
            raise found.error
        await self.fleet.check_thawed()  # as late as can be: catalogues may take seconds
        now = self._clock.wall()
        state = RunState.HELD if hold else RunState.QUEUED
        job = Job(
            id=scheduled.job if scheduled else new_job(),
            spec=spec,
            targets=again.targets if again else targets_text(targets),
            by=by,
            created_at=now,
            counts={state: len(agents)},
            rerun_of=again.of if again else None,
            schedule=scheduled.schedule if scheduled else None,
        )
        runs = [self._run(job, agent, state) for agent in agents]
        until = now + self._limits.idempotency_s
        repeat = Repeat(by=by, key=key, digest=digest, until=until) if key is not None else None
        noted: tuple[Document, ...] = picked.kept(job.id, targets, now + self._limits.retention_s)
        noted += scheduled.documents if scheduled else ()
        if spread is not None:
            job, runs, rollout = laid_out(job, runs, spread, refused=found.of, hold=hold)
            noted = (*noted, rollout)
        added = AddJob(
            job=job,
            runs=tuple(runs),
            repeat=repeat,
            open_runs=self._limits.open_runs,
            record=_submission(job, len(runs)),
            documents=noted,
        )
        return await self._write(added, found.of)

    def _run(self, job: Job, agent: Agent, state: RunState) -> Run:
        now = job.created_at
        return Run(
            id=new_run(),
            job=job.id,
            agent=agent.id,
            agent_name=agent.name,
            state=state,
            created_at=now,
            queue_until=now + job.spec.queue_ttl_s,
            timeout_s=job.spec.timeout_s,
        )

    async def _write(self, added: AddJob, refused: Mapping[AgentId, Refusal]) -> Submitted:
        job, runs, most = added.job, added.runs, self._limits.open_runs
        queued = [run for run in runs if run.state is RunState.QUEUED and run.agent not in refused]
        sending, refusing = Sending(self._sessions, queued), _refused(runs, refused, job.created_at)
        with self._sessions.doubts.about(job.id):
            outcome, *moves = await self._store.apply([added, *refusing, *sending.changes])
        if isinstance(outcome, Repeated):
            return await self._before(outcome.job, same=outcome.same)
        if isinstance(outcome, Full):
            msg = f"{outcome.open_runs} runs are open; with these there would be more than {most}"
            raise OverShare(msg, bound="open_runs", limit=most, open_runs=outcome.open_runs)
        ended = {
            move.run.id: move.run for move in moves[: len(refusing)] if isinstance(move, Moved)
        }
        sending.over(job, queued, moves[len(refusing) :])
        if job.rolling:
            self.rollouts.watch(job.id)
        self._sessions.hint([job.id])
        return Submitted(job, [ended.get(run.id, run) for run in runs], repeated=False)

    async def preview(self, spec: JobSpec, targets: Targets, *, by: str) -> Foreseen:
        """Tell whom a job would be for, and keep that; raises what `submit` does of it."""
        spec = checked(spec, self._limits)
        picked = await self.fleet.pick(targets)
        check_target_count(len(picked.agents), self._limits)
        found = await refusals(self._sessions, spec, picked.agents)
        preview = await self.fleet.keep(targets, picked.agents, by=by)
        return Foreseen(preview, picked, {**forbidden(spec, picked.agents), **found.of})

    async def release(self, job: JobId, *, by: str) -> Job:
        """Queue the runs of a job that are held; their queue TTL starts now.

        Raises UnknownJob, Frozen.
        """
        found = await self._known(job)
        if found.rolling:
            await self.rollouts.resume(job, by=by)
            return found
        await self.fleet.check_thawed()
        held = [run for run in await self._runs(job) if run.state is RunState.HELD]
        record = Record(at=self._clock.wall(), by=by, action="job.released", subject=job)
        await self.begin(found, held, record)
        return await self._store.job(job) or found

    async def begin(self, job: Job, runs: Sequence[Run], *records: Record) -> None:
        """Queue held runs, or refuse them, and send what can be sent; write *records* with it."""
        if len(runs) > FEW_RUNS:
            known = {agent.id: agent for agent in await self.agents()}
            agents = [known[run.agent] for run in runs if run.agent in known]
        else:
            agents = [agent for run in runs if (agent := await self._store.agent(run.agent))]
        found = await refusals(self._sessions, job.spec, agents)
        refused = {} if _hopeless(found, agents) else found.of  # then each agent says so itself
        now = self._clock.wall()
        changes: list[Change] = [
            MoveRun(run=run.id, expect=frozenset({RunState.HELD}), to=RunState.QUEUED, at=now)
            for run in runs
        ]
        changes += [*_refused(runs, refused, now), *records]
        sending = Sending(self._sessions, (run for run in runs if run.agent not in refused))
        with self._sessions.doubts.about(job.id):
            outcomes = await self._store.apply([*changes, *sending.changes])
        queued = [outcome.run for outcome in outcomes[: len(runs)] if isinstance(outcome, Moved)]
        queued = [run for run in queued if run.agent not in refused]
        sending.over(job, queued, outcomes[len(changes) :])
        self._sessions.hint([job.id])

    # --- spreading ------------------------------------------------------------------------

    async def _check_spread(self, spread: Spread, spec: JobSpec) -> None:
        """Raise InvalidSpread, or OverShare, for what cannot be spread so."""
        check_spread(spread, spec, self._limits)
        if len(self.rollouts) >= (most := self._limits.rollouts):
            msg = f"{most} jobs are being spread, which is the org's share"
            raise OverShare(msg, bound="rollouts", limit=most)
        if spread.gate is None:
            return
        told = "the gate has nobody whom it could ask"
        try:
            picked = await self.fleet.pick(Selector(spread.gate.targets))
            check_count(len(picked.agents), None, self._limits)
        except (BadRequest, NotFound) as exc:
            raise GateCannotRun(f"{told}: {exc}") from exc
        refused = (await refusals(self._sessions, spread.gate.spec, picked.agents)).of
        if len(refused) == len(picked.agents):
            first = next(iter(refused.values()))
            raise GateCannotRun(f"{told}: {first.message}")

    async def submit_gate(self, spec: JobSpec, targets: str, *, by: str, key: str) -> JobId:
        """Submit the job of a gate; raises what `submit` raises."""
        submitted = await self.submit(spec, Selector(targets), by=by, key=key, digest="gate")
        return submitted.job.id

    async def frozen(self) -> bool:
        """Whether nothing may be begun just now."""
        return await self.fleet.frozen() is not None

    # --- what was asked before ------------------------------------------------------------

    async def known(self, by: str, key: str, digest: str) -> Submitted | None:
        """The job that this caller's key made before; raises IdempotencyConflict, UnknownJob."""
        found = await self._store.repeat(by, key)
        if found is None or found[0].until <= self._clock.wall():
            return None
        return await self._before(found[1], same=found[0].digest == digest)

    async def _before(self, first: JobId, *, same: bool) -> Submitted:
        """The job that this key made the first time, if that was the *same* body."""
        if not same:
            msg = "the Idempotency-Key was used for another body; use a new key for a new job"
            raise IdempotencyConflict(msg, job=first)
        job = await self._store.job(first)
        if job is None:
            raise UnknownJob(f"the job {first} of this Idempotency-Key was deleted")
        return Submitted(job, await self._runs(first), repeated=True)

    async def _known(self, job: JobId) -> Job:
        found = await self._store.job(job) if is_id("job", job) else None
        if found is None:
            raise UnknownJob(f"there is no job {job}")
        return found

    async def _runs(self, job: JobId) -> list[Run]:
        which = RunFilter(job=job)
        read = pages(lambda cursor: self._store.runs(which, cursor=cursor, limit=1000))
        return [run async for page in read for run in page]

    async def agents(self) -> list[Agent]:
        """Every agent of the org."""
        return await self.fleet.agents()

    # --- cancelling -----------------------------------------------------------------------

    async def cancel_job(self, job: JobId, *, by: str) -> Job:
        """Ask every run of a job that has not ended to end.

        Raises UnknownJob, and CannotCancel when there is none that can be.
        """
        found = await self._known(job)
        rest = [run for run in await self._runs(job) if not run.state.final]
        if rest and all(self._beyond_cancel(run) for run in rest):
            raise CannotCancel(_BEYOND_CANCEL, job=job)
        now = self._clock.wall()
        record = Record(at=now, by=by, action="job.cancelled", subject=job)
        with self._sessions.doubts.about(job):
            await self._store.apply([CancelJob(job=job, at=now), record])
            for run in await self._runs(job):
                if not run.state.final:
                    self._sessions.cancel(run)
        self._sessions.hint([job])
        return await self._store.job(job) or found

    async def cancel_run(self, run: RunId, *, by: str) -> Run:
        """Ask a run to end; one that has ended stays as it is. Raises UnknownRun, CannotCancel."""
        found = await self._store.run(run) if is_id("run", run) else None
        if found is None:
            raise UnknownRun(f"there is no run {run}")
        if found.state.final:
            return found
        if self._beyond_cancel(found):
            raise CannotCancel(_BEYOND_CANCEL, run=run)
        now = self._clock.wall()
        record = Record(at=now, by=by, action="run.cancelled", subject=run)
        with self._sessions.doubts.about(found.job):
            outcome, _ = await self._store.apply([RequestCancel(run=run, at=now), record])
        if isinstance(outcome, Moved) and not outcome.run.state.final:
            self._sessions.cancel(outcome.run)
        self._sessions.hint([found.job])
        return await self._store.run(run) or found

    def _beyond_cancel(self, run: Run) -> bool:
        """Whether the run is with a connected agent that has no word for cancelling it."""
        session = self._sessions.get(run.agent)
        with_agent = run.state in {RunState.RUNNING, RunState.LOST}
        return with_agent and session is not None and session.deepflow


_BEYOND_CANCEL = (
    "the command is with a DeepFlow agent, whose protocol cannot cancel; "
    "it ends by itself, and the agent runs nothing else before"
)


def _hopeless(found: Refusals, agents: Sequence[Agent]) -> bool:
    """Whether nobody would run it, and for some the call itself is wrong."""
    return found.error is not None and len(found.of) == len(agents)


def _refused(runs: Sequence[Run], refused: Mapping[AgentId, Refusal], at: float) -> list[MoveRun]:
    """End the queued runs that are refused, in the commit that makes them."""
    return [
        MoveRun(
            run=run.id,
            expect=frozenset({RunState.QUEUED}),
            to=RunState.REFUSED,
            at=at,
            why=refused[run.agent].why,
            message=refused[run.agent].message,
        )
        for run in runs
        if run.agent in refused
    ]


def _submission(job: Job, runs: int) -> Record:
    facts = {"targets": job.targets, "runs": runs, **_origin(job)}
    return Record(at=job.created_at, by=job.by, action="job.submitted", subject=job.id, facts=facts)


def _origin(job: Job) -> dict[str, str]:
    """What made a job that nobody asked for by hand."""
    told = {"schedule": job.schedule, "rerun_of": job.rerun_of}
    return {name: origin for name, origin in told.items() if origin is not None}
