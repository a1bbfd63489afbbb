from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta

import pytest

from farhand.cli import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("2h", 7_200), ("1d", 86_400), ("1.5", 1.5)],
)
def test_durations_are_read_in_seconds(text: str, seconds: float) -> None:
    assert seconds == units.duration(text)


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-1s", "1w", "s", "1e9", "nan", "inf", "1 s", "\u0661s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a duration"):
        units.duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64K", 65_536),
        ("10M", 10 << 20),
        ("1GiB", 1 << 30),
        ("2kb", 2048),
    ],
)
def test_sizes_are_read_in_bytes(text: str, expected: int) -> None:
    assert expected == units.size(text)


@pytest.mark.parametrize("text", ["", "-1", "1.5M", "K", "10X", "iB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a size"):
        units.size(text)


def test_pairs_are_cut_at_the_first_sign() -> None:
    assert [("a", "b=c"), ("a", "")] == [units.pair("a=b=c"), units.pair("a=")]


@pytest.mark.parametrize("text", ["a", "=b", ""])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        units.pair(text)


def test_a_label_is_given_or_taken_away() -> None:
    assert [("a", "1"), ("a", None), ("a-", "1")] == [*map(units.label, ("a=1", "a-", "a-=1"))]


@pytest.mark.parametrize("text", ["a", "-", ""])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        units.label(text)


def test_names_may_be_folded_with_commas() -> None:
    assert [["a"], ["a", "b"]] == [units.names("a"), units.names("a,b")]
    with pytest.raises(ArgumentTypeError):
        units.names("a,,b")


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")]
)
def test_bytes_are_said_in_words(number: int, said: str) -> None:
    assert said == units.in_words(number)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T12:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T12:00:30+02:00", "2026-01-31T10:00:30+00:00"),
    ],
)
def test_a_moment_is_read_in_utc(text: str, expected: str) -> None:
    assert expected == units.moment(text).isoformat()


def test_a_moment_without_an_offset_is_on_this_machines_clock() -> None:
    expected = datetime(2026, 1, 31, 12).astimezone(UTC)

    assert expected == units.moment("2026-01-31T12:00")
    assert expected == units.moment("2026-01-31 12:00:00")


def test_a_duration_is_so_long_ago() -> None:
    before = datetime.now(UTC)
    found = units.moment("90m")

    assert before <= found + timedelta(minutes=90) <= datetime.now(UTC)


@pytest.mark.parametrize(
    "text", ["", "0s", "yesterday", "2026-02-30", "12:00", "0001-01-01T00:00+23:00"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        units.moment(text)


def test_patience_may_be_none_at_all() -> None:
    assert [0.0, 0.0, 90.0] == [units.patience(text) for text in ("0", "0s", "1.5m")]
    with pytest.raises(ArgumentTypeError):
        units.patience("-1s")
