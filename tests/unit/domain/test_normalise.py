"""What differs for no good reason, taken out."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.normalise import Normaliser, normalising, text_of

ALL = frozenset(Normaliser)
H, U, A, T, X, N = (
    Normaliser.HOSTNAME,
    Normaliser.UUIDS,
    Normaliser.ADDRESSES,
    Normaliser.TIMES,
    Normaliser.HEX,
    Normaliser.NUMBERS,
)


@pytest.mark.parametrize(
    ("which", "text", "normal"),
    [
        (N, "sda1  12.5G  25% of 1,024KiB", "sda<number> <number> <number> of <number>"),
        (N, "a   b\tc\n 1", "a b c\n <number>"),
        (T, "2026-01-31T12:00:00.123Z up 12:00:01", "<time> up <time>"),
        (T, "2026-01-31 12:00:00,5 +0100 x", "<time> x"),
        (T, "Jan  3 10:00 a; Tue Nov 24 02:10:35 UTC 2026", "<time> a; <time>"),
        (T, "ratio 16:9, port host:80, 02:00:00:00:00:01", "ratio 16:9, port host:80, "),
        (A, "10.0.0.1/24 and 10.0.0.1.", "<address> and <address>."),
        (A, "version 1.2.3.4.5 std::string 12:00:01", "version 1.2.3.4.5 std::string 12:00:01"),
        (A, "fe80::1%eth0/64 ::1 2001:db8:: aa:bb:cc:dd:ee:ff", "<address> " * 4),
        (A, "AA-BB-CC-DD-EE-FF 1:2:3:4:5:6:7:8", "<address> <address>"),
        (X, "0xdeadBEEF 3f2a9c1d77 decade 1234567", "<hex> <hex> decade 1234567"),
        (U, "de305d54-75b4-431b-adb2-eb6b9e546014.", "<uuid>."),
        (H, "web-1.example.org WEB-1 web-10 my-web-1", "<host> <host> web-10 my-web-1"),
    ],
)
def test_each_takes_out_what_it_says(which: Normaliser, text: str, normal: str) -> None:
    found = normalising([which], "web-1.example.org")(text)

    assert found.startswith(normal.rstrip())


def test_the_order_they_are_asked_in_is_nothing() -> None:
    text = "web-1 10.0.0.1 12:00:01 0xff de305d54-75b4-431b-adb2-eb6b9e546014 7"

    assert normalising(list(Normaliser), "web-1")(text) == normalising(
        list(Normaliser)[::-1], "web-1"
    )(text)


@given(st.text())
def test_lines_stay_where_they_are(text: str) -> None:
    found = normalising(ALL, "a.b")(text)

    assert len(text.splitlines()) == len(found.splitlines())


def test_none_asked_for_changes_nothing() -> None:
    assert "web-1 10.0.0.1  7" == normalising((), "web-1")("web-1 10.0.0.1  7")


@pytest.mark.parametrize(
    "piece",
    [" ", "1", "1.", "1:", "::", "a", "a1", "ab:", "0-", "Jan ", "2026-01-31 ", "1.1.1.", "web-1"],
)
def test_no_text_makes_it_slow(piece: str) -> None:
    normal = normalising(ALL, "web-1")
    short, long = (piece * (size // len(piece)) for size in (20_000, 160_000))
    took = []
    for text in (short, long):
        began = time.process_time()
        normal(text)
        took.append(time.process_time() - began)

    assert took[1] < 40 * max(took[0], 0.003)  # eight times the text; squares would be 64 times


def test_bytes_are_text_unless_they_are_binary() -> None:
    assert "é" == text_of("é".encode(), cut=False)
    assert "a" == text_of("aé".encode()[:-1], cut=True)
    assert text_of("aé".encode()[:-1], cut=False) is None
    assert text_of(b"a\0b", cut=False) is None
