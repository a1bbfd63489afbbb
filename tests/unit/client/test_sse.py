from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.client._errors import UnexpectedAnswer
from farhand.client._sse import EventReader, Sent

LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
NAME = st.text("abcxyz", min_size=1, max_size=5)
EVENTS = st.lists(
    st.tuples(NAME, st.lists(LINE, min_size=1, max_size=3), st.integers(0, 999)), max_size=6
)
CUTS = st.lists(st.integers(0, 400), max_size=12)
BREAK = st.sampled_from(["\n", "\r\n", "\r"])


def pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    return [raw[a:b] for a, b in pairwise(places)]


def read(*received: bytes) -> list[Sent]:
    reader = EventReader()
    return [sent for part in received for sent in reader.feed(part)]


@given(EVENTS, CUTS, BREAK)
def test_events_are_read_whole_wherever_the_stream_is_cut_into_pieces(
    events: list[tuple[str, list[str], int]], cuts: list[int], end: str
) -> None:
    text = "".join(
        f"event: {kind}{end}id: {number}{end}: a comment{end}"
        + "".join(f"data: {line}{end}" for line in lines)
        + end
        for kind, lines, number in events
    )
    expected = [Sent(kind, "\n".join(lines), str(number)) for kind, lines, number in events]

    assert expected == read(*pieces(text.encode(), cuts))


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_are_read_the_same_in_one_piece_and_in_many(parts: list[bytes]) -> None:
    assert read(b"".join(parts)) == read(*parts)


def test_an_event_that_the_end_cut_off_is_never_told() -> None:
    assert [] == read(b"id: 7\nevent: run\ndata: {}\n")


def test_an_event_without_data_only_moves_the_id() -> None:
    assert [Sent("message", "x", "5")] == read(b"id: 5\n\ndata: x\n\n")


def test_an_id_with_a_nul_is_ignored() -> None:
    assert [Sent("message", "x", "")] == read(b"id: 5\0\ndata: x\n\n")


def test_an_endless_event_is_refused() -> None:
    reader = EventReader(limit=100)
    reader.feed(b"data: " + b"x" * 60)

    with pytest.raises(UnexpectedAnswer):
        reader.feed(b"x" * 60)


def test_comments_for_ever_are_no_event() -> None:
    reader = EventReader(limit=100)
    found = [sent for _ in range(1_000) for sent in reader.feed(b": still here\n")]

    assert [] == found
