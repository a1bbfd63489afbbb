"""A real controller that serves DeepFlow agents, on loopback sockets and in one loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx

from farhand.boot.config import ControllerConfig
from farhand.boot.controller import Controller, running_controller
from farhand.controller.session import Session
from farhand.controller.tenants import Tenant
from farhand.domain.agent import Agent
from farhand.domain.deepflow.outlet import Room
from farhand.domain.ids import RunId
from farhand.domain.job import AllAgents, CommandCall, JobSpec, Names
from farhand.domain.limits import DEFAULTS, Limits
from farhand.domain.output import StreamName
from farhand.domain.run import Run, RunState
from farhand.testing.deepflow import FakeDeepFlowAgent, Responder
from farhand.testing.deepflow.responder import SENDER

T = TypeVar("T")

DATE: Final = "system_d2e"
STRACE: Final = "system_t5t_--s9L_--p13s_$t5t_s4e_-f_-p_$pid"
NAME: Final = SENDER.key


@dataclass(slots=True)
class Estate:
    """A controller, and what a test asks of it."""

    controller: Controller
    client: httpx.AsyncClient
    data: Path
    token: str

    @property
    def port(self) -> int:
        """Where agents dial in."""
        return self.controller.gateway.address[1]

    @property
    def tenant(self) -> Tenant:
        """The default org."""
        (tenant,) = self.controller.tenants.all
        return tenant

    def agent(self, responder: Responder | None = None, **more: Any) -> FakeDeepFlowAgent:
        """A DeepFlow agent that dials when it is entered."""
        return FakeDeepFlowAgent(port=self.port, responder=responder, **more)

    async def agents(self) -> list[Agent]:
        """All that are known."""
        return list((await self.tenant.store.agents()).items)

    async def online(self, name: str = NAME) -> Agent:
        """The agent once it is connected, here and in its own words."""

        async def look() -> Agent | None:
            found = [a for a in await self.agents() if name in {a.name, a.ip_mac}]
            return found[0] if found and self.session(found[0]) is not None else None

        return await eventually(look)

    def session(self, agent: Agent) -> Session | None:
        """The agent's session, if it has told what it holds."""
        found = self.tenant.sessions.get(agent.id)
        return found if found is not None and found.machine.reconciled else None

    def room(self) -> Room:
        """Where the results of all DeepFlow agents are held."""
        unproved = self.controller.gateway.unproved
        assert unproved is not None
        return unproved.room

    async def submit(self, ident: str = DATE, on: str = NAME, **spec: Any) -> Run:
        """Ask for a command and return its run."""
        params = spec.pop("params", {})
        asked = JobSpec(what=CommandCall(ident, params), **spec)
        targets = Names((on,)) if on else AllAgents()
        return (await self.tenant.jobs.submit(asked, targets, by="test")).runs[0]

    async def run(self, run: Run | RunId) -> Run:
        """A run as it is now."""
        found = await self.tenant.store.run(run.id if isinstance(run, Run) else run)
        assert found is not None
        return found

    async def when(self, run: Run, condition: Callable[[Run], object]) -> Run:
        """A run once *condition* holds for it."""

        async def look() -> Run | None:
            found = await self.run(run)
            return found if condition(found) else None

        return await eventually(look)

    async def in_state(self, run: Run, state: RunState) -> Run:
        """A run once it is there."""
        return await self.when(run, lambda it: it.state is state)

    async def final(self, run: Run) -> Run:
        """A run at its end."""
        return await self.when(run, lambda it: it.state.final)

    async def output(self, run: Run, stream: str = "stdout") -> bytes:
        """What is kept of a run."""
        return await self.tenant.store.output(run.id, StreamName(stream), offset=0, limit=1 << 30)


async def eventually(look: Callable[[], Awaitable[T | None]], within_s: float = 20.0) -> T:
    """What *look* returns once it is not None."""
    async with asyncio.timeout(within_s):
        while (found := await look()) is None:  # noqa: ASYNC110  # what is looked at has no event
            await asyncio.sleep(0.005)
    return found


@asynccontextmanager
async def estate(data: Path, limits: Limits = DEFAULTS, **config: Any) -> AsyncIterator[Estate]:
    """A running controller. Give the same *data* again to start it again."""
    settings: dict[str, Any] = {
        "http": "127.0.0.1:0",
        "agents": "127.0.0.1:0",
        "deepflow_agents": True,
        "deepflow_api": True,
    }
    configured = ControllerConfig(
        data=data, limits=replace(limits, goodbye_spread_s=0.05), **{**settings, **config}
    ).checked()
    async with running_controller(configured) as controller:
        token = (data / "admin.token").read_text().strip()
        async with httpx.AsyncClient(
            base_url=controller.http.url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
            verify=False,
        ) as client:
            yield Estate(controller, client, data, token)
