import base64
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.client._calls import Answer
from farhand.client._errors import (
    AnswerLost,
    ConnectionFailed,
    NotFound,
    Unavailable,
    UnexpectedAnswer,
)
from farhand.client._events import End, Event, Output, RunChanged
from farhand.client._follow import Fetching, Following
from farhand.client._resume import Patience
from tests.integration.client.stub import changed, ended, event, output

STREAM = Answer(200, {"content-type": "text/event-stream; charset=utf-8"})
RUN = "run_1"


def following(after: int = 0) -> Following:
    return Following("job_1", Patience(), names={RUN: "web-1"}, after=after)


def fed(reading: Following, *parts: bytes) -> list[Event]:
    reading.call()
    reading.answered(STREAM)
    return [event for part in parts for event in reading.feed(part)]


class Recorded:
    """A job as a controller keeps it: runs print, and the rest is numbered."""

    def __init__(self, printed: Sequence[tuple[int, bytes]]) -> None:
        self.printed = printed

    def stream(self, after: int, piece: int) -> bytes:
        """Everything behind *after*; output in pieces of *piece* bytes, the last has the id."""
        sent = b""
        offsets = {0: 0, 1: 0}
        for seq, (run, data) in enumerate(self.printed, 1):
            begin, offsets[run] = offsets[run], offsets[run] + len(data)
            if seq <= after:
                continue
            for at in range(0, len(data), piece):
                last = at + piece >= len(data)
                number = seq if last else None
                sent += output(number, f"run_{run}", begin + at, data[at : at + piece])
        return sent + ended(len(self.printed) + 1, succeeded=2)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.binary(min_size=1, max_size=30)), max_size=8),
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 12)), max_size=10),
)
def test_no_byte_is_lost_or_told_twice_however_often_the_stream_is_cut(
    printed: list[tuple[int, bytes]], attempts: list[tuple[int, int]]
) -> None:
    recorded = Recorded(printed)
    reading = Following("job_1", Patience(), names={})
    told: list[Event] = []
    for cut, piece in [*attempts, (1 << 20, 7)]:
        if reading.over:
            break
        after = int(reading.call().headers.get("Last-Event-ID", "0"))
        reading.answered(STREAM)
        if received := recorded.stream(after, piece)[:cut]:
            told += reading.feed(received)

    for run in (0, 1):
        whole = b"".join(data for number, data in printed if number == run)
        mine = [e for e in told if isinstance(e, Output) and e.run == f"run_{run}"]
        assert whole == b"".join(e.data for e in mine)
        assert [len(whole[: e.offset]) for e in mine] == [e.offset for e in mine]
    assert [End(counts={"succeeded": 2})] == [e for e in told if isinstance(e, End)]
    assert reading.over


def test_output_is_told_with_the_name_of_its_host() -> None:
    found = fed(following(), output(1, RUN, 0, b"hi"))

    assert [Output(run=RUN, agent="web-1", stream="stdout", offset=0, data=b"hi")] == found


def test_a_host_that_was_not_known_is_learned_from_its_run() -> None:
    found = fed(following(), changed(1, "run_2", "running", "db"), output(2, "run_2", 0, b"x"))

    assert isinstance(found[1], Output)
    assert "db" == found[1].agent


def test_a_gap_in_the_output_is_an_error_and_not_a_silence() -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        fed(following(), output(1, RUN, 5, b"hi"))

    assert "output-gap" == caught.value.code


def test_a_store_that_was_restored_is_followed_again_from_its_beginning() -> None:
    reading = following()
    fed(reading, output(1, RUN, 0, b"one "), output(7, RUN, 4, b"two "))
    again = fed(reading, output(1, RUN, 0, b"one "), output(2, RUN, 4, b"two three "))

    assert "2" == reading.call().headers["Last-Event-ID"]
    assert [(8, b"three ")] == [(it.offset, it.data) for it in again if isinstance(it, Output)]


@pytest.mark.parametrize("before", [b"one ", b""])
def test_what_was_missed_of_a_restored_store_is_asked_for_and_told_once(before: bytes) -> None:
    reading = following()
    fed(reading, output(9, RUN, 0, before) if before else event(9, "weather", {}))
    with pytest.raises(AnswerLost):
        fed(reading, output(10, RUN, 8, b"three "))
    asked = reading.call().headers
    found = fed(reading, output(1, RUN, 0, b"one two "), output(2, RUN, 8, b"three "), ended(3))

    assert "Last-Event-ID" not in asked
    assert b"one two three " == before + b"".join(it.data for it in found if isinstance(it, Output))


def test_following_from_the_middle_takes_the_first_offset_as_it_comes() -> None:
    reading = following(after=9)
    found = fed(reading, output(10, RUN, 500, b"hi"))

    assert [500] == [event.offset for event in found if isinstance(event, Output)]


def test_a_run_event_is_the_run_as_it_was_then() -> None:
    (found,) = fed(following(), changed(3, RUN, "failed", why="exit", exit_code=7))

    assert isinstance(found, RunChanged)
    assert (RUN, "web-1", "failed", 7) == (
        *(found.run.id, found.run.agent, found.run.state, found.run.exit_code),
    )


def test_events_of_a_later_version_are_passed_over() -> None:
    assert [] == fed(following(), event(1, "weather", {"sun": True}))


def test_an_error_event_is_raised_as_the_error_that_it_is() -> None:
    told = {"status": 503, "code": "overloaded", "detail": "you read too slowly"}

    with pytest.raises(Unavailable, match="too slowly"):
        fed(following(), event(None, "error", told))


@pytest.mark.parametrize(
    "sent",
    [
        b"event: run\ndata: no json\n\n",
        b"event: run\ndata: []\n\n",
        b"event: run\ndata: {}\n\n",
        b"event: output\ndata: {}\n\n",
        event(1, "output", {"run": RUN, "stream": "stdout", "offset": 0, "bytes": "%%%"}),
        event(1, "output", {"run": RUN, "stream": "stdout", "offset": None, "bytes": ""}),
    ],
)
def test_an_event_that_makes_no_sense_is_an_unexpected_answer(sent: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        fed(following(), sent)


def test_nothing_is_read_after_the_end_was_told_before() -> None:
    reading = following(after=12)

    assert (False, True) == (reading.answered(Answer(204, {})), reading.over)


def test_a_job_that_is_not_there_is_not_found() -> None:
    body = json.dumps({"code": "unknown-job", "detail": "no such job"}).encode()

    with pytest.raises(NotFound, match="no such job"):
        following().answered(Answer(404, {}, body))


def test_a_page_of_another_server_is_no_stream() -> None:
    with pytest.raises(UnexpectedAnswer):
        following().answered(Answer(200, {"content-type": "text/html"}))


def test_an_end_of_the_connection_before_the_end_of_the_job_is_a_cut() -> None:
    reading = following()
    fed(reading, changed(1, RUN, "running"))

    with pytest.raises(ConnectionFailed):
        reading.feed(b"")


# --- The stored output --------------------------------------------------------------------


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=6), st.booleans())
def test_stored_output_is_fetched_whole_however_often_it_is_cut(
    stored: bytes, cuts: list[int], ranges: bool
) -> None:
    reading = Fetching(RUN, "stdout", Patience())
    told = b""
    for cut in [*cuts, 1 << 20]:
        if reading.over:
            break
        begin = int(reading.call().headers.get("Range", "bytes=0-")[6:-1])
        if not ranges or not begin:
            sent, answer = stored, Answer(200, {"content-length": str(len(stored))})
        elif begin >= len(stored):
            sent, answer = b"", Answer(416, {})
        else:
            sent = stored[begin:]
            named = f"bytes {begin}-{len(stored) - 1}/{len(stored)}"
            answer = Answer(206, {"content-range": named, "content-length": str(len(sent))})
        if not reading.answered(answer):
            break
        if received := sent[:cut]:
            told += b"".join(reading.feed(received))
        if not reading.over and cut >= len(sent):
            told += b"".join(reading.feed(b""))

    assert stored == told
    assert reading.over


def test_output_from_another_place_than_asked_for_is_refused() -> None:
    reading = Fetching(RUN, "stdout", Patience(), offset=10)

    with pytest.raises(UnexpectedAnswer):
        reading.answered(Answer(206, {"content-range": "bytes 5-20/21"}))


def test_output_is_asked_for_by_stream() -> None:
    call = Fetching(RUN, "stderr", Patience()).call()

    assert "/api/v1/runs/run_1/output?stream=stderr" == call.path


def test_a_download_that_ends_early_is_a_cut() -> None:
    reading = Fetching(RUN, "stdout", Patience())
    reading.answered(Answer(200, {"content-length": "10"}))
    reading.feed(b"12345")

    with pytest.raises(ConnectionFailed):
        reading.feed(b"")
    assert {"Range": "bytes=5-"} == reading.call().headers


def test_base64_is_strict() -> None:
    padded = base64.b64encode(b"x").decode() + "=="
    data = {"run": RUN, "stream": "stdout", "offset": 0, "bytes": padded}

    with pytest.raises(UnexpectedAnswer):
        fed(following(), event(1, "output", data))
