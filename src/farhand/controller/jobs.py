"""Take jobs: pick the targets, ask policy, write job and runs at once, send what can be sent.

A job that is answered is stored; nothing is half done when it is refused.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from farhand.controller import patterns
from farhand.controller.ids import new_job, new_run
from farhand.controller.paging import pages
from farhand.controller.rollouts import Rollouts, laid_out
from farhand.controller.sessions import Sessions
from farhand.domain.agent import Agent
from farhand.domain.deepflow.abilities import unsupported
from farhand.domain.ids import AgentId, JobId, RunId, is_id
from farhand.domain.job import (
    AllAgents,
    CommandCall,
    Job,
    JobSpec,
    Names,
    Targets,
    What,
    check_target_count,
    checked,
)
from farhand.domain.run import Run, RunState, Why
from farhand.domain.selector import Selector
from farhand.domain.spread import Spread
from farhand.domain.spread import check as check_spread
from farhand.errors import (
    AmbiguousName,
    CannotCancel,
    FarhandError,
    GateCannotRun,
    IdempotencyConflict,
    InvalidParameter,
    NoTargets,
    OverShare,
    Unavailable,
    UnknownAgent,
    UnknownCommand,
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
FEW_NAMES = 20  # up to here each is looked up; above, all agents are read once
ASKED_AT_ONCE = 64  # agents, for their catalogues
ASKED_S = 3.0  # all of them together; who has not answered then decides for itself


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that was accepted, its runs as they began, and whether it was there before."""

    job: Job
    runs: Sequence[Run]
    repeated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A job that a schedule makes: the id it gets, and what is written in the same commit."""

    job: JobId
    schedule: str
    documents: tuple[Document, ...]


class Jobs:
    """The jobs of one org."""

    def __init__(self, sessions: Sessions, bus: Bus) -> None:
        self._sessions = sessions
        self._store = sessions.store
        self._clock = sessions.clock
        self._limits = sessions.limits
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
    ) -> Submitted:
        """Accept a job for *targets*; the same *key* of the same caller is the same job.

        With *hold* its runs are held until `release`; *spread* begins them by and by.
        *scheduled* says what made it.

        Raises InvalidJob, NoTargets, TooManyTargets, UnknownAgent, AmbiguousName,
        UnknownCommand, InvalidParameter, IdempotencyConflict, OverShare, Overloaded,
        StoreUnavailable.
        """
        if key is not None:  # whatever has become of the targets since
            known = await self._store.repeat(by, key)
            if known is not None and known[0].until > self._clock.wall():
                return await self._before(known[1], same=known[0].digest == digest)
        spec = checked(spec, self._limits)
        agents = await self._pick(targets)
        check_target_count(len(agents), self._limits)
        if spread is not None:
            await self._check_spread(spread, spec)
        refusals = await self._refusals(spec, agents)
        now = self._clock.wall()
        state = RunState.HELD if hold else RunState.QUEUED
        job = Job(
            id=scheduled.job if scheduled else new_job(),
            spec=spec,
            targets=_text(targets),
            by=by,
            created_at=now,
            counts={state: len(agents)},
            schedule=scheduled.schedule if scheduled else None,
        )
        runs = [self._run(job, agent, state) for agent in agents]
        until = now + self._limits.idempotency_s
        repeat = Repeat(by=by, key=key, digest=digest, until=until) if key is not None else None
        noted = scheduled.documents if scheduled else ()
        if spread is not None:
            job, runs, rollout = laid_out(job, runs, spread, refused=refusals, hold=hold)
            noted = (*noted, rollout)
        return await self._write(job, runs, refusals, repeat, noted)

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

    async def _write(
        self,
        job: Job,
        runs: list[Run],
        refusals: dict[str, "_Refusal"],
        repeat: Repeat | None,
        documents: tuple[Document, ...],
    ) -> Submitted:
        most = self._limits.open_runs
        record = Record(
            at=job.created_at,
            by=job.by,
            action="job.submitted",
            subject=job.id,
            facts={"targets": job.targets, "runs": len(runs), **_origin(job)},
        )
        added = AddJob(
            job=job,
            runs=tuple(runs),
            repeat=repeat,
            open_runs=most,
            record=record,
            documents=documents,
        )
        with self._sessions.doubts.about(job.id):
            outcome, *moves = await self._store.apply(
                [added, *_refused(runs, refusals, job.created_at)]
            )
        if isinstance(outcome, Repeated):
            return await self._before(outcome.job, same=outcome.same)
        if isinstance(outcome, Full):
            msg = f"{outcome.open_runs} runs are open; with these there would be more than {most}"
            raise OverShare(msg, bound="open_runs", limit=most, open_runs=outcome.open_runs)
        moved = {move.run.id: move.run for move in moves if isinstance(move, Moved)}
        now = [moved.get(run.id, run) for run in runs]
        self._sessions.deliver(job, (run for run in now if run.state is RunState.QUEUED))
        if job.rolling:
            self.rollouts.watch(job.id)
        self._sessions.hint([job.id])
        return Submitted(job, now, repeated=False)

    async def release(self, job: JobId, *, by: str) -> Job:
        """Queue the runs of a job that are held; their queue TTL starts now. Raises UnknownJob."""
        found = await self._known(job)
        if found.rolling:
            await self.rollouts.resume(job, by=by)
            return found
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
        try:
            refusals = await self._refusals(job.spec, agents)
        except (UnknownCommand, InvalidParameter):
            refusals = {}  # each agent says so itself
        now = self._clock.wall()
        changes: list[Change] = [
            MoveRun(run=run.id, expect=frozenset({RunState.HELD}), to=RunState.QUEUED, at=now)
            for run in runs
        ]
        with self._sessions.doubts.about(job.id):
            outcomes = await self._store.apply([*changes, *_refused(runs, refusals, now), *records])
        queued = [outcome.run for outcome in outcomes[: len(runs)] if isinstance(outcome, Moved)]
        self._sessions.deliver(job, (run for run in queued if run.agent not in refusals))
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
            agents = await self._pick(Selector(spread.gate.targets))
            refusals = await self._refusals(spread.gate.spec, agents)
        except (NoTargets, UnknownAgent, UnknownCommand, InvalidParameter) as exc:
            raise GateCannotRun(f"{told}: {exc}") from exc
        if len(refusals) == len(agents):
            first = next(iter(refusals.values()))
            raise GateCannotRun(f"{told}: {first.message}")

    async def submit_gate(self, spec: JobSpec, targets: str, *, by: str, key: str) -> JobId:
        """Submit the job of a gate; raises what `submit` raises."""
        submitted = await self.submit(spec, Selector(targets), by=by, key=key, digest="gate")
        return submitted.job.id

    async def frozen(self) -> bool:
        """Whether nothing may be begun just now."""
        return False

    # --- what was asked before ------------------------------------------------------------

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

    # --- targets --------------------------------------------------------------------------

    async def _pick(self, targets: Targets) -> list[Agent]:
        match targets:
            case AllAgents():
                found = [agent for agent in await self.agents() if not agent.drained]
                if not found:
                    raise NoTargets("there is no agent that takes runs; `farhand agents` lists all")
                return found
            case Names(names):
                if not names:
                    raise NoTargets("the list of names is empty")
                check_target_count(len(names), self._limits)
                return await self._named(names)
            case Selector():
                matches = targets.compiled()
                found = [
                    agent
                    for agent in await self.agents()
                    if not agent.drained and matches(agent.terms())
                ]
                if not found:
                    msg = f"no agent matches {targets.text!r}; `farhand agents` shows their labels"
                    raise NoTargets(msg, selector=targets.text)
                return found

    async def agents(self) -> list[Agent]:
        """Every agent of the org."""
        read = pages(lambda cursor: self._store.agents(cursor=cursor, limit=1000))
        return [agent async for page in read for agent in page]

    async def _named(self, names: Sequence[str]) -> list[Agent]:
        found: dict[str, Agent] = {}
        if len(names) <= FEW_NAMES:
            known = {name: list(await self._store.agents_named(name)) for name in names}
        else:
            known = {}
            for agent in await self.agents():
                for name in {agent.id, agent.name, agent.ip_mac, agent.identity.name}:
                    known.setdefault(name, []).append(agent)
        unknown = [name for name in names if not known.get(name)]
        if unknown:
            msg = f"no agent is called {', '.join(unknown[:10])}; `farhand agents` lists all"
            raise UnknownAgent(msg, names=unknown[:100])
        for name in names:
            agent = only(name, known[name])
            found[agent.id] = agent
        return list(found.values())

    # --- policy ---------------------------------------------------------------------------

    async def _refusals(self, spec: JobSpec, agents: Sequence[Agent]) -> dict[str, "_Refusal"]:
        """Which agents are known to refuse, and why; raises when all of them do for the spec."""
        refusals: dict[str, _Refusal] = {}
        asked: list[Agent] = []
        for agent in agents:
            if agent.drained:
                told = f"{agent.name} is drained; `farhand agents undrain {agent.name}`"
                refusals[agent.id] = _Refusal(Why.DRAINED, told)
            elif agent.identity.deepflow and (told := unsupported(spec)):
                refusals[agent.id] = _Refusal(Why.UNSUPPORTED, told)
            elif isinstance(spec.what, CommandCall):
                asked.append(agent)
        first: FarhandError | None = None
        for agent, error in await self._checked(spec.what, asked):
            first = first or error
            unknown = isinstance(error, UnknownCommand)
            why = Why.UNKNOWN_COMMAND if unknown else Why.INVALID_PARAMETER
            refusals[agent.id] = _Refusal(why, str(error))
        if first is not None and len(refusals) == len(agents):
            raise first
        return refusals

    async def _checked(
        self, what: What, agents: Sequence[Agent]
    ) -> list[tuple[Agent, UnknownCommand | InvalidParameter]]:
        """Check a call against every catalogue, and return what is wrong, in order.

        Many are asked at once: one that does not answer must not hold up the others.
        """
        if not isinstance(what, CommandCall):
            return []
        found: dict[AgentId, UnknownCommand | InvalidParameter] = {}
        waiting = iter(agents)

        async def check() -> None:
            for agent in waiting:
                try:
                    await self._check_command(what, agent)
                except (UnknownCommand, InvalidParameter) as exc:
                    found[agent.id] = exc

        with suppress(TimeoutError):
            async with asyncio.timeout(ASKED_S), asyncio.TaskGroup() as tasks:
                for number in range(min(ASKED_AT_ONCE, len(agents))):
                    tasks.create_task(check(), name=f"catalogues-{number}")
        return [(agent, found[agent.id]) for agent in agents if agent.id in found]

    async def _check_command(self, call: CommandCall, agent: Agent) -> None:
        """Check a call against the agent's catalogue; one that is away decides for itself."""
        try:
            commands = await self._sessions.commands(agent.id)
        except Unavailable:  # gone, busy or silent
            return
        command = next((known for known in commands if known.ident == call.ident), None)
        if command is None:
            msg = f"{agent.name} has no command {call.ident!r}; `farhand commands {agent.name}`"
            raise UnknownCommand(msg, command=call.ident)
        command.checked(call.params, patterns=False)
        if agent.identity.deepflow:  # a native agent checks its patterns itself
            patterns.check(command, call.params)

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
        return with_agent and session is not None and session.hello.identity.deepflow


_BEYOND_CANCEL = (
    "the command is with a DeepFlow agent, whose protocol cannot cancel; "
    "it ends by itself, and the agent runs nothing else before"
)


@dataclass(frozen=True, slots=True)
class _Refusal:
    why: Why
    message: str


def _refused(runs: Sequence[Run], refusals: Mapping[str, _Refusal], at: float) -> list[MoveRun]:
    """End the queued runs that are refused, in the commit that makes them."""
    return [
        MoveRun(
            run=run.id,
            expect=frozenset({RunState.QUEUED}),
            to=RunState.REFUSED,
            at=at,
            why=refusals[run.agent].why,
            message=refusals[run.agent].message,
        )
        for run in runs
        if run.agent in refusals
    ]


def only(name: str, agents: Sequence[Agent]) -> Agent:
    """The one agent with this name; raises UnknownAgent, or AmbiguousName that lists them."""
    if not agents:
        raise UnknownAgent(f"no agent is called {name!r}; `farhand agents` lists all", names=[name])
    if len(agents) > 1:
        listed = ", ".join(f"{agent.id} ({agent.liveness.value})" for agent in agents)
        msg = f"{len(agents)} agents are called {name!r}: {listed}; use an id"
        raise AmbiguousName(msg, name=name, agents=[agent.id for agent in agents])
    return agents[0]


def _origin(job: Job) -> dict[str, str]:
    """What made a job that nobody asked for by hand."""
    return {} if job.schedule is None else {"schedule": job.schedule}


def _text(targets: Targets) -> str:
    match targets:
        case AllAgents():
            return "*"
        case Names(names):
            return ",".join(names)
        case Selector(text):
            return text
