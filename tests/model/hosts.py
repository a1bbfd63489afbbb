"""Hosts with an agent each, and the one with the controller: real programs that can be killed.

A host outlives what runs on it: its files, its processes, and what it saw of them.
"""

import asyncio
import json
import os
import random
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from farhand.agent.daemon import Agent, AgentSetup, open_agent
from farhand.agent.executor import Resolved
from farhand.agent.link import Address, Connected, Dial
from farhand.bus.local import LocalBus
from farhand.controller.enrolment import DEFAULT_ORG, Enrolment
from farhand.controller.tenants import Tenant, Tenants
from farhand.domain.command import Command
from farhand.domain.ids import RunId
from farhand.domain.job import CommandCall
from farhand.domain.limits import AgentLimits, Limits
from farhand.domain.output import StreamName
from farhand.domain.policy import AgentPolicy
from farhand.domain.run import Why
from farhand.errors import LaunchFailed, Unavailable, UnknownCommand
from farhand.gateway.admission import Admissions
from farhand.gateway.server import FrontDoor
from farhand.gateway.stream import AgentStream
from farhand.ports import Exit, Launch
from farhand.storage.memory import MemoryControl
from farhand.testing import Life, LoopClock, VirtualLoop
from farhand.testing.launcher import FakeLaunched, FakeLauncher, FakeProcess
from farhand.wire.grpc import Call, Handler, LinkLimits
from tests.model.network import Network
from tests.model.vault import ORG, Vault

PROGRAM: Final = "puppet"


@dataclass(slots=True)
class Puppet:
    """A program that does what it is told, and what became of it."""

    process: FakeProcess
    acts: "asyncio.Queue[Callable[[], Coroutine[None, None, int | None]]]"
    printed: dict[StreamName, bytearray] = field(
        default_factory=lambda: {name: bytearray() for name in StreamName}
    )
    end: Exit | None = None  # its own
    began_at: float = 0.0
    ended_at: float | None = None

    async def live(self) -> int:
        loop = asyncio.get_running_loop()
        self.began_at = loop.time()
        try:
            while True:
                act = await self.acts.get()
                if (code := await act()) is not None:
                    self.end = Exit(code=code)
                    return code
        finally:
            self.ended_at = loop.time()

    def print(self, stream: StreamName, size: int) -> None:
        """Print so many bytes, as soon as there is room; each tells where it belongs."""

        async def act() -> None:
            at = len(self.printed[stream])
            data = bytes(97 + (n + n // 26) % 26 for n in range(at, at + size))
            await self.process.print(data, stream)
            self.printed[stream] += data

        self.acts.put_nowait(act)

    def exit(self, code: int) -> None:
        """End like this."""

        async def act() -> int:
            return code

        self.acts.put_nowait(act)

    def die(self) -> None:
        """Be killed by somebody else on the host."""

        async def act() -> None:
            self.end = Exit(signal=signal.SIGKILL)
            raise asyncio.CancelledError

        self.acts.put_nowait(act)

    def trap(self) -> None:
        """Take no notice of SIGTERM."""

        async def act() -> None:
            self.process.trap()

        self.acts.put_nowait(act)


class Host:
    """A machine with an agent; the Launcher seam of that agent."""

    def __init__(
        self,
        which: int,
        *,
        loop: VirtualLoop,
        clock: LoopClock,
        network: Network,
        directory: Path,
        limits: AgentLimits,
        join_token: Callable[[], str],
    ) -> None:
        self.which = which
        self.name = f"host-{which}"
        self.directory = directory
        self.machine = Life(loop)  # what is not the agent
        self.life: Life | None = None
        self.root: asyncio.Task[None] | None = None
        self.graves: list[Life] = []
        self.agent: Agent | None = None
        self.launches: list[RunId] = []
        self.puppets: dict[RunId, Puppet] = {}
        self.deaths = 0
        self.interrupted: set[RunId] = set()  # by a death of the agent, before it knew their end
        self.stops: list[float] = []
        self._loop = loop
        self._clock = clock
        self._network = network
        self.limits = limits
        self._join_token = join_token
        self._fake = FakeLauncher({PROGRAM: self._puppet})
        self._gates: list[asyncio.Future[None]] | None = None
        self._off = asyncio.Event()
        self._dice = 0
        self.machine.start(self._run_machine(), name=f"machine-{which}")

    async def _run_machine(self) -> None:
        async with self._fake:
            await self._off.wait()

    # --- the agent ------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """The agent runs."""
        return self.life is not None

    def start(self) -> None:
        """Start the agent."""
        self.life = Life(self._loop)
        self.root = self.life.create_task(self._run_agent(self.life), name=f"agent-{self.which}")

    async def _run_agent(self, life: Life) -> None:
        async def dial(host: str, port: int, **_: object) -> Connected:
            return await self._network.connect(self.which, life)

        self._dice += 1
        setup = AgentSetup(
            name=self.name,
            state=self.directory,
            dial=Dial(
                addresses=(Address("127.0.0.1", 9),),
                limits=LinkLimits(),
                connect=dial,
                rng=random.Random(self.which * 1000 + self._dice),
            ),
            join_token=self._join_token(),
            policy=AgentPolicy.of(["argv"]),
            machine_id=f"machine-{self.which}",
            limits=self.limits,
            launcher=self,
            catalogue=NoCatalogue(),
            namespaces=lambda: (),
        )
        async with open_agent(setup, self._clock) as self.agent:
            await self.agent.serve()
        self.life = None

    def kill(self, *, processes: bool) -> None:
        """Kill the agent, and the processes with it; or they go on until it is back."""
        if self.life is None:
            return
        self.deaths += 1
        self.interrupted |= set(self.launches) - set(self.puppets)
        self.interrupted |= {
            run
            for run, puppet in self.puppets.items()
            if self.life.waiting is not None
            or puppet.ended_at in {None, self._loop.time()}
            or (self.agent and self.agent._executor._spools.budget.wanted)  # it waits to be read
        }
        self.life.kill()
        self.graves.append(self.life)
        self.life = None
        self.agent = None
        close_below(self.directory)
        if processes:
            self.kill_processes()

    def kill_processes(self) -> None:
        """Kill all that the agent started."""
        for tasks in self._fake._living.values():
            for task in tasks:
                self._fake._signal(task, signal.SIGKILL)

    def stop(self) -> None:
        """Ask the agent to stop, as SIGTERM does."""
        if self.agent is not None and self.life is not None:
            self.stops.append(self._loop.time())
            self.life.soon(self.agent.stop)

    def switch_off(self) -> None:
        """Nothing of the host runs any more."""
        self.kill_processes()
        self._off.set()

    # --- the launcher ---------------------------------------------------------------------

    def slow_down(self) -> None:
        """Starting a program takes until `speed_up`."""
        self._gates = self._gates or []

    def speed_up(self) -> None:
        gates, self._gates = self._gates or [], None
        for gate in gates:
            if not gate.done():
                gate.set_result(None)

    async def launch(self, launch: Launch) -> FakeLaunched:
        if self._gates is not None:
            gate = asyncio.get_running_loop().create_future()
            self._gates.append(gate)
            await gate
        return await self.machine.create_task(self._launch(launch, self.life), name="launch")

    async def _launch(self, launch: Launch, agent: Life | None) -> FakeLaunched:
        if agent is None or not agent.alive:
            raise LaunchFailed(Why.SPAWN_FAILED, "the dead start nothing")
        launched = await self._fake.launch(launch)
        self.launches.append(launch.run)
        return launched

    async def sweep(self, run: RunId) -> None:
        await self.machine.create_task(self._fake.sweep(run), name="sweep")

    async def _puppet(self, process: FakeProcess) -> int:
        puppet = self.puppets[process.launch.run] = Puppet(process, asyncio.Queue())
        return await puppet.live()

    @property
    def living(self) -> list[Puppet]:
        """The programs that run."""
        return [puppet for puppet in self.puppets.values() if puppet.ended_at is None]


class NoCatalogue:
    commands: tuple[Command, ...] = ()
    digest = ""

    def resolve(self, call: CommandCall) -> Resolved:
        raise UnknownCommand(f"there is no {call.ident}")


def close_below(directory: Path) -> None:
    """Do what the kernel does with the open files of a dead process, but keep their numbers taken.

    What is left of the process may close them once more, when it is collected.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        agent = json.loads((directory / "identity.json").read_text())["agent"]
    except FileNotFoundError:
        agent = ""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            target, fd = entry.readlink(), int(entry.name)
            named = target.name.startswith("socket:") and agent and agent in _name_of(fd)
            if named or target.is_relative_to(directory):
                os.dup2(null, fd, inheritable=False)
    os.close(null)


def _name_of(fd: int) -> str:
    """The name of a Unix socket."""
    with socket.socket(fileno=os.dup(fd)) as each:
        name = each.getsockname()
    return name.decode(errors="replace") if isinstance(name, bytes) else ""


class Centre:
    """The host of the controller."""

    def __init__(
        self,
        *,
        loop: VirtualLoop,
        clock: LoopClock,
        network: Network,
        vault: Vault,
        directory: Path,
        limits: Limits,
    ) -> None:
        self.life: Life | None = None
        self.root: asyncio.Task[None] | None = None
        self.graves: list[Life] = []
        self.tenant: Tenant | None = None
        self._loop = loop
        self._clock = clock
        self._network = network
        self._vault = vault
        self._directory = directory
        self._limits = limits
        self._control = MemoryControl()
        self._stop = asyncio.Event()

    def join_token(self) -> str:
        return (self._directory / "join.token").read_text().strip()

    def start(self) -> None:
        """Start a controller. One that cannot read its store ends at once."""
        self.life = Life(self._loop)
        self.root = self.life.create_task(self._run(self.life), name="controller")

    async def _run(self, life: Life) -> None:
        await self._control.add_org(ORG, DEFAULT_ORG, 0.0)
        enrolment = Enrolment(self._control, self._clock)
        await enrolment.begin(self._directory)

        async def open_store(_: object) -> "Vault":
            return self._vault

        try:
            async with (
                asyncio.TaskGroup() as tasks,
                Tenants(
                    name="centre",
                    open_store=open_store,  # type: ignore[arg-type]  # a Store to whoever reads
                    bus=LocalBus(),
                    enrolment=enrolment,
                    clock=self._clock,
                    limits=self._limits,
                ) as tenants,
            ):
                tenant = await tenants.open(ORG)
                door = FrontDoor(enrolment, tenants, Admissions(self._limits, self._clock))

                def spawn(work: Coroutine[None, None, None], name: str) -> None:
                    try:
                        tasks.create_task(work, name=name)
                    except RuntimeError:  # it has left, and is only being buried
                        work.close()

                def serve(call: Call) -> Handler:
                    return AgentStream(call, door, spawn, self._limits.outbox_bytes)

                self.tenant, self._network.controller = tenant, (life, serve)
                await self._stop.wait()
                self._network.controller = None
        except* Unavailable:
            self._leave()
        self.life = None

    def _leave(self) -> None:
        self.tenant = None
        self._network.controller = None

    def kill(self) -> None:
        """Kill the controller; the next one finds what was committed."""
        if self.life is None:
            return
        self.life.kill()
        self.graves.append(self.life)
        self.life = None
        self._leave()
        self._vault.reopen()

    def say_goodbye(self) -> None:
        """Begin a graceful stop."""
        if self.life is not None and self.tenant is not None:
            self._network.controller = None
            self.life.soon(self.tenant.sessions.say_goodbye, self._limits.goodbye_spread_s)

    def stop(self) -> None:
        """End it in an orderly way, when nobody is connected."""
        self._stop.set()
