"""A gateway and real agents over loopback sockets, in one loop; programs are coroutines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from farhand.agent.daemon import Agent, AgentSetup, open_agent
from farhand.agent.executor import Resolved
from farhand.agent.link import Address, Dial
from farhand.boot.clock import SystemClock
from farhand.bus.local import LocalBus
from farhand.controller.enrolment import Enrolment
from farhand.controller.jobs import Submitted
from farhand.controller.tenants import Tenant, Tenants
from farhand.domain.command import Command
from farhand.domain.ids import OrgId
from farhand.domain.job import AllAgents, Argv, CommandCall, JobSpec
from farhand.domain.limits import AGENT_DEFAULTS, DEFAULTS, AgentLimits, Limits
from farhand.domain.policy import AgentPolicy
from farhand.domain.run import Run
from farhand.errors import UnknownCommand
from farhand.gateway.admission import Admissions
from farhand.gateway.server import FrontDoor, Gateway, serving_agents
from farhand.ports import Store
from farhand.storage.memory import MemoryControl, MemoryStore
from farhand.testing.launcher import FakeLauncher, Program
from farhand.wire.grpc import HttpProxy, LinkLimits

QUICK = replace(AGENT_DEFAULTS, backoff_first_s=0.01, backoff_cap_s=0.05, stop_s=2.0)


class NoCatalogue:
    """A host without commands."""

    commands: tuple[Command, ...] = ()
    digest = "none"

    def resolve(self, call: CommandCall) -> Resolved:
        raise UnknownCommand(f"no {call.ident}")


class Estate:
    """Controllers come and go on the same store; agents stay."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self.directory = directory
        self.limits = limits
        self.store = MemoryStore()
        self.control = MemoryControl()
        self.clock = SystemClock()
        self.tenant: Tenant | None = None

    @asynccontextmanager
    async def controller(self, port: int = 0) -> AsyncIterator[Gateway]:
        """Run a controller; leaving stops it as a real one stops."""

        async def open_store(_: OrgId) -> Store:
            return self.store

        enrolment = Enrolment(self.control, self.clock)
        org = await enrolment.begin(self.directory)
        async with Tenants(
            name="estate",
            open_store=open_store,
            bus=LocalBus(),
            enrolment=enrolment,
            clock=self.clock,
            limits=self.limits,
        ) as tenants:
            self.tenant = await tenants.open(org)
            door = FrontDoor(enrolment, tenants, Admissions(self.limits, self.clock))
            sessions = self.tenant.sessions
            async with serving_agents(
                "127.0.0.1",
                port,
                door=door,
                limits=self.limits,
                farewell=lambda: sessions.say_goodbye(self.limits.goodbye_spread_s),
            ) as gateway:
                yield gateway

    @asynccontextmanager
    async def agent(
        self,
        *addresses: tuple[str, int],
        name: str = "web-1",
        programs: dict[str, Program] | None = None,
        proxy: HttpProxy | None = None,
        limits: AgentLimits = QUICK,
        state: Path | None = None,
    ) -> AsyncIterator[Agent]:
        """Run an agent; leaving stops it as SIGTERM does."""
        async with AsyncExitStack() as stack:
            launcher = await stack.enter_async_context(FakeLauncher(programs))
            setup = AgentSetup(
                name=name,
                state=state or self.directory / name,
                dial=Dial(
                    addresses=tuple(Address(*each) for each in addresses),
                    proxy=proxy,
                    limits=LinkLimits(connect_deadline_s=2.0),
                ),
                join_token=(self.directory / "join.token").read_text().strip(),
                policy=AgentPolicy.of(["argv", "script"]),
                machine_id=f"machine-of-{name}",
                limits=limits,
                launcher=launcher,
                catalogue=NoCatalogue(),
                namespaces=lambda: (),
            )
            agent = await stack.enter_async_context(open_agent(setup, self.clock))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(agent.serve(), name=f"agent-{name}")
                try:
                    yield agent
                finally:
                    agent.stop()

    def at(self) -> Tenant:
        """The org of the controller that runs."""
        if self.tenant is None:
            raise RuntimeError("no controller runs")
        return self.tenant

    async def submit(self, *argv: str, **spec: object) -> Submitted:
        """Submit a job on every agent."""
        asked = replace(JobSpec(what=Argv(argv)), **spec)  # type: ignore[arg-type]
        return await self.at().jobs.submit(asked, AllAgents(), by="test")

    async def finished(self, submitted: Submitted, within_s: float = 10.0) -> list[Run]:
        """Wait for a job's end and return its runs."""
        if not await self.at().followers.settled(submitted.job.id, within_s):
            raise TimeoutError("the job did not end")
        found = [await self.store.run(run.id) for run in submitted.runs]
        return [run for run in found if run is not None]


def estate(directory: Path, limits: Limits = DEFAULTS) -> Estate:
    """An estate without a controller or agents yet."""
    return Estate(directory, replace(limits, goodbye_spread_s=0.05))
