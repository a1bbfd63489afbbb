"""Disks that can be filled: a small tmpfs for each directory, else a limit on the size of files.

Needs no root: the tmpfs are mounted in a namespace of their own, which processes are started in;
where the host forbids that, RLIMIT_FSIZE of the running process is set and lifted.
"""

import contextlib
import os
import resource
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

FILE_BYTES: Final = 4096  # the largest file that is left possible; marks are smaller
_FILL_TRIES: Final = 100
_MOUNT: Final = "mount -t tmpfs -o size={size},mode=0700 chaos {path}"


class Disks(Protocol):
    """The disks of a plant, one for each directory that was named."""

    name: str

    def inside(self, argv: Sequence[str]) -> list[str]:
        """Return the argv that runs *argv* where the disks are mounted; exec, no new process."""
        ...

    def seen(self, path: Path) -> Path:
        """Where this process finds what those inside call *path*."""
        ...

    def fill(self, path: Path, pid: int | None) -> None:
        """Leave no room on the disk at *path*, which the process *pid* uses."""
        ...

    def free(self, path: Path, pid: int | None) -> None:
        """Give the room back."""
        ...


@dataclass
class Mounted:
    """A tmpfs for each directory: it is full when it is made as small as what is in it."""

    holder: subprocess.Popen[bytes]
    sizes: Mapping[Path, int]
    user: bool  # in a user namespace, for those who are not root
    name: str = "a tmpfs each"

    def inside(self, argv: Sequence[str]) -> list[str]:
        own = ["-U", "--preserve-credentials"] if self.user else []
        return ["nsenter", "-t", str(self.holder.pid), *own, "-m", "--", *argv]

    def seen(self, path: Path) -> Path:
        return Path(f"/proc/{self.holder.pid}/root{path}")

    def fill(self, path: Path, pid: int | None) -> None:
        del pid
        for _ in range(_FILL_TRIES):  # what is written meanwhile makes the size too small
            disk = os.statvfs(self.seen(path))
            if self._resize(path, (disk.f_blocks - disk.f_bfree) * disk.f_frsize):
                return
        raise OSError(f"{path} grew each time it was to be filled")

    def free(self, path: Path, pid: int | None) -> None:
        del pid
        if not self._resize(path, self.sizes[path]):
            raise OSError(f"{path} could not be made as large as it was")

    def _resize(self, path: Path, size: int) -> bool:
        """Make the disk so large; False if there is more on it."""
        options = f"remount,size={max(size, FILE_BYTES)}"  # 0 would be no limit
        mount = self.inside(["mount", "-o", options, str(path)])
        return subprocess.run(mount, check=False, capture_output=True).returncode == 0


@dataclass
class Limited:
    """No disk of its own: the process may write no file beyond a small size."""

    name: str = "RLIMIT_FSIZE"

    def inside(self, argv: Sequence[str]) -> list[str]:
        return list(argv)

    def seen(self, path: Path) -> Path:
        return path

    def fill(self, path: Path, pid: int | None) -> None:
        del path
        if pid is not None:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (FILE_BYTES, hard))

    def free(self, path: Path, pid: int | None) -> None:
        del path
        if pid is not None:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextlib.contextmanager
def disks(sizes: Mapping[Path, int], *, kind: str = "") -> Iterator[Disks]:
    """A disk of so many bytes for each directory, or what comes closest on this host.

    *kind* asks for one kind: `tmpfs` (also for others than root: `tmpfs-user`) or `rlimit`.
    """
    for path in sizes:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    user = os.geteuid() != 0 or kind == "tmpfs-user"
    holder = None if kind == "rlimit" else _mounted(sizes, user=user)
    if holder is None and kind.startswith("tmpfs"):
        raise OSError("this host allows no mounts in a namespace")
    if holder is None:
        yield Limited()
        return
    try:
        yield Mounted(holder, sizes, user)
    finally:
        holder.kill()
        holder.communicate()


def _mounted(sizes: Mapping[Path, int], *, user: bool) -> subprocess.Popen[bytes] | None:
    """A process that keeps a namespace with the mounts, or None where that is not allowed."""
    mounts = [_MOUNT.format(size=size, path=shlex.quote(str(p))) for p, size in sizes.items()]
    script = " && ".join([*mounts, "echo ready", "exec cat"])
    own = ["-U", "-r"] if user else []
    argv = ["unshare", *own, "-m", "--propagation", "private", "sh", "-c", script]
    try:
        holder = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return None
    assert holder.stdout is not None
    if holder.stdout.readline() == b"ready\n":
        return holder
    holder.kill()
    holder.communicate()
    return None
