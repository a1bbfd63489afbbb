"""Real processes for a bench: a controller, an agent, simulated agents; each ended by its block.

Knows nothing of what is measured. No setting of the caller's reaches a child, and no child leaves
anything outside the bench's own directory.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from bench.certificates import Certificate
from bench.figures import BenchError
from farhand.client import Client

ROOT: Final = Path(__file__).resolve().parents[1]
READY: Final = re.compile(r"controller\.ready.*http='?(https?://[^\s']+)'?.*agents='?([^\s']+)'?")
START_S: Final = 30.0
STOP_S: Final = 15.0
PAUSE_S: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """A controller that listens. *agents* is HOST:PORT, *token* an admin's, *ca* for TLS."""

    popen: subprocess.Popen[bytes]
    url: str
    agents: str
    token: str
    join_token_file: Path
    ca: Path | None = None

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def host(self) -> str:
        return self.url.partition("://")[2].rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self) -> Client:
        """An ordinary user's client."""
        return Client(self.url, self.token, ca=str(self.ca) if self.ca else None)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.popen.kill()
        self.popen.wait()


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The caller's environment without what would steer farhand, and with a place of its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("FARHAND_") and not name.lower().endswith("_proxy")
    }
    return {**kept, "XDG_RUNTIME_DIR": str(home), **(extra or {})}


def program(name: str) -> Path:
    """An installed entry point of this environment."""
    path = Path(sys.prefix) / "bin" / name
    if not path.exists():
        raise BenchError(f"{path} is not installed; `make bench` installs it")
    return path


@contextmanager
def child(
    command: Sequence[str | Path], home: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run *command* inside the block; what it says on stderr goes to *log*."""
    with log.open("ab") as stderr:
        popen = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    try:
        yield popen
    finally:
        for pipe in (popen.stdin, popen.stdout):
            if pipe is not None:
                pipe.close()
        popen.terminate()
        try:
            popen.wait(STOP_S)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


@contextmanager
def controller(
    home: Path,
    *,
    limits: Mapping[str, float] | None = None,
    agents: str = "127.0.0.1:0",
    name: str = "controller",
    certificate: Certificate | None = None,
) -> Iterator[Controller]:
    """A controller on loopback, with *limits* beside the defaults; listening when entered."""
    data, log, config = home / "data", home / f"{name}.log", home / f"{name}.toml"
    table = "".join(f"{key} = {value}\n" for key, value in (limits or {}).items())
    config.write_text(f"[limits]\n{table}")
    command: list[str | Path] = [
        *(sys.executable, "-m", "farhand.boot.controller", "--config", config),
        *("--data", data, "--http", "127.0.0.1:0", "--agents", agents),
    ]
    if certificate is not None:
        command += ["--tls-cert", certificate.chain, "--tls-key", certificate.key]
    with child(command, home, log) as popen:
        until = time.monotonic() + START_S
        while (found := READY.search(log.read_text(errors="replace"))) is None:
            if popen.poll() is not None or time.monotonic() > until:
                raise BenchError(f"the controller did not start: {_tail(log)}")
            time.sleep(PAUSE_S)
        yield Controller(
            popen=popen,
            url=found[1],
            agents=found[2],
            token=(data / "admin.token").read_text().strip(),
            join_token_file=data / "join.token",
            ca=certificate.chain if certificate else None,
        )


@contextmanager
def agent(home: Path, to: Controller, name: str = "web-1") -> Iterator[subprocess.Popen[bytes]]:
    """A real agent that allows argv; online when entered."""
    log = home / f"{name}.log"
    command: list[str | Path] = [
        *(program("farhand"), "agent", "--controller", to.agents, "--name", name),
        *("--join-token-file", to.join_token_file, "--state", home / name, "--allow", "argv"),
    ]
    with child(command, home, log) as popen, to.client() as client:
        until = time.monotonic() + START_S
        while not any(each.name == name and each.liveness == "online" for each in client.agents()):
            if popen.poll() is not None or time.monotonic() > until:
                raise BenchError(f"the agent did not come: {_tail(log)}")
            time.sleep(PAUSE_S)
        yield popen


@dataclass(frozen=True, slots=True)
class Presence:
    """How many simulated agents are connected, and how often a stream was lost or refused."""

    online: int
    lost: int

    def __add__(self, other: Self) -> "Presence":
        return Presence(self.online + other.online, self.lost + other.lost)


class Crowd:
    """Simulated agents in a few processes (`bench.agents`)."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    def presence(self) -> Presence:
        """Ask each process how its agents stand."""
        return sum((Presence(**each) for each in self._ask(b"\n")), Presence(0, 0))

    def stop_programs(self) -> None:
        """Let the programs that wait or count come to their end."""
        self._ask(b"stop\n")

    def printed(self) -> dict[str, int]:
        """How many lines each run has counted."""
        return {run: lines for each in self._ask(b"printed\n") for run, lines in each.items()}

    def _ask(self, question: bytes) -> list[dict[str, int]]:
        for popen in self._processes:
            assert popen.stdin is not None
            popen.stdin.write(question)
            popen.stdin.flush()
        return [_answer(popen) for popen in self._processes]

    def wait_for(self, online: int, within_s: float = START_S) -> None:
        """Return when so many are connected."""
        until = time.monotonic() + within_s
        while (now := self.presence()).online < online:
            if time.monotonic() > until:
                raise BenchError(f"{now.online} of {online} simulated agents are connected")
            time.sleep(PAUSE_S)


def _answer(popen: subprocess.Popen[bytes]) -> dict[str, int]:
    assert popen.stdout is not None
    line = popen.stdout.readline()
    if not line:
        raise BenchError("a process of simulated agents ended")
    found: dict[str, int] = json.loads(line)
    return found


@contextmanager
def crowd(
    home: Path, to: Controller, count: int, *, processes: int, first: int = 0
) -> Iterator[Crowd]:
    """*count* simulated agents, numbered from *first*; their code is loaded when entered.

    They dial when `presence` is asked for the first time.
    """
    log = home / "crowd.log"
    with ExitStack() as stack:
        started = []
        for at in range(processes):
            share = count // processes + (at < count % processes)
            command: list[str | Path] = [
                *(sys.executable, "-m", "bench.agents", "--controller", to.agents),
                *("--join-token-file", to.join_token_file, "--state", home / "crowd"),
                *("--first", str(first), "--count", str(share)),
                *(("--ca", to.ca) if to.ca else ()),
            ]
            started.append(stack.enter_context(child(command, home, log)))
            first += share
        for popen in started:
            assert popen.stdout is not None
            if popen.stdout.readline() != b"ready\n":
                raise BenchError(f"simulated agents did not start: {_tail(log)}")
        yield Crowd(started)


# --- What a process uses ------------------------------------------------------------------


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, in steps of the kernel's tick (10 ms)."""
    behind_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, behind_name[11:13])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """What a process has in memory now."""
    return _status(pid, "VmRSS")


def forget_peak(pid: int) -> None:
    """Begin the peak anew from what is in memory now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """The most that a process had in memory since `forget_peak`."""
    return _status(pid, "VmHWM")


def _status(pid: int, name: str) -> int:
    found = re.search(
        rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    if found is None:
        raise BenchError(f"process {pid} is gone")
    return int(found[1]) * 1024


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-400:].strip() or "it said nothing"
