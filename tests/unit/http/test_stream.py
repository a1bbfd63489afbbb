"""How events become server-sent events."""

from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.ids import RunId
from farhand.domain.output import StreamName
from farhand.http.stream import PIECE_BYTES, joined, message
from farhand.ports import Event

OUT, ERR = StreamName.STDOUT, StreamName.STDERR


def output(seq: int, offset: int, length: int, stream: StreamName = OUT, run: str = "a") -> Event:
    return Event(
        seq=seq,
        kind="output",
        at=0.0,
        run_id=RunId(run),
        stream=stream,
        offset=offset,
        length=length,
    )


def test_output_that_follows_on_output_is_one_event_numbered_as_the_last() -> None:
    events = [output(1, 0, 3), output(2, 3, 4)]

    assert [output(2, 0, 7)] == list(joined(events))


def test_another_stream_another_run_or_a_gap_begins_anew() -> None:
    events = [output(1, 0, 3), output(2, 0, 3, ERR), output(3, 3, 3, ERR, "b"), output(4, 9, 1)]

    assert events == list(joined(events))


def test_a_change_of_state_stays_between_outputs() -> None:
    events = [output(1, 0, 3), Event(seq=2, kind="run", at=0.0), output(3, 3, 3)]

    assert events == list(joined(events))


@given(st.lists(st.integers(1, PIECE_BYTES), max_size=30))
def test_joined_output_is_whole_and_bounded(lengths: list[int]) -> None:
    offsets = [sum(lengths[:n]) for n in range(len(lengths))]
    events = [
        output(n, at, size) for n, (at, size) in enumerate(zip(offsets, lengths, strict=True))
    ]

    found = list(joined(events))

    assert sum(lengths) == sum(event.length for event in found)
    assert all(event.length <= PIECE_BYTES for event in found)
    assert [event.seq for event in events[-1:]] == [event.seq for event in found[-1:]]


def test_a_message_without_a_number_has_no_id() -> None:
    assert b"event: run\ndata: {}\n\n" == message("run", b"{}")
    assert b"id: 7\nevent: run\ndata: {}\n\n" == message("run", b"{}", 7)
