"""The journal: what was committed is there again, whatever happened to the end of the file."""

import asyncio
import os
import resource
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farhand.agent.journal import _TOP, VERSION, VERSION_1, Entry, Journal
from farhand.agent.pastruns import Past
from farhand.domain.ids import RunId
from farhand.domain.limits import AGENT_DEFAULTS
from farhand.domain.messages import HeldState
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import Ending, Usage, Why
from farhand.errors import DataDirUnwritable

SIZE = 4096
IDS = 100


def run_id(number: int) -> RunId:
    return RunId(f"run_01h455vb4pex5vsknk{number:08d}")


def entry(number: int = 0, **facts: Any) -> Entry:
    plain = Entry(run=run_id(number), state=HeldState.ACCEPTED, boot_id="b")
    return replace(plain, **facts)


def opened(path: Path, *, size: int = SIZE, ids: int = IDS) -> Journal:
    return Journal.open(path, size=size, ids=ids)


@contextmanager
def journal(path: Path, *, size: int = SIZE, ids: int = IDS) -> Iterator[Journal]:
    open_journal = opened(path, size=size, ids=ids)
    try:
        yield open_journal
    finally:
        open_journal.close()


def entries(path: Path) -> dict[RunId, Entry]:
    with journal(path) as reopened:
        return dict(reopened.entries)


def twin(path: Path) -> Path:
    return path.with_name("journal.twin")


def both(path: Path) -> list[bytes]:
    return [path.read_bytes(), twin(path).read_bytes()]


def as_after_a_crash(path: Path) -> Path:
    """The files as they are, somewhere else, while the agent lives."""
    copy = path.parent / "copy" / "journal"
    copy.parent.mkdir(exist_ok=True)
    for file, data in zip((copy, twin(copy)), both(path), strict=True):
        file.write_bytes(data)
    return copy


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


# --- there and back -----------------------------------------------------------------------

SECONDS = st.floats(0, 1e9)
COUNTS = st.integers(0, 2**63)
ENDINGS = st.builds(
    Ending,
    why=st.sampled_from(Why),
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(0, 64),
    message=st.text(max_size=10),
    duration_s=SECONDS,
    usage=st.builds(Usage, user_s=SECONDS, system_s=SECONDS, max_rss_bytes=COUNTS),
    streams=st.dictionaries(
        st.sampled_from(StreamName),
        st.builds(StreamEnd, total=COUNTS, kept=COUNTS, sha256_kept=st.sampled_from(["", "ab"])),
    ),
)
ENTRIES = st.builds(
    Entry,
    run=st.integers(0, 5).map(run_id),
    state=st.sampled_from(HeldState),
    boot_id=st.text(st.characters(codec=None), max_size=10),
    pid=st.integers(0, 2**22),
    ending=st.none() | ENDINGS,
    why=st.none() | st.sampled_from(Why),
    message=st.text(st.characters(codec=None), max_size=10),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ENTRIES, max_size=8))
def test_every_entry_is_read_again_as_it_was_written(path: Path, written: list[Entry]) -> None:
    for file in (path, twin(path)):
        file.unlink(missing_ok=True)
    with journal(path) as first:
        for one in written:
            first.note(one)

    assert {one.run: one for one in written} == entries(path)


def test_a_new_journal_is_empty_allocated_ahead_and_for_its_user_alone(path: Path) -> None:
    assert {} == entries(path)
    for file in (path, twin(path)):
        found = file.stat()
        assert (SIZE, 0o600) == (found.st_size, found.st_mode & 0o777)
        assert found.st_blocks * 512 >= SIZE


def test_the_newest_entry_of_a_run_counts(path: Path) -> None:
    with journal(path) as first:
        first.note(entry())
        first.note(entry(state=HeldState.RUNNING, pid=42))

    assert {run_id(0): entry(state=HeldState.RUNNING, pid=42)} == entries(path)


async def test_what_is_committed_is_in_the_file_while_the_agent_lives(path: Path) -> None:
    with journal(path) as first:
        await first.commit(entry())

        assert {run_id(0): entry()} == entries(as_after_a_crash(path))


# --- torn and foreign files ---------------------------------------------------------------


@pytest.fixture
def whole(path: Path) -> tuple[bytes, list[int]]:
    """A journal's bytes up to its end, and where each of its three entries begins."""
    starts = []
    with journal(path) as first:
        for number in range(3):
            starts.append(first._end)
            first.note(entry(number))
        end = first._end
    return path.read_bytes()[:end], starts


def left(path: Path, data: bytes) -> None:
    """A crash left this, and the other file out of use."""
    path.write_bytes(data)
    twin(path).write_bytes(bytes(SIZE))


def test_a_file_torn_at_any_byte_keeps_the_entries_before(
    path: Path, whole: tuple[bytes, list[int]]
) -> None:
    data, starts = whole
    for at in [starts[0], starts[1] - 1, starts[1], *range(starts[2] - 1, len(data))]:
        left(path, data[:at])
        intact = sum(start <= at for start in starts) - 1

        assert [run_id(number) for number in range(intact)] == list(entries(path))


def test_a_damaged_byte_costs_at_most_what_comes_behind_it(
    path: Path, whole: tuple[bytes, list[int]]
) -> None:
    data, starts = whole
    for at in range(starts[2], len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        left(path, bytes(damaged))

        assert [run_id(0), run_id(1)] == list(entries(path))


def test_zeros_behind_the_last_entry_are_its_end(
    path: Path, whole: tuple[bytes, list[int]]
) -> None:
    left(path, whole[0] + bytes(1000))

    assert 3 == len(entries(path))


def test_a_torn_journal_takes_new_entries(path: Path, whole: tuple[bytes, list[int]]) -> None:
    left(path, whole[0][:-1])
    with journal(path) as torn:
        torn.note(entry(7))

    assert [run_id(0), run_id(1), run_id(7)] == list(entries(path))


def test_what_an_earlier_turn_left_behind_the_end_is_not_read(path: Path) -> None:
    with journal(path) as busy:
        for _ in range(3):  # back to the first file, which is full of older records
            turn = busy._turn
            while busy._turn == turn:
                busy.note(entry(0, message="m" * 7))
                busy.note(entry(1))
                busy.settle(run_id(1))
        end = busy._end
        assert 2 * end < SIZE

    assert [run_id(0)] == list(entries(path))


def test_a_crash_at_any_byte_of_taking_turns_leaves_the_old_file_or_the_new(path: Path) -> None:
    with journal(path) as busy:
        busy.note(entry(0))
        before = both(as_after_a_crash(path))
        busy.settle(run_id(9))
        busy._compact()
        after = both(as_after_a_crash(path))
    full = after[1].rstrip(b"\0")
    for at in range(len(full) + 1):
        path.write_bytes(before[0])
        twin(path).write_bytes(after[1][:at] + before[1][at:])
        with journal(path) as reopened:
            assert [run_id(0)] == list(reopened.entries)
            assert (reopened.knows(run_id(9)) is Past.SEEN) == (at == len(full))


def test_the_file_of_the_last_turn_counts(path: Path) -> None:
    with journal(path) as busy:
        busy.note(entry(0))
        old = path.read_bytes()
        busy.settle(run_id(0))
        busy._compact()
    path.write_bytes(old)

    assert {} == entries(path)


def test_an_older_file_never_passes_for_a_newer_one_that_is_damaged(path: Path) -> None:
    with journal(path) as busy:
        busy.note(entry(0))
        busy._compact()
        busy.settle(run_id(0))
    damaged = bytearray(twin(path).read_bytes())
    damaged[_TOP.size + 5] ^= 1
    twin(path).write_bytes(damaged)

    with pytest.raises(DataDirUnwritable, match="is damaged"):
        opened(path)


@pytest.mark.parametrize(
    "content", [b"x", b"#!/bin/sh\n", VERSION[:-1], VERSION.replace(b"2", b"3")]
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DataDirUnwritable, match="move it and its twin away to start anew"):
        opened(path)

    assert content == path.read_bytes()


@pytest.mark.parametrize("content", [b"", bytes(SIZE)])
def test_a_first_start_that_was_cut_short_is_a_first_start(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    assert {} == entries(path)


def packed(body: bytes, turn: int) -> bytes:
    return struct.pack("<II", len(body), zlib.crc32(body, turn)) + body


@pytest.mark.parametrize(
    "body",
    [
        b"E{}",
        b"E[]",
        b"Eno json",
        b"E\xff",
        b"S",
        b"S" + bytes(15),
        b"X" + bytes(16),
        b'E{"run":"job_01h455vb4pex5vsknk00000000","state":"running"}',
        b'E{"run":"run_01h455vb4pex5vsknk00000000","state":"dancing"}',
        b'E{"run":"run_01h455vb4pex5vsknk00000000","state":"running","mood":"good"}',
        b'E{"run":"run_01h455vb4pex5vsknk00000000","state":"ended","ending":{"why":"x"}}',
        b'E{"run":"run_01h455vb4pex5vsknk00000000","state":"ended","why":"x"}',
    ],
)
def test_a_whole_entry_that_says_what_no_version_says_is_refused(path: Path, body: bytes) -> None:
    with journal(path) as first:
        at, turn = first._end, first._turn
    content = path.read_bytes()[:at] + packed(body, turn)
    left(path, content)
    with pytest.raises(DataDirUnwritable, match="not a journal of this version"):
        opened(path)

    assert content == path.read_bytes()


# --- the first kind of journal ------------------------------------------------------------

RUNNING_1 = b'{"run":"%s","state":"running","at":1.0,"boot_id":"b","pid":7}'
SETTLED_1 = b'{"run":"%s","state":"ended","at":1.0,"settled":true}'


def version_1(*bodies: bytes) -> bytes:
    return (VERSION_1 + b"".join(packed(body, 0) for body in bodies)).ljust(SIZE, b"\0")


def test_a_journal_of_version_1_is_taken_over(path: Path) -> None:
    names = [run_id(number).encode() for number in range(3)]
    both_of_1 = [RUNNING_1 % names[1], SETTLED_1 % names[1]]
    path.write_bytes(version_1(RUNNING_1 % names[0], *both_of_1, SETTLED_1 % names[2]))
    for _ in range(2):
        with journal(path) as taken:
            assert {run_id(0): entry(0, state=HeldState.RUNNING, pid=7)} == taken.entries
            known = [taken.knows(run_id(number)) for number in range(4)]
            assert [*[Past.SEEN] * 3, Past.NEW] == known


def test_a_take_over_that_was_cut_short_begins_again(path: Path) -> None:
    path.write_bytes(version_1(RUNNING_1 % run_id(0).encode()))
    twin(path).write_bytes(VERSION)

    assert [run_id(0)] == list(entries(path))


def test_a_farhand_of_version_1_refuses_what_came_after(path: Path) -> None:
    path.write_bytes(version_1(RUNNING_1 % run_id(0).encode()))
    entries(path)

    assert not path.read_bytes().startswith(VERSION_1)
    assert path.exists()


def test_a_directory_that_cannot_be_written_is_named() -> None:
    with pytest.raises(DataDirUnwritable, match="the journal /proc/journal cannot be written: "):
        opened(Path("/proc/journal"))  # where not even root makes files


def test_a_directory_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(DataDirUnwritable, match="cannot be written: No such file"):
        opened(path / "deeper")


# --- what is remembered -------------------------------------------------------------------


def test_of_a_settled_run_only_its_id_is_remembered(path: Path) -> None:
    with journal(path) as first:
        first.note(entry(state=HeldState.ENDED, message="m", pid=7))
        first.settle(run_id(0))
        assert Past.SEEN is first.knows(run_id(0))

    with journal(path) as again:
        assert {} == again.entries
        assert [Past.SEEN, Past.NEW] == [again.knows(run_id(number)) for number in (0, 1)]


def test_beyond_the_bound_the_oldest_are_forgotten_and_never_taken_for_new(path: Path) -> None:
    with journal(path) as first:
        for number in range(IDS + 10):
            first.note(entry(number))
            first.settle(run_id(number))
    with journal(path) as again:
        known = [again.knows(run_id(number)) for number in range(IDS + 11)]

    assert [*[Past.FORGOTTEN] * 10, *[Past.SEEN] * IDS, Past.NEW] == known


def test_a_run_that_is_not_settled_is_never_forgotten(path: Path) -> None:
    with journal(path) as first:
        first.note(entry(0))
        for number in range(1, 2 * IDS):
            first.settle(run_id(number))

    with journal(path) as again:
        assert [run_id(0)] == list(again.entries)
        assert Past.SEEN is again.knows(run_id(0))


def test_a_journal_that_is_full_goes_on_in_the_other_file_with_what_counts(path: Path) -> None:
    with journal(path) as busy:
        busy.note(entry(0))
        for number in range(1, 500):
            busy.note(entry(number, state=HeldState.RUNNING, pid=number))
            busy.note(entry(number, state=HeldState.ENDED))
            busy.settle(run_id(number))
        assert busy._turn > 10

    with journal(path) as again:
        assert [run_id(0)] == list(again.entries)
        assert all(again.knows(run_id(number)) is Past.SEEN for number in range(400, 500))
    assert [SIZE, SIZE] == [file.stat().st_size for file in (path, twin(path))]
    assert {path, twin(path)} == set(path.parent.iterdir())


def test_a_journal_grows_for_what_cannot_be_forgotten(path: Path) -> None:
    with journal(path) as busy:
        for number in range(200):
            busy.note(entry(number, message="m" * 100))
    assert 200 == len(entries(path))

    with journal(path) as busy:
        for number in range(200):
            busy.settle(run_id(number))
        busy._compact()
        busy._compact()
        assert [SIZE, SIZE] == [len(data) for data in both(path)]


def test_a_hundred_thousand_ids_fit_the_usual_size(path: Path) -> None:
    usual = AGENT_DEFAULTS
    with journal(path, size=usual.journal_bytes, ids=usual.ended_runs) as busy:
        for number in range(usual.ended_runs):
            busy.past.add(number.to_bytes(16, "big"))
        busy._compact()
        used = busy._end

    assert 2 * used < usual.journal_bytes


# --- flushing -----------------------------------------------------------------------------


async def test_commits_that_come_together_share_one_flush(path: Path) -> None:
    with journal(path) as busy:
        await asyncio.gather(*(busy.commit(entry(number)) for number in range(20)))

        assert 1 == busy.fsyncs


async def test_commits_that_come_during_a_flush_share_the_next_one(path: Path) -> None:
    with journal(path) as busy:
        disk = threading.Event()
        busy._thread.submit(disk.wait)  # a disk that takes its time
        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(busy.commit(entry(number)), name=f"commit-{number}")
                await asyncio.sleep(0)
            disk.set()

        assert 2 == busy.fsyncs


async def test_a_note_waits_for_no_disk(path: Path) -> None:
    with journal(path) as busy:
        busy.note(entry())

        assert 0 == busy.fsyncs


async def test_who_gives_up_waiting_takes_nothing_from_the_others(path: Path) -> None:
    with journal(path) as busy:
        impatient = asyncio.get_running_loop().create_task(busy.commit(entry(0)), name="impatient")
        patient = asyncio.get_running_loop().create_task(busy.commit(entry(1)), name="patient")
        await asyncio.sleep(0)
        impatient.cancel()
        await patient

        assert 2 == len(busy.entries)


async def test_a_rewrite_during_a_flush_disturbs_neither(path: Path) -> None:
    with journal(path) as busy:
        async with asyncio.TaskGroup() as tasks:
            for number in range(200):
                tasks.create_task(busy.commit(entry(number)), name=f"commit-{number}")
                if number % 7 == 0:
                    await asyncio.sleep(0)

    assert 200 == len(entries(path))


# --- full and failing disks ---------------------------------------------------------------


@contextmanager
def replaced_by(device: str, open_journal: Journal) -> Iterator[None]:
    """What is written to the journal's file goes to a device for a while."""
    fd = open_journal._files[open_journal._turn % 2].fd
    spared, other = os.dup(fd), os.open(device, os.O_RDWR)
    os.dup2(other, fd)
    try:
        yield
    finally:
        os.dup2(spared, fd)
        os.close(spared)
        os.close(other)


@contextmanager
def file_size_at_most(size: int) -> Iterator[None]:
    """The kernel writes up to this size and no further, as on a disk that gets full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_told_and_the_journal_goes_on_when_there_is_space(path: Path) -> None:
    with journal(path) as busy:
        await busy.commit(entry(0))
        with (
            replaced_by("/dev/full", busy),
            pytest.raises(DataDirUnwritable, match="No space left"),
        ):
            await busy.commit(entry(1))
        await busy.commit(entry(2))

    assert [run_id(number) for number in range(3)] == list(entries(path))


async def test_an_entry_of_which_a_part_was_written_does_not_hide_the_next(path: Path) -> None:
    with journal(path) as busy:
        await busy.commit(entry(0))
        with (
            file_size_at_most(busy._end + 10),
            pytest.raises(DataDirUnwritable, match="No space left"),
        ):
            await busy.commit(entry(1))
        await busy.commit(entry(2))

    assert [run_id(number) for number in range(3)] == list(entries(path))


async def test_a_disk_that_takes_no_new_byte_stops_no_journal(path: Path) -> None:
    with journal(path) as busy, file_size_at_most(SIZE):
        for number in range(200):
            await busy.commit(entry(number))
            await busy.commit(entry(number, state=HeldState.ENDED, message="m" * 200))
            busy.settle(run_id(number))
        assert busy._turn > 10
    with file_size_at_most(SIZE):
        assert {} == entries(path)


async def test_a_journal_that_cannot_grow_stays_as_it_is(path: Path) -> None:
    with journal(path) as busy:
        with file_size_at_most(SIZE):
            for number in range(20):
                await busy.commit(entry(number, message="m" * 100))
            with pytest.raises(DataDirUnwritable, match="too large"):
                await busy.commit(entry(20, message="m" * 500))
            assert 20 == len(entries(as_after_a_crash(path)))
        await busy.commit(entry(21))

    assert [run_id(number) for number in range(22)] == list(entries(path))


async def test_a_flush_that_failed_is_told_and_everything_is_written_anew(path: Path) -> None:
    with journal(path) as busy:
        await busy.commit(entry(0))
        with replaced_by("/dev/null", busy):  # takes everything, and cannot be flushed
            told = await asyncio.gather(
                busy.commit(entry(1)), busy.commit(entry(2)), return_exceptions=True
            )
        await busy.commit(entry(3))

    assert [DataDirUnwritable, DataDirUnwritable] == [type(one) for one in told]
    assert [run_id(number) for number in range(4)] == list(entries(path))


async def test_who_waits_for_the_flush_after_a_failed_one_is_told_too(path: Path) -> None:
    with journal(path) as busy, replaced_by("/dev/null", busy):
        disk = threading.Event()
        busy._thread.submit(disk.wait)
        first = asyncio.get_running_loop().create_task(busy.commit(entry(0)), name="first")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second = asyncio.get_running_loop().create_task(busy.commit(entry(1)), name="second")
        await asyncio.sleep(0)
        disk.set()
        told = await asyncio.gather(first, second, return_exceptions=True)

        assert [DataDirUnwritable, DataDirUnwritable] == [type(one) for one in told]
        assert 1 == busy.fsyncs


def test_a_journal_can_be_closed_twice(path: Path) -> None:
    closed = opened(path)
    closed.close()
    closed.close()

    assert {} == closed.entries
