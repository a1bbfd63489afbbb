"""Spool files: what was printed is there again after a crash, and a bad disk costs no byte."""

import asyncio
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from farhand.agent.spool import Budget, Spool
from farhand.agent.spoolfile import SpoolDir, SpoolFile
from farhand.domain.ids import RunId
from farhand.domain.limits import KIB, MIB, AgentLimits
from farhand.domain.output import Chunk, StreamEnd, StreamName
from farhand.errors import DataDirUnwritable

RUN = RunId("run_01h455vb4pex5vsknk084sn02q")
OTHER = RunId("run_01h455vb4pex5vsknk084sn02r")
OUT = StreamName.STDOUT
LIMITS = AgentLimits(
    spool_bytes=40, spool_total_bytes=100, spool_reserve_bytes=8, spool_disk_bytes=MIB
)


@pytest.fixture
def disk(tmp_path: Path) -> SpoolDir:
    made = SpoolDir(tmp_path / "spool", 10 * MIB)
    made.begin(())
    return made


def again(disk: SpoolDir, path: Path) -> SpoolFile:
    """What the next process of the agent finds."""
    del disk  # its memory is gone
    fresh = SpoolDir(path / "spool", 10 * MIB)
    fresh.begin((RUN,))
    return fresh.found(RUN, OUT)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process grows beyond *size*: what a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- files --------------------------------------------------------------------------------


def test_what_was_written_is_there_for_the_next_process(disk: SpoolDir, tmp_path: Path) -> None:
    file = disk.file(RUN, OUT)
    file.write(0, b"abc")
    file.write(3, b"def")
    found = again(disk, tmp_path)

    assert (0, 6, b"bcdef") == (found.base, found.end, found.read(1, 100))


def test_a_stream_that_printed_nothing_has_no_file(disk: SpoolDir, tmp_path: Path) -> None:
    disk.file(RUN, OUT).rest()

    assert [] == list((tmp_path / "spool").iterdir())
    assert 0 == again(disk, tmp_path).end


def test_only_its_owner_may_read_what_was_printed(disk: SpoolDir, tmp_path: Path) -> None:
    disk.file(RUN, OUT).write(0, b"secret")
    (path,) = (tmp_path / "spool").iterdir()

    assert (0o700, 0o600) == (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777)


def test_what_is_stored_gives_its_disk_back_and_its_offsets_stay(
    disk: SpoolDir, tmp_path: Path
) -> None:
    file, much = disk.file(RUN, OUT), bytes(2 * MIB)
    file.write(0, much)
    file.give_back(2 * MIB)
    file.write(2 * MIB, b"more")
    (path,) = (tmp_path / "spool").iterdir()
    found = again(disk, tmp_path)

    assert path.stat().st_blocks * 512 < 100 * KIB
    assert 4 == disk.used
    assert (2 * MIB, b"", b"more") == (found.base, found.read(0, 10), found.read(2 * MIB, 10))


def test_what_is_not_all_stored_stays(disk: SpoolDir) -> None:
    file = disk.file(RUN, OUT)
    file.write(0, bytes(2 * MIB))

    assert not file.give_back(2 * MIB - 1)
    assert b"\0" == file.read(2 * MIB - 1, 10)


def test_a_removed_file_is_gone_and_counts_no_more(disk: SpoolDir, tmp_path: Path) -> None:
    file = disk.file(RUN, OUT)
    file.write(0, b"abc")
    file.remove()
    file.remove()

    assert ([], 0) == (list((tmp_path / "spool").iterdir()), disk.used)


def test_files_of_runs_that_nobody_holds_are_removed_at_the_start(
    disk: SpoolDir, tmp_path: Path
) -> None:
    disk.file(RUN, OUT).write(0, b"abc")
    disk.file(OTHER, OUT).write(0, b"abc")
    SpoolDir(tmp_path / "spool", MIB).begin((RUN,))

    assert [f"{RUN}.stdout"] == [path.name for path in (tmp_path / "spool").iterdir()]


def test_a_file_of_another_version_is_refused_with_what_to_do(
    disk: SpoolDir, tmp_path: Path
) -> None:
    (tmp_path / "spool" / f"{RUN}.stdout").write_bytes(b"farhand spool 9\n".ljust(50, b"\0"))

    with pytest.raises(DataDirUnwritable, match="move it away to start anew"):
        again(disk, tmp_path)


@pytest.mark.parametrize("size", [0, 1, 31])
def test_a_file_that_was_just_being_made_is_empty(
    disk: SpoolDir, tmp_path: Path, size: int
) -> None:
    disk.file(RUN, OUT).write(0, b"abc")
    os.truncate(tmp_path / "spool" / f"{RUN}.stdout", size)

    assert 0 == again(disk, tmp_path).end


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")

    with pytest.raises(DataDirUnwritable, match="cannot be used"):
        SpoolDir(tmp_path / "spool", MIB).begin(())


def test_no_stream_takes_what_it_does_not_leave_to_the_others(tmp_path: Path) -> None:
    disk = SpoolDir(tmp_path / "spool", 100)
    disk.begin(())
    one, other = disk.file(RUN, OUT), disk.file(OTHER, OUT)
    one.write(0, bytes(50))
    rooms = [one.has_room, other.has_room]
    other.write(0, bytes(20))

    assert [False, True, True] == [*rooms, other.has_room]


# --- disks that fail ----------------------------------------------------------------------


def stream(disk: SpoolDir, limits: AgentLimits = LIMITS) -> Spool:
    made = Spool(RUN, OUT, 1 << 20, Budget(limits), disk.file(RUN, OUT))
    made.up_to = 1 << 20
    return made


def everything(spool: Spool) -> bytes:
    found = b""
    while (chunk := spool.take(7)) is not None:
        assert len(found) == chunk.offset
        found += chunk.data
    return found


def test_what_memory_has_no_room_for_is_read_back_from_disk(disk: SpoolDir) -> None:
    out = stream(disk)
    text = bytes(range(250))
    for at in range(0, 250, 10):
        out.feed(text[at : at + 10])

    assert text == everything(out)


def test_on_a_full_disk_a_stream_goes_on_in_memory(
    disk: SpoolDir, caplog: pytest.LogCaptureFixture
) -> None:
    out = stream(disk)
    text = bytes(range(200))
    with full_disk(100), caplog.at_level(logging.WARNING):
        for at in range(0, 200, 10):
            out.feed(text[at : at + 10])

    assert text == everything(out)
    assert 1 == len(caplog.records)
    assert "it is held in memory" in caplog.text


async def test_on_a_full_disk_a_program_waits_when_memory_is_full(disk: SpoolDir) -> None:
    out = stream(disk)
    with full_disk(0):
        out.feed(bytes(40))
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(out.room(), name="room")
        await asyncio.sleep(0)
        assert not waiting.done()
        out.acknowledge(40, 100)

    assert waiting.done()


def test_the_next_stream_tries_the_disk_again(disk: SpoolDir) -> None:
    with full_disk(0):
        stream(disk).feed(b"abc")
    other = disk.file(OTHER, OUT)

    assert other.write(0, b"abc")


def test_bytes_that_the_disk_does_not_give_back_are_left_out_and_the_end_still_comes(
    disk: SpoolDir, tmp_path: Path
) -> None:
    out = stream(disk)
    for _ in range(10):
        out.feed(bytes(10))
    os.truncate(tmp_path / "spool" / f"{RUN}.stdout", 32 + 60)
    out.acknowledge(0, 1 << 20)
    out.finish()
    sizes = []
    while (chunk := out.take(100)) is not None:
        sizes.append(len(chunk.data))

    assert out.told
    assert 60 == sum(sizes)


def test_a_resume_below_what_is_still_here_ends_at_once(disk: SpoolDir) -> None:
    """The controller was put back to an older state: what it asks for is stored nowhere."""
    out = Spool(RUN, OUT, 4 * MIB, Budget(LIMITS), disk.file(RUN, OUT))
    out.feed(bytes(2 * MIB))
    out.acknowledge(out.next_offset, 0)
    out.finish()
    out.mute()
    out.resume(5, 1 << 40)

    assert (None, True) == (out.take(100), out.told)


# --- coming back --------------------------------------------------------------------------


def recovered(disk: SpoolDir, path: Path, end: StreamEnd | None) -> Spool:
    spool = Spool.recovered(RUN, OUT, end, Budget(LIMITS), again(disk, path))
    spool.resume(0, 1 << 20)
    return spool


def test_an_interrupted_stream_ends_where_its_file_ends(disk: SpoolDir, tmp_path: Path) -> None:
    stream(disk).feed(b"abcdef")
    out = recovered(disk, tmp_path, None)
    end = out.finish()

    assert b"abcdef" == everything(out)
    assert StreamEnd(total=6, kept=6) == end


def test_a_stream_of_which_more_is_stored_than_on_disk_ends_where_the_store_ends(
    disk: SpoolDir, tmp_path: Path
) -> None:
    stream(disk).feed(b"abc")
    out = recovered(disk, tmp_path, None)
    out.finish()
    out.resume(5, 1 << 20)

    assert (StreamEnd(total=5, kept=5), True) == (out.end, out.told)


class Crashes(RuleBasedStateMachine):
    """One stream on disk whose agent is killed at any moment, against what was printed."""

    def __init__(self) -> None:
        super().__init__()
        self.home = TemporaryDirectory()
        self.path = Path(self.home.name)
        self.disk = SpoolDir(self.path / "spool", 10 * MIB)
        self.disk.begin(())
        self.out = stream(self.disk)
        self.text = b""
        self.stored = 0
        self.interrupted = False

    @rule(printed=st.binary(max_size=100) | st.just(bytes(600 * KIB)))
    def print_some(self, printed: bytes) -> None:
        if not self.interrupted and len(self.text) + len(printed) <= 800 * KIB:
            self.out.feed(printed)
            self.text += printed

    @rule(most=st.sampled_from([1, 13, 10**6]))
    def send_and_store(self, most: int) -> None:
        chunk = self.out.take(most)
        if chunk is not None:
            assert Chunk(RUN, OUT, chunk.offset, self.text[chunk.offset : chunk.end]) == chunk
            if chunk.offset <= self.stored:
                self.stored = max(self.stored, chunk.end)
            self.out.acknowledge(self.stored, 1 << 20)

    @rule()
    def send_and_lose(self) -> None:
        self.out.take(50)

    @rule()
    def reconnect(self) -> None:
        self.out.mute()
        self.out.resume(self.stored, 1 << 20)

    @rule()
    def kill(self) -> None:
        self.interrupted = True
        self.disk = SpoolDir(self.path / "spool", 10 * MIB)
        self.disk.begin((RUN,))
        file = self.disk.found(RUN, OUT)
        self.out = Spool.recovered(RUN, OUT, self.out.end, Budget(LIMITS), file)
        self.out.resume(self.stored, 1 << 20)

    @invariant()
    def every_byte_is_numbered(self) -> None:
        assert len(self.text) == self.out.next_offset

    def teardown(self) -> None:
        self.out.finish()
        self.reconnect()
        while (chunk := self.out.take(10**6)) is not None:
            assert self.stored == chunk.offset
            self.stored = chunk.end
            self.out.acknowledge(self.stored, 1 << 20)
        self.out.drop()
        assert (len(self.text), 0) == (self.stored, self.disk.used)
        self.home.cleanup()


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=60, stateful_step_count=30)
