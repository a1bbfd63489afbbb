"""Chunks and what is kept of a stream: against slices of the whole text, however it is cut."""

import tracemalloc
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.ids import RunId
from farhand.domain.output import Chunk, HeadTail, StreamEnd, StreamName

RUN = RunId("run_01h455vb4pex5vsknk084sn02q")
KIB = 1024


def chunk(offset: int, data: bytes) -> Chunk:
    return Chunk(RUN, StreamName.STDOUT, offset, data)


@st.composite
def cut_up(draw: st.DrawFn, most: int = 80) -> list[bytes]:
    """Some bytes, and how they came: in pieces of any size, empty ones too."""
    data = draw(st.binary(max_size=most))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[one:other] for one, other in pairwise([0, *cuts, len(data)])]


# --- chunks -------------------------------------------------------------------------------


@given(st.integers(0, 50), st.binary(max_size=20), st.integers(0, 100))
def test_a_chunk_from_an_offset_holds_what_lies_there_and_behind(
    offset: int, data: bytes, wanted: int
) -> None:
    there = {offset + at: byte for at, byte in enumerate(data)}
    fresh = chunk(offset, data).from_offset(wanted)

    assert {at: byte for at, byte in there.items() if at >= wanted} == {
        fresh.offset + at: byte for at, byte in enumerate(fresh.data)
    }
    assert offset + len(data) == fresh.end
    assert (RUN, StreamName.STDOUT) == (fresh.run, fresh.stream)


def test_a_chunk_that_lies_behind_the_offset_is_itself() -> None:
    whole = chunk(7, b"abc")

    assert whole is whole.from_offset(7)
    assert whole is whole.from_offset(0)


# --- head and tail ------------------------------------------------------------------------


def kept_of(pieces: list[bytes], limit: int, tail: int) -> tuple[bytes, bytes, StreamEnd]:
    """What went out at once, what waited for the end, and what was told."""
    cutter = HeadTail(limit, tail)
    head = b"".join(cutter.feed(piece) for piece in pieces)
    last, end = cutter.finish()
    return head, last, end


@given(cut_up(), st.integers(0, 60), st.integers(0, 60))
def test_head_and_tail_of_the_whole_are_kept_and_the_cut_between_is_named(
    pieces: list[bytes], limit: int, tail: int
) -> None:
    data = b"".join(pieces)
    most_tail = min(tail, limit // 2)
    most_head = limit - most_tail
    first, rest = data[:most_head], data[most_head:]
    last = rest[max(0, len(rest) - most_tail) :]
    head, waited, end = kept_of(pieces, limit, tail)

    assert (first, last) == (head, waited)
    assert len(head + waited) == min(limit, len(data)) == end.kept
    assert len(data) == end.total
    assert (len(data) - end.kept) == end.cut_bytes
    assert (len(first) if end.cut_bytes else 0) == end.cut_at
    assert sha256(data).hexdigest() == end.sha256_all
    assert sha256(head + waited).hexdigest() == end.sha256_kept


@given(cut_up(), cut_up(), st.integers(0, 40), st.integers(0, 40))
def test_how_a_stream_was_cut_up_changes_nothing_of_what_is_told(
    pieces: list[bytes], others: list[bytes], limit: int, tail: int
) -> None:
    data = b"".join(pieces + others)
    head, last, end = kept_of([data], limit, tail)

    assert (head, last, end) == kept_of(pieces + others, limit, tail)


@pytest.mark.parametrize("limit", [0, 1, 2, 3])
def test_the_smallest_limits_keep_what_they_say(limit: int) -> None:
    head, last, end = kept_of([b"ab", b"c", b"defg"], limit, tail=5)

    assert {0: b"", 1: b"a", 2: b"ag", 3: b"abg"}[limit] == head + last
    assert (7, limit, 7 - limit) == (end.total, end.kept, end.cut_bytes)


def test_a_stream_without_a_byte_has_digests_of_nothing() -> None:
    nothing = sha256(b"").hexdigest()

    assert (b"", StreamEnd(sha256_kept=nothing, sha256_all=nothing)) == HeadTail(10, 5).finish()


def test_the_head_goes_out_at_once() -> None:
    cutter = HeadTail(10, 3)

    assert [b"abc", b"defg", b"", b""] == [cutter.feed(x) for x in (b"abc", b"defgh", b"i", b"j")]


@pytest.mark.parametrize("size", [3, 100, 5000])
def test_what_waits_for_the_end_takes_little_memory_however_it_comes(size: int) -> None:
    tail = 4 * KIB
    cutter = HeadTail(2 * tail, tail)
    cutter.feed(b"h" * tail)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(8 * tail // size):
        cutter.feed((b"%d" % (number % 10)) * size)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak - before < 3 * tail + 2 * size + KIB
