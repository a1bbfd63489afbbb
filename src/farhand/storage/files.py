"""Output that is too large for a row: one append-only file per run and stream.

The database says how many bytes of a file count; what lies behind is never read and is written
over. Nothing here decides what is kept.
"""

import os
import re
from collections import OrderedDict
from contextlib import suppress
from hashlib import blake2s
from pathlib import Path
from typing import Final

from farhand.domain.output import StreamName
from farhand.storage.disk import Disk, sync_directory

_OPEN_FILES: Final = 64  # the least recently written is closed
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")  # what an id may be to become a file's name


class OutputFiles:
    """The files below one directory. One thread writes; any thread may read.

    `write` places bytes, and they are safe after the next `sync`. Raises OSError.
    """

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.disk = disk or Disk()
        self._root = root
        self._open: OrderedDict[Path, int] = OrderedDict()
        self._unsynced: dict[int, None] = {}
        self._new_in: dict[Path, None] = {}  # directories with entries that are not safe yet
        root.mkdir(mode=0o700, exist_ok=True)
        sync_directory(root)  # an earlier process may have died before it came to that

    def write(self, run: str, stream: StreamName, offset: int, data: bytes | memoryview) -> None:
        """Put *data* at *offset*, where the bytes that count end."""
        fd = self._fd(self._path(run, stream), offset)
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, offset)
            offset += written
            view = view[written:]
        self._unsynced[fd] = None

    def sync(self) -> None:
        """Make all that was written safe, files and their names."""
        for fd in self._unsynced:
            self.disk.keep_file(fd)
        self._unsynced.clear()
        for directory in self._new_in:
            self.disk.keep_names(directory)
        self._new_in.clear()

    def read(self, run: str, stream: StreamName, offset: int, size: int) -> bytes:
        """Return *size* bytes from *offset*; fewer when they were deleted meanwhile."""
        try:
            fd = os.open(self._path(run, stream), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(fd, size, offset)
        finally:
            os.close(fd)

    def delete(self, run: str) -> None:
        """Remove all files of a run; there need not be any."""
        for stream in StreamName:
            path = self._path(run, stream)
            if path in self._open:
                self._close(path)
            path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Forget what was written since the last `sync`: nobody may count on it.

        A flush that failed says nothing of the next one, so no descriptor is used again.
        """
        self._unsynced.clear()
        self.close()

    def close(self) -> None:
        while self._open:
            self._close(next(iter(self._open)))

    def _path(self, run: str, stream: StreamName) -> Path:
        if _TOKEN.fullmatch(run) is None:
            raise ValueError(f"{run!r} cannot be the name of a file")
        return self._root / blake2s(run.encode(), digest_size=1).hexdigest() / f"{run}.{stream}"

    def _fd(self, path: Path, size: int) -> int:
        """Return the descriptor of a file that is cut to the *size* that counts when opened."""
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        while len(self._open) >= _OPEN_FILES:
            self._close(next(iter(self._open)))
        fd = self._opened(path)
        self._open[path] = fd
        if size == 0:  # nothing of it counts yet: its name may be as new as its bytes
            self._new_in[path.parent] = None
        if os.fstat(fd).st_size > size:
            os.ftruncate(fd, size)
        return fd

    def _opened(self, path: Path) -> int:
        flags = os.O_WRONLY | os.O_CLOEXEC
        with suppress(FileNotFoundError):
            return os.open(path, flags)
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700)
            self._new_in[self._root] = None
        return os.open(path, flags | os.O_CREAT, mode=0o600)

    def _close(self, path: Path) -> None:
        fd = self._open.pop(path)
        try:
            if fd in self._unsynced:
                self.disk.keep_file(fd)
                del self._unsynced[fd]
        finally:
            os.close(fd)
