"""Every agent that is connected here, and what its stream does to the store.

Each stream's rules are `domain.session`; here its effects are written, in order and together, and
only what was written is acknowledged. Knows no gRPC: an agent is an `AgentChannel`.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, Self

import structlog

from farhand.controller.doubts import Doubts
from farhand.controller.enrolment import Admission, Enrolment
from farhand.controller.paging import pages
from farhand.controller.session import Session
from farhand.domain.agent import Agent, Liveness
from farhand.domain.command import Command
from farhand.domain.ids import AgentId, JobId, OrgId
from farhand.domain.job import Job
from farhand.domain.limits import Limits
from farhand.domain.messages import (
    Commands,
    Goodbye,
    Hello,
    ListCommands,
    ListNamespaces,
    Namespace,
    Namespaces,
    Parting,
    Welcome,
)
from farhand.domain.run import Run
from farhand.domain.session import Grants
from farhand.errors import AgentGone, JoinRefused, Unavailable
from farhand.ports import (
    AgentChannel,
    Bus,
    Clamped,
    ClampTimes,
    Clock,
    Hint,
    Opened,
    OpenSession,
    RemoveAgent,
    SetLiveness,
    Store,
)

log = structlog.get_logger()

CATALOGUES: Final = 256  # different ones that are remembered
JOBS: Final = 512  # whose text is remembered for starting their runs
NOTED_AT_ONCE: Final = 500  # agents; other commits have their turn in between
AGENTS_READ: Final = 200  # in one page: what was read once stays with the process
PROTOCOL: Final = 1
STRANGER_S: Final = 86_400.0  # an agent that never confirmed its secret may still come with it


class Sessions:
    """The connected agents of one org. Use it inside `async with`: leaving ends their work."""

    def __init__(
        self,
        *,
        org: OrgId,
        name: str,
        store: Store,
        bus: Bus,
        enrolment: Enrolment,
        clock: Clock,
        limits: Limits,
        grants: Grants,
    ) -> None:
        self.org = org
        self.store = store
        self.clock = clock
        self.limits = limits
        self.grants = grants
        self._name = name
        self._bus = bus
        self._enrolment = enrolment
        self._live: dict[AgentId, Session] = {}
        self._unwritten: dict[AgentId, SetLiveness] = {}  # of sessions that are over
        self._catalogues: OrderedDict[str, tuple[Command, ...]] = OrderedDict()
        self._jobs: OrderedDict[JobId, Job] = OrderedDict()
        self._tasks = asyncio.TaskGroup()
        self._noted_at = clock.now()
        self.doubts = Doubts(self)

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._tasks.__aexit__(None, None, None)

    def __len__(self) -> int:
        """How many agents are connected."""
        return len(self._live)

    def get(self, agent: AgentId) -> Session | None:
        """The agent's session here, if it has one."""
        return self._live.get(agent)

    # --- coming and going -----------------------------------------------------------------

    async def open(
        self, hello: Hello, channel: AgentChannel, admission: Admission | None = None
    ) -> Session:
        """Let an agent in: prove it, fence its older stream, welcome it.

        With an *admission* it was let in before. Raises NotAllowed kinds, InvalidName,
        StoreUnavailable.
        """
        if PROTOCOL not in hello.protocols:
            msg = f"this controller speaks protocol {PROTOCOL}; the agent does not"
            raise JoinRefused(msg)
        admission = admission or await self._enrolment.admit(hello, self.store)
        opening = OpenSession(
            agent=admission.agent,
            identity=hello.identity,
            controller=self._name,
            at=self.clock.wall(),
        )
        (outcome,) = await self.store.apply([opening])
        if not isinstance(outcome, Opened):
            raise JoinRefused("this agent was removed while it connected")
        return await self._welcome(hello, channel, admission, outcome.epoch)

    async def _welcome(
        self, hello: Hello, channel: AgentChannel, admission: Admission, epoch: int
    ) -> Session:
        older = self._live.get(admission.agent)
        if older is not None and older.epoch > epoch:
            raise JoinRefused("a newer stream of this agent is there already")
        session = Session(
            home=self, agent=admission.agent, epoch=epoch, hello=hello, channel=channel
        )
        session.unconfirmed = admission.unconfirmed
        self._live[admission.agent] = session
        if older is not None:
            session.log.warning("session.fenced", older=older.epoch)
            told = "a newer stream of this agent has taken over"
            older.close(Goodbye(Parting.FENCED, told, self.limits.heartbeat_s))
        welcome = Welcome(
            agent=admission.agent,
            epoch=epoch,
            protocol=PROTOCOL,
            heartbeat_s=self.limits.heartbeat_s,
            secret=admission.secret,
            fenced=older is not None,
        )
        try:
            await channel.send(welcome)
        except AgentGone:
            await self.ended(session)
            raise
        session.log.info("session.opened", name=hello.identity.name)
        self._bus.publish(Hint(self.org, "agent", admission.agent))
        return session

    async def ended(self, session: Session) -> None:
        """The stream is over. Without a goodbye the agent is only suspect: its lease decides."""
        session.over()
        if self._live.get(session.agent) is session:
            del self._live[session.agent]
        said = session.parting is not None and session.parting.reason is Parting.STOPPING
        session.log.info("session.ended", goodbye=said, heartbeats=session.machine.heartbeats)
        change = SetLiveness(
            agent=session.agent,
            epoch=session.epoch,
            liveness=Liveness.OFFLINE if said else Liveness.SUSPECT,
            at=session.heard_wall,
        )
        try:
            await self.store.apply([change])
        except Unavailable as exc:
            session.log.warning("session.unwritten", error=str(exc))
            self._unwritten[session.agent] = change
        self._bus.publish(Hint(self.org, "agent", session.agent))

    async def confirm(self, session: Session) -> None:
        """The agent spoke behind its Welcome, so it knows its secret."""
        if session.unconfirmed is not None:
            await self._enrolment.confirm(session.unconfirmed)
            session.unconfirmed = None

    async def forget_strangers(self) -> None:
        """Forget agents that were given a secret long ago and never spoke since."""
        before = self.clock.wall() - STRANGER_S
        async for page in self._all_agents():
            for agent in page:
                if agent.epoch <= 1 and agent.last_seen_at < before and agent.id not in self._live:
                    await self._enrolment.forget_stranger(self.org, agent, self.store)

    async def forget(self, agent: AgentId) -> None:
        """Remove an agent: its secret, its record, its stream."""
        await self._enrolment.revoke(self.org, agent)
        await self.store.apply([RemoveAgent(agent=agent, at=self.clock.wall())])
        if (session := self._live.get(agent)) is not None:
            session.close(Goodbye(Parting.REMOVED, "this agent was removed by an operator"))

    def say_goodbye(self, spread_s: float) -> None:
        """The controller stops: tell every agent when to come back.

        They are spread over *spread_s*, or over longer where there are so many that more than
        `return_rate` would come in a second.
        """
        count = max(1, len(self._live))
        spread_s = max(spread_s, count / max(1, self.limits.return_rate))
        for at, session in enumerate(list(self._live.values())):
            told = "the controller is stopping"
            session.close(Goodbye(Parting.STOPPING, told, spread_s * at / count))

    # --- watching -------------------------------------------------------------------------

    def sweep(self) -> None:
        """End the sessions that were silent too long, and send open cancels again."""
        now = self.clock.now()
        for session in list(self._live.values()):
            if now - session.heard > self.limits.inactivity_s:
                session.log.warning("session.inactive", after_s=self.limits.inactivity_s)
                told = f"nothing was heard of this agent for {self.limits.inactivity_s:g} s"
                session.close(Goodbye(Parting.INACTIVE, told))
            else:
                session.cancel_again(now)

    async def note_partings(self) -> None:
        """Write who has left while the store was unavailable."""
        left = list(self._unwritten.items())
        if left:
            await self.store.apply([change for _, change in left])
            for agent, change in left:
                if self._unwritten.get(agent) is change:
                    del self._unwritten[agent]

    async def note_liveness(self) -> None:
        """Write now and then when each agent was last heard of, and doubt who is not here.

        A stream whose opening was kept, and not answered, has no session that could end.
        """
        now = self.clock.now()
        if now - self._noted_at < self.limits.inactivity_s:
            return
        self._noted_at = now
        changes = [
            SetLiveness(
                agent=session.agent,
                epoch=session.epoch,
                liveness=Liveness.ONLINE,
                at=session.heard_wall,
            )
            for session in self._live.values()
        ]
        for at in range(0, len(changes), NOTED_AT_ONCE):
            await self.store.apply(changes[at : at + NOTED_AT_ONCE])
        await self._doubt(self.clock.wall() - self.limits.inactivity_s)

    async def adopt(self) -> None:
        """At the start: whoever is said to be online lost its stream with the last process.

        Nothing stands in the future: the wall clock may have been set back meanwhile.
        """
        (clamped,) = await self.store.apply([ClampTimes(at=self.clock.wall())])
        if isinstance(clamped, Clamped) and (clamped.agents or clamped.runs):
            told = "the wall clock was set back; leases and queue TTLs count from now"
            log.warning("clock.went_back", agents=clamped.agents, runs=clamped.runs, meaning=told)
        await self._doubt(math.inf)

    async def _doubt(self, before: float) -> None:
        """Suspect agents that are said to be online, are not, and were seen last before that."""
        async for page in self._all_agents():
            stale = [
                SetLiveness(
                    agent=agent.id,
                    epoch=agent.epoch,
                    liveness=Liveness.SUSPECT,
                    at=agent.last_seen_at,
                )
                for agent in page
                if agent.liveness is Liveness.ONLINE
                and agent.id not in self._live
                and agent.last_seen_at < before
            ]
            if stale:
                await self.store.apply(stale)

    def _all_agents(self) -> AsyncIterator[Sequence[Agent]]:
        return pages(lambda cursor: self.store.agents(cursor=cursor, limit=AGENTS_READ))

    # --- work -----------------------------------------------------------------------------

    def deliver(self, job: Job, runs: Iterable[Run]) -> None:
        """Start queued runs whose agent is connected here; the others wait for theirs."""
        self.remember(job)
        for run in runs:
            if (session := self._live.get(run.agent)) is not None:
                session.start(run)

    def cancel(self, run: Run) -> None:
        """Pass a stored cancel on, if the run's agent is connected here."""
        if (session := self._live.get(run.agent)) is not None:
            session.cancel(run.id)

    def remember(self, job: Job) -> None:
        """Keep a job's text at hand."""
        self._jobs[job.id] = job
        self._jobs.move_to_end(job.id)
        while len(self._jobs) > JOBS:
            self._jobs.popitem(last=False)

    async def job(self, job: JobId) -> Job | None:
        """A job's text, from memory or the store."""
        found = self._jobs.get(job) or await self.store.job(job)
        if found is not None:
            self.remember(found)
        return found

    def hint(self, jobs: Iterable[JobId]) -> None:
        """Tell followers to look."""
        for job in jobs:
            self._bus.publish(Hint(self.org, "job", job))

    def spawn(self, session: Session) -> None:
        """Let a session write what waits."""
        self._tasks.create_task(session.write(), name=f"session-{session.agent}")

    # --- questions ------------------------------------------------------------------------

    async def commands(self, agent: AgentId) -> Sequence[Command]:
        """The catalogue of a connected agent; raises AgentGone."""
        session = self._connected(agent)
        digest = session.catalogue
        if digest and digest in self._catalogues:
            return self._catalogues[digest]
        answer = await session.ask(ListCommands)
        if not isinstance(answer, Commands):
            raise AgentGone("the agent answered something else", connected=True)
        if digest:
            self._catalogues[digest] = answer.commands
            while len(self._catalogues) > CATALOGUES:
                self._catalogues.popitem(last=False)
        return answer.commands

    async def namespaces(self, agent: AgentId) -> Sequence[Namespace]:
        """The namespaces of a connected agent's host; raises AgentGone."""
        answer = await self._connected(agent).ask(ListNamespaces)
        if not isinstance(answer, Namespaces):
            raise AgentGone("the agent answered something else", connected=True)
        if answer.error:
            msg = f"the agent cannot list its namespaces: {answer.error}"
            raise AgentGone(msg, connected=True)
        return answer.namespaces

    def _connected(self, agent: AgentId) -> Session:
        session = self._live.get(agent)
        if session is None:
            raise AgentGone("the agent is not connected; `farhand agents` tells since when")
        return session
