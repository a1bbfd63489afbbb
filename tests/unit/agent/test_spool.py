"""Spools: bounded, numbered, resumed at any offset, and never sent beyond the grant."""

import asyncio
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from farhand.agent.spool import PIECE_BYTES, Budget, Spool
from farhand.agent.spoolfile import SpoolDir
from farhand.domain.ids import RunId
from farhand.domain.limits import AgentLimits
from farhand.domain.output import Chunk, HeadTail, StreamName

RUN = RunId("run_01h455vb4pex5vsknk084sn02q")
NO_DISK = SpoolDir(Path("nowhere"), 0).file(RUN, StreamName.STDOUT)
LIMITS = AgentLimits(spool_bytes=40, spool_total_bytes=100, spool_reserve_bytes=8, tail_bytes=16)


def spool(limit: int = 1 << 20, *, budget: Budget | None = None, grant: int = 0) -> Spool:
    """A stream of a host without a disk for it."""
    made = Spool(RUN, StreamName.STDOUT, limit, budget or Budget(LIMITS), NO_DISK)
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


def test_a_stream_that_holds_its_share_is_not_read_on() -> None:
    budget = Budget(LIMITS)

    assert [True, True, False] == [budget.room_for(held) for held in (0, 39, 40)]


def test_when_all_is_taken_each_stream_still_has_its_reserve() -> None:
    budget = Budget(LIMITS)
    budget.add(100)

    assert 0 == budget.free
    assert [True, True, False] == [budget.room_for(held) for held in (0, 7, 8)]


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
    budget.add(60)
    one.feed(b"x" * 32)
    other.feed(b"y" * 10)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(other.room(), name="room")
        await asyncio.sleep(0)
        assert not waiting.done()
        one.drop()

    assert 70 == budget.used


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

    assert budget.room_for(0)


def test_dropping_gives_back_all_that_is_held_and_sends_nothing_more() -> None:
    budget = Budget(LIMITS)
    out = spool(budget=budget, grant=100)
    out.feed(b"abcdef")
    out.take(2)
    out.drop()

    assert (0, None) == (budget.used, out.take(100))


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


# --- anything that can happen -------------------------------------------------------------


class Streams(RuleBasedStateMachine):
    """Three spools under one budget, against the text that each of them should send."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(LIMITS)
        self.out = [spool(limit, budget=self.budget) for limit in (1 << 20, 60, 0)]
        self.cutters = [HeadTail(limit, LIMITS.tail_bytes) for limit in (1 << 20, 60, 0)]
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
        held = len(self.text[n]) - self.kept[n]
        if not self.ended[n] and self.budget.room_for(held):
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
        assert found == Chunk(
            RUN, StreamName.STDOUT, self.sent[n], self.text[n][self.sent[n] : end]
        )
        self.sent[n] = end

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

    @precondition(lambda self: sum(map(len, self.text)) > 100)
    @rule(n=which)
    def finish(self, n: int) -> None:
        if not self.ended[n]:
            self.ended[n] = True
            tail, end = self.cutters[n].finish()
            self.text[n] += tail
            assert end == self.out[n].finish()

    @invariant()
    def numbers_are_right(self) -> None:
        assert [len(text) for text in self.text] == [out.next_offset for out in self.out]
        told = [
            ended and sent == len(text)
            for ended, sent, text in zip(self.ended, self.sent, self.text, strict=True)
        ]
        assert told == [out.told for out in self.out]

    @invariant()
    def memory_is_bounded(self) -> None:
        most = LIMITS.spool_total_bytes + 3 * (LIMITS.spool_reserve_bytes + 30 + LIMITS.tail_bytes)
        held = sum(len(text) - kept for text, kept in zip(self.text, self.kept, strict=True))
        assert held <= self.budget.used <= most

    def teardown(self) -> None:
        for out in self.out:
            out.drop()
        assert 0 == self.budget.used


TestStreams = Streams.TestCase
TestStreams.settings = settings(max_examples=60, stateful_step_count=50)
