"""Start programs on this host, read them, and leave nothing of them behind.

Knows no protocol and no job: it is told what to start. Runs no code between fork and exec, so
that a start stays a cheap vfork; what must happen there is done by `farhand.agent.stage`.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from farhand.agent import leftovers, procfs, stage
from farhand.agent.leftovers import MARK, Trace
from farhand.domain.ids import RunId
from farhand.domain.job import NamespacesOf
from farhand.domain.output import StreamName
from farhand.domain.run import Usage, Why
from farhand.errors import LaunchFailed
from farhand.ports import Exit, Launch

_READ_BYTES: Final = 256 * 1024
_PIPE_BYTES: Final = 1024 * 1024  # a system call moves more, where the host allows it
_PIPE_DEFAULT: Final = 64 * 1024
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

    def __init__(self, watch: Watch | None = None) -> None:
        self._watch = watch or (watch_by_pidfd if _has_pidfd() else watch_by_thread)

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
        pipes = Pipes(launch.stdin)
        try:
            popen = pipes.start(argv, env=env, cwd=cwd)
        except OSError as exc:
            pipes.close()
            number = exc.errno or 0
            if cwd is not None and _unusable(cwd):
                failed = stage.directory_failed(number, cwd)
                raise _launch_failed(failed, launch.argv[0]) from exc
            program = argv[0]
            if cwd is not None and b"/" in program:
                program = os.path.join(cwd, program)  # noqa: PTH118  # bytes, as the kernel has it
            failed = stage.explained(number, program, env.get(b"PATH"))
            raise _launch_failed(failed, launch.argv[0]) from exc
        return PosixLaunched(launch, popen, pipes, self._watch)

    async def _staged(self, launch: Launch, order: stage.Order) -> "PosixLaunched":
        """Start the program by way of a stage; raise what the stage tells."""
        order_fd, status, status_fd = _order_file(order), *os.pipe2(os.O_CLOEXEC)
        inherited = (order_fd, status_fd, *(fd for _, fd in order.namespaces))
        pipes = Pipes(launch.stdin)
        try:
            popen = pipes.start(
                (*_STAGE, str(order_fd), str(status_fd)),
                env={MARK.encode(): launch.run.encode()},
                pass_fds=inherited,
            )
        except OSError as exc:
            pipes.close()
            os.close(status)
            raise LaunchFailed(Why.SPAWN_FAILED, f"the stage did not start: {exc}") from exc
        finally:
            os.close(order_fd)
            os.close(status_fd)
        process = PosixLaunched(launch, popen, pipes, self._watch)
        try:
            async with asyncio.timeout(_STAGE_S):
                told = await _read_all(status)
        except BaseException as exc:
            await _abandon(process)
            if isinstance(exc, TimeoutError):
                text = f"the program did not start within {_STAGE_S:g} s"
                raise LaunchFailed(Why.SPAWN_FAILED, text) from exc
            raise
        finally:
            os.close(status)
        if told == stage.READY:
            return process
        await _abandon(process)
        why, _, text = told.removeprefix(stage.READY).decode(errors="replace").partition("\n")
        failed = stage.Failed(why or Why.SPAWN_FAILED, text or "the stage before it died")
        raise _launch_failed(failed, launch.argv[0])

    async def sweep(self, run: RunId) -> None:
        await leftovers.end(Trace(run), grace_s=0)


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


class Pipe:
    """The reading end of a pipe, non-blocking. Watched by the loop only while somebody reads."""

    def __init__(self, fd: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._waiter: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """Return what is there, at most 256 KiB, or wait for it; b"" at the end or when closed."""
        assert self._waiter is None, "one reader at a time"
        await asyncio.sleep(0)  # a program that never stops printing must not keep the loop
        while self._fd >= 0:
            try:
                return os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                await self._readable()
        return b""

    async def _readable(self) -> None:
        self._waiter = self._loop.create_future()
        self._loop.add_reader(self._fd, self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if self._fd >= 0:
                self._loop.remove_reader(self._fd)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def release(self) -> int:
        """Give the descriptor up, and wake whoever reads. Return it, or -1 the second time."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._waiter is not None:
            self._loop.remove_reader(fd)
            self._wake()
        return fd

    def close(self) -> None:
        if (fd := self.release()) >= 0:
            os.close(fd)


class Feed:
    """The writing end of a program's stdin: gives it *data*, then end of file.

    A program that reads nothing keeps the bytes waiting; one that closes its stdin ends it.
    """

    def __init__(self, fd: int, data: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._left = memoryview(data)

    def start(self) -> None:
        """Write what fits; the loop writes the rest."""
        self._write()
        if self._fd >= 0:
            self._loop.add_writer(self._fd, self._write)

    def _write(self) -> None:
        try:
            while self._left:
                self._left = self._left[os.write(self._fd, self._left) :]
        except BlockingIOError:
            return
        except OSError:  # it reads no further: EPIPE
            pass
        self.close()

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._loop.remove_writer(fd)
            os.close(fd)


class Pipes:
    """The three pipes of a program: our ends, and for an instant its own."""

    def __init__(self, stdin: bytes) -> None:
        self._theirs: list[int] = []
        self._ours: list[Pipe | Feed] = []
        self.feed: Feed | None = None
        try:
            if stdin:
                theirs, ours = self._pipe(len(stdin))
                self.feed = Feed(ours, stdin)
                self._ours.append(self.feed)
            else:
                theirs = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            self._theirs.append(theirs)
            self.stdout, self.stderr = self._output(), self._output()
        except OSError as exc:
            self.close()
            text = f"no pipes for the program: {os.strerror(exc.errno or 0)}"
            raise LaunchFailed(Why.SPAWN_FAILED, text) from exc

    def _pipe(self, size: int) -> tuple[int, int]:
        read, write = os.pipe2(os.O_CLOEXEC)
        if size > _PIPE_DEFAULT:
            with contextlib.suppress(OSError):  # beyond this user's share of pipe memory
                fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, min(size, _PIPE_BYTES))
        return read, write

    def _output(self) -> Pipe:
        read, write = self._pipe(_PIPE_BYTES)
        self._theirs.append(write)
        os.set_blocking(read, False)
        pipe = Pipe(read)
        self._ours.append(pipe)
        return pipe

    def start(
        self,
        argv: tuple[bytes | str, ...],
        *,
        env: dict[bytes, bytes],
        cwd: bytes | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> "subprocess.Popen[bytes]":
        """Start the program with these pipes. Raises OSError."""
        stdin, stdout, stderr = self._theirs
        popen = subprocess.Popen(
            argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=env,
            cwd=cwd,
            umask=_UMASK,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        self._close_theirs()
        if self.feed is not None:
            os.set_blocking(self.feed._fd, False)
            self.feed.start()
        return popen

    def _close_theirs(self) -> None:
        while self._theirs:
            os.close(self._theirs.pop())

    def close(self) -> None:
        """Close all that is open. May be called more than once."""
        self._close_theirs()
        for end in self._ours:
            end.close()


class PosixLaunched:
    """A started program of this host."""

    def __init__(
        self, launch: Launch, popen: "subprocess.Popen[bytes]", pipes: Pipes, watch: Watch
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._popen = popen
        self._pipes = pipes
        self._began = self._loop.time()
        self._own_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._trace = Trace(launch.run, procfs.stat(popen.pid))
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        watch(popen.pid, self._on_end)

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
