"""A disk that was filled has no room until it is freed, for whatever runs inside."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.disks import Disks, Limited, Mounted, disks

MIB = 1 << 20


def write(room: Disks, path: Path, *, full: bool = False) -> int:
    """The exit status of a program that writes a file as soon as it is told."""
    code = f"import sys; sys.stdin.read(1); open({str(path)!r}, 'wb').write(bytes({MIB}))"
    argv = room.inside([sys.executable, "-I", "-S", "-c", code])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        if full:
            room.fill(path.parent, program.pid)
        program.communicate(b"x")
        room.free(path.parent, None)
    return program.returncode


@pytest.mark.parametrize("kind", ["tmpfs", "tmpfs-user", "rlimit"])
def test_a_full_disk_takes_nothing_until_it_is_freed(tmp_path: Path, kind: str) -> None:
    home = tmp_path / "disk"
    with contextlib.ExitStack() as stack:
        try:
            room = stack.enter_context(disks({home: 8 * MIB}, kind=kind))
        except OSError as exc:
            pytest.skip(f"not on this host: {exc}")

        assert isinstance(room, Limited if kind == "rlimit" else Mounted)
        assert 0 == write(room, home / "first")
        assert 1 == write(room, home / "second", full=True)
        assert 0 == write(room, home / "third")
        assert MIB == (room.seen(home) / "first").stat().st_size
