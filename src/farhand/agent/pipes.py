"""The pipes between this agent and a program: read when somebody wants to, fed without waiting.

Keeps no output: what is not read stays in the pipe, and makes the program wait.
"""

import asyncio
import contextlib
import fcntl
import os
from typing import Final

_READ_BYTES: Final = 256 * 1024
_PIPE_BYTES: Final = 1024 * 1024  # a system call moves more, where the host allows it
_PIPE_DEFAULT: Final = 64 * 1024


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
    """The three pipes of a program: our ends, and until it is started its own (`theirs`)."""

    def __init__(self, stdin: bytes) -> None:
        """Open all of them. Raises OSError, and leaves none open."""
        self.theirs: list[int] = []
        self._ours: list[Pipe | Feed] = []
        self._feed: Feed | None = None
        try:
            if stdin:
                self._open_stdin(stdin)
            else:
                self.theirs.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            self.stdout, self.stderr = self._output(), self._output()
        except OSError:
            self.close()
            raise

    def started(self) -> None:
        """The program has its ends: give up ours of them, and begin to feed it."""
        self._close_theirs()
        if self._feed is not None:
            self._feed.start()

    def close(self) -> None:
        """Close all that is open. May be called more than once."""
        self._close_theirs()
        for end in self._ours:
            end.close()

    def _open_stdin(self, data: bytes) -> None:
        theirs, ours = _pipe(len(data))
        os.set_blocking(ours, False)
        self._feed = Feed(ours, data)
        self._ours.append(self._feed)
        self.theirs.append(theirs)

    def _output(self) -> Pipe:
        ours, theirs = _pipe(_PIPE_BYTES)
        os.set_blocking(ours, False)
        pipe = Pipe(ours)
        self._ours.append(pipe)
        self.theirs.append(theirs)
        return pipe

    def _close_theirs(self) -> None:
        while self.theirs:
            os.close(self.theirs.pop())


def _pipe(size: int) -> tuple[int, int]:
    """A pipe's reading and writing end, with room for *size* bytes where the host allows it."""
    read, write = os.pipe2(os.O_CLOEXEC)
    if size > _PIPE_DEFAULT:
        with contextlib.suppress(OSError):  # beyond this user's share of pipe memory
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, min(size, _PIPE_BYTES))
    return read, write
