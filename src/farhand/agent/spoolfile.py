"""Keep what runs print in files, so that the death of the agent loses nothing that was read.

One file for each stream, made with its first byte. Nothing is flushed: a file outlives its
process, and a power cut may cost the last seconds. What cannot be written is said once.
"""

import contextlib
import errno
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from farhand.agent.budget import Budget
from farhand.domain.ids import RunId, is_id
from farhand.domain.output import StreamName

log = logging.getLogger(__name__)

FAMILY: Final = b"farhand spool "
VERSION: Final = FAMILY + b"1\n"
GIVE_BACK_BYTES: Final = 256 * 1024  # less than this is given back only when somebody waits
_HEAD: Final = struct.Struct("<16s32s8sQI60x")  # version, run, stream, base, crc32 of these
DATA_AT: Final = _HEAD.size


class SpoolFile:
    """The file of one stream: a head, then the byte numbered *n* at `DATA_AT + n`."""

    __slots__ = (
        "_exists",
        "_fd",
        "_files",
        "_path",
        "_run",
        "_stream",
        "base",
        "end",
        "used",
        "writable",
    )

    def __init__(self, files: "SpoolDir", run: RunId, stream: StreamName) -> None:
        self.base = 0  # bytes below it are stored at the controller and given back
        self.end = 0  # bytes from here on are not in the file
        self.used = 0  # of the disk
        self.writable = True  # until the disk fails
        self._files = files
        self._run = run
        self._stream = stream
        self._path = f"{files.directory}/{run}.{stream}"
        self._exists = False
        self._fd = -1

    def put(self, data: bytes) -> bool:
        """Append *data*; False when the disk does not take it, now and for ever after."""
        if not self.writable:
            return False
        try:
            self._append(data)
        except OSError as exc:
            self.writable = False
            self._files.failed(exc)
            if self.end:
                self.close()
            else:
                self.remove()
            return False
        self.end += len(data)
        self._count(len(data))
        return True

    def _append(self, data: bytes) -> None:
        if self._fd < 0:
            self._fd, self._exists = self._files.create(self._path), True
            size = DATA_AT + len(data)
            written = os.pwritev(self._fd, (self._head(0), data), 0)
        else:
            size = len(data)
            written = os.pwrite(self._fd, data, DATA_AT + self.end)
        if written < size:  # a disk that takes only some of it is full
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if not self.end:
            self._files.works()

    def read(self, at: int, size: int) -> bytes:
        """Return at most *size* bytes from *at* on; b"" when they are not here."""
        if not self.base <= at < self.end:
            return b""
        try:
            with self._descriptor() as fd:
                return os.pread(fd, min(size, self.end - at), DATA_AT + at)
        except OSError as exc:
            self._files.failed(exc)
            return b""

    def give_back(self, kept: int, *, least: int = GIVE_BACK_BYTES) -> None:
        """Bytes below *kept* are stored: give their place back, if there are so many of them."""
        lag = min(kept, self.end) - self.base
        if lag < least:
            return
        try:
            with self._descriptor() as fd:
                self._cut(fd, self.base + lag)
        except OSError as exc:
            self._files.failed(exc)

    def _cut(self, fd: int, base: int) -> None:
        os.pwrite(fd, self._head(base), 0)  # first: what is cut off is not there to be told
        if base == self.end:
            os.ftruncate(fd, DATA_AT)
            self._count(-self.used)
        elif punch(fd, DATA_AT + self.base, base - self.base):
            self._count(self.base - base)
        self.base = base

    def close(self) -> None:
        """Nothing more is put; what is here can still be read."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Delete the file."""
        self.close()
        self.writable = False
        self.base = self.end
        self._count(-self.used)
        if self._exists:
            self._exists = False
            try:
                os.unlink(self._path)  # noqa: PTH108  # a Path for each stream costs more than this
            except OSError as exc:  # found at the next start, and removed then
                log.warning("%s cannot be removed: %s", self._path, exc.strerror)

    def find(self, *, whole: bool) -> None:
        """Read what an earlier process left in the file. Raises OSError.

        Not *whole* is what the kernel was not alive long enough to write: where its pages are
        missing, the file has a hole, and what is behind that does not count.
        """
        self.writable, self._exists = False, True
        with self._descriptor() as fd:
            head = os.pread(fd, _HEAD.size, 0)
            if len(head) < _HEAD.size or not head.strip(b"\0"):
                return  # the power went before anything was written
            if not head.startswith(VERSION):
                self._put_aside()
                return
            base = _HEAD.unpack(head)[3]
            if head != self._head(base):
                log.warning("%s is damaged; what it holds is lost", self._path)
                return
            size = os.fstat(fd).st_size
            if not whole and size > DATA_AT + base:
                with contextlib.suppress(OSError):  # not every file system can tell
                    size = os.lseek(fd, DATA_AT + base, os.SEEK_HOLE)
        self.base, self.end = base, max(base, size - DATA_AT)
        self._count(self.end - self.base)

    def _put_aside(self) -> None:
        """Leave a file of another version to those who can read it: the agent goes on without."""
        aside = f"{self._path}.aside"
        os.rename(self._path, aside)  # noqa: PTH104  # as with unlink
        self._exists = False
        told = "%s is not a spool file of this version; it is %s now, and lost to its run"
        log.warning(told, self._path, aside)

    def _head(self, base: int) -> bytes:
        facts = (VERSION, self._run.encode(), self._stream.encode(), base)
        plain = _HEAD.pack(*facts, 0)
        return _HEAD.pack(*facts, zlib.crc32(plain))

    def _count(self, size: int) -> None:
        self.used += size
        self._files.budget.count(disk=size)

    @contextmanager
    def _descriptor(self) -> Iterator[int]:
        if self._fd >= 0:
            yield self._fd
            return
        fd = self._files.reopen(self._path)
        try:
            yield fd
        finally:
            self._files.release(fd)


class SpoolDir:
    """The directory of these files, and what is known of its disk."""

    def __init__(self, directory: Path, budget: Budget) -> None:
        self.directory = directory
        self.budget = budget
        self._causes: set[int] = set()  # why the disk fails, as far as it was said
        # Files that were closed must be readable when there is no descriptor left.
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def shut(self) -> None:
        """Give the last descriptor up."""
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    @property
    def free(self) -> int:
        """Bytes of output that can be taken in before programs have to wait."""
        memory = self.budget.free_memory
        if self._causes or not self.budget.limits.spool_disk_bytes:
            return memory
        try:
            disk = os.statvfs(self.directory if self.directory.exists() else self.directory.parent)
        except OSError:
            return memory
        return min(self.budget.free_disk, disk.f_bavail * disk.f_frsize + memory)

    def file(self, run: RunId, stream: StreamName) -> SpoolFile | None:
        """The file of a stream that begins; None where output is to stay in memory."""
        return SpoolFile(self, run, stream) if self.budget.limits.spool_disk_bytes else None

    def find(self, runs: Mapping[RunId, bool]) -> dict[RunId, dict[StreamName, SpoolFile]]:
        """Find what an earlier process left of *runs*, and remove what is of any other run.

        *runs* says of each whether the host has been up since. What cannot be read is said and
        counts as lost; it keeps no agent from its work.
        """
        found: dict[RunId, dict[StreamName, SpoolFile]] = {}
        for path in list(self._paths()):
            run, stream = RunId(path.stem), StreamName(path.suffix[1:])
            if run not in runs:
                with contextlib.suppress(OSError):  # the next start will try again
                    path.unlink()
                continue
            file = SpoolFile(self, run, stream)
            try:
                file.find(whole=runs[run])
            except OSError as exc:
                log.warning("%s cannot be read; what it holds is lost: %s", path, exc.strerror)
            found.setdefault(run, {})[stream] = file
        return found

    def _paths(self) -> Iterator[Path]:
        try:
            for path in self.directory.iterdir():
                if is_id("run", path.stem) and path.suffix[1:] in set(StreamName):
                    yield path
        except FileNotFoundError:
            return
        except OSError as exc:
            self.failed(exc)

    def failed(self, exc: OSError) -> None:
        """Say that the disk fails, once for each cause."""
        cause = exc.errno or 0
        if cause not in self._causes:
            self._causes.add(cause)
            told = "output that it does not take is in memory only, and gone if the agent dies"
            log.warning("the spool %s fails: %s; %s", self.directory, exc.strerror, told)

    def works(self) -> None:
        """A new file was written."""
        if self._causes:
            self._causes.clear()
            log.info("the spool %s can be written again", self.directory)

    def create(self, path: str) -> int:
        """Open a new file for a stream. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            return os.open(path, flags, 0o600)

    def reopen(self, path: str) -> int:
        """Open a file that is there, with the last descriptor if need be. Raises OSError."""
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(path, flags)
        except OSError as exc:
            if exc.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
        self.shut()
        return os.open(path, flags)

    def release(self, fd: int) -> None:
        """Close what `reopen` opened."""
        os.close(fd)
        if self._spare < 0:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


class _Fallocate(Protocol):
    def __call__(self, fd: int, mode: int, offset: int, size: int, /) -> int: ...


@cache
def _fallocate() -> _Fallocate:
    import ctypes  # noqa: PLC0415  # only long output pays for it

    libc = ctypes.CDLL(None, use_errno=True)
    call = libc.fallocate64 if hasattr(libc, "fallocate64") else libc.fallocate
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return call


def punch(fd: int, offset: int, size: int) -> bool:
    """Give the blocks of a range back and leave a hole (fallocate(2)); False where none can be."""
    keep_size, punch_hole = 0x01, 0x02
    return _fallocate()(fd, keep_size | punch_hole, offset, size) == 0
