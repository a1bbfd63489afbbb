"""One agent: who it is, where it keeps its word, and how long it lives.

Puts link, executor, journal and catalogue together; reads no environment and no command line.
"""

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol, Self

from farhand.agent.budget import Budget
from farhand.agent.executor import Executor, Resolver
from farhand.agent.journal import Journal, flush_directory
from farhand.agent.link import Address, Dial, Link
from farhand.agent.scripts import ScriptFiles
from farhand.agent.spoolfile import SpoolDir
from farhand.domain.agent import Identity
from farhand.domain.command import Command
from farhand.domain.ids import AgentId, check_name, is_id
from farhand.domain.limits import AGENT_DEFAULTS, AgentLimits
from farhand.domain.messages import Commands, Hello, Namespace, Namespaces, Welcome
from farhand.domain.policy import AgentPolicy
from farhand.errors import ConfigError, DataDirInUse, DataDirUnwritable, FarhandError
from farhand.ports import Clock, Launcher
from farhand.wire import native

log = logging.getLogger(__name__)

CAPABILITIES: Final = ("cancel", "stderr", "live", "parallel", "namespaces", "resume")


class Catalogue(Resolver, Protocol):
    """The commands of this host."""

    @property
    def commands(self) -> tuple[Command, ...]: ...
    @property
    def digest(self) -> str: ...


class NamespaceLister(Protocol):
    """Lists the host's namespaces; runs in a thread."""

    def __call__(self) -> tuple[Namespace, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSetup:
    """Everything an agent is made of."""

    name: str
    state: Path
    dial: Dial
    join_token: str = field(default="", repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    policy: AgentPolicy = field(default_factory=AgentPolicy)
    env: Mapping[str, str] = field(default_factory=dict)
    machine_id: str | None = None  # the host's own, unless it is told
    software: str = ""
    limits: AgentLimits = AGENT_DEFAULTS
    launcher: Launcher
    catalogue: Catalogue
    namespaces: NamespaceLister


class StateDir:
    """The directory with an agent's identity, journal and spool; it belongs to one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.agent: AgentId | None = None
        self.secret = ""
        self._lock = -1
        self._name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Take the directory; raises DataDirInUse or DataDirUnwritable."""
        state = cls(path)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            state._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            state.close()
            msg = f"the state directory {path} cannot be used: {exc.strerror}"
            raise DataDirUnwritable(msg) from exc
        try:
            fcntl.flock(state._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            state.close()
            msg = f"another agent uses {path}; stop it, or give this one its own --state"
            raise DataDirInUse(msg) from exc
        try:
            state._read()
        except FarhandError:
            state.close()
            raise
        return state

    def close(self) -> None:
        """Give the directory up."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        self._name.close()

    def _read(self) -> None:
        path = self.path / "identity.json"
        try:
            facts = json.loads(path.read_text())
        except FileNotFoundError:
            return
        except (OSError, ValueError) as exc:
            msg = f"{path} cannot be read; remove it, and the agent joins anew"
            raise ConfigError(msg) from exc
        if not isinstance(facts, dict) or not is_id("agt", str(facts.get("agent"))):
            raise ConfigError(f"{path} holds no identity; remove it, and the agent joins anew")
        self._claim(AgentId(facts["agent"]))
        self.secret = str(facts["secret"])

    def _claim(self, agent: AgentId) -> None:
        """Be this agent, unless another process of this host is.

        A copy of a state directory is the same agent: it would kill the other's runs as its own
        leftovers, and might start one that the other has started. The name is the kernel's, and is
        free again when this process is gone.
        """
        try:
            self._name.bind(f"\0farhand-agent-{agent}")
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                log.warning("it cannot be told whether %s runs here already: %s", agent, exc)
            else:
                msg = (
                    f"{agent} runs on this host already; {self.path} is a copy of its state: "
                    "remove identity.json there, and it joins as an agent of its own"
                )
                raise DataDirInUse(msg) from exc
        self.agent = agent

    def keep(self, agent: AgentId, secret: str) -> None:
        """Write the identity that a join token bought, before anything else is done with it."""
        self._claim(agent)
        self.secret = secret
        fresh = self.path / "identity.new"
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump({"agent": agent, "secret": secret}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path / "identity.json")
        flush_directory(self.path)

    def machine_id(self) -> str:
        """The host's own machine id, or one that is made once and kept here."""
        for path in (Path("/etc/machine-id"), self.path / "machine-id"):
            with contextlib.suppress(OSError):
                if found := path.read_text().strip():
                    return found
        made = os.urandom(16).hex()
        (self.path / "machine-id").write_text(made)
        return made


class Daemon:
    """What the link asks of the host (`farhand.agent.link.Host`)."""

    def __init__(self, setup: AgentSetup, state: StateDir) -> None:
        self._setup = setup
        self._state = state
        self._identity = Identity(
            name=check_name(setup.name),
            machine_id=setup.machine_id or state.machine_id(),
            boot_id=boot_id(),
            software=setup.software,
            labels=setup.labels,
            facts=facts(),
            capabilities=(*CAPABILITIES, *setup.policy.told),
            catalogue=setup.catalogue.digest,
        )

    def hello(self) -> Hello:
        """Who this agent is, with the one credential it has."""
        ip, mac = local_address(self._setup.dial.addresses[0])
        known = self._state.agent is not None
        return Hello(
            protocols=native.PROTOCOLS,
            identity=replace(self._identity, ip=ip, mac=mac),
            agent=self._state.agent,
            secret=self._state.secret if known else "",
            join_token="" if known else self._setup.join_token,
        )

    def welcomed(self, welcome: Welcome) -> None:
        """Keep the identity that was issued."""
        if welcome.secret:
            self._state.keep(welcome.agent, welcome.secret)

    def load(self) -> float:
        """The host's load average of one minute."""
        return os.getloadavg()[0]

    def commands(self, request: int) -> Commands:
        """The catalogue."""
        return Commands(request, self._setup.catalogue.commands)

    async def namespaces(self, request: int) -> Namespaces:
        """The host's namespaces, read in a thread."""
        try:
            found = await asyncio.to_thread(self._setup.namespaces)
        except OSError as exc:
            return Namespaces(request, (), f"/proc cannot be read: {exc.strerror}")
        return Namespaces(request, found)


class Agent:
    """A running agent."""

    def __init__(self, link: Link, executor: Executor, clock: Clock, limits: AgentLimits) -> None:
        self._link = link
        self._executor = executor
        self._clock = clock
        self._limits = limits
        self._stop = asyncio.Event()

    @property
    def connected(self) -> asyncio.Event:
        """Set while a controller has welcomed this agent."""
        return self._link.connected

    @property
    def id(self) -> AgentId | None:
        """The id a controller gave it."""
        return self._link.agent

    def stop(self) -> None:
        """Begin a graceful stop: end the runs, tell their ends, say goodbye."""
        self._stop.set()

    async def serve(self) -> None:
        """Stay connected until `stop`, then leave politely within the budget."""
        async with asyncio.TaskGroup() as tasks:
            link = tasks.create_task(self._link.run(), name="link")
            await self._stop.wait()
            self._executor.stop()
            try:
                async with asyncio.timeout(self._limits.stop_s + self._limits.kill_grace_s):
                    while not self._executor.settled and self.connected.is_set():
                        await self._clock.sleep(0.02)
            except TimeoutError:
                log.warning("some ends could not be told; they will be at the next start")
            await self._link.leave(within_s=1.0)
            link.cancel()


@asynccontextmanager
async def open_agent(setup: AgentSetup, clock: Clock) -> AsyncIterator[Agent]:
    """Everything an agent is made of, opened in order and closed in reverse."""
    state = StateDir.open(setup.state)
    try:
        journal = Journal.open(
            setup.state / "journal",
            size=setup.limits.journal_bytes,
            ids=setup.limits.ended_runs,
        )
    except BaseException:
        state.close()
        raise
    spools = SpoolDir(setup.state / "spool", Budget(setup.limits))
    executor = Executor(
        launcher=setup.launcher,
        catalogue=setup.catalogue,
        policy=setup.policy,
        journal=journal,
        scripts=ScriptFiles(setup.state / "scripts"),
        spools=spools,
        clock=clock,
        limits=setup.limits,
        env=setup.env,
        boot_id=boot_id(),
    )
    try:
        async with executor:
            link = Link(setup.dial, Daemon(setup, state), executor, clock, setup.limits)
            executor.notify(link.wake)
            yield Agent(link, executor, clock, setup.limits)
    finally:
        spools.shut()
        journal.close()
        state.close()


def boot_id() -> str:
    """The kernel's id of this boot; empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def facts() -> dict[str, str]:
    """What a selector can ask of this host without a label."""
    kernel, release = os.uname(), _os_release()
    return {
        "os": kernel.sysname.lower(),
        "arch": kernel.machine,
        "kernel": kernel.release,
        "hostname": socket.gethostname(),
        "cpus": str(os.cpu_count() or 0),
        "memory_mb": str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20),
        "python": ".".join(map(str, sys.version_info[:3])),
        "distro": release.get("ID", ""),
        "distro_version": release.get("VERSION_ID", ""),
    }


def _os_release() -> dict[str, str]:
    """The fields of os-release(5); empty where there is none."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines)}


def local_address(towards: Address) -> tuple[str, str]:
    """This host's address on the way to a controller, and that interface's MAC."""
    family = socket.AF_INET6 if ":" in towards.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((towards.host, towards.port))  # sends nothing
            ip = str(probe.getsockname()[0])
    except OSError:
        return "", ""
    return ip, _mac_of(ip)


def _mac_of(ip: str) -> str:
    """The MAC of the interface that bears *ip*, else of the first one that is not loopback."""
    first = ""
    for _, name in socket.if_nameindex():
        try:
            mac = Path(f"/sys/class/net/{name}/address").read_text().strip()
            bears = _interface_ip(name) == ip
        except OSError:
            continue
        if bears:
            return mac
        if name != "lo" and not first:
            first = mac
    return first


def _interface_ip(name: str) -> str:
    """The first IPv4 address of an interface (SIOCGIFADDR, netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        asked = name.encode()[:15].ljust(40, b"\0")
        return socket.inet_ntoa(fcntl.ioctl(probe.fileno(), 0x8915, asked)[20:24])
