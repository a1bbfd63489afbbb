"""A controller in a process of its own, and agents that dial it from the process of the test."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.integration.agent.estate import Estate, estate
from tests.until import until

# What agents and leases do in a minute happens within seconds.
QUICK: Mapping[str, float] = {
    "heartbeat_s": 0.4,
    "inactivity_s": 2.0,
    "lease_s": 2.0,
    "sweep_s": 0.2,
    "goodbye_spread_s": 0.1,
}
READY = re.compile(r"event='controller\.ready' http='(\S+)' agents='(\S+):(\d+)'")


@dataclass
class ControllerProcess:
    """One controller. *lines* is its log so far."""

    process: asyncio.subprocess.Process
    data: Path
    lines: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def ready(self) -> tuple[str, tuple[str, int]]:
        """Where it answers people, and where agents."""
        await until(lambda: self.ended or self.logged("controller.ready"), within_s=30)
        found = READY.search("".join(self.lines))
        if found is None:
            raise AssertionError("it ended; it said:\n" + "".join(self.lines))
        return found[1], (found[2], int(found[3]))

    @property
    def ended(self) -> bool:
        return self.process.returncode is not None

    def logged(self, event: str) -> list[str]:
        """The lines of one event."""
        return [line for line in self.lines if f"event='{event}'" in line]

    async def read(self) -> None:
        """Take the log for as long as there is one."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode())

    def client(self, url: str) -> httpx.AsyncClient:
        """A caller with the token of the data directory."""
        token = (self.data / "admin.token").read_text().strip()
        bearer = {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=url, headers=bearer, timeout=20)

    def estate(self, directory: Path) -> Estate:
        """Agents with the join token of the data directory."""
        directory.mkdir(exist_ok=True)
        (directory / "join.token").write_text((self.data / "join.token").read_text())
        return estate(directory)


@asynccontextmanager
async def controller(
    data: Path,
    *options: str,
    limits: Mapping[str, float] = QUICK,
    inside: Sequence[str] = (),
    seen: Path | None = None,
) -> AsyncIterator[ControllerProcess]:
    """Start a controller, in front of it *inside*; it is killed at the end.

    *seen* is where this process finds its data directory.
    """
    data.parent.mkdir(parents=True, exist_ok=True)
    config = data.parent / "controller.toml"
    config.write_text(
        "[limits]\n" + "".join(f"{name} = {value}\n" for name, value in limits.items())
    )
    argv = [*inside, sys.executable, "-m", "farhand.boot.controller", "--config", str(config)]
    argv += ["--data", str(data), "--http", "127.0.0.1:0", "--agents", "127.0.0.1:0", *options]
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "HOME": str(data.parent), "LANG": "C.UTF-8"},
    )
    it = ControllerProcess(process, seen or data)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.read(), name="log")
        try:
            yield it
        finally:
            if not it.ended:
                process.kill()
            await process.wait()
