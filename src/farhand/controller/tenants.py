"""What the callers and agents of one org reach, opened when there is work for it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

from farhand.controller.agents import Agents
from farhand.controller.enrolment import Enrolment
from farhand.controller.exports import Exports
from farhand.controller.firing import Firer
from farhand.controller.groups import Groups
from farhand.controller.jobs import Jobs
from farhand.controller.output import Followers
from farhand.controller.reruns import Reruns
from farhand.controller.schedules import Schedules
from farhand.controller.sessions import Sessions
from farhand.controller.sweeper import Sweeper
from farhand.domain.ids import OrgId
from farhand.domain.limits import Limits
from farhand.domain.session import Grants
from farhand.errors import NotFound
from farhand.ports import Bus, Clock, Store


@dataclass(frozen=True, slots=True)
class Tenant:
    """One org at work."""

    org: OrgId
    store: Store
    jobs: Jobs
    reruns: Reruns
    agents: Agents
    schedules: Schedules
    followers: Followers
    groups: Groups
    exports: Exports
    sessions: Sessions


class Tenants:
    """Every org that is open here. Use it inside `async with`: leaving ends their work."""

    def __init__(
        self,
        *,
        name: str,
        open_store: Callable[[OrgId], Awaitable[Store]],
        bus: Bus,
        enrolment: Enrolment,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._name = name
        self._open_store = open_store
        self._bus = bus
        self._enrolment = enrolment
        self._clock = clock
        self._limits = limits
        self._grants = Grants(limits)  # of all orgs together
        self._open: dict[OrgId, Tenant] = {}
        self._stack = AsyncExitStack()
        self._sweepers: list[asyncio.Task[None]] = []
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._tasks)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for sweeper in self._sweepers:
            sweeper.cancel()
        await self._stack.aclose()

    @property
    def all(self) -> list[Tenant]:
        """The orgs that are open."""
        return list(self._open.values())

    def get(self, org: OrgId) -> Tenant:
        """An open org; raises NotFound."""
        found = self._open.get(org)
        if found is None:
            raise NotFound(f"the org {org} is not open here")
        return found

    async def open(self, org: OrgId) -> Tenant:
        """Open an org's store and begin its clockwork."""
        store = await self._open_store(org)
        sessions = Sessions(
            org=org,
            name=self._name,
            store=store,
            bus=self._bus,
            enrolment=self._enrolment,
            clock=self._clock,
            limits=self._limits,
            grants=self._grants,
        )
        await self._stack.enter_async_context(sessions)
        await sessions.adopt()
        jobs = Jobs(sessions, self._bus)
        await self._stack.enter_async_context(jobs.rollouts)
        tenant = Tenant(
            org=org,
            store=store,
            jobs=jobs,
            reruns=Reruns(store, jobs),
            agents=Agents(sessions),
            schedules=Schedules(sessions, self._enrolment),
            followers=Followers(org, store, self._bus, self._limits),
            groups=Groups(org, store, self._bus, self._clock, self._limits),
            exports=Exports(store, self._limits),
            sessions=sessions,
        )
        firer = Firer(sessions, jobs, self._enrolment)
        sweeper = Sweeper(sessions, store, self._clock, self._limits, ticks=[firer.tick])
        self._sweepers.append(self._tasks.create_task(sweeper.run(), name=f"sweeper-{org}"))
        self._sweepers.append(self._tasks.create_task(firer.run(), name=f"schedules-{org}"))
        self._open[org] = tenant
        return tenant
