"""Which bytes a Range header asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.errors import InvalidRange
from farhand.http.ranges import Span, asked_span


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Span(0, 10)),
        ("bytes=0-3", Span(0, 4, part=True)),
        ("bytes=4-", Span(4, 10, part=True)),
        ("bytes=-4", Span(6, 10, part=True)),
        ("bytes=-99", Span(0, 10, part=True)),
        ("bytes=9-99", Span(9, 10, part=True)),
        ("bytes=-", Span(0, 10)),
        ("bytes=5-4", Span(0, 10)),
        ("bytes=0-1,4-5", Span(0, 10)),
        ("lines=0-3", Span(0, 10)),
        ("bytes=x-3", Span(0, 10)),
    ],
)
def test_a_header_asks_for_a_span_of_ten_bytes(header: str | None, expected: Span) -> None:
    assert expected == asked_span(header, 10)


@pytest.mark.parametrize(
    ("header", "length"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_a_range_without_a_byte_is_refused_and_tells_the_length(header: str, length: int) -> None:
    with pytest.raises(InvalidRange) as caught:
        asked_span(header, length)

    assert {"length": length} == caught.value.details


@given(
    st.one_of(
        st.text(max_size=20),
        st.from_regex(r"bytes=[0-9]{0,3}-[0-9]{0,3}", fullmatch=True),
    ),
    st.integers(0, 300),
)
def test_whatever_is_asked_a_span_lies_within_the_body(header: str, length: int) -> None:
    try:
        span = asked_span(header, length)
    except InvalidRange:
        return

    assert 0 <= span.start <= span.end <= length
    assert span.part or Span(0, length) == span
