"""A controller, its agents and the network between them: real processes that are kept running.

Knows no faults; it offers what they need: each process can be ended, frozen and started again, each
link is a proxy, each directory has a disk of its own.
"""

import asyncio
import contextlib
import re
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from farhand.testing.proxy import FaultProxy
from tests.chaos.disks import Disks, disks

POLL_S: Final = 0.05
START_S: Final = 60.0
STOP_S: Final = 30.0
AGAIN_S: Final = 0.3  # as a service manager would, after a process that ended by itself
MIB: Final = 1 << 20
CONTROLLER: Final = "controller"

# Everything in seconds instead of minutes, and small enough that buffers fill.
CONTROLLER_LIMITS: Final[Mapping[str, float]] = {
    "heartbeat_s": 1,
    "inactivity_s": 4,
    "lease_s": 6,
    "sweep_s": 0.2,
    "cancel_again_s": 1,
    "cancel_grace_s": 1,
    "goodbye_spread_s": 0.5,
    "stop_s": 4,
    "grants_bytes": 4 * MIB,
}
AGENT_LIMITS: Final[Mapping[str, float]] = {
    "backoff_first_s": 0.1,
    "backoff_cap_s": 1,
    "backoff_late_cap_s": 2,
    "connect_s": 3,
    "drain_s": 1,
    "kill_grace_s": 1,
    "stop_s": 3,
    "journal_bytes": MIB,
    "spool_bytes": 256 * 1024,
    "spool_total_bytes": 2 * MIB,
}
DISK_BYTES: Final = {"agent": 256 * MIB, CONTROLLER: 2048 * MIB}  # takes memory as it is used

_READY: Final = re.compile(rb"controller\.ready.* http='(\S+)' agents='(\S+)'")
_OPENED: Final = re.compile(rb"session\.opened.* name='(\S+)'")


@dataclass
class History:
    """What happened when, in seconds since the beginning."""

    began: float = field(default_factory=time.monotonic)
    lines: list[tuple[float, str]] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    def note(self, what: str) -> None:
        self.lines.append((self.now, what))


@dataclass
class Member:
    """A process with a name, a log that goes on over its restarts, and a disk."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    disk: Path
    wanted: bool = False  # it should be there: it is started again if it is not
    full_until: float = 0.0  # its disk is full, or was a moment ago: it may give up
    popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self.popen.pid if self.popen is not None and self.popen.poll() is None else None

    def start(self) -> None:
        self.wanted = True
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                start_new_session=True,
            )

    def tell(self, number: signal.Signals) -> None:
        if self.popen is not None and self.popen.poll() is None:
            self.popen.send_signal(number)

    async def end(self, number: signal.Signals) -> bool:
        """End it and wait; False if it had to be killed because it did not follow *number*."""
        self.wanted = False
        self.tell(number)
        if await until(lambda: self.pid is None, STOP_S):
            return True
        self.tell(signal.SIGKILL)
        await until(lambda: self.pid is None, STOP_S)
        return False


async def until(condition: Callable[[], object], within_s: float) -> bool:
    """Tell whether *condition* came true in time."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(POLL_S)
    return True


@dataclass
class Estate:
    """All of it. *links* are the agents' proxies by name, *front* is the people's."""

    home: Path
    programs: Path
    disks: Disks
    history: History
    controller: Member
    agents: dict[str, Member]
    links: dict[str, FaultProxy]
    front: FaultProxy
    http: tuple[str, int] = ("", 0)  # the controller's own address, past the proxy
    sessions: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    token: str = ""

    @property
    def members(self) -> list[Member]:
        return [self.controller, *self.agents.values()]

    @property
    def marks(self) -> Path:
        return self.home / "marks"

    def double(self, name: str, count: int) -> Member:
        """A second process with a copy of an agent's state directory. It is not started."""
        original = self.agents[name]
        state = self.home / f"double-{count}"
        copy_tree(self.disks.seen(original.disk), state)
        argv = [str(state) if each == str(original.disk) else each for each in original.argv]
        log = self.home / f"{name}-double-{count}.log"
        return Member(f"{name}'s double", argv, original.env, log, state)

    async def begin(self) -> None:
        """Start everything, the controller first, and wait until every agent is there."""
        self.controller.start()
        token = self.disks.seen(self.controller.disk) / "admin.token"
        if not await until(lambda: self.http[1], START_S):
            raise TimeoutError(f"the controller did not start: {tail(self.controller.log)}")
        self.token = token.read_text().strip()
        (self.home / "join.token").write_bytes((token.parent / "join.token").read_bytes())
        for agent in self.agents.values():
            agent.start()
        if not await until(lambda: self.sessions.keys() >= self.agents.keys(), START_S):
            raise TimeoutError("not all agents came")

    async def watch(self) -> None:
        """Follow the controller's log, and start again what ended by itself. Never returns."""
        at = 0
        while True:
            at = self._read_log(at)
            for member in self.members:
                if member.wanted and member.pid is None:
                    await self._again(member)
            await asyncio.sleep(POLL_S)

    def _read_log(self, at: int) -> int:
        with contextlib.suppress(FileNotFoundError), self.controller.log.open("rb") as log:
            log.seek(at)
            lines = log.read()
            complete = lines[: lines.rfind(b"\n") + 1]
            for line in complete.splitlines():
                if found := _READY.search(line):
                    self.http = _address(found[1].decode().removeprefix("http://"))
                    self.front.to = self.http
                    for link in self.links.values():
                        link.to = _address(found[2].decode())
                elif found := _OPENED.search(line):
                    self.sessions[found[1].decode()].append(time.monotonic())
            at += len(complete)
        return at

    async def _again(self, member: Member) -> None:
        status = member.popen.returncode if member.popen is not None else None
        excused = time.monotonic() < member.full_until
        self.history.note(f"! {member.name} ended by itself with status {status}")
        if not excused:
            self.history.crashes.append(
                f"{member.name} ended by itself with status {status}: {tail(member.log)}"
            )
        await asyncio.sleep(AGAIN_S)
        if member.wanted:
            member.start()

    def close(self) -> None:
        """Kill what is left."""
        for member in self.members:
            member.wanted = False
            for number in (signal.SIGCONT, signal.SIGTERM):
                member.tell(number)
        deadline = time.monotonic() + 10.0
        for member in self.members:
            if member.popen is not None:
                try:
                    member.popen.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    member.popen.kill()
                    member.popen.wait()


@contextlib.asynccontextmanager
async def estate(
    home: Path, programs: Path, names: Sequence[str], *, kind: str = ""
) -> AsyncIterator[Estate]:
    """An estate that has begun; its processes are gone when the block is left.

    *kind* of disks: empty for the best that this host allows, see `disks`.
    """
    (home / "marks").mkdir(parents=True)
    for name, limits in ((CONTROLLER, CONTROLLER_LIMITS), ("agent", AGENT_LIMITS)):
        table = "".join(f"{key} = {value}\n" for key, value in limits.items())
        (home / f"{name}.toml").write_text(f"[limits]\n{table}")
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    sizes = {home / CONTROLLER: DISK_BYTES[CONTROLLER]}
    sizes |= {home / name: DISK_BYTES["agent"] for name in names}
    async with contextlib.AsyncExitStack() as stack:
        nowhere = ("127.0.0.1", 9)
        links = {name: await stack.enter_async_context(_link(nowhere)) for name in names}
        front = await stack.enter_async_context(FaultProxy(nowhere))
        room = stack.enter_context(disks(sizes, kind=kind))

        def member(name: str, *argv: str) -> Member:
            words = room.inside([str(programs / argv[0]), *argv[1:]])
            return Member(name, words, env, home / f"{name}.log", home / name)

        here = Estate(
            home=home,
            programs=programs,
            disks=room,
            history=History(),
            controller=member(
                CONTROLLER,
                *("farhand", "controller", "--config", str(home / "controller.toml")),
                *("--data", str(home / CONTROLLER)),
                *("--http", "127.0.0.1:0", "--agents", "127.0.0.1:0"),
            ),
            agents={
                name: member(
                    name,
                    *("farhand-agent", "--config", str(home / "agent.toml"), "--name", name),
                    *("--controller", "{}:{}".format(*links[name].address)),
                    *("--join-token-file", str(home / "join.token")),
                    *("--state", str(home / name), "--allow", "argv,script"),
                )
                for name in names
            },
            links=links,
            front=front,
        )
        stack.callback(here.close)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        watch = tasks.create_task(here.watch(), name="watch")
        try:
            await here.begin()
            yield here
        finally:
            watch.cancel()


def _link(to: tuple[str, int]) -> FaultProxy:
    return FaultProxy(to, keep_bytes=256 * 1024)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def copy_tree(source: Path, target: Path) -> None:
    """Copy the files of a directory that is in use; what vanishes meanwhile is left out."""
    target.mkdir(mode=0o700)
    for path in source.iterdir():
        if path.is_dir():
            copy_tree(path, target / path.name)
        else:
            with contextlib.suppress(FileNotFoundError):
                (target / path.name).write_bytes(path.read_bytes())
                (target / path.name).chmod(0o600)


def tail(log: Path, size: int = 600) -> str:
    """The end of a log."""
    with contextlib.suppress(FileNotFoundError):
        return log.read_text(errors="replace")[-size:].strip()
    return "(it wrote no log)"
