"""A controller, its agents, and everything between them that can go wrong, in one loop.

Every verb is one thing that happens; `settle` lets its consequences happen, and checks them.
"""

import asyncio
import logging
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle, groupby
from pathlib import Path
from typing import Any, Final, TypeVar

from structlog.testing import capture_logs

from farhand.controller.jobs import Submitted
from farhand.controller.tenants import Tenant
from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.job import JobSpec, Names
from farhand.domain.limits import AgentLimits, Limits
from farhand.domain.messages import (
    Ack,
    CancelRun,
    FromAgent,
    FromController,
    Held,
    HeldRun,
    HeldState,
    Output,
    Resume,
    Settled,
    StartRun,
    Welcome,
)
from farhand.domain.output import StreamName
from farhand.domain.run import Run, RunState
from farhand.errors import (
    AgentGone,
    FarhandError,
    IdempotencyConflict,
    NoTargets,
    NotFound,
    Unavailable,
)
from farhand.testing import Life, LoopClock, VirtualLoop
from farhand.wire.native import (
    decode_from_agent,
    decode_from_controller,
    encode_from_agent,
    encode_from_controller,
)
from tests.model.hosts import Centre, Host
from tests.model.network import End, Network
from tests.model.truth import check_end, check_so_far
from tests.model.vault import MemoryShelf, SqliteShelf, Vault

T = TypeVar("T")

LIMITS: Final = Limits(
    grants_bytes=96,
    grant_reserve_bytes=8,
    grant_window_bytes=64,
    outbox_bytes=2048,
    sweep_s=5.0,
    cancel_again_s=10.0,
)
AGENT_LIMITS: Final = AgentLimits(
    runs=5,
    spool_bytes=48,
    spool_total_bytes=160,
    spool_disk_bytes=256,
    spool_reserve_bytes=16,
    chunk_bytes=16,
    tail_bytes=8,
    journal_bytes=4096,
)
ARCHIVE: Final = 40  # messages that can be replayed


class World:
    """*hosts* agents and one controller, over memory or SQLite."""

    def __init__(self, *, hosts: int = 2, sqlite: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="farhand-model-"))
        self.loop = VirtualLoop()
        self.loop.set_exception_handler(self._on_fault)
        self.clock = LoopClock(self.loop)
        self.network = Network(self.loop, self)
        shelf = SqliteShelf(self.directory / "data") if sqlite else MemoryShelf()
        self.vault = Vault(shelf, self.loop.time)
        self.centre = Centre(
            loop=self.loop,
            clock=self.clock,
            network=self.network,
            vault=self.vault,
            directory=self.directory,
            limits=LIMITS,
        )
        self.hosts = [
            Host(
                which,
                loop=self.loop,
                clock=self.clock,
                network=self.network,
                directory=self.directory / f"host-{which}",
                limits=AGENT_LIMITS,
                join_token=self.centre.join_token,
            )
            for which in range(hosts)
        ]
        self.ids: dict[int, AgentId] = {}
        self.archive: dict[tuple[int, bool], deque[bytes]] = {}
        self.patience: int | None = None  # rounds of the loop until the next thing happens
        self.tampered = False
        self.pretenders: set[int] = set()  # agents that claim what is not theirs
        self.keys: dict[str, JobId] = {}
        self.accepted: set[JobId] = set()
        self._faults: list[str] = []
        self._seen: dict[tuple[RunId, StreamName], bytes] = {}
        self._asked: list[tuple[Life, asyncio.Task[object]]] = []
        self._ears = ExitStack()
        self._log = self._ears.enter_context(capture_logs())
        self._ears.enter_context(_Ear(self._faults))
        self.centre.start()
        self.loop.run_for()
        for host in self.hosts:
            host.start()
        self.loop.run_for(1.0)

    # --- what watches ---------------------------------------------------------------------

    def _on_fault(self, _: object, context: dict[str, Any]) -> None:
        self._faults.append(f"{context.get('message')}: {context.get('exception')!r}")

    def said(self, end: End, message: bytes) -> bytes:
        """A controller may promise only what is committed, and only to whom it belongs."""
        if end is end.wire.agent:
            return self._pretend(message) if end.wire.which in self.pretenders else message
        for order in decode_from_controller(message):
            if isinstance(order, Welcome):
                self.ids[end.wire.which] = order.agent
            self._check_order(order, self.ids.get(end.wire.which))
        return message

    def _pretend(self, message: bytes) -> bytes:
        """What an agent says that claims to hold every run there is."""
        frames = decode_from_agent(message)
        if not any(isinstance(frame, Held) and frame.last for frame in frames):
            return message
        claims = [
            HeldRun(run=run, state=state)
            for run, state in zip(self.vault.known, cycle(HeldState), strict=False)
        ]
        return encode_from_agent([Held(tuple(claims), last=False), *frames])

    def _check_order(self, order: FromController, agent: AgentId | None) -> None:
        match order:
            case StartRun(run=run) | Settled(run) | CancelRun(run) | Resume(run) | Ack(run):
                known = self.vault.known[run]
                assert known.run.agent == agent, "an order for a run that is another agent's"
            case _:
                return
        match order:
            case StartRun():
                assert RunState.SENT in known.history, "StartRun before `sent` was committed"
            case Settled():
                assert known.run.state.final, "Settled before the end was committed"
            case Ack(_, stream, kept):
                assert kept <= known.stored[stream], "Ack before the bytes were committed"
            case _:
                pass

    def heard(self, end: End, message: bytes) -> None:
        """Keep it, to be repeated."""
        which = end.wire.which, end is end.wire.agent
        self.archive.setdefault(which, deque(maxlen=ARCHIVE)).append(message)

    # --- going on -------------------------------------------------------------------------

    def settle(self, seconds: float = 0.0) -> None:
        """Let everything happen that follows, or only the first of it; then look."""
        patience, self.patience = self.patience, None
        if patience is None or seconds:
            self.loop.run_for(seconds)
        else:
            self.loop.turn(patience)
        self.check()

    def check(self) -> None:
        """What must hold at every moment."""
        for task in [self.centre.root, *(host.root for host in self.hosts)]:
            error = task.exception() if task is not None and task.done() else None
            assert error is None, f"{task} failed with {error!r}"
        self._faults += [str(line) for line in self._log if line["log_level"] == "error"]
        self._log.clear()
        assert not self._faults, self._faults
        for _, asked in self._asked:
            if asked.done():
                _excuse(asked)
        self._asked = [each for each in self._asked if each[0].alive and not each[1].done()]
        for host in self.hosts:
            assert len(host.launches) == len(set(host.launches)), "launched at most once"
        self.do(self._check_output())

    async def _check_output(self) -> None:
        for run, known in self.vault.known.items():
            for stream, size in known.stored.items():
                seen = self._seen.get((run, stream), b"")
                if size == len(seen):
                    continue
                stored = await self.vault.look(
                    lambda store, r=run, s=stream: store.output(r, s, offset=0, limit=1 << 20)  # type: ignore[misc]
                )
                assert size == len(stored)
                assert stored.startswith(seen), "what was stored has changed"
                self._seen[run, stream] = stored
                check_so_far(known, self.host_of(known.run), stream, stored)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something that needs no time and is nobody's."""
        return self.loop.run_until_complete(work)

    def host_of(self, run: Run) -> Host:
        """The host of a run's agent."""
        return next(host for host in self.hosts if self.ids.get(host.which) == run.agent)

    # --- people ---------------------------------------------------------------------------

    def people(self, ask: Callable[[Tenant], Coroutine[Any, Any, object]]) -> None:
        """Somebody asks the controller for something, if it is there."""
        life, tenant = self.centre.life, self.centre.tenant
        if life is not None and tenant is not None:
            self._asked.append((life, life.create_task(ask(tenant), name="people")))

    def submit(
        self, spec: JobSpec, on: list[int], *, hold: bool = False, key: str | None = None
    ) -> None:
        """Somebody submits a job."""

        async def ask(tenant: Tenant) -> None:
            names = Names(tuple(self.hosts[which].name for which in on))
            told = await tenant.jobs.submit(
                spec, names, by="test", key=key, digest=str(spec), hold=hold
            )
            self._take(told, key)

        self.people(ask)

    def _take(self, told: Submitted, key: str | None) -> None:
        self.accepted.add(told.job.id)
        if key is not None:
            assert told.job.id == self.keys.setdefault(key, told.job.id), "one key is one job"

    def cancel_run(self, run: RunId) -> None:
        """Somebody cancels a run."""
        self.people(lambda tenant: tenant.jobs.cancel_run(run, by="test"))

    def cancel_job(self, job: JobId) -> None:
        """Somebody cancels a job."""
        self.people(lambda tenant: tenant.jobs.cancel_job(job, by="test"))

    def release(self, job: JobId) -> None:
        """Somebody releases a job."""
        self.people(lambda tenant: tenant.jobs.release(job, by="test"))

    def drain(self, which: int, *, drained: bool) -> None:
        """Somebody drains an agent, or lets it take runs again."""
        agent = self.ids[which]
        self.people(lambda tenant: tenant.agents.edit(agent, by="test", drained=drained))

    def ask(self, which: int) -> None:
        """Somebody asks an agent for its catalogue."""
        self.people(lambda tenant: tenant.agents.commands(self.ids[which]))

    def hang_up(self) -> None:
        """Whoever waits for an answer waits no longer."""
        for life, asked in self._asked:
            life.soon(asked.cancel)

    def jump(self, seconds: float) -> None:
        """Somebody sets the clock on the wall; keys may end by it."""
        self.clock.jump(seconds)
        self.keys.clear()

    # --- what dies ------------------------------------------------------------------------

    def kill_agent(self, which: int, *, processes: bool, told: bool, flying: bool) -> None:
        """Kill an agent; does the controller hear of it, does what it said last arrive?"""
        self.hosts[which].kill(processes=processes)
        for wire in self.network.live:
            if wire.which == which:
                wire.cut(told=(False, told), flying=(False, flying))

    def kill_controller(self, *, told: bool, flying: bool) -> None:
        """Kill the controller; do the agents hear of it, does what it said last arrive?"""
        self.centre.kill()
        for wire in self.network.live:
            wire.cut(told=(told, False), flying=(flying, False))

    # --- what peers must not do -----------------------------------------------------------

    def repeat(self, end: End, place: int, *, of: int | None = None) -> None:
        """Something that this side heard before is there again; or of another agent's call."""
        which = end.wire.which if of is None else of
        heard = self.archive.get((which, end is end.wire.agent))
        if heard:
            end.inject(heard[-1 - place % len(heard)])
            self.tampered = True

    def swap(self, end: End) -> None:
        """Two messages change places."""
        end.swap()
        self.tampered = True

    def mix(self, end: End) -> None:
        """What one message says of several runs comes in another order of the runs."""
        end.replace(mixed_from_controller if end is end.wire.agent else mixed_from_agent)

    # --- the end --------------------------------------------------------------------------

    def heal(self) -> None:
        """Nothing goes wrong any more, and nobody asks for anything."""
        self.patience = None
        self.vault.release()
        if self.pretenders:
            self.pretenders.clear()
            for wire in self.network.live:
                wire.tampered = True
        self.network.heal()
        if self.centre.life is None or self.network.controller is None:
            self.centre.kill()
            self.centre.start()
        for host in self.hosts:
            host.speed_up()
            if host.life is not None:
                host.life.speed_up()
        self.settle(30.0)
        for host in self.hosts:
            if host.life is None:
                host.start()
        self.settle(90.0)
        self._check_wishes()
        for which in self.ids:
            self.drain(which, drained=False)
        for job in self.vault.jobs:
            self.release(job)
        self.settle(1.0)
        for _ in range(3):
            for host in self.hosts:
                for puppet in host.living:
                    puppet.exit(0)
            self.settle(200.0)

    def _check_wishes(self) -> None:
        """Everybody has had the time to do as he was told."""
        now = self.loop.time()
        for known in self.vault.known.values():
            assert known.run.state is not RunState.QUEUED, "a queued run waits for no reason"
        for host in self.hosts:
            for run, puppet in host.puppets.items():
                known = self.vault.known[run]
                limit = known.spec.timeout_s + AGENT_LIMITS.kill_grace_s + 1.0
                if puppet.ended_at is None:
                    assert known.cancel_at is None, "a cancel has not reached its run"
                    assert now - puppet.began_at < limit, "a run goes on behind its time limit"

    def check_all(self) -> None:
        """Healed: every run has its true end, and nobody holds anything any more."""
        self.do(self._check_runs())
        tenant = self.centre.tenant
        assert tenant is not None
        assert not self._asked, "nobody waits for an answer"
        assert LIMITS.grants_bytes == tenant.sessions.grants.free, "every grant is given back"
        assert len(self.ids) == len(tenant.sessions), "every agent is connected"
        for host in self.hosts:
            assert host.agent is not None
            executor = host.agent._executor
            assert executor.settled, f"{host.name} still holds {list(executor._held)}"
            budget = executor._spools.budget
            assert (budget.memory, budget.disk) == (0, 0), "bytes of nobody are counted"
            assert not [*host.directory.glob("spool/*")], "the disk holds bytes of nobody"
            assert not host._fake._living, "a process is left"
            session = tenant.sessions.get(self.ids[host.which])
            assert session is not None
            assert not list(session.machine.runs), "the session still hears of a run"
            assert not session._pending
            assert not session._questions

    async def _check_runs(self) -> None:
        assert self.accepted <= set(self.vault.jobs), "an accepted job is missing"
        for id_, known in self.vault.known.items():
            run = await self.vault.look(lambda store, r=id_: store.run(r))  # type: ignore[misc]
            assert run == known.run
            outputs = {
                stream: await self.vault.look(
                    lambda store, r=id_, s=stream: store.output(r, s, offset=0, limit=1 << 20)  # type: ignore[misc]
                )
                for stream in StreamName
            }
            check_end(run, known, self.host_of(run), outputs)

    def leave(self) -> None:
        """Stop everything as SIGTERM does; nothing may be left of it."""
        for host in self.hosts:
            host.stop()
        self.settle(60.0)
        assert all(host.life is None for host in self.hosts)
        self.centre.stop()
        self.settle(60.0)
        assert self.centre.life is None
        for host in self.hosts:
            host.switch_off()
        self.settle(1.0)
        graves = self.centre.graves + [life for host in self.hosts for life in host.graves]
        buried = {task for life in graves for task in life.tasks}
        assert set() == asyncio.all_tasks(self.loop) - buried

    def close(self) -> None:
        """Give everything back, whatever happened."""
        graves = self.centre.graves + [life for host in self.hosts for life in host.graves]
        lives = [*graves, *(host.life for host in self.hosts), self.centre.life]
        self.loop.set_exception_handler(lambda *_: None)
        self.vault.release()
        for host in self.hosts:
            host.switch_off()
        for _ in range(5):
            for life in lives:
                if life is not None:
                    life.bury()
            self.loop.run_for(30.0)
        self._ears.close()
        self.vault.close()
        self.loop.close()
        shutil.rmtree(self.directory)


class _Ear(logging.Handler):
    """Hears what agents log as an error."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults
        self._logger = logging.getLogger("farhand")

    def __enter__(self) -> None:
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)
        self._logger.addHandler(self)

    def __exit__(self, *exc: object) -> None:
        self._logger.setLevel(self._level)
        self._logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._faults.append(self.format(record))


def _excuse(task: asyncio.Task[Any]) -> None:
    """What people may be told."""
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        allowed = (Unavailable, NotFound, NoTargets, IdempotencyConflict, AgentGone)
        assert isinstance(error, FarhandError), repr(error)
        assert isinstance(error, allowed), repr(error)


F = TypeVar("F", FromAgent, FromController)


def mixed(frames: Sequence[F]) -> list[F]:
    """The frames of each run in their order, the runs in another; the rest stays where it is."""
    found: list[F] = []
    for about_runs, group in groupby(frames, lambda frame: run_of(frame) is not None):
        part = list(group)
        if about_runs:
            part.sort(key=lambda frame: run_of(frame) or "", reverse=True)
        found += part
    return found


def run_of(frame: FromAgent | FromController) -> RunId | None:
    """The run that a frame is about."""
    return frame.chunk.run if isinstance(frame, Output) else getattr(frame, "run", None)


def mixed_from_agent(message: bytes) -> bytes:
    return encode_from_agent(mixed(decode_from_agent(message)))


def mixed_from_controller(message: bytes) -> bytes:
    return encode_from_controller(mixed(decode_from_controller(message)))


@contextmanager
def world(*, hosts: int = 2, sqlite: bool = False) -> Iterator[World]:
    """A world that is closed, whatever happened in it."""
    made = World(hosts=hosts, sqlite=sqlite)
    try:
        yield made
    finally:
        made.close()
