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

from farhand.agent.journal import VERSION, Entry, Journal
from farhand.domain.ids import RunId
from farhand.domain.messages import HeldState
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import Ending, Usage, Why
from farhand.errors import DataDirUnwritable

SIZE = 4096
KEEP_S = 100.0


def run_id(number: int) -> RunId:
    return RunId(f"run_01h455vb4pex5vsknk{number:08d}")


def entry(number: int = 0, **facts: Any) -> Entry:
    plain = Entry(run=run_id(number), state=HeldState.ACCEPTED, at=1000.0, boot_id="b")
    return replace(plain, **facts)


def opened(path: Path, *, now: float = 1000.0, size: int = SIZE) -> Journal:
    return Journal.open(path, size=size, keep_s=KEEP_S, now=now)


@contextmanager
def journal(path: Path, *, now: float = 1000.0, size: int = SIZE) -> Iterator[Journal]:
    open_journal = opened(path, now=now, size=size)
    try:
        yield open_journal
    finally:
        open_journal.close()


def entries(path: Path, *, now: float = 1000.0) -> dict[RunId, Entry]:
    with journal(path, now=now) as reopened:
        return dict(reopened.entries)


def as_after_a_crash(path: Path) -> Path:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
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
    at=SECONDS,
    boot_id=st.text(st.characters(codec=None), max_size=10),
    pid=st.integers(0, 2**22),
    ending=st.none() | ENDINGS,
    why=st.none() | st.sampled_from(Why),
    message=st.text(st.characters(codec=None), max_size=10),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ENTRIES, max_size=8))
def test_every_entry_is_read_again_as_it_was_written(path: Path, written: list[Entry]) -> None:
    path.unlink(missing_ok=True)
    with journal(path) as first:
        for one in written:
            first.note(one)

    assert {one.run: one for one in written} == entries(path)


def test_a_new_journal_is_empty_allocated_ahead_and_for_its_user_alone(path: Path) -> None:
    assert {} == entries(path)
    found = path.stat()

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


def test_a_file_torn_at_any_byte_keeps_the_entries_before(
    path: Path, whole: tuple[bytes, list[int]]
) -> None:
    data, starts = whole
    for at in [len(VERSION), starts[1] - 1, starts[1], *range(starts[2] - 1, len(data))]:
        path.write_bytes(data[:at])
        intact = sum(start <= at for start in starts) - 1

        assert [run_id(number) for number in range(intact)] == list(entries(path))


def test_a_damaged_byte_costs_at_most_what_comes_behind_it(
    path: Path, whole: tuple[bytes, list[int]]
) -> None:
    data, starts = whole
    for at in range(starts[2], len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)

        assert [run_id(0), run_id(1)] == list(entries(path))


def test_zeros_behind_the_last_entry_are_its_end(
    path: Path, whole: tuple[bytes, list[int]]
) -> None:
    path.write_bytes(whole[0] + bytes(1000))

    assert 3 == len(entries(path))


def test_a_torn_journal_takes_new_entries(path: Path, whole: tuple[bytes, list[int]]) -> None:
    path.write_bytes(whole[0][:-1])
    with journal(path) as torn:
        torn.note(entry(7))

    assert [run_id(0), run_id(1), run_id(7)] == list(entries(path))


@pytest.mark.parametrize(
    "content", [b"", b"x", b"#!/bin/sh\n", VERSION[:-1], VERSION.replace(b"1", b"2")]
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DataDirUnwritable, match="move it away to start anew"):
        opened(path)

    assert content == path.read_bytes()


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"no json",
        b"\xff",
        b'{"run":"job_01h455vb4pex5vsknk00000000","state":"running","at":1}',
        b'{"run":"run_01h455vb4pex5vsknk00000000","state":"dancing","at":1}',
        b'{"run":"run_01h455vb4pex5vsknk00000000","state":"running","at":1,"mood":"good"}',
        b'{"run":"run_01h455vb4pex5vsknk00000000","state":"ended","at":1,"ending":{"why":"x"}}',
        b'{"run":"run_01h455vb4pex5vsknk00000000","state":"ended","at":1,"why":"x"}',
    ],
)
def test_a_whole_entry_that_says_what_no_version_says_is_refused(path: Path, body: bytes) -> None:
    content = VERSION + struct.pack("<II", len(body), zlib.crc32(body)) + body
    path.write_bytes(content)
    with pytest.raises(DataDirUnwritable, match="not a journal of this version"):
        opened(path)

    assert content == path.read_bytes()


def test_a_directory_that_cannot_be_written_is_named() -> None:
    with pytest.raises(DataDirUnwritable, match="the journal /proc/journal cannot be written: "):
        opened(Path("/proc/journal"))  # where not even root makes files


def test_a_directory_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(DataDirUnwritable, match="cannot be written: No such file"):
        opened(path / "deeper")


# --- what is remembered -------------------------------------------------------------------


def test_of_a_settled_run_only_its_id_is_remembered(path: Path) -> None:
    with journal(path) as first:
        first.note(entry(state=HeldState.ENDED, settled=True, message="m", pid=7))

    assert {run_id(0): entry(state=HeldState.ENDED, settled=True, boot_id="")} == entries(path)


def test_a_settled_run_is_forgotten_by_age_and_an_unsettled_one_never(path: Path) -> None:
    with journal(path) as first:
        first.note(entry(0))
        first.note(entry(1, settled=True))
        first.note(entry(2, settled=True, at=1001.0))

    assert 3 == len(entries(path, now=1000.0 + KEEP_S - 1))
    assert [run_id(0), run_id(2)] == list(entries(path, now=1000.0 + KEEP_S))
    assert [run_id(0)] == list(entries(path, now=1e9))


def test_a_journal_that_is_full_is_written_anew_with_what_counts(path: Path) -> None:
    with journal(path) as busy:
        busy.note(entry(0))
        for number in range(1, 500):
            at = 1000.0 + number
            busy.note(entry(number, at=at, state=HeldState.RUNNING, pid=number))
            busy.note(entry(number, at=at, state=HeldState.ENDED, settled=True))
        assert 100 < len(busy.entries) < 200

    assert [run_id(n) for n in (0, *range(400, 500))] == list(entries(path, now=1499.0))
    assert path.stat().st_size <= 16 * SIZE
    assert [path] == list(path.parent.iterdir())


def test_a_journal_grows_for_what_cannot_be_forgotten(path: Path) -> None:
    with journal(path) as busy:
        for number in range(200):
            busy.note(entry(number, message="m" * 100))

    assert 200 == len(entries(path))


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
    spared, other = os.dup(open_journal._fd), os.open(device, os.O_RDWR)
    os.dup2(other, open_journal._fd)
    try:
        yield
    finally:
        os.dup2(spared, open_journal._fd)
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

    assert [run_id(0), run_id(2)] == list(entries(path))


async def test_an_entry_of_which_a_part_was_written_does_not_hide_the_next(path: Path) -> None:
    with journal(path) as busy:
        await busy.commit(entry(0))
        with (
            file_size_at_most(busy._end + 10),
            pytest.raises(DataDirUnwritable, match="No space left"),
        ):
            await busy.commit(entry(1))
        await busy.commit(entry(2))

    assert [run_id(0), run_id(2)] == list(entries(path))


async def test_a_journal_that_cannot_be_written_anew_stays_as_it_is(path: Path) -> None:
    with journal(path) as busy:
        while busy._end + 400 < SIZE:
            await busy.commit(entry(0, message="m" * 100))
        with file_size_at_most(SIZE - 1), pytest.raises(DataDirUnwritable, match="too large"):
            await busy.commit(entry(1, message="m" * 500))
        await busy.commit(entry(2))
        assert [path] == list(path.parent.iterdir())
        await busy.commit(entry(1))

    assert [run_id(0), run_id(2), run_id(1)] == list(entries(path))


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
