"""Patterns that agents send: matched in full, in linear time; unreadable ones refuse all values."""

import time
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.controller.patterns import PATTERN_CHARS, check
from farhand.domain.command import Command, Param
from farhand.domain.deepflow.abilities import commands_of
from farhand.domain.deepflow.catalogue import OFFERS
from farhand.errors import InvalidParameter


def held(pattern: str | None, value: str) -> str:
    """What is said of a value; nothing when it is taken."""
    command = Command(ident="it", params=(Param(name="p", pattern=pattern, required=True),))
    try:
        check(command, {"p": value})
    except InvalidParameter as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize(
    ("pattern", "value", "taken"),
    [
        ("^[0-9]+$", "17", True),
        ("^[0-9]+$", "17\n", False),
        ("^[0-9]+$", "1x", False),
        ("[0-9]+", "x1", False),  # all of the value, anchored or not
        ("a|bc", "bc", True),
        (r"^[\-.0-9a-z]{1,256}$", "pod-1.x", True),
        ("^[A-Za-z0-9-_]+$", "a_B-1", True),
        ("^[A-Za-z0-9-_]+$", "", False),
        ("(?i)abc", "ABC", True),
        (".*", "a\nb", False),
        (None, "whatever", True),
    ],
)
def test_a_value_is_matched_in_full(pattern: str | None, value: str, *, taken: bool) -> None:
    assert taken == (held(pattern, value) == "")


@pytest.mark.parametrize(
    "pattern", ["(", "(?=a)b", r"(a)\1", "(a{900}){900}", "a" * (PATTERN_CHARS + 1), "\udcff"]
)
def test_a_pattern_that_cannot_be_read_is_shown_and_refuses_every_value(pattern: str) -> None:
    told = held(pattern, "a")

    assert "'p'" in told
    assert "cannot be read here" in told
    assert pattern[:100] in told
    assert len(told) < 500


def test_a_pattern_that_would_take_for_ever_does_not() -> None:
    began = time.process_time()
    told = held("^(a+)+$", "a" * 5_000 + "b")

    assert told
    assert time.process_time() - began < 1


def test_the_patterns_of_real_agents_can_be_read() -> None:
    given_to = {"timeout": "10s", "pid": "1", "ns": "kube-system", "pod": "web-1.x"}
    for command in commands_of(offer.command for offer in OFFERS):
        check(command, {param.name: given_to[param.name] for param in command.params})


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_pattern_and_any_value_give_an_answer(pattern: str, value: str) -> None:
    assert isinstance(held(pattern, value), str)


@pytest.mark.parametrize(("required", "taken"), [(False, True), (True, False)])
def test_an_optional_value_may_be_empty_as_with_deepflows_agents(
    *, required: bool, taken: bool
) -> None:
    command = Command(ident="x", params=(Param(name="p", pattern="[a-z]+", required=required),))
    with nullcontext() if taken else pytest.raises(InvalidParameter):
        check(command, {"p": ""})


def test_what_was_not_given_is_not_matched() -> None:
    command = Command(ident="it", params=(Param(name="p", pattern="("), Param(name="q")))

    check(command, {"q": "x"})
