"""An executor with real files and programs that are coroutines, and everything it says."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from farhand.agent.budget import Budget
from farhand.agent.executor import Executor, Resolved
from farhand.agent.journal import Journal
from farhand.agent.scripts import ScriptFiles
from farhand.agent.spoolfile import SpoolDir
from farhand.domain.ids import RunId
from farhand.domain.job import Argv, CommandCall, JobSpec
from farhand.domain.limits import AGENT_DEFAULTS, KIB, AgentLimits
from farhand.domain.messages import FromAgent, HeldRun, HeldState, Output, Resume, StartRun
from farhand.domain.output import StreamName
from farhand.domain.policy import AgentPolicy
from farhand.errors import InvalidParameter, UnknownCommand
from farhand.testing import ManualClock
from farhand.testing.launcher import FakeLauncher

RUN = RunId("run_01h455vb4pex5vsknk084sn02q")
OTHER = RunId("run_01h455vb4pex5vsknk084sn02r")
PLENTY = 1 << 40
BOTH = {StreamName.STDOUT: 0, StreamName.STDERR: 0}


class Catalogue:
    """Knows `date` and refuses a parameter."""

    def resolve(self, call: CommandCall) -> Resolved:
        if call.ident != "date":
            raise UnknownCommand(f"no {call.ident}")
        if call.params:
            raise InvalidParameter("date takes none")
        return Resolved(argv=("echo", "today"))


@dataclass
class Bench:
    """An executor and everything it said so far."""

    home: Path
    executor: Executor
    journal: Journal
    launcher: FakeLauncher
    said: list[FromAgent] = field(default_factory=list)

    def start(self, *argv: str, run: RunId = RUN, grant: int = PLENTY, **spec: object) -> None:
        order = JobSpec(what=Argv(argv or ("true",)))
        self.executor.handle(StartRun(run=run, spec=replace(order, **spec), grant=grant))  # type: ignore[arg-type]

    async def heard(self, kind: type, *, within_s: float = 5.0) -> FromAgent:
        """Collect until a frame of this kind was said."""
        async with asyncio.timeout(within_s):
            while True:
                self.said += self.executor.collect(1 << 20)
                for frame in self.said:
                    if isinstance(frame, kind):
                        return frame
                await asyncio.sleep(0.001)

    def reconnect(self, run: RunId = RUN, *, stdout: int = 0, stderr: int = 0) -> HeldRun:
        """Lose the connection and come back to a controller that asks for the run."""
        (held,) = [each for each in self.executor.held() if each.run == run]
        self.said.clear()
        offsets = {StreamName.STDOUT: stdout, StreamName.STDERR: stderr}
        self.executor.handle(Resume(run, offsets, dict.fromkeys(StreamName, PLENTY)))
        return held

    def state(self, run: RunId = RUN) -> HeldState | None:
        """Where the run stands; None when it is not held."""
        held = self.executor._held.get(run)
        return held.state if held else None

    def read(self, run: RunId = RUN) -> int:
        """How many bytes of its stdout were numbered."""
        held = self.executor._held.get(run)
        return held.held().next_offsets[StreamName.STDOUT] if held else 0

    def killed(self) -> Path:
        """What is on the disk now, copied: what SIGKILL at this moment would leave."""
        copy = self.home.with_name(f"{self.home.name}-killed")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.home, copy)
        return copy

    def output(self, stream: StreamName = StreamName.STDOUT) -> bytes:
        return b"".join(
            frame.chunk.data
            for frame in self.said
            if isinstance(frame, Output) and frame.chunk.stream is stream
        )


@asynccontextmanager
async def bench(
    path: Path,
    *,
    launcher: FakeLauncher | None = None,
    allow: tuple[str, ...] = ("argv", "script", "cwd"),
    limits: AgentLimits = AGENT_DEFAULTS,
    boot_id: str = "boot",
) -> AsyncIterator[Bench]:
    path.mkdir(exist_ok=True)  # noqa: ASYNC240
    journal = Journal.open(path / "journal", size=64 * KIB, ids=limits.ended_runs)
    spools = SpoolDir(path / "spool", Budget(limits))
    launcher = launcher or FakeLauncher()
    try:
        async with (
            launcher,
            Executor(
                launcher=launcher,
                catalogue=Catalogue(),
                policy=AgentPolicy.of(allow),
                journal=journal,
                scripts=ScriptFiles(path / "scripts"),
                spools=spools,
                clock=ManualClock(),
                limits=limits,
                env={"PATH": "/bin"},
                boot_id=boot_id,
            ) as executor,
        ):
            yield Bench(path, executor, journal, launcher)
    finally:
        spools.shut()
        journal.close()
