import os
from pathlib import Path

import pytest

from farhand.agent import procfs
from tests.unit.agent.procroot import Process, write


def test_the_name_of_a_program_may_hold_anything(tmp_path: Path) -> None:
    write(tmp_path, Process(pid=7, comm="a) S 1 (b\n", state="R", ppid=3, sid=2, started=42))
    one = procfs.stat(7, str(tmp_path))

    assert one is not None
    assert ("a) S 1 (b\n", "R", 3, 2, 42) == (one.comm, one.state, one.ppid, one.sid, one.started)


def test_a_process_that_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "8").mkdir()
    (tmp_path / "8/stat").write_text("8 (cut")

    assert [None, None] == [procfs.stat(pid, str(tmp_path)) for pid in (7, 8)]
    assert None is procfs.environ(7, str(tmp_path))


def test_only_numbers_are_processes(tmp_path: Path) -> None:
    for name in ("1", "42", "self", "net", "4x"):
        (tmp_path / name).mkdir()

    assert {1, 42} == set(procfs.pids(str(tmp_path)))


def test_this_process_is_seen_as_it_is() -> None:
    one = procfs.stat(os.getpid())

    assert one is not None
    assert (os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0)) == (
        *(one.pid, one.ppid, one.pgid, one.sid),
    )
    assert one.alive
    assert not one.kernel
    assert one.rss_pages > 0


@pytest.mark.parametrize(
    ("state", "threads", "alive"),
    [("S", 1, True), ("Z", 1, False), ("X", 0, False), ("Z", 3, True), ("D", 1, True)],
)
def test_a_zombie_lives_only_in_its_other_threads(
    tmp_path: Path, state: str, threads: int, alive: bool
) -> None:
    write(tmp_path, Process(pid=7, state=state, threads=threads))
    one = procfs.stat(7, str(tmp_path))

    assert one is not None
    assert alive is one.alive


def test_a_long_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/environ").write_bytes(b"A=" + b"x" * 300_000 + b"\0")

    assert 300_003 == len(procfs.environ(7, str(tmp_path)) or b"")
