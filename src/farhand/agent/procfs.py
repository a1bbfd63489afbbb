"""Read what /proc tells about processes. A process that vanishes meanwhile is None, not an error.

Knows nothing of runs, and opens nothing for longer than a read.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

PROC: Final = "/proc"

_KERNEL_THREAD: Final = 0x00200000  # PF_KTHREAD
_READ_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Stat:
    """One line of /proc/PID/stat. *ticks* of CPU, *started* in clock ticks since boot.

    *pid* and *started* together name a process; a pid alone may be another one by now.
    """

    pid: int
    comm: str
    state: str
    ppid: int
    pgid: int
    sid: int
    flags: int
    ticks: int
    threads: int
    started: int
    rss_pages: int

    @property
    def alive(self) -> bool:
        """It can still do something. A zombie cannot, unless only its first thread has ended."""
        return self.state not in "ZXx" or self.threads > 1

    @property
    def kernel(self) -> bool:
        """It is a thread of the kernel, which has no environment and no program."""
        return bool(self.flags & _KERNEL_THREAD)


def read(path: str) -> bytes:
    """Return all bytes of a file whose size nobody knows before. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, _READ_BYTES):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def stat(pid: int, root: str = PROC) -> Stat | None:
    """Return what the process is now, or None when there is none (that may be seen)."""
    try:
        line = read(f"{root}/{pid}/stat")
    except OSError:
        return None
    name, _, rest = line.rpartition(b")")
    fields = rest.split()
    if len(fields) < 22:
        return None
    return Stat(
        pid=pid,
        comm=name.partition(b"(")[2].decode(errors="replace"),
        state=fields[0].decode(),
        ppid=int(fields[1]),
        pgid=int(fields[2]),
        sid=int(fields[3]),
        flags=int(fields[6]),
        ticks=int(fields[11]) + int(fields[12]),
        threads=int(fields[17]),
        started=int(fields[19]),
        rss_pages=int(fields[21]),
    )


def pids(root: str = PROC) -> Iterator[int]:
    """Yield the ids of all processes that may be seen."""
    for name in os.listdir(root):  # noqa: PTH208  # five thousand names, no paths
        if name.isdecimal():
            yield int(name)


def children(pid: int, root: str = PROC) -> Iterator[int]:
    """Yield the ids of the children of a process's first thread. Raises OSError."""
    yield from map(int, read(f"{root}/{pid}/task/{pid}/children").split())


def environ(pid: int, root: str = PROC) -> bytes | None:
    r"""Return the environment the program began with, `NAME=value\0…`; None if unreadable.

    It is empty for kernel threads, for cleared ones, and for an instant while a program begins.
    """
    try:
        return read(f"{root}/{pid}/environ")
    except OSError:
        return None
