"""Builders for tests of stores, and the stores they are about."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from farhand.domain.agent import Agent, Identity
from farhand.domain.ids import AgentId, JobId, OrgId, RunId
from farhand.domain.job import Argv, Job, JobSpec
from farhand.domain.output import Chunk, StreamName
from farhand.domain.run import Run, RunState, Why
from farhand.ports import (
    AddJob,
    Append,
    Change,
    JoinAgent,
    MoveRun,
    OpenSession,
    Outcome,
    Repeat,
    Store,
)
from farhand.storage import Storage, open_memory, open_storage

ORG = OrgId("org_00000000000000000000000001")
INLINE = 64  # bytes of a stream in the database, so that small outputs reach files
OUT, ERR = StreamName.STDOUT, StreamName.STDERR
ANY = frozenset(RunState)


def agent_id(n: int = 1) -> AgentId:
    return AgentId(f"agt_{n:026}")


def job_id(n: int = 1) -> JobId:
    return JobId(f"job_{n:026}")


def run_id(n: int = 1) -> RunId:
    return RunId(f"run_{n:026}")


def identity(name: str = "web-1", *, ip: str = "10.0.0.1", mac: str = "02:00") -> Identity:
    return Identity(
        name=name,
        machine_id="machine",
        ip=ip,
        mac=mac,
        labels={"role": "web"},
        facts={"os": "linux"},
        capabilities=("cancel",),
    )


def agent(n: int = 1, *, name: str | None = None) -> Agent:
    told = identity(name or f"web-{n}", ip=f"10.0.0.{n}")
    return Agent(id=agent_id(n), identity=told, joined_at=float(n))


def run(n: int = 1, *, job: int = 1, of: int = 1, state: RunState = RunState.QUEUED) -> Run:
    return Run(
        id=run_id(n),
        job=job_id(job),
        agent=agent_id(of),
        agent_name=f"web-{of}",
        state=state,
        created_at=100.0,
        queue_until=400.0,
        timeout_s=60.0,
    )


def job(n: int = 1, *, at: float = 100.0, spec: JobSpec | None = None) -> Job:
    spec = spec or JobSpec(what=Argv(("uptime",)))
    return Job(id=job_id(n), spec=spec, targets="web-1", by="admin", created_at=at)


def add(n: int = 1, *runs: Run, at: float = 100.0, repeat: Repeat | None = None) -> AddJob:
    return AddJob(job=job(n, at=at), runs=runs or (run(n, job=n),), repeat=repeat)


def move(
    n: int,
    to: RunState,
    *,
    expect: frozenset[RunState] = ANY,
    epoch: int | None = None,
    of: int = 1,
    at: float = 200.0,
    why: Why | None = None,
) -> MoveRun:
    """A move; with *epoch*, written by that session of agent *of*."""
    agent = None if epoch is None else agent_id(of)
    return MoveRun(run=run_id(n), expect=expect, to=to, at=at, agent=agent, epoch=epoch, why=why)


def append(
    data: bytes,
    *,
    n: int = 1,
    offset: int = 0,
    stream: StreamName = OUT,
    epoch: int | None = None,
    of: int = 1,
) -> Append:
    """A chunk; with *epoch*, written by that session of agent *of*."""
    agent = None if epoch is None else agent_id(of)
    return Append(chunk=Chunk(run_id(n), stream, offset, data), at=300.0, agent=agent, epoch=epoch)


def join(n: int = 1) -> tuple[JoinAgent, OpenSession]:
    joined = agent(n)
    session = OpenSession(agent=joined.id, identity=joined.identity, controller="here", at=50.0 + n)
    return JoinAgent(agent=joined), session


class Opened:
    """A store under test. `look` returns it as a reader finds it: perhaps after a restart."""

    def __init__(self, directory: Path | None, *, restarts: bool) -> None:
        self._directory = directory
        self._restarts = restarts
        self._stack = AsyncExitStack()
        self._store: Store | None = None

    async def store(self) -> Store:
        if self._store is None:
            opening = (
                open_memory()
                if self._directory is None
                else open_storage(self._directory, inline_bytes=INLINE)
            )
            storage: Storage = await self._stack.enter_async_context(opening)
            self._store = await storage.store(ORG)
        return self._store

    async def apply(self, *changes: Change) -> Sequence[Outcome]:
        return await (await self.store()).apply(changes)

    async def look(self) -> Store:
        if self._restarts:
            await self.close()
        return await self.store()

    async def close(self) -> None:
        self._store = None
        await self._stack.aclose()


@asynccontextmanager
async def opened(kind: str, tmp_path: Path) -> AsyncIterator[Opened]:
    """A store of *kind*: `memory`, `sqlite`, or `restarted`, which is closed before each look."""
    subject = Opened(None if kind == "memory" else tmp_path / "data", restarts=kind == "restarted")
    if kind != "memory":
        await _copy_new_storage(tmp_path.parent / "new-storage", tmp_path / "data")
    try:
        yield subject
    finally:
        await subject.close()


async def _copy_new_storage(made: Path, directory: Path) -> None:
    """Copy a storage as it was made once: migrations are the slow part of a small test."""
    try:
        shutil.copytree(made, directory)
    except FileNotFoundError:
        async with open_storage(made, inline_bytes=INLINE) as storage:
            await storage.store(ORG)
        shutil.copytree(made, directory)


async def the_job(store: Store, n: int = 1) -> Job:
    found = await store.job(job_id(n))
    assert found is not None
    return found


async def the_run(store: Store, n: int = 1) -> Run:
    found = await store.run(run_id(n))
    assert found is not None
    return found


async def the_agent(store: Store, n: int = 1) -> Agent:
    found = await store.agent(agent_id(n))
    assert found is not None
    return found


async def told(store: Store, n: int = 1) -> list[str]:
    """What the events of a job say: the states its runs came to, `output` and `end`."""
    events = await store.events(job_id(n))
    return [event.run.state.value if event.run else event.kind for event in events]
