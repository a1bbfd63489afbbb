"""Real controller and agent processes from the built wheel, and the command line over them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_S = 30.0


def until(condition: Callable[[], object], what: str, within_s: float = START_S) -> None:
    """Wait until *condition* holds."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not in {within_s:g} s: {what}")
        time.sleep(0.02)


@dataclass
class Process:
    """A process that writes a log."""

    popen: subprocess.Popen[bytes]
    log: Path

    def says(self, pattern: str, within_s: float = START_S) -> re.Match[str]:
        """Wait until the log matches."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            text = self.log.read_text(errors="replace")
            found.extend(filter(None, [re.search(pattern, text)]))
            return bool(found) or self.popen.poll() is not None

        until(look, f"{pattern!r} in {self.log}", within_s)
        if not found:
            raise AssertionError(f"it ended; it said:\n{self.log.read_text(errors='replace')}")
        return found[0]

    def stop(self, number: int = signal.SIGTERM, within_s: float = 20.0) -> int:
        """Send a signal and return the exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.popen.wait(within_s)


@dataclass
class Plant:
    """One controller, its agents, and a person at a terminal."""

    programs: Path
    home: Path
    scheme: str = "http"
    options: Sequence[str] = ()
    agent_options: Sequence[str] = ()
    url: str = ""
    agents_at: str = ""
    processes: list[Process] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def token(self) -> str:
        return (self.data / "admin.token").read_text().strip()

    def env(self, **more: str) -> dict[str, str]:
        """What a shell would have: no settings of the machine that runs the tests."""
        kept = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
        return {**kept, **self.environ, **more}

    def spawn(self, name: str, argv: Sequence[str]) -> Process:
        """Start a program of the wheel in the background."""
        log = self.home / f"{name}-{len(self.processes)}.log"
        with log.open("wb") as out:
            popen = subprocess.Popen(
                [str(self.programs / argv[0]), *argv[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self.env(),
                start_new_session=True,
            )
        process = Process(popen, log)
        self.processes.append(process)
        return process

    def controller(self, *options: str, http: str = "", agents: str = "") -> Process:
        """Start a controller and wait until it listens."""
        where = ["--http", http or "127.0.0.1:0", "--agents", agents or "127.0.0.1:0"]
        argv = ["farhand", "controller", "--data", str(self.data), *where]
        process = self.spawn("controller", [*argv, *self.options, *options])
        ready = process.says(r"controller\.ready.* http='(\S+)' agents='(\S+)'")
        self.url, self.agents_at = ready[1], ready[2]
        return process

    def agent(self, name: str, *options: str) -> Process:
        """Start an agent and wait until it is connected."""
        argv = ["farhand-agent", "--controller", self.agents_at, "--name", name]
        argv += ["--join-token-file", str(self.data / "join.token")]
        argv += ["--state", str(self.home / name), *self.agent_options, *options]
        process = self.spawn(name, argv)
        process.says("connected to")
        return process

    def popen(self, *argv: str, **more: str) -> subprocess.Popen[bytes]:
        """Start `farhand` as a person would."""
        known = {"FARHAND_URL": self.url, "FARHAND_TOKEN": self.token, **more}
        return subprocess.Popen(
            [str(self.programs / "farhand"), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env(**known),
        )

    def farhand(
        self, *argv: str, stdin: bytes = b"", within_s: float = 40.0, **more: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `farhand` to its end."""
        process = self.popen(*argv, **more)
        try:
            out, err = process.communicate(stdin, within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{argv} did not end; it said {out!r} {err!r}") from None
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def lines(self, *argv: str) -> list[dict[str, Any]]:
        """Run `farhand … --json` and return its objects."""
        done = self.farhand(*argv, "--json")
        assert 0 == done.returncode, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@contextlib.contextmanager
def plant(
    programs: Path,
    home: Path,
    *,
    options: Sequence[str] = (),
    agent_options: Sequence[str] = ("--allow", "argv,script,cwd,user"),
    environ: Mapping[str, str] | None = None,
) -> Iterator[Plant]:
    """A plant whose processes are gone at the end."""
    home.mkdir(parents=True, exist_ok=True)
    built = Plant(programs, home, options=options, agent_options=agent_options)
    built.environ |= environ or {}
    try:
        yield built
    finally:
        for process in reversed(built.processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.stop(signal.SIGCONT, 0.1)
            try:
                process.stop()
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()


def alive(mark: str) -> list[int]:
    """The `sleep`s of this host that have *mark* for an argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
            if words[0].endswith(b"sleep") and mark.encode() in words and state not in "ZX":
                found.append(int(path.name))
    return found
