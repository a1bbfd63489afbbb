"""Versions: in their order, whatever stands in them."""

from functools import cmp_to_key

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.versions import compared, is_version


def test_versions_stand_in_their_order() -> None:
    early = ["1.0-dev", "1.0-alpha", "1.0b2", "1.0-rc1", "1.0-rc2"]
    ordered = [*early, "1.0", "1.0-amd64", "1.0-1", "1.0-1-amd64", "1.2", "1.10", "2"]

    assert ordered == sorted(sorted(ordered), key=cmp_to_key(compared))


@pytest.mark.parametrize(
    ("one", "other"), [("5.10", "5.10.0"), ("v1.2", "1.2"), ("1.0-RC1", "1.0rc1"), ("007", "7")]
)
def test_versions_can_be_written_in_more_than_one_way(one: str, other: str) -> None:
    assert compared(one, other) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", True), ("v5.10", True), ("5.10.0-21-amd64", True), ("", False), ("unknown", False)],
)
def test_a_version_begins_with_a_number(text: str, *, expected: bool) -> None:
    assert expected == is_version(text)


TEXTS = st.text(st.sampled_from("019.-avrcz") | st.characters(codec=None), max_size=12)


@given(TEXTS, TEXTS, TEXTS)
def test_any_texts_have_an_order(one: str, two: str, three: str) -> None:
    assert compared(one, two) == -compared(two, one)
    if compared(one, two) <= 0 and compared(two, three) <= 0:
        assert compared(one, three) <= 0


def test_a_number_may_have_thousands_of_digits() -> None:
    assert compared("9" * 5_000, "1" + "0" * 5_000) < 0
