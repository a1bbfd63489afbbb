"""A controller and its agents in one loop, without a network, a disk or a wait.

The controller is the real one on the memory store; agents are `FakeAgent`s.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from farhand.bus.local import LocalBus
from farhand.controller.enrolment import Enrolment
from farhand.controller.jobs import Submitted
from farhand.controller.session import Session
from farhand.controller.tenants import Tenant, Tenants
from farhand.domain.ids import OrgId, RunId
from farhand.domain.job import AllAgents, Argv, JobSpec, Names, Targets
from farhand.domain.limits import DEFAULTS, Limits
from farhand.domain.messages import Hello
from farhand.domain.output import StreamName
from farhand.domain.run import Run
from farhand.errors import UnknownRun
from farhand.ports import Clock, Control, Store
from farhand.storage.memory import MemoryControl, MemoryStore
from farhand.testing.agent import Behaviour, FakeAgent, FakeChannel, succeed
from farhand.testing.clock import ManualClock, settle


class World:
    """Everything at hand: `tenant`, `tenants`, `enrolment`, `store`, `clock` and the agents."""

    def __init__(
        self,
        *,
        tenants: Tenants,
        tenant: Tenant,
        enrolment: Enrolment,
        clock: Clock,
        control: Control,
        directory: Path,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self.tenants = tenants
        self.tenant = tenant
        self.enrolment = enrolment
        self.clock = clock
        self.control = control
        self.directory = directory
        self.agents: dict[str, FakeAgent] = {}
        self._tasks = tasks

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        clock: Clock | None = None,
        *,
        agents: Sequence[str] = (),
        limits: Limits = DEFAULTS,
        store: Store | None = None,
        control: Control | None = None,
        behaviour: Behaviour | None = None,
    ) -> AsyncIterator["World"]:
        """Open a world; the named agents are connected when it is entered.

        With the *store* and *control* of an earlier one, the controller has started again.
        """
        clock = clock or ManualClock()
        kept = store or MemoryStore()
        known = control or MemoryControl()

        async def open_store(_: OrgId) -> Store:
            return kept

        with tempfile.TemporaryDirectory(prefix="farhand-world-") as directory:
            enrolment = Enrolment(known, clock)
            org = await enrolment.begin(Path(directory))
            async with (
                asyncio.TaskGroup() as tasks,
                Tenants(
                    name="world",
                    open_store=open_store,
                    bus=LocalBus(),
                    enrolment=enrolment,
                    clock=clock,
                    limits=limits,
                ) as tenants,
            ):
                tenant = await tenants.open(org)
                world = cls(
                    tenants=tenants,
                    tenant=tenant,
                    enrolment=enrolment,
                    clock=clock,
                    control=known,
                    directory=Path(directory),
                    tasks=tasks,
                )
                for name in agents:
                    await world.join(name, behaviour=behaviour)
                yield world
                for agent in world.agents.values():
                    agent.vanish()
                await settle()

    @property
    def store(self) -> Store:
        """The org's store."""
        return self.tenant.store

    @property
    def join_token(self) -> str:
        """What agents join with."""
        return (self.directory / "join.token").read_text().strip()

    @property
    def admin_token(self) -> str:
        """What a caller of the API presents."""
        return (self.directory / "admin.token").read_text().strip()

    # What a fake agent connects to.

    async def open(self, hello: Hello, channel: FakeChannel) -> Session:
        """Let an agent in."""
        org = await self.enrolment.org_of(hello)
        return await self.tenants.get(org).sessions.open(hello, channel)

    async def ended(self, session: Session) -> None:
        """An agent's stream is over."""
        await session.leave()

    # What a test does.

    def new_agent(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        behaviour: Behaviour | None = None,
    ) -> FakeAgent:
        """An agent that has not connected yet."""
        agent = FakeAgent(
            name,
            controller=self,
            spawn=self._tasks.create_task,
            join_token=self.join_token,
            labels=labels or {},
            behaviour=behaviour or succeed(),
        )
        self.agents[name] = agent
        return agent

    async def join(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        behaviour: Behaviour | None = None,
    ) -> FakeAgent:
        """An agent that is connected."""
        agent = self.new_agent(name, labels=labels, behaviour=behaviour)
        await agent.connect()
        await settle()
        return agent

    def bring(self, agent: FakeAgent) -> FakeAgent:
        """An agent of an earlier world, which dials this controller from now on."""
        agent.controller, agent.spawn = self, self._tasks.create_task
        self.agents[agent.name] = agent
        return agent

    def agent(self, name: str) -> FakeAgent:
        """An agent by name."""
        return self.agents[name]

    async def submit(
        self, spec: JobSpec | str = "true", *, on: str | Sequence[str] | Targets | None = None
    ) -> Submitted:
        """Submit a job; a text is split into an argv; without names, on all."""
        if isinstance(spec, str):
            spec = JobSpec(what=Argv(tuple(spec.split())))
        targets: Targets
        if on is None:
            targets = AllAgents()
        elif isinstance(on, str):
            targets = Names((on,))
        elif isinstance(on, Sequence):
            targets = Names(tuple(on))
        else:
            targets = on
        submitted = await self.tenant.jobs.submit(spec, targets, by="test")
        await settle()
        return submitted

    async def run(self, run: RunId | Run) -> Run:
        """A run as it is now."""
        found = await self.store.run(run if isinstance(run, str) else run.id)
        if found is None:
            raise UnknownRun(f"there is no run {run}")
        return found

    async def output(self, run: RunId | Run, stream: str = "stdout") -> bytes:
        """What is kept of a stream."""
        which = run if isinstance(run, str) else run.id
        return await self.store.output(which, StreamName(stream), offset=0, limit=1 << 30)
