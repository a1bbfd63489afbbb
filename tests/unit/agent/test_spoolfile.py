"""Spool files: what was put is read, also by the next process; a failing disk is said once."""

import errno
import logging
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farhand.agent.budget import Budget
from farhand.agent.spoolfile import (
    DATA_AT,
    GIVE_BACK_BYTES,
    SpoolDir,
    SpoolFile,
    punch,
)
from farhand.domain.ids import RunId
from farhand.domain.limits import AGENT_DEFAULTS, MIB, AgentLimits
from farhand.domain.output import StreamName

RUN = RunId("run_01h455vb4pex5vsknk084sn02q")
OTHER = RunId("run_01h455vb4pex5vsknk084sn02r")
OUT = StreamName.STDOUT


@contextmanager
def opened(path: Path, limits: AgentLimits = AGENT_DEFAULTS) -> Iterator[SpoolDir]:
    files = SpoolDir(path / "spool", Budget(limits))
    try:
        yield files
    finally:
        files.shut()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SpoolDir]:
    with opened(tmp_path) as made:
        yield made


def put(files: SpoolDir, *data: bytes, run: RunId = RUN, stream: StreamName = OUT) -> SpoolFile:
    file = files.file(run, stream)
    assert file is not None
    assert all(map(file.put, data))
    return file


def path(files: SpoolDir, run: RunId = RUN, stream: StreamName = OUT) -> Path:
    return files.directory / f"{run}.{stream}"


def found(files: SpoolDir, *, whole: bool = True) -> SpoolFile:
    return files.find({RUN: whole})[RUN][OUT]


# --- there and back -----------------------------------------------------------------------


def test_a_file_is_made_with_the_first_byte_for_its_user_alone(files: SpoolDir) -> None:
    file = files.file(RUN, OUT)
    assert not files.directory.exists()
    assert file is not None
    file.put(b"x")

    modes = [each.stat().st_mode & 0o777 for each in (files.directory, path(files))]
    assert [0o700, 0o600] == modes


def test_what_was_put_is_read_at_its_number(files: SpoolDir) -> None:
    file = put(files, b"abc", b"defg")

    assert [b"abcdefg", b"cd", b"g", b""] == [
        file.read(0, 100),
        file.read(2, 2),
        file.read(6, 9),
        file.read(7, 1),
    ]
    assert b"abcdefg" == path(files).read_bytes()[DATA_AT:]


def test_a_closed_file_can_still_be_read(files: SpoolDir) -> None:
    file = put(files, b"abc")
    file.close()

    assert b"abc" == file.read(0, 3)


def test_the_next_process_finds_it(files: SpoolDir) -> None:
    put(files, b"abc", b"def")
    with opened(files.directory.parent) as again:
        file = found(again)

        assert (0, 6, b"abcdef") == (file.base, file.end, file.read(0, 10))
        assert 6 == again.budget.disk
        assert not file.put(b"more")


def test_the_head_has_not_changed(files: SpoolDir) -> None:
    put(files, b"")
    head = path(files).read_bytes()

    assert 128 == len(head)
    assert (
        b"farhand spool 1\n" + RUN.encode() + b"\0\0stdout\0\0" + bytes(8) + b"e\xf6.\x83"
    ) == head[:68]


# --- giving back --------------------------------------------------------------------------


def test_when_all_is_stored_the_file_is_cut_to_its_head_and_numbers_go_on(
    files: SpoolDir,
) -> None:
    file = put(files, b"abc")
    file.give_back(3, least=1)
    assert DATA_AT == path(files).stat().st_size
    file.put(b"def")

    assert (b"", b"def") == (file.read(2, 1), file.read(3, 3))
    assert (3, 3) == (file.used, files.budget.disk)
    again = found(files)
    assert (3, 6, b"def") == (again.base, again.end, again.read(3, 9))


def test_a_little_is_not_worth_giving_back(files: SpoolDir) -> None:
    file = put(files, bytes(GIVE_BACK_BYTES))
    file.give_back(GIVE_BACK_BYTES - 1)
    assert 0 == file.base
    file.give_back(GIVE_BACK_BYTES)

    assert GIVE_BACK_BYTES == file.base


def test_the_stored_part_of_a_long_file_is_a_hole(files: SpoolDir) -> None:
    file = put(files, *[b"x" * MIB] * 4)
    before = path(files).stat().st_blocks
    file.give_back(3 * MIB)
    after = path(files).stat().st_blocks

    assert before - after >= 2 * MIB // 512
    assert (MIB, b"x") == (file.used, file.read(3 * MIB, 1))
    again = found(files, whole=False)
    assert (3 * MIB, 4 * MIB) == (again.base, again.end)


def test_where_no_hole_can_be_the_place_stays_taken_until_all_is_stored(
    files: SpoolDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farhand.agent.spoolfile.punch", lambda *_: False)
    file = put(files, bytes(MIB), bytes(MIB))
    file.give_back(MIB)
    assert 2 * MIB == files.budget.disk
    file.give_back(2 * MIB)

    assert 0 == files.budget.disk


def test_a_descriptor_without_holes_says_so() -> None:
    fd = os.open(os.devnull, os.O_RDWR)
    try:
        assert not punch(fd, 0, 4096)
    finally:
        os.close(fd)


def test_a_removed_file_is_gone_and_its_place_is_free(files: SpoolDir) -> None:
    file = put(files, b"abc")
    file.remove()
    file.remove()

    assert not path(files).exists()
    assert (0, b"", False) == (files.budget.disk, file.read(0, 3), file.put(b"x"))


# --- what is found ------------------------------------------------------------------------


def test_only_files_of_runs_that_are_held_are_kept(files: SpoolDir) -> None:
    put(files, b"abc")
    put(files, b"abc", run=OTHER, stream=StreamName.STDERR)
    (files.directory / "notes").touch()
    (files.directory / f"{RUN}.script").touch()
    held = files.find({RUN: True})

    assert {RUN: [OUT]} == {run: list(streams) for run, streams in held.items()}
    assert {f"{RUN}.stdout", "notes", f"{RUN}.script"} == {
        each.name for each in files.directory.iterdir()
    }


def test_no_directory_holds_nothing(files: SpoolDir) -> None:
    assert {} == files.find({RUN: True})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(5),
        b"farhand spo",
        bytes(5000),
        b"farhand spool 1\n",
        b"farhand spool 1\n" + bytes(5000),
    ],
)
def test_a_file_that_never_got_its_head_holds_nothing(files: SpoolDir, content: bytes) -> None:
    put(files, b"abc").close()
    path(files).write_bytes(content)
    file = found(files)

    assert (0, 0) == (file.base, file.end)
    file.remove()
    assert not path(files).exists()


def test_a_file_of_another_run_holds_nothing(files: SpoolDir) -> None:
    put(files, b"abc", run=OTHER).close()
    path(files, OTHER).rename(path(files))

    assert 0 == found(files).end


@pytest.mark.parametrize("content", [b"farhand spool 2\n" + bytes(200), b"hello, world" * 20])
def test_a_file_of_another_version_is_put_aside_and_holds_nothing(
    files: SpoolDir, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    put(files, b"abc").close()
    path(files).write_bytes(content)
    file = found(files)
    file.remove()

    assert (0, 0) == (file.base, file.end)
    aside = path(files).with_name(f"{RUN}.stdout.aside")
    assert content == aside.read_bytes()
    assert [f"{path(files)} is not a spool file of this version"] == [
        each.partition(";")[0] for each in warnings(caplog)
    ]
    assert {} == files.find({})
    assert [aside] == list(files.directory.iterdir())


def test_a_directory_that_is_none_keeps_output_in_memory_and_says_so_once(
    files: SpoolDir, caplog: pytest.LogCaptureFixture
) -> None:
    files.directory.write_text("a file where the directory should be")
    assert {} == files.find({RUN: True})
    file = files.file(RUN, OUT)
    assert file is not None

    assert not file.put(b"abc")
    assert [f"the spool {files.directory} fails: Not a directory"] == [
        each.partition(";")[0] for each in warnings(caplog)
    ]


def test_behind_a_hole_that_the_power_left_nothing_counts(files: SpoolDir) -> None:
    put(files, b"x" * MIB).close()
    os.truncate(path(files), DATA_AT + 2 * MIB)

    assert MIB <= found(files, whole=False).end < MIB + 4096
    assert 2 * MIB == found(files, whole=True).end


# --- a disk that fails --------------------------------------------------------------------


@contextmanager
def file_size_at_most(size: int) -> Iterator[None]:
    """The kernel writes up to this size and no further, as on a disk that gets full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Every descriptor is in use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


def test_a_write_of_which_the_disk_took_a_part_counts_as_none(files: SpoolDir) -> None:
    file = put(files, b"abc")
    with file_size_at_most(DATA_AT + 5):
        assert not file.put(b"defg")

    assert not file.put(b"h")
    assert (3, 3, b"abc") == (file.end, files.budget.disk, file.read(0, 9))


def test_a_file_that_could_not_begin_leaves_none(files: SpoolDir) -> None:
    file = files.file(RUN, OUT)
    assert file is not None
    with file_size_at_most(DATA_AT + 2):
        assert not file.put(b"abc")

    assert [] == list(files.directory.iterdir())
    assert 0 == files.budget.disk


def test_each_cause_is_said_once_until_a_file_can_be_written_again(
    files: SpoolDir, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        with file_size_at_most(0):
            for _ in range(3):
                file = files.file(RUN, OUT)
                assert file is not None
                assert not file.put(b"abc")

    fail()
    assert ["File too large"] == [told.split(": ")[1].split(";")[0] for told in warnings(caplog)]
    put(files, b"abc")
    fail()

    assert 2 == len(warnings(caplog))


def test_without_descriptors_output_stays_in_memory_and_what_is_filed_can_be_read(
    files: SpoolDir, caplog: pytest.LogCaptureFixture
) -> None:
    filed = put(files, b"abc")
    filed.close()
    fresh = files.file(OTHER, OUT)
    assert fresh is not None
    with no_descriptors():
        taken = fresh.put(b"abc")
        text = [filed.read(0, 3) for _ in range(3)]

    assert (False, [b"abc"] * 3) == (taken, text)
    assert 1 == len(warnings(caplog))


@pytest.mark.parametrize("size", [0, 10])
def test_a_file_that_lost_its_bytes_is_read_as_a_loss(files: SpoolDir, size: int) -> None:
    file = put(files, b"abc")
    os.truncate(path(files), size)

    assert b"" == file.read(0, 3)


def test_a_directory_that_is_gone_is_made_again(files: SpoolDir) -> None:
    put(files, b"abc").remove()
    files.directory.rmdir()

    assert b"abc" == put(files, b"abc").read(0, 3)


# --- free ---------------------------------------------------------------------------------

MEMORY = AGENT_DEFAULTS.spool_total_bytes
BOUND = AGENT_DEFAULTS.spool_disk_bytes


def fill_memory(files: SpoolDir) -> None:
    files.budget.count(memory=MIB)


def fail(files: SpoolDir) -> None:
    files.failed(OSError(errno.ENOSPC, "full"))


def fill_disk(files: SpoolDir) -> None:
    files.budget.count(disk=MIB)


@pytest.mark.parametrize(
    ("done", "free"),
    [
        ([], BOUND),
        ([fill_memory], BOUND),
        ([fill_disk], BOUND - MIB),
        ([fail], MEMORY),
        ([fail, fill_memory], MEMORY - MIB),
    ],
)
def test_free_is_what_can_be_taken_in_before_programs_wait(
    files: SpoolDir, done: list[Callable[[SpoolDir], None]], free: int
) -> None:
    for each in done:
        each(files)

    assert free == files.free


def test_a_disk_that_is_nearly_full_has_no_more_than_it_has(tmp_path: Path) -> None:
    limits = AgentLimits(spool_disk_bytes=1 << 60)
    with opened(tmp_path, limits) as files:
        assert MEMORY < files.free < 1 << 50


def test_no_place_on_disk_keeps_all_in_memory(tmp_path: Path) -> None:
    with opened(tmp_path, AgentLimits(spool_disk_bytes=0)) as files:
        assert files.file(RUN, OUT) is None
        assert MEMORY == files.free
