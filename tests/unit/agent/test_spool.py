"""Spools: bounded, numbered, resumed at any offset, and never sent beyond the grant."""

import asyncio
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from farhand.agent.budget import Budget
from farhand.agent.spool import PIECE_BYTES, Spool
from farhand.agent.spoolfile import SpoolDir, SpoolFile
from farhand.domain.ids import RunId
from farhand.domain.limits import AgentLimits
from farhand.domain.output import Chunk, HeadTail, StreamName

RUN = RunId("run_01h455vb4pex5vsknk084sn02q")
LIMITS = AgentLimits(
    spool_bytes=40,
    spool_total_bytes=100,
    spool_reserve_bytes=8,
    spool_disk_bytes=1000,
    tail_bytes=16,
)


def spool(limit: int = 1 << 20, *, budget: Budget | None = None, grant: int = 0) -> Spool:
    made = Spool(RUN, StreamName.STDOUT, limit, budget or Budget(LIMITS))
    made.up_to = grant
    return made


def data(found: Chunk | None) -> bytes:
    assert found is not None
    return found.data


# --- sending ------------------------------------------------------------------------------


def test_what_was_printed_is_numbered_and_sent_as_far_as_the_grant_goes() -> None:
    out = spool(grant=5)
    out.feed(b"abc")
    out.feed(b"defg")

    assert Chunk(RUN, StreamName.STDOUT, 0, b"abcd") == out.take(4)
    assert Chunk(RUN, StreamName.STDOUT, 4, b"e") == out.take(4)
    assert out.take(4) is None
    assert 7 == out.next_offset


def test_an_ack_grants_more() -> None:
    out = spool(grant=2)
    out.feed(b"abcdef")
    out.take(100)
    out.acknowledge(2, 5)

    assert b"cde" == data(out.take(100))


def test_a_grant_is_never_taken_back_by_a_late_ack() -> None:
    out = spool(grant=6)
    out.feed(b"abcdef")
    out.acknowledge(0, 2)

    assert b"abcdef" == data(out.take(100))


def test_nothing_is_sent_between_two_connections() -> None:
    out = spool(grant=6)
    out.feed(b"abcdef")
    out.mute()

    assert out.take(100) is None


def test_a_stream_resumes_in_the_middle_of_what_was_printed_at_once() -> None:
    out = spool(grant=6)
    out.feed(b"abcdef")
    out.take(100)
    out.mute()
    out.resume(2, 4)

    assert Chunk(RUN, StreamName.STDOUT, 2, b"cd") == out.take(100)
    assert out.take(100) is None


def test_an_ack_that_comes_behind_a_resume_moves_what_is_sent_next() -> None:
    # The controller asked again and then stored what was under way: both answers come together.
    out = spool(grant=12000)
    for letter in b"abc":
        out.feed(bytes([letter]) * PIECE_BYTES)
    out.take(12000)
    out.resume(0, 3 * PIECE_BYTES)
    out.acknowledge(PIECE_BYTES, 0)

    assert Chunk(RUN, StreamName.STDOUT, PIECE_BYTES, b"bb") == out.take(2)


def test_a_stream_is_told_when_it_ended_and_all_of_it_was_sent() -> None:
    out = spool(grant=3)
    out.feed(b"abc")
    said = [out.told]
    out.take(3)
    said.append(out.told)
    out.finish()
    said.append(out.told)
    out.resume(1, 3)

    assert [False, False, True, False] == [*said, out.told]


def test_a_stream_that_printed_nothing_is_told_at_its_end() -> None:
    out = spool()
    out.finish()

    assert out.told


def test_past_the_output_limit_head_and_tail_follow_each_other() -> None:
    out = spool(6, grant=100)
    out.feed(b"abcdef")
    out.feed(b"ghi")
    end = out.finish()

    assert b"abcghi" == data(out.take(100))
    assert (9, 6, 3, 3) == (end.total, end.kept, end.cut_at, end.cut_bytes)


# --- room ---------------------------------------------------------------------------------


async def test_a_full_stream_waits_until_something_was_stored() -> None:
    out = spool(grant=100)
    out.feed(b"x" * 40)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(out.room(), name="room")
        await asyncio.sleep(0)
        assert not waiting.done()
        out.acknowledge(40, 100)

    assert waiting.done()


async def test_what_one_stream_gives_back_wakes_another() -> None:
    budget = Budget(LIMITS)
    one, other = spool(budget=budget, grant=100), spool(budget=budget)
    budget.count(memory=60)
    one.feed(b"x" * 32)
    other.feed(b"y" * 10)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(other.room(), name="room")
        await asyncio.sleep(0)
        assert not waiting.done()
        one.drop()

    assert 70 == budget.memory


async def test_a_reader_that_gave_up_waiting_disturbs_nobody() -> None:
    budget = Budget(LIMITS)
    out = spool(budget=budget)
    out.feed(b"x" * 40)
    waiting = asyncio.get_running_loop().create_task(out.room(), name="room")
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    out.drop()

    assert budget.room_in_memory(0)


def test_dropping_gives_back_all_that_is_held_and_sends_nothing_more() -> None:
    budget = Budget(LIMITS)
    out = spool(budget=budget, grant=100)
    out.feed(b"abcdef")
    out.take(2)
    out.drop()

    assert (0, None) == (budget.memory, out.take(100))


def test_a_program_that_prints_in_drops_costs_about_what_it_prints() -> None:
    out = spool()
    printed = 64 * 1024
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(printed // 2):
        out.feed(b"%02d" % (number % 100))
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert size < 1.2 * printed


# --- with a file --------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SpoolDir]:
    made = SpoolDir(tmp_path / "spool", Budget(LIMITS))
    yield made
    made.shut()


def filed(files: SpoolDir, limit: int = 1 << 20, *, grant: int = 1 << 20) -> Spool:
    made = Spool(RUN, StreamName.STDOUT, limit, files.budget, files.file(RUN, StreamName.STDOUT))
    made.up_to = grant
    return made


def everything(out: Spool) -> bytes:
    """Take until there is no more."""
    return b"".join(chunk.data for chunk in iter(lambda: out.take(1 << 20), None))


def fill_disk(out: Spool) -> None:
    """From now on the disk of its file is full."""
    assert out._file is not None
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, out._file._fd)
    os.close(full)


def test_what_memory_does_not_hold_is_sent_from_the_file(files: SpoolDir) -> None:
    out = filed(files)
    for letter in b"abcdef":
        out.feed(bytes([letter]) * 30)

    assert (60, 180) == (files.budget.memory, files.budget.disk)
    assert b"".join(bytes([letter]) * 30 for letter in b"abcdef") == everything(out)


def test_memory_does_not_run_ahead_of_what_is_sent_next(files: SpoolDir) -> None:
    out = filed(files)
    for letter in b"abcd":
        out.feed(bytes([letter]) * 30)
    out.acknowledge(60, 0)
    out.feed(b"e" * 30)
    assert 0 == files.budget.memory

    out.acknowledge(150, 0)
    out.feed(b"f" * 30)

    assert 30 == files.budget.memory
    assert b"f" * 30 == everything(out)


async def test_the_bound_of_the_disk_makes_a_program_wait_and_an_ack_lets_it_go_on(
    files: SpoolDir,
) -> None:
    out = filed(files)
    while out._has_room():
        out.feed(b"x" * 50)
    assert LIMITS.spool_disk_bytes // 2 <= files.budget.disk < LIMITS.spool_disk_bytes // 2 + 50
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(out.room(), name="room")
        await asyncio.sleep(0)
        assert not waiting.done()
        out.acknowledge(50, 1 << 20)

    assert waiting.done()


async def test_who_has_all_stored_does_not_wait_for_room(files: SpoolDir) -> None:
    out = filed(files)
    while out._has_room():
        out.feed(b"x" * 50)
    out.acknowledge(out.next_offset, 1 << 20)
    await asyncio.wait_for(out.room(), 1)

    assert 0 == files.budget.disk


def test_a_full_disk_leaves_what_is_there_and_memory_takes_the_rest(files: SpoolDir) -> None:
    out = filed(files)
    for letter in b"abc":
        out.feed(bytes([letter]) * 30)
    fill_disk(out)
    out.acknowledge(0, 1 << 20)
    for letter in b"de":
        out.feed(bytes([letter]) * 4)

    assert b"a" * 30 + b"b" * 30 + b"c" * 30 + b"dddd" + b"eeee" == everything(out)
    assert not out._has_room()


def test_a_full_disk_stops_no_stream_that_is_stored(files: SpoolDir) -> None:
    out = filed(files)
    out.feed(b"a")
    fill_disk(out)
    text = b"a"
    for letter in b"bcdefgh":
        out.feed(bytes([letter]) * 30)
        text += everything(out)
        out.acknowledge(out.next_offset, 1 << 20)
        assert out._has_room()

    assert b"a" + b"".join(bytes([letter]) * 30 for letter in b"bcdefgh") in text


def test_what_cannot_be_read_back_ends_the_stream_and_does_not_stop_the_program(
    files: SpoolDir,
) -> None:
    out = filed(files)
    for letter in b"abcd":
        out.feed(bytes([letter]) * 30)
    (files.directory / f"{RUN}.stdout").unlink()
    assert out._file is not None
    out._file.close()
    assert b"a" * 30 + b"b" * 30 == everything(out)
    assert out.lost
    out.feed(b"e" * 10_000)
    assert out._has_room()
    end = out.finish()

    assert out.told
    assert 10_120 == end.kept
    assert (0, 0) == (files.budget.memory, files.budget.disk)


def test_a_controller_that_lost_what_it_had_stored_gets_what_is_still_here(
    files: SpoolDir,
) -> None:
    out = filed(files)
    out.feed(b"a" * 30)
    out.acknowledge(30, 100)
    out.feed(b"b" * 30)
    out.resume(10, 100)

    assert b"a" * 20 + b"b" * 30 == everything(out)


def test_a_controller_that_asks_below_what_is_here_is_told_the_end_at_once(
    files: SpoolDir,
) -> None:
    out = spool(grant=100)
    out.feed(b"a" * 30)
    out.acknowledge(30, 100)
    out.finish()
    out.resume(10, 100)

    assert out.take(100) is None
    assert out.told


# --- anything that can happen -------------------------------------------------------------


class Streams(RuleBasedStateMachine):
    """Three spools under one budget, against the text that each of them should send.

    The first has a file, and is cut off by the agent's death some day; the second has one whose
    disk gets full; the third has memory only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.home = TemporaryDirectory()
        self.files = SpoolDir(Path(self.home.name) / "spool", Budget(LIMITS))
        self.budget = self.files.budget
        sizes = (1 << 20, 1 << 20, 60)
        self.out = [
            filed(self.files, sizes[0], grant=0),
            Spool(
                RUN,
                StreamName.STDERR,
                sizes[1],
                self.budget,
                self.files.file(RUN, StreamName.STDERR),
            ),
            spool(sizes[2], budget=self.budget),
        ]
        self.cutters = [HeadTail(limit, LIMITS.tail_bytes) for limit in sizes]
        self.text = [b"", b"", b""]
        self.sent = [0, 0, 0]
        self.kept = [0, 0, 0]
        self.granted = [0, 0, 0]
        self.ended = [False, False, False]

    which = st.integers(0, 2)
    share = st.sampled_from([0.0, 0.3, 0.5, 1.0])
    more = st.sampled_from([0, 5, 50])

    @rule(n=which, printed=st.binary(min_size=8, max_size=30))
    def print_much(self, n: int, printed: bytes) -> None:
        if not self.ended[n] and self.out[n]._has_room():
            self.out[n].feed(printed)
            self.text[n] += self.cutters[n].feed(printed)

    @rule(n=which, printed=st.binary(min_size=1, max_size=2))
    def print_some(self, n: int, printed: bytes) -> None:
        self.print_much(n, printed)

    @rule(n=which, most=st.integers(1, 40))
    def take(self, n: int, most: int) -> None:
        end = min(self.sent[n] + most, self.granted[n], len(self.text[n]))
        found = self.out[n].take(most)
        if end <= self.sent[n]:
            assert found is None
            return
        assert found is not None
        assert self.sent[n] == found.offset < found.end <= end
        assert found.data == self.text[n][found.offset : found.end]
        self.sent[n] = found.end

    @rule(n=which, share=share, more=more)
    def acknowledge(self, n: int, share: float, more: int) -> None:
        """Whatever was sent before may be acknowledged, also just after a resume."""
        self.kept[n] += int(share * (len(self.text[n]) - self.kept[n]))
        self.sent[n] = max(self.sent[n], self.kept[n])
        self.granted[n] = max(self.granted[n], self.kept[n] + more)
        self.out[n].acknowledge(self.kept[n], self.kept[n] + more)

    @rule(n=which)
    def lose_the_connection(self, n: int) -> None:
        self.out[n].mute()
        self.granted[n] = 0

    @rule(n=which, share=share, more=more)
    def resume(self, n: int, share: float, more: int) -> None:
        self.kept[n] += int(share * (len(self.text[n]) - self.kept[n]))
        self.sent[n], self.granted[n] = self.kept[n], self.kept[n] + more
        self.out[n].resume(self.kept[n], self.granted[n])

    @rule(n=which)
    def give_back(self, n: int) -> None:
        file = self.out[n]._file
        if file is not None:
            file.give_back(self.kept[n], least=1)

    @precondition(lambda self: sum(map(len, self.text)) > 60)
    @rule(n=which)
    def finish(self, n: int) -> None:
        if not self.ended[n]:
            self.ended[n] = True
            tail, end = self.cutters[n].finish()
            self.text[n] += tail
            assert end == self.out[n].finish()

    @precondition(lambda self: self.out[1]._file._fd >= 0)
    @rule()
    def fill_the_disk(self) -> None:
        fill_disk(self.out[1])

    @precondition(lambda self: len(self.text[0]) > 20)
    @rule()
    def kill_the_agent(self) -> None:
        """The file is all that is left of the first stream; a run that had not ended is cut off."""
        old = self.out[0]
        assert old._file is not None
        self.budget.count(memory=-old._held, disk=-old._file.used)
        old._file.close()
        file = SpoolFile(self.files, RUN, StreamName.STDOUT)
        file.find(whole=True)
        self.out[0] = Spool.found(RUN, StreamName.STDOUT, self.budget, file, old.end)
        if not self.ended[0]:
            self.ended[0] = True
            assert len(self.text[0]) == self.out[0].finish().total
        self.out[0].resume(self.kept[0], 0)
        self.sent[0], self.granted[0] = self.kept[0], 0

    @invariant()
    def numbers_are_right(self) -> None:
        assert [len(text) for text in self.text] == [out.next_offset for out in self.out]
        told = [
            ended and sent == len(text)
            for ended, sent, text in zip(self.ended, self.sent, self.text, strict=True)
        ]
        assert told == [out.told for out in self.out]

    @invariant()
    def memory_and_disk_are_bounded(self) -> None:
        over = 3 * (LIMITS.spool_reserve_bytes + 30 + LIMITS.tail_bytes)
        assert len(self.text[2]) - self.kept[2] <= self.budget.memory
        assert self.budget.memory <= LIMITS.spool_total_bytes + over
        assert self.budget.disk <= LIMITS.spool_disk_bytes + over

    def teardown(self) -> None:
        for out in self.out:
            out.drop()
        assert (0, 0) == (self.budget.memory, self.budget.disk)
        assert [] == list(self.files.directory.glob("*"))
        self.files.shut()
        self.home.cleanup()


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=60, stateful_step_count=50)
