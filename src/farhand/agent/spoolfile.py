"""Keep what a run printed on disk, so that it outlives the agent that read it.

One file for each stream, written through as the bytes are read and never flushed: they survive the
agent's death, not a power cut. Decides nothing about what may be sent or forgotten.
"""

import logging
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from farhand.agent.journal import write_at
from farhand.domain.ids import RunId
from farhand.domain.output import StreamName
from farhand.errors import DataDirUnwritable

log = logging.getLogger(__name__)

# The version, and the offset below which nothing is here any more. Behind the header, a byte lies
# at its own offset: what was given back is a hole.
_HEAD: Final = struct.Struct("<24sQ")
_VERSION: Final = b"farhand spool 1\n".ljust(24, b"\0")
_SHRINK_BYTES: Final = 1024 * 1024  # a shorter file is left as it is until its run is settled


class SpoolDir:
    """The streams of one agent on disk: *total_bytes* in all, and none more than what is left.

    A stream that memory has room for is written all the same, so the bound may be passed by as much
    as memory holds. With a bound of 0 nothing is written.
    """

    def __init__(self, path: Path, total_bytes: int) -> None:
        self.total = total_bytes
        self._path = path
        self._told = 0  # the last errno that was complained of
        self.used = 0

    @property
    def free(self) -> int:
        """Bytes that can still be written."""
        return max(0, self.total - self.used)

    def file(self, run: RunId, stream: StreamName) -> "SpoolFile":
        """The file of a stream; it is made with the first byte."""
        return SpoolFile(self._path / f"{run}.{stream}", self)

    def found(self, run: RunId, stream: StreamName) -> "SpoolFile":
        """The file that an earlier process of this agent left. Raises DataDirUnwritable."""
        file = self.file(run, stream)
        file.recover()
        return file

    def begin(self, runs: Iterable[RunId]) -> None:
        """Make the directory, and remove the files of all but *runs*. Raises DataDirUnwritable."""
        known = {f"{run}.{stream}" for run in runs for stream in StreamName}
        try:
            self._path.mkdir(mode=0o700, exist_ok=True)
            for path in list(self._path.iterdir()):
                if path.name not in known:
                    path.unlink()
        except OSError as exc:
            msg = f"the spool {self._path} cannot be used: {exc.strerror}"
            raise DataDirUnwritable(msg) from exc

    def complain(self, exc: OSError) -> None:
        """Say once what is wrong with the disk, until it is well again."""
        if self._told != (exc.errno or -1):
            self._told = exc.errno or -1
            log.warning(
                "output cannot be spooled to %s (%s); it is held in memory, "
                "and lost if this agent is killed before it is stored",
                self._path,
                exc.strerror,
            )

    def well(self) -> None:
        """The disk took bytes."""
        self._told = 0


class SpoolFile:
    """One stream of one run: bytes from *base* to *end*, at their offsets."""

    def __init__(self, path: Path, home: SpoolDir) -> None:
        self._path = path
        self._home = home
        self._fd = -1
        self._there = False
        self._broken = False
        self._taken = 0  # bytes of the directory's bound
        self.base = 0
        self.end = 0

    @property
    def has_room(self) -> bool:
        """It may grow: it is well, and no larger than what it leaves to the others."""
        return not self._broken and self._taken < self._home.free

    def write(self, offset: int, data: bytes) -> bool:
        """Keep *data* at *offset*, the present end; False when the disk does not take it.

        After that the file takes no more, and what it has can still be read.
        """
        if self._broken or offset != self.end or not self._home.total:
            return False
        try:
            self._open()
            write_at(self._fd, data, _HEAD.size + offset)
        except OSError as exc:
            self._broken = True
            self._home.complain(exc)
            return False
        self.end = offset + len(data)
        self._charge(len(data))
        self._home.well()
        return True

    def read(self, offset: int, size: int) -> bytes:
        """Return what is here of *size* bytes from *offset*; b"" when that is nothing."""
        size = min(size, self.end - offset)
        if not self.base <= offset < self.end:
            return b""
        try:
            self._open()
            return os.pread(self._fd, size, _HEAD.size + offset)
        except OSError as exc:
            self._home.complain(exc)
            return b""

    def give_back(self, through: int) -> bool:
        """Everything below *through* is stored: free the disk when that is all there is.

        True when it was freed.
        """
        if through < self.end or self._taken < _SHRINK_BYTES:
            return False
        try:
            self._open()
            # In this order: a hole must never be taken for bytes.
            os.pwrite(self._fd, _HEAD.pack(_VERSION, self.end), 0)
            os.ftruncate(self._fd, _HEAD.size)
        except OSError as exc:
            self._home.complain(exc)
            return False
        self.base = self.end
        self._charge(-self._taken)
        return True

    def recover(self) -> None:
        """Find out what an earlier process left; nothing when it left no file."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as exc:
            msg = f"the spool file {self._path} cannot be read: {exc.strerror}"
            raise DataDirUnwritable(msg) from exc
        self._fd, self._there = fd, True
        head, size = os.pread(fd, _HEAD.size, 0), os.fstat(fd).st_size
        self.rest()
        if len(head) < _HEAD.size:
            return  # killed while it was made
        version, base = _HEAD.unpack(head)
        if version != _VERSION:
            msg = f"{self._path} is not a spool file of this version; move it away to start anew"
            raise DataDirUnwritable(msg)
        self.base, self.end = base, max(base, size - _HEAD.size)
        self._charge(self.end - self.base)

    def rest(self) -> None:
        """Hold no descriptor until it is needed again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Take the file away; nothing of it is needed any more."""
        self.rest()
        self._charge(-self._taken)
        if self._there:
            self._there = False
            try:
                self._path.unlink(missing_ok=True)
            except OSError as exc:  # the next start tries again
                self._home.complain(exc)

    def _open(self) -> None:
        if self._fd >= 0:
            return
        flags = os.O_RDWR | os.O_CLOEXEC
        if self._there:
            self._fd = os.open(self._path, flags)
            return
        self._fd = os.open(self._path, flags | os.O_CREAT | os.O_TRUNC, 0o600)
        self._there = True
        os.pwrite(self._fd, _HEAD.pack(_VERSION, 0), 0)

    def _charge(self, size: int) -> None:
        self._taken += size
        self._home.used += size
