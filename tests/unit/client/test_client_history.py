"""What is asked of the history, and how an export is read."""

from datetime import UTC, datetime

import pytest

from farhand.client import _history
from farhand.client._calls import Answer
from farhand.client._errors import AnswerLost, NotFound, UnexpectedAnswer
from farhand.client._history import Exporting
from farhand.client._resume import Patience

FILE = Answer(200, {"content-type": "application/x-ndjson"})
LINES = b'{"type":"job","id":"job_1"}\n{"type":"run","id":"run_1"}\n{"type":"end","jobs":1}\n'


def exporting() -> Exporting:
    reading = Exporting({"by": "anna"}, 0, Patience())
    reading.call()
    reading.answered(FILE)
    return reading


def test_conditions_that_are_none_leave_no_trace() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)

    assert "/api/v1/jobs?limit=1000" == _history.jobs(None, {"by": None}).path
    assert "/api/v1/jobs?since=2026-01-31T12%3A00%3A00Z&cursor=c&limit=5" == (
        _history.jobs("c", {"since": noon}, 5).path
    )


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_lines_are_told_however_they_are_cut(piece: int) -> None:
    reading = exporting()
    found = [
        told["id"]
        for at in range(0, len(LINES), piece)
        for told in reading.feed(LINES[at : at + piece])
    ]

    assert ["job_1", "run_1"] == found
    assert reading.over


def test_a_cut_before_the_first_line_may_be_tried_again() -> None:
    reading = exporting()
    with pytest.raises(AnswerLost):
        reading.feed(b"")
    reading.feed(LINES[:5])

    assert "/api/v1/jobs/export?by=anna" == reading.call().path
    assert 2 == len(reading.feed(LINES))


def test_a_cut_behind_a_line_is_final() -> None:
    reading = exporting()
    reading.feed(LINES[:30])
    for again in (lambda: reading.feed(b""), reading.call):
        with pytest.raises(UnexpectedAnswer, match="cut after 1 lines") as caught:
            again()
        assert "export-cut" == caught.value.code


def test_what_is_no_export_is_refused() -> None:
    reading = exporting()
    with pytest.raises(NotFound):
        reading.answered(Answer(404, {}, b'{"code": "unknown-agent"}'))
    with pytest.raises(UnexpectedAnswer, match="is this a farhand controller"):
        reading.answered(Answer(200, {"content-type": "text/html"}))
    with pytest.raises(UnexpectedAnswer, match="not JSON"):
        reading.feed(b"<html>\n")
