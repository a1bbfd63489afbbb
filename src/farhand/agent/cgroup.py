"""A control group for each run, where the host lets this agent make them (cgroup v2).

It holds what clears its environment and leaves its session, which nothing else does, except in
the instant between a leader's start and its joining. Sets no limits, and nothing depends on it:
without it a run is found by its mark, session and parents.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from farhand.agent import procfs
from farhand.domain.ids import RunId

_PREFIX: Final = "farhand."


class Cgroup:
    """The control group of one run. Every method does what it can and raises nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def join(self, pid: int) -> None:
        """Put a process in, and what it has started in its first instant; the rest follows."""
        with suppress(OSError):
            _write(self._path / "cgroup.procs", str(pid))
            for child in procfs.children(pid):
                self.join(child)

    def pids(self) -> frozenset[int]:
        """The processes that are in."""
        try:
            found = procfs.read(f"{self._path}/cgroup.procs").split()
        except OSError:
            return frozenset()
        return frozenset(map(int, found))

    def kill(self) -> None:
        """Send SIGKILL to all of them at once, where the kernel can (5.14)."""
        with suppress(OSError):
            _write(self._path / "cgroup.kill", "1")

    def remove(self) -> None:
        """Take the control group away, unless somebody is still in it."""
        with suppress(OSError):
            self._path.rmdir()


class Cgroups:
    """The place where control groups for runs are made: below the agent's own."""

    def __init__(self, place: Path) -> None:
        self._place = place
        for left in place.glob(f"{_PREFIX}*"):  # of runs whose children were kept, and are gone
            Cgroup(left).remove()

    @classmethod
    def found(cls, root: str = procfs.PROC) -> Self | None:
        """Return the place, or None where there is none or it may not be written."""
        try:
            mounts = procfs.read(f"{root}/self/mountinfo").decode().splitlines()
            groups = procfs.read(f"{root}/self/cgroup").decode().splitlines()
        except OSError:
            return None
        place = _place(mounts, groups)
        if place is None or not os.access(place, os.W_OK):
            return None
        return cls(place) if os.access(place / "cgroup.procs", os.W_OK) else None

    def of(self, run: RunId) -> Cgroup:
        """The control group of a run, which may not be there."""
        return Cgroup(self._place / f"{_PREFIX}{run}")

    def made(self, run: RunId) -> Cgroup | None:
        """Make the control group of a run; None if that fails."""
        try:
            (self._place / f"{_PREFIX}{run}").mkdir()
        except FileExistsError:
            pass
        except OSError:
            return None
        return self.of(run)


def _place(mounts: Iterable[str], groups: Iterable[str]) -> Path | None:
    """Where this process's control group is to be seen, if cgroup v2 is mounted."""
    own = next((line.removeprefix("0::") for line in groups if line.startswith("0::")), None)
    for line in mounts:
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 ") and own is not None:
            _, _, _, inside, point, *_ = before.split()
            if own == inside or own.startswith(inside.rstrip("/") + "/"):
                return Path(point) / own.removeprefix(inside).lstrip("/")
    return None


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
