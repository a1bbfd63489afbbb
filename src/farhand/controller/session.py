"""One connected agent: write what its stream brings, acknowledge what was written.

One writer at a time and none while there is nothing to write, so that an idle agent costs no
task. Ends with its stream; what it could not write, the agent tells again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

import structlog
from structlog.typing import FilteringBoundLogger

from farhand.controller.output import verify
from farhand.controller.paging import pages
from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.job import Job
from farhand.domain.limits import Limits
from farhand.domain.messages import (
    CancelRun,
    Commands,
    FromAgent,
    FromController,
    Goodbye,
    Heartbeat,
    HeldRun,
    Hello,
    Namespaces,
    Parting,
    Resume,
    Settled,
    StartRun,
    Stop,
)
from farhand.domain.output import StreamName
from farhand.domain.run import Ending, Run, RunState, Why
from farhand.domain.session import (
    AgentSession,
    Answer,
    Effect,
    Finish,
    Grants,
    Keep,
    Move,
    Parted,
    Reconcile,
    Say,
    compare,
)
from farhand.errors import (
    AgentBusy,
    AgentGone,
    FarhandError,
    OutputCorrupt,
    ProtocolError,
    Unavailable,
)
from farhand.ports import (
    AgentChannel,
    Append,
    Change,
    Clock,
    Credential,
    Fenced,
    Gap,
    Kept,
    Lost,
    Moved,
    MoveRun,
    Outcome,
    Page,
    Record,
    RunFilter,
    Store,
)

T = TypeVar("T")

HEARTBEATS_PER_LINE: Final = 20
PENDING: Final = 20_000  # effects that wait to be written; an agent beyond it is let go
RETRY_S: Final = 0.5  # between tries while the store cannot be written

_OPEN: Final = frozenset({RunState.SENT, RunState.RUNNING, RunState.LOST})
_QUEUED: Final = frozenset({RunState.QUEUED})


@dataclass(frozen=True, slots=True)
class Start:
    """Send a queued run."""

    run: Run


Pending = Effect | Start


class Home(Protocol):
    """The sessions of an org, as one of them sees it."""

    store: Store
    clock: Clock
    limits: Limits
    grants: Grants

    async def job(self, job: JobId) -> Job | None:
        """A job's text."""
        ...

    def hint(self, jobs: Iterable[JobId]) -> None:
        """Tell followers to look."""
        ...

    async def confirm(self, session: "Session") -> None:
        """The agent has heard its Welcome."""
        ...

    def spawn(self, session: "Session") -> None:
        """Run the session's `write` in a task."""
        ...

    async def ended(self, session: "Session") -> None:
        """The session's stream is over."""
        ...


class Session:
    """An agent's stream, as the controller works with it.

    There are thousands that do nothing: of what the agent told of itself only this is kept.
    """

    __slots__ = (
        "_asked",
        "_cancelled_at",
        "_channel",
        "_compared",
        "_home",
        "_jobs",
        "_over",
        "_pending",
        "_questions",
        "_writing",
        "agent",
        "catalogue",
        "deepflow",
        "epoch",
        "heard",
        "heard_wall",
        "machine",
        "parting",
        "unconfirmed",
    )

    def __init__(
        self, *, home: Home, agent: AgentId, epoch: int, hello: Hello, channel: AgentChannel
    ) -> None:
        self.agent = agent
        self.epoch = epoch
        self.catalogue = hello.identity.catalogue
        self.deepflow = hello.identity.deepflow
        self.machine = AgentSession(home.grants)
        self.parting: Goodbye | None = None
        self.unconfirmed: Credential | None = None  # of the secret that Welcome carries
        self.heard = home.clock.now()
        self.heard_wall = home.clock.wall()
        self._home = home
        self._channel = channel
        self._pending: list[Pending] = []
        self._writing = False
        self._over = False
        self._compared = False  # what the agent holds was brought together with the store
        self._jobs: dict[RunId, JobId] = {}
        self._cancelled_at: dict[RunId, float] = {}
        self._questions: dict[int, asyncio.Future[Commands | Namespaces]] = {}
        self._asked = 0

    @property
    def log(self) -> FilteringBoundLogger:
        """A log whose lines name the agent and the epoch."""
        bound: FilteringBoundLogger = structlog.get_logger().bind(
            agent=self.agent, epoch=self.epoch
        )
        return bound

    # --- from the stream ------------------------------------------------------------------

    def receive(self, frames: Iterable[FromAgent | Move]) -> None:
        """Take what the agent said. Raises ProtocolError."""
        self.heard, self.heard_wall = self._home.clock.now(), self._home.clock.wall()
        self.take(frames)

    def take(self, frames: Iterable[FromAgent | Move]) -> None:
        """Take what is known of the agent, without its having said anything just now.

        A `Move` is known of a run by whoever speaks for the agent. Raises ProtocolError.
        """
        for frame in frames:
            for effect in [frame] if isinstance(frame, Move) else self.machine.handle(frame):
                self._take(effect)
            if isinstance(frame, Heartbeat) and self.machine.heartbeats % HEARTBEATS_PER_LINE == 0:
                self.log.info(
                    "session.heartbeats",
                    count=self.machine.heartbeats,
                    load=round(frame.load, 2),
                    runs=frame.runs,
                )
        self._go()

    def _take(self, effect: Effect) -> None:
        match effect:
            case Say(order) if self._channel.offer(order):
                pass
            case Answer(request, value):
                question = self._questions.get(request)
                if question is not None and not question.done():
                    question.set_result(value)
            case Parted(goodbye):
                self.parting = goodbye
            case _:
                if len(self._pending) >= PENDING:
                    raise ProtocolError("the agent says more than can be written")
                self._pending.append(effect)

    def unanswered(self, request: int, why: str) -> None:
        """The question with this number has no answer."""
        question = self._questions.get(request)
        if question is not None and not question.done():
            question.set_exception(AgentGone(why, connected=True))

    @property
    def busy(self) -> bool:
        """Something waits to be written, or is being written."""
        return self._writing or bool(self._pending)

    def over(self) -> None:
        """The stream has ended: nothing more is written for it."""
        self._over = True
        self.machine.close()
        self._pending.clear()
        for question in self._questions.values():
            if not question.done():
                question.set_exception(AgentGone("the agent's stream ended before it answered"))

    async def leave(self) -> None:
        """The stream has ended: take the session out of the registry."""
        await self._home.ended(self)

    def close(self, goodbye: Goodbye) -> None:
        """Say goodbye and end the stream."""
        self._channel.close(goodbye)

    # --- from the controller --------------------------------------------------------------

    def start(self, run: Run) -> None:
        """Send a queued run; before the agent told what it holds, the scan behind that does."""
        if self.machine.reconciled and not self._over:
            self._pending.append(Start(run))
            self._go()

    def sending(self, run: Run) -> Change | None:
        """What writes that a run was sent, for a commit that queues it; None: not from here."""
        if self._over or self.deepflow or not self._compared:
            return None
        if self._writing or self._pending:  # behind what waits there, perhaps for room
            return None
        return self._change(Start(run))

    def sent(self, job: Job, run: RunId) -> None:
        """Send a run that was written as sent. When the stream is over, its next one sends it."""
        if not self._over:
            for order in self._begun(job, run):
                self._say(order)

    def cancel(self, run: RunId) -> None:
        """Send a cancel, and again until the run is settled.

        A run that is just being sent or resumed gets it behind its order.
        """
        self._cancelled_at[run] = self._home.clock.now()
        if self.machine.cancel(run):
            self._say(CancelRun(run, self._home.limits.cancel_grace_s))

    def cancel_again(self, now: float) -> None:
        """Repeat the cancels that were not settled."""
        for run, at in list(self._cancelled_at.items()):
            if now - at < self._home.limits.cancel_again_s:
                continue
            if self.machine.knows(run):
                self.cancel(run)
            else:
                del self._cancelled_at[run]

    async def ask(self, make: Callable[[int], FromController]) -> Commands | Namespaces:
        """Ask the agent and wait for its answer; raises AgentGone, AgentBusy."""
        if (most := self._home.limits.requests_per_agent) <= len(self._questions):
            raise AgentBusy(f"{most} questions wait for this agent's answer", limit=most)
        self._asked += 1
        request = self._asked
        question: asyncio.Future[Commands | Namespaces]
        question = self._questions[request] = asyncio.get_running_loop().create_future()
        sent = False
        try:
            async with asyncio.timeout(self._home.limits.request_s):
                await self._channel.send(make(request))
                sent = True
                return await question
        except TimeoutError as exc:
            if not sent:
                raise AgentBusy("the agent does not read what is sent to it") from exc
            raise AgentGone("the agent did not answer in time", connected=True) from exc
        finally:
            del self._questions[request]

    def _say(self, order: FromController) -> None:
        if not self._channel.offer(order) and not self._over:
            self._pending.append(Say(order))
            self._go()

    # --- writing --------------------------------------------------------------------------

    def _go(self) -> None:
        if self._pending and not self._writing and not self._over:
            self._writing = True
            self._home.spawn(self)

    async def write(self) -> None:
        """Write what waits until nothing does. A fault here ends this session only."""
        try:
            while self._pending and not self._over:
                batch, self._pending = self._pending, []
                await self._write(batch)
        except AgentGone:
            pass
        except FarhandError as exc:
            self.log.warning("session.broken", error=str(exc), code=exc.code)
            ours = isinstance(exc, Unavailable)
            self.close(Goodbye(Parting.OVERLOADED if ours else Parting.PROTOCOL, str(exc)))
        except Exception:  # one agent's stream must not end the others
            self.log.exception("session.failed")
            self.close(Goodbye(Parting.PROTOCOL, "the controller failed to handle this stream"))
        finally:
            self._writing = False

    async def _write(self, batch: list[Pending]) -> None:
        """Write effects in order; those that need an answer of the store first split the batch."""
        together: list[Pending] = []
        for effect in batch:
            match effect:
                case Reconcile(held):
                    await self._commit(together)
                    together = []
                    await self._reconcile(held)
                case Finish(ending=ending, sha256=received):
                    if any(
                        end.sha256_kept and n not in received for n, end in ending.streams.items()
                    ):
                        await self._commit(together)
                        together = []
                    together.append(replace(effect, ending=await self._checked(effect)))
                case _:
                    together.append(effect)
        await self._commit(together)

    async def _checked(self, finish: Finish) -> Ending:
        try:
            await verify(self._home.store, finish.run, finish.ending, dict(finish.sha256))
        except OutputCorrupt as exc:
            self.log.warning("run.output_corrupt", run=finish.run, error=str(exc))
            return replace(finish.ending, why=Why.OUTPUT_CORRUPT, message=str(exc))
        return finish.ending

    async def _commit(self, effects: list[Pending]) -> None:
        changes = [(effect, change) for effect in effects if (change := self._change(effect))]
        outcomes: list[Outcome] = []
        if changes:
            told = [change for _, change in changes]
            outcomes = list(await self._patiently(lambda: self._home.store.apply(told)))
        orders: list[FromController] = [e.order for e in effects if isinstance(e, Say)]
        jobs: set[JobId] = set()
        acks: dict[tuple[RunId, str], int] = {}
        for (effect, change), outcome in zip(changes, outcomes, strict=True):
            if isinstance(outcome, Fenced):
                self.close(Goodbye(Parting.FENCED, "a newer stream of this agent has taken over"))
                return
            if isinstance(outcome, Moved):
                jobs.add(outcome.run.job)
            if isinstance(change, Append) and isinstance(outcome, Kept):
                acks[change.chunk.run, change.chunk.stream] = outcome.through
                if (job := self._jobs.get(change.chunk.run)) is not None:
                    jobs.add(job)
            else:
                orders += await self._follow_up(effect, outcome)
        for _, change in changes:
            if isinstance(change, Append):
                chunk = change.chunk
                through = acks.pop((chunk.run, chunk.stream), None)
                if through is not None:
                    said = self.machine.kept(chunk.run, chunk.stream, through)
                    orders += [e.order for e in said if isinstance(e, Say)]
        self._home.hint(jobs)
        if orders:
            await self._channel.send(*orders)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the store; while it is unavailable, ask again: the agent is not told meanwhile."""
        since: float | None = None
        while True:
            try:
                answer = await ask()
            except Unavailable as exc:
                if since is None:
                    since = self._home.clock.now()
                    self.log.warning("session.store_unavailable", error=str(exc))
                await self._home.clock.sleep(RETRY_S)
                if self._over:
                    raise AgentGone from exc
            else:
                if since is not None:
                    gone_s = round(self._home.clock.now() - since, 1)
                    self.log.info("session.store_available", after_s=gone_s)
                return answer

    def _change(self, effect: Pending) -> Change | None:
        now = self._home.clock.wall()
        match effect:
            case Keep(chunk):
                return Append(chunk=chunk, at=now, agent=self.agent, epoch=self.epoch)
            case Move(run, expect, to, why, message, pid):
                return MoveRun(
                    run=run,
                    expect=expect,
                    to=to,
                    at=now,
                    agent=self.agent,
                    epoch=self.epoch,
                    why=why,
                    message=message,
                    pid=pid,
                )
            case Finish(run, ending):
                return MoveRun(
                    run=run,
                    expect=_OPEN,
                    to=ending.state,
                    at=now,
                    agent=self.agent,
                    epoch=self.epoch,
                    why=ending.why,
                    message=ending.message,
                    exit_code=ending.exit_code,
                    signal=ending.signal,
                    duration_s=ending.duration_s,
                    usage=ending.usage,
                    streams=ending.streams,
                )
            case Start(run):
                return MoveRun(
                    run=run.id,
                    expect=_QUEUED,
                    to=RunState.SENT,
                    at=now,
                    agent=self.agent,
                    epoch=self.epoch,
                )
            case _:
                return None

    async def _follow_up(self, effect: Pending, outcome: Outcome) -> list[FromController]:
        """What to tell the agent, now that the store has answered."""
        match effect, outcome:
            case Start(run), Moved():
                return await self._start_order(run)
            case Start(run), Lost(RunState.SENT) if not self.machine.knows(run.id):
                # Written before, when the store did not say so: nobody else sends this agent's runs
                return await self._start_order(run)
            case Finish(run), Moved():
                return self._settle(run)
            case Finish(run), Gap():
                return _orders(self.machine.keep_failed(run, await self._offsets(run)))
            case Move(run, to=to), Moved() if to.final:
                return self._settle(run)
            case Move(run, to=RunState.QUEUED), Moved() if self.machine.knows(run):
                return self._settle(run)  # it was given back
            case ((Move(run) | Finish(run)), Lost(state)) if state is None or state.final:
                return self._settle(run)
            case Keep(chunk), Gap():
                offsets = await self._offsets(chunk.run)
                return _orders(self.machine.keep_failed(chunk.run, offsets))
            case Keep(chunk), Lost():
                self.machine.forget(chunk.run)
                return [Stop(chunk.run)]
            case _:
                return []

    async def _offsets(self, run: RunId) -> Mapping[StreamName, int]:
        return await self._patiently(lambda: self._home.store.offsets(run))

    def _settle(self, run: RunId) -> list[FromController]:
        self._jobs.pop(run, None)
        self._cancelled_at.pop(run, None)
        return _orders(self.machine.settled(run))

    async def _start_order(self, run: Run) -> list[FromController]:
        job = await self._patiently(lambda: self._home.job(run.job))
        return [] if job is None else self._begun(job, run.id)

    def _begun(self, job: Job, run: RunId) -> list[FromController]:
        """Expect to hear of a run; return what starts it."""
        self._jobs[run] = job.id
        up_to = self.machine.begin(run)
        orders: list[FromController] = [StartRun(run=run, spec=job.spec, grant=min(up_to.values()))]
        if run in self._cancelled_at and self.machine.cancel(run):
            orders.append(CancelRun(run, self._home.limits.cancel_grace_s))
        return orders

    # --- coming back ----------------------------------------------------------------------

    async def _reconcile(self, held: tuple[HeldRun, ...]) -> None:
        """Bring the agent's journal and the store together, then send what is queued."""
        store = self._home.store
        await self._patiently(lambda: self._home.confirm(self))
        stored = {run.id: run for run in await self._runs(_OPEN)}
        for run in (told.run for told in held if told.run not in stored):
            found = await self._stored(run)
            if found is not None and found.agent == self.agent:
                stored[run] = found
        plan = compare(held, stored, journals=not self.deepflow)
        await self._commit(list(plan.moves))
        for known in plan.resume:
            await self._resume(known)
        orders: list[FromController] = [Settled(run) for run in plan.settle]
        orders += [Stop(run) for run in plan.stop]
        if orders:
            await self._channel.send(*orders)
        if plan.stop:
            now = self._home.clock.wall()
            stops = [Record(at=now, by="agent", action="run.stopped", subject=r) for r in plan.stop]
            await self._patiently(lambda: store.apply(stops))
        await self._commit([Start(run) for run in await self._runs(_QUEUED)])
        self._compared = True

    async def _stored(self, run: RunId) -> Run | None:
        return await self._patiently(lambda: self._home.store.run(run))

    async def _runs(self, states: frozenset[RunState]) -> list[Run]:
        which, store = RunFilter(agent=self.agent, states=states), self._home.store

        async def read(cursor: str | None) -> Page[Run]:
            return await self._patiently(lambda: store.runs(which, cursor=cursor, limit=500))

        return [run async for page in pages(read) for run in page]

    async def _resume(self, run: Run) -> None:
        offsets = await self._offsets(run.id)
        self._jobs[run.id] = run.job
        up_to = self.machine.begin(run.id, offsets)
        await self._channel.send(Resume(run.id, offsets, up_to))
        if run.cancel_requested or run.id in self._cancelled_at:
            self.cancel(run.id)


def _orders(effects: list[Effect]) -> list[FromController]:
    return [effect.order for effect in effects if isinstance(effect, Say)]
