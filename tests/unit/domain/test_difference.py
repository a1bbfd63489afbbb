"""Diffs in bounded time."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.difference import LINE_CHARS, LINES, SHOWN, difference
from farhand.domain.normalise import Normaliser, normalising


def lines(*found: object) -> str:
    return "".join(f"{line}\n" for line in found)


def test_a_changed_line_is_shown_with_its_neighbours() -> None:
    before = lines(*range(30))
    after = before.replace("15\n", "x\n").replace("29\n", "")

    assert ["@ line 15", " 14", "-15", "+x", " 16", "@ line 29", " 28", "-29"] == difference(
        before, after
    )


def test_the_same_text_has_no_difference() -> None:
    assert [] == difference("a\nb\n", "a\nb\n")


def test_what_a_normaliser_takes_out_is_no_difference() -> None:
    normal = normalising([Normaliser.NUMBERS], "")
    before, after = lines("up 1 day", *range(10), "ok"), lines("up 2 days", *range(10), "bad")
    found = difference(before, after, normal_before=normal, normal_after=normal)

    assert ["@ line 1", "-up 1 day", "+up 2 days", " 0"] == list(found or ())[:4]
    assert ["-ok", "+bad"] == list(found or ())[-2:]
    assert "-3" not in (found or ())


def test_lines_are_cut() -> None:
    found = difference(lines(*range(20), "a" * 9_000), lines(*range(20), "b" * 9_000)) or ()

    assert LINE_CHARS + 1 == max(map(len, found))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lines(*range(LINES + 2)), "a\n"),
        (lines(*range(100)), lines(*range(100, 200))),
        (lines("p", *["x"] * 490), lines("r", *["x", "y"] * 248)),
        ("", lines(*range(SHOWN + 20))),
    ],
    ids=["long", "unlike", "repetitive", "from-nothing"],
)
def test_what_cannot_be_compared_in_short_is_not_compared(before: str, after: str) -> None:
    assert difference(before, after) is None


@given(st.lists(st.sampled_from("abcd"), max_size=60), st.lists(st.sampled_from("abcd")))
def test_a_difference_tells_every_new_line_in_order(old: list[str], new: list[str]) -> None:
    found = difference(lines(*old), lines(*new))
    added = iter(new)

    assert all(line[1:] in added for line in found or () if line[0] in "+ ")
    assert all(line[1:] in old for line in found or () if line[0] == "-")
    assert found is None or (found == []) == (old == new)


def test_no_text_makes_it_slow() -> None:
    letters = random.Random(1)
    began = time.process_time()
    for size in (100, 200, 500, 1_900):
        for alphabet in ("ab", "abcdefgh"):
            texts = [lines(*letters.choices(alphabet, k=size)) for _ in range(2)]
            difference(*texts)
    difference(lines(*range(1_900)), lines(*(n if n % 2 else f"q{n}" for n in range(1_900))))

    assert time.process_time() - began < 5.0
