"""A host whose programs are coroutines: what a test or a simulated agent runs instead of processes.

Keeps the promises of the Launcher seam, which its suite checks; knows no users, limits,
directories or namespaces.
"""

import asyncio
import itertools
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Final, Self

from farhand.domain.ids import RunId
from farhand.domain.output import StreamName
from farhand.domain.run import Why
from farhand.errors import LaunchFailed
from farhand.ports import Exit, Launch

Program = Callable[["FakeProcess"], Awaitable[int]]

PIPE_BYTES: Final = 64 * 1024  # printed and not read; a program that prints more waits


async def true(process: "FakeProcess") -> int:
    """End well."""
    del process
    return 0


async def false(process: "FakeProcess") -> int:
    """End with exit code 1."""
    del process
    return 1


async def echo(process: "FakeProcess") -> int:
    """Print the arguments."""
    await process.print(" ".join(process.launch.argv[1:]).encode() + b"\n")
    return 0


async def cat(process: "FakeProcess") -> int:
    """Print what stdin has."""
    await process.print(process.launch.stdin)
    return 0


async def sleep(process: "FakeProcess") -> int:
    """Wait for a signal, for ever."""
    return await process.block()


PROGRAMS: Final[Mapping[str, Program]] = {
    "true": true,
    "false": false,
    "echo": echo,
    "cat": cat,
    "sleep": sleep,
}


class FakePipe:
    """One output stream: bounded, and at its end once nobody holds it."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._holders = 0
        self._closed = False
        self._changed = asyncio.Event()

    async def write(self, data: bytes) -> None:
        """Give *data* to the reader; wait while it has too much to read."""
        while self._size >= PIPE_BYTES and not self._closed:
            await self._changed.wait()
        if data and not self._closed:
            self._chunks.append(data)
            self._change(len(data))

    async def read(self) -> bytes:
        """Return the next chunk, or b"" at the end."""
        while not self._chunks and self._holders and not self._closed:
            await self._changed.wait()
        if self._closed or not self._chunks:
            return b""
        data = self._chunks.popleft()
        self._change(-len(data))
        return data

    def hold(self) -> None:
        """Keep it open, until `let_go`."""
        self._holders += 1

    def let_go(self) -> None:
        """Hold it no longer; the last one to do so ends it."""
        self._holders -= 1
        self._change()

    def close(self) -> None:
        """Give up reading; whoever writes wastes its words."""
        self._closed = True
        self._change()

    def _change(self, size: int = 0) -> None:
        self._size += size
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class FakeProcess:
    """A program's view of itself: what it was started with, and what it can do."""

    def __init__(self, launcher: "FakeLauncher", launch: Launch, pid: int) -> None:
        self.launch = launch
        self.pid = pid
        self.pipes = {name: FakePipe() for name in StreamName}
        self.terminated = asyncio.Event()  # set by SIGTERM where it is trapped
        self.trapping = False
        self._launcher = launcher

    async def print(self, data: bytes, stream: StreamName = StreamName.STDOUT) -> None:
        """Print *data* as one chunk; wait while nobody reads."""
        await self.pipes[stream].write(data)

    async def block(self) -> int:
        """Do nothing until a signal ends the program."""
        await asyncio.get_running_loop().create_future()
        return 0

    def trap(self) -> None:
        """From now on SIGTERM only sets `terminated`."""
        self.trapping = True

    def leave_behind(self, program: Program = sleep) -> None:
        """Start a child, which holds the output open and outlives this program."""
        self._launcher.start(self, program)


class FakeLaunched:
    """A started fake program, as the seam has it."""

    def __init__(self, launcher: "FakeLauncher", process: FakeProcess) -> None:
        self._launcher = launcher
        self._process = process
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def read(self, stream: StreamName) -> bytes:
        return await self._process.pipes[stream].read()

    async def wait(self) -> Exit:
        return await asyncio.shield(self.ended)

    async def kill(self, grace_s: float) -> None:
        await self._launcher.end(self._process.launch.run, grace_s=grace_s)
        await self.wait()

    def close(self) -> None:
        for pipe in self._process.pipes.values():
            pipe.close()


class FakeLauncher:
    """Starts the coroutines in *programs* by the first word of argv; use it in `async with`.

    An error in place of a program is what starting it raises. *launches* keeps what was started,
    in order.
    """

    def __init__(self, programs: Mapping[str, Program | LaunchFailed] | None = None) -> None:
        self._programs: dict[str, Program | LaunchFailed] = {**PROGRAMS, **(programs or {})}
        self._tasks = asyncio.TaskGroup()
        self._living: dict[RunId, dict[asyncio.Task[int], FakeProcess]] = {}
        self._signals: dict[asyncio.Task[int], signal.Signals] = {}
        self._pids = itertools.count(1000)
        self.launches: list[Launch] = []

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for tasks in self._living.values():
            for task in tasks:
                task.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    async def launch(self, launch: Launch) -> FakeLaunched:
        match self._programs.get(launch.argv[0]):
            case None:
                text = f"there is no program {launch.argv[0]!r}"
                raise LaunchFailed(Why.PROGRAM_NOT_FOUND, text)
            case LaunchFailed() as failed:
                raise failed
            case program:
                self.launches.append(launch)
                process = FakeProcess(self, launch, next(self._pids))
                launched = FakeLaunched(self, process)
                self.start(process, program, launched.ended)
                return launched

    async def sweep(self, run: RunId) -> None:
        await self.end(run, grace_s=0)

    def living(self, run: RunId) -> int:
        """How many processes of the run there are."""
        return len(self._of(run))

    def start(
        self, process: FakeProcess, program: Program, ended: asyncio.Future[Exit] | None = None
    ) -> None:
        """Run *program* as a part of *process*; the leader has somebody who waits for it."""
        for pipe in process.pipes.values():
            pipe.hold()
        living = self._living.setdefault(process.launch.run, {})

        async def carry() -> int:
            return await program(process)

        def on_end(task: asyncio.Task[int]) -> None:
            del living[task]
            if not living:
                del self._living[process.launch.run]
            number = self._signals.pop(task, signal.SIGKILL)
            ending = Exit(signal=number) if task.cancelled() else _exit_of(task)
            if ended is not None and not ended.done():
                ended.set_result(ending)
            for pipe in process.pipes.values():
                pipe.let_go()

        task = self._tasks.create_task(carry(), name=f"fake-{process.launch.argv[0]}")
        task.add_done_callback(on_end)
        living[task] = process

    async def end(self, run: RunId, *, grace_s: float) -> None:
        """End every process of the run: SIGTERM, and SIGKILL after *grace_s* seconds."""
        tasks = self._of(run)
        if grace_s > 0 and tasks:
            for task, process in tasks.items():
                process.terminated.set()
                if not process.trapping:
                    self._signal(task, signal.SIGTERM)
            await asyncio.wait(tasks, timeout=grace_s)
        while tasks := self._of(run):
            for task in tasks:
                self._signal(task, signal.SIGKILL)
            await asyncio.wait(tasks)

    def _of(self, run: RunId) -> dict[asyncio.Task[int], FakeProcess]:
        return dict(self._living.get(run, {}))

    def _signal(self, task: asyncio.Task[int], number: signal.Signals) -> None:
        self._signals[task] = number
        task.cancel()


def _exit_of(task: asyncio.Task[int]) -> Exit:
    """A program that raised ends like one that the kernel aborted; its group raises the error."""
    return Exit(code=task.result()) if task.exception() is None else Exit(signal=signal.SIGABRT)
