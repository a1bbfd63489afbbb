"""A controller without a gateway: the real API over the memory store, and agents played by hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from fastapi import FastAPI

from farhand.boot.clock import SystemClock
from farhand.bus.local import LocalBus
from farhand.controller.enrolment import Enrolment
from farhand.controller.ids import new_agent, new_org, token_hash
from farhand.controller.tenants import Tenant, Tenants
from farhand.domain.agent import Agent, Identity
from farhand.domain.ids import OrgId, RunId
from farhand.domain.limits import DEFAULTS, Limits
from farhand.domain.output import Chunk, StreamName
from farhand.domain.run import Ending, RunState, Why
from farhand.http.app import build_app
from farhand.http.server import Address, serving_http
from farhand.ports import Append, Credential, JoinAgent, Kept, Moved, MoveRun, Store
from farhand.storage.memory import MemoryControl, MemoryStore

T = TypeVar("T")

TOKEN = "fh_api_of_the_tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(slots=True)
class House:
    """One org behind its front door. `app` is the door, `client` walks through it in-process."""

    app: FastAPI
    tenant: Tenant
    client: httpx.AsyncClient

    async def joined(
        self, name: str, labels: Mapping[str, str] | None = None, *, at: float = 1.0
    ) -> Agent:
        """Add an agent that is away."""
        identity = Identity(
            name=name, machine_id=name, ip="10.0.0.1", mac=f"aa:{name}", labels=labels or {}
        )
        agent = Agent(id=new_agent(), identity=identity, joined_at=at)
        await self.tenant.store.apply([JoinAgent(agent=agent)])
        return agent

    async def submitted(self, **body: object) -> tuple[str, str]:
        """Submit a job for one agent; return the ids of the job and its run."""
        answer = await self.client.post("/api/v1/jobs", json={"argv": ["true"], **body})
        assert 202 == answer.status_code, answer.text
        job = answer.json()
        return job["id"], job["runs"][0]["id"]

    async def started(self, run: str) -> None:
        """Let the agent start a run."""
        await self._move(run, RunState.QUEUED, RunState.SENT)
        await self._move(run, RunState.SENT, RunState.RUNNING)

    async def printed(self, run: str, data: bytes, stream: str = "stdout") -> None:
        """Let a run print."""
        name = StreamName(stream)
        offset = (await self.tenant.store.offsets(RunId(run)))[name]
        chunk = Chunk(run=RunId(run), stream=name, offset=offset, data=data)
        await self._tell(Append(chunk=chunk, at=2.0))

    async def ended(self, run: str, **ending: object) -> None:
        """Let a run end, with exit code 0 unless told otherwise."""
        end = Ending(**{"why": Why.EXIT, "exit_code": 0, **ending})  # type: ignore[arg-type] # of tests
        await self._move(run, RunState.RUNNING, end.state, end)

    async def done(self, *runs: str) -> None:
        """Let runs start and succeed."""
        for run in runs:
            await self.started(run)
            await self.ended(run)

    async def followers(self) -> int:
        """How many follow a job just now."""
        return self.tenant.followers.count

    async def _move(
        self, run: str, expect: RunState, to: RunState, end: Ending | None = None
    ) -> None:
        told = end or Ending(why=Why.EXIT)
        await self._tell(
            MoveRun(
                run=RunId(run),
                expect=frozenset({expect}),
                to=to,
                at=2.0,
                why=told.why if end else None,
                exit_code=told.exit_code,
                signal=told.signal,
                streams=told.streams if end else None,
            )
        )

    async def _tell(self, change: MoveRun | Append) -> None:
        (outcome,) = await self.tenant.store.apply([change])
        assert isinstance(outcome, Moved | Kept), outcome
        run_id = change.run if isinstance(change, MoveRun) else change.chunk.run
        run = await self.tenant.store.run(run_id)
        assert run is not None
        self.tenant.sessions.hint([run.job])


async def eventually(look: Callable[[], Awaitable[T]], good: Callable[[T], object]) -> T:
    """Look until it is good, turn by turn of the loop; a deadline says that it never was."""
    async with asyncio.timeout(20):
        while not good(found := await look()):  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.001)
    return found


@dataclass(slots=True)
class Told:
    """One server-sent event as it came."""

    id: int | None = None
    event: str = ""
    data: dict[str, Any] = field(default_factory=dict)


async def events(lines: AsyncIterator[str]) -> AsyncIterator[Told]:
    """Read server-sent events."""
    told = Told()
    async for line in lines:
        name, _, value = line.partition(": ")
        match name:
            case "id":
                told.id = int(value)
            case "event":
                told.event = value
            case "data":
                told.data = json.loads(value)
            case "" if told.event and not line:
                yield told
                told = Told()


@asynccontextmanager
async def served(
    here: House, limits: Limits = DEFAULTS
) -> AsyncIterator[tuple[httpx.AsyncClient, Address]]:
    """Serve a house on a port of its own."""
    async with (
        serving_http(here.app, "127.0.0.1:0", limits=limits) as address,
        httpx.AsyncClient(base_url=address.url, headers=BEARER, timeout=20) as client,
    ):
        yield client, address


@asynccontextmanager
async def house(
    limits: Limits = DEFAULTS, store: Store | None = None, callers: Mapping[str, str] | None = None
) -> AsyncIterator[House]:
    """Open a house; *store* stands in for the memory store, *callers* have tokens of their own."""
    control, kept, clock = MemoryControl(), store or MemoryStore(), SystemClock()
    org = new_org()
    await control.add_org(org, "default", 0.0)
    for name, token in {"admin": TOKEN, **(callers or {})}.items():
        await control.add_credential(
            Credential(hash=token_hash(token), kind="api", org=org, subject=name, created_at=0.0)
        )

    async def open_store(wanted: OrgId) -> Store:
        assert org == wanted
        return kept

    enrolment = Enrolment(control, clock)
    async with Tenants(
        name="house",
        open_store=open_store,
        bus=LocalBus(),
        enrolment=enrolment,
        clock=clock,
        limits=limits,
    ) as tenants:
        tenant = await tenants.open(org)
        app = build_app(tenants, enrolment, limits, version="1.2.3")
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://farhand", headers=BEARER
        ) as client:
            yield House(app, tenant, client)
