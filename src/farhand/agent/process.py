"""Start programs on this host, read them, and leave nothing of them behind.

Knows no protocol and no job: it is told what to start. Runs no code between fork and exec, so
that a start stays a cheap vfork; what must happen there is done by `farhand.agent.stage`.
"""

import asyncio
import contextlib
import errno
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from farhand.agent import leftovers, procfs, stage
from farhand.agent.cgroup import Cgroups
from farhand.agent.leftovers import MARK, Trace
from farhand.agent.pipes import Pipe, Pipes
from farhand.domain.ids import RunId
from farhand.domain.job import NamespacesOf
from farhand.domain.output import StreamName
from farhand.domain.run import Usage, Why
from farhand.errors import LaunchFailed
from farhand.ports import Exit, Launch

_STAGE_S: Final = 30.0  # for all steps before a program
_PACKAGES: Final = {  # what Debian calls that which a bare host often lacks
    **dict.fromkeys(("ip", "ss"), "iproute2"),
    **dict.fromkeys(("journalctl", "systemctl"), "systemd"),
    **dict.fromkeys(("dig", "host", "nslookup"), "bind9-dnsutils"),
    **dict.fromkeys(("free", "top", "vmstat"), "procps"),
    "curl": "curl",
    "lsof": "lsof",
    "mtr": "mtr-tiny",
    "nft": "nftables",
    "ping": "iputils-ping",
    "strace": "strace",
    "tcpdump": "tcpdump",
    "traceroute": "traceroute",
}
_UMASK: Final = 0o022  # the agent's own is for its secrets
_STAGE: Final = (
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import sys; sys.path.append(sys.argv[1]); import stage; stage.main(*map(int, sys.argv[2:]))",
    str(Path(stage.__file__).parent),
)

Watch = Callable[[int, Callable[[], None]], None]


def watch_by_pidfd(pid: int, ended: Callable[[], None]) -> None:
    """Call *ended* in this loop once the child has ended. Raises OSError on kernels before 5.3."""
    loop, fd = asyncio.get_running_loop(), os.pidfd_open(pid)

    def on_readable() -> None:
        loop.remove_reader(fd)
        os.close(fd)
        ended()

    loop.add_reader(fd, on_readable)


def watch_by_thread(pid: int, ended: Callable[[], None]) -> None:
    """Do as `watch_by_pidfd`, at the price of a thread."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(ended)

    threading.Thread(target=wait, name=f"wait-{pid}", daemon=True).start()


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


class PosixLauncher:
    """The host's own processes. Each run has a session, a process group and a mark of its own."""

    def __init__(
        self,
        watch: Watch | None = None,
        cgroups: Callable[[], Cgroups | None] = Cgroups.found,
    ) -> None:
        self._watch = watch or (watch_by_pidfd if _has_pidfd() else watch_by_thread)
        self._cgroups = cgroups()

    async def launch(self, launch: Launch) -> "PosixLaunched":
        argv = tuple(map(_bytes, launch.argv))
        env = {_bytes(name): _bytes(value) for name, value in launch.env.items()}
        env[MARK.encode()] = launch.run.encode()
        cwd = None if launch.cwd is None else _bytes(launch.cwd)
        special = launch.user, launch.nice, launch.namespaces
        if all(each is None for each in special) and not launch.rlimits:
            return self._plain(launch, argv, env, cwd)
        with contextlib.ExitStack() as held:
            namespaces = _opened(launch.namespaces, held) if launch.namespaces else []
            order = stage.Order(
                argv=argv,
                env=env,
                cwd=cwd,
                user=launch.user,
                nice=launch.nice,
                rlimits=launch.rlimits,
                namespaces=namespaces,
            )
            return await self._staged(launch, order)

    def _plain(
        self, launch: Launch, argv: tuple[bytes, ...], env: dict[bytes, bytes], cwd: bytes | None
    ) -> "PosixLaunched":
        try:
            return self._start(launch, argv, env=env, cwd=cwd)
        except OSError as exc:
            number = exc.errno or 0
            if cwd is not None and _unusable(cwd):
                failed = stage.directory_failed(number, cwd)
                raise _launch_failed(failed, launch.argv[0]) from exc
            program = argv[0]
            if cwd is not None and b"/" in program:
                program = os.path.join(cwd, program)  # noqa: PTH118  # bytes, as the kernel has it
            failed = stage.explained(number, program, env.get(b"PATH"))
            raise _launch_failed(failed, launch.argv[0]) from exc

    async def _staged(self, launch: Launch, order: stage.Order) -> "PosixLaunched":
        """Start the program by way of a stage; raise what the stage tells."""
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            try:
                order_fd = _held(theirs, _order_file(order))
                status, status_fd = os.pipe2(os.O_CLOEXEC)
                _held(ours, status)
                _held(theirs, status_fd)
                process = self._start(
                    launch,
                    (*_STAGE, str(order_fd), str(status_fd)),
                    env={MARK.encode(): launch.run.encode()},
                    pass_fds=(order_fd, status_fd, *(fd for _, fd in order.namespaces)),
                )
            except OSError as exc:
                text = f"nothing can be started just now: {os.strerror(exc.errno or 0)}"
                raise LaunchFailed(Why.SPAWN_FAILED, text) from exc
            theirs.close()
            try:
                async with asyncio.timeout(_STAGE_S):
                    told = await _read_all(status)
            except TimeoutError as exc:
                await _abandon(process)
                text = f"the program did not start within {_STAGE_S:g} s"
                raise LaunchFailed(Why.SPAWN_FAILED, text) from exc
            except BaseException:
                await _abandon(process)
                raise
        if told == stage.READY:
            return process
        await _abandon(process)
        why, _, text = told.removeprefix(stage.READY).decode(errors="replace").partition("\n")
        failed = stage.Failed(why or Why.SPAWN_FAILED, text or "the stage before it died")
        raise _launch_failed(failed, launch.argv[0])

    def _start(
        self,
        launch: Launch,
        argv: tuple[bytes | str, ...],
        *,
        env: dict[bytes, bytes],
        cwd: bytes | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> "PosixLaunched":
        """Start *argv* as the leader of the run. Raises OSError, and leaves nothing open."""
        with contextlib.ExitStack() as undo:
            pipes = Pipes(launch.stdin)
            undo.callback(pipes.close)
            cgroup = self._cgroups.made(launch.run) if self._cgroups is not None else None
            if cgroup is not None:
                undo.callback(cgroup.remove)
            popen = subprocess.Popen(
                argv,
                stdin=pipes.theirs[0],
                stdout=pipes.theirs[1],
                stderr=pipes.theirs[2],
                env=env,
                cwd=cwd,
                umask=_UMASK,
                start_new_session=True,
                pass_fds=pass_fds,
            )
            undo.pop_all()
        if cgroup is not None:
            cgroup.join(popen.pid)
        pipes.started()
        trace = Trace(launch.run, procfs.stat(popen.pid), cgroup=cgroup)
        return PosixLaunched(popen, pipes, trace, self._watch)

    async def sweep(self, run: RunId) -> None:
        cgroup = self._cgroups.of(run) if self._cgroups is not None else None
        await leftovers.end(Trace(run, cgroup=cgroup), grace_s=0)


def _bytes(text: str) -> bytes:
    """What the kernel takes. Raises LaunchFailed for what it does not."""
    if "\0" in text:
        raise LaunchFailed(Why.SPAWN_FAILED, f"{text[:80]!r} has a NUL byte; no program takes it")
    return text.encode(errors="surrogateescape")


def _launch_failed(failed: stage.Failed, program: str) -> LaunchFailed:
    """The same as the seam has it, with the package that would help."""
    package, text = _PACKAGES.get(program), failed.text
    if failed.why == Why.PROGRAM_NOT_FOUND and package is not None:
        text += f"; it comes with the package {package}"
    return LaunchFailed(Why(failed.why), text)


def _unusable(cwd: bytes) -> bool:
    folder = Path(os.fsdecode(cwd))
    return not folder.is_dir() or not os.access(folder, os.X_OK, effective_ids=True)


def _opened(of: NamespacesOf, held: contextlib.ExitStack) -> list[tuple[str, int]]:
    """Open the namespaces that are not the agent's own; all of one and the same process."""
    try:
        folder = os.open(f"{procfs.PROC}/{of.pid}/ns", os.O_RDONLY | os.O_DIRECTORY)
        held.callback(os.close, folder)
        found = []
        for kind in of.kinds:
            fd = os.open(kind.value, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
            held.callback(os.close, fd)
            if os.fstat(fd).st_ino != Path(f"{procfs.PROC}/self/ns", kind.value).stat().st_ino:
                found.append((kind.value, fd))
    except OSError as exc:
        reason = os.strerror(exc.errno or 0)
        if exc.errno in {errno.ENOENT, errno.ESRCH}:
            reason = "there is no such process, or no such namespace on this host"
        raise LaunchFailed(Why.NAMESPACES, f"namespaces of process {of.pid}: {reason}") from exc
    return found


def _held(held: contextlib.ExitStack, fd: int) -> int:
    """Leave *fd* to *held*, which closes it."""
    held.callback(os.close, fd)
    return fd


def _order_file(order: stage.Order) -> int:
    fd = os.memfd_create("farhand-order")
    with open(fd, "wb", closefd=False) as file:
        file.write(order.packed())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


async def _read_all(fd: int) -> bytes:
    """Read a small pipe to its end."""
    os.set_blocking(fd, False)
    pipe, parts = Pipe(fd), [b""]
    try:
        while part := await pipe.read():
            parts.append(part)
    finally:
        pipe.release()
    return b"".join(parts)


async def _abandon(process: "PosixLaunched") -> None:
    process.close()
    await process.kill(0)


class PosixLaunched:
    """A started program of this host."""

    def __init__(
        self, popen: "subprocess.Popen[bytes]", pipes: Pipes, trace: Trace, watch: Watch
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._popen = popen
        self._pipes = pipes
        self._began = self._loop.time()
        self._own_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._trace = trace
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        try:
            watch(popen.pid, self._on_end)
        except OSError:  # no descriptor is left for it
            watch_by_thread(popen.pid, self._on_end)

    @property
    def pid(self) -> int:
        return self._popen.pid

    async def read(self, stream: StreamName) -> bytes:
        pipe = self._pipes.stdout if stream is StreamName.STDOUT else self._pipes.stderr
        return await pipe.read()

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def kill(self, grace_s: float) -> None:
        await leftovers.end(self._trace, grace_s=grace_s, age_s=self._age_s)
        await self.wait()

    def close(self) -> None:
        self._pipes.close()
        self._trace.forget()

    def _age_s(self) -> float:
        return self._loop.time() - self._began

    def _on_end(self) -> None:
        """Reap the leader; until here its process id cannot belong to anybody else."""
        _, status, used = os.wait4(self._popen.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._popen.returncode = code  # for Popen, which must not wait for it again
        # A child starts with its parent's memory on its account; what is not above that is unknown.
        rss = used.ru_maxrss if used.ru_maxrss > self._own_rss else 0
        usage = Usage(user_s=used.ru_utime, system_s=used.ru_stime, max_rss_bytes=rss * 1024)
        ended = Exit(
            code=code if code >= 0 else None, signal=-code if code < 0 else None, usage=usage
        )
        if not self._exit.done():
            self._exit.set_result(ended)
