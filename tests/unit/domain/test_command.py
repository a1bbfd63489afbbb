"""What values a catalogue command takes: matched in full, and never taken for an option."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.command import Command, OutputFormat, Param, ParamType
from farhand.errors import InvalidParameter

TYPES = list(ParamType)
ACCEPTED = {
    ParamType.TEXT: ["eth0", "a", "/var/log/syslog", "a b, c", "user@host:/", "."],
    ParamType.INT: ["0", "7", "007", "999999999999999999"],
    ParamType.BOOL: ["true", "false"],
    ParamType.CHOICE: ["tcp", "udp"],
    ParamType.HOST: [
        "a",
        "web-1.example.org",
        "example.org.",
        "10.0.0.1",
        "::1",
        "fe80::1",
        "_srv",
    ],
}
REFUSED = {
    ParamType.TEXT: ["", " a", "a;b", "$(id)", "a|b", "`id`", "a\0", "a\n", "a\nb", "é", "x" * 257],
    ParamType.INT: ["", "1.5", "1e3", "0x10", "+1", " 1", "1_000", "\u0661", "1" * 19, "--1"],
    ParamType.BOOL: ["", "True", "yes", "1", "on"],
    ParamType.CHOICE: ["", "TCP", "sctp", "tcp,udp"],
    ParamType.HOST: ["", "a b", "a;b", "http://a", "a/b", "a\0", "é.org", "x" * 300, "%eth0"],
}
PLAIN = {kind: Param(name="p", type=kind, choices=("tcp", "udp")) for kind in TYPES}


@pytest.mark.parametrize(("kind", "value"), [(k, v) for k in TYPES for v in ACCEPTED[k]])
def test_a_value_of_its_type_is_returned_as_it_was_given(kind: ParamType, value: str) -> None:
    assert value == PLAIN[kind].checked(value)


@pytest.mark.parametrize(("kind", "value"), [(k, v) for k in TYPES for v in REFUSED[k]])
def test_a_value_of_another_type_is_refused_and_named(kind: ParamType, value: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        PLAIN[kind].checked(value)

    assert {"parameter": "p"} == refused.value.details
    assert str(refused.value).startswith(f"p={value!r} ")


@pytest.mark.parametrize("kind", TYPES)
def test_a_line_break_behind_a_good_value_is_refused(kind: ParamType) -> None:
    for value in ACCEPTED[kind]:
        with pytest.raises(InvalidParameter):
            PLAIN[kind].checked(value + "\n")


@pytest.mark.parametrize("patterns", [True, False])
@pytest.mark.parametrize("value", ["-", "-0", "-1", "-rf", "--help", "-o=x"])
@pytest.mark.parametrize("kind", TYPES)
def test_no_value_looks_like_an_option(kind: ParamType, value: str, *, patterns: bool) -> None:
    generous = Param(name="p", type=kind, choices=("tcp",), pattern="(?s:.*)")
    with pytest.raises(InvalidParameter):
        generous.checked(value, patterns=patterns)


@given(st.sampled_from(TYPES), st.text(max_size=40))
def test_any_text_is_taken_or_refused_and_what_is_taken_is_tame(kind: ParamType, text: str) -> None:
    try:
        taken = PLAIN[kind].checked(text)
    except InvalidParameter:
        return
    assert text == taken
    assert not taken.startswith("-")
    assert re.search(r"[\0\r\n;&|$`\\\"'<>()*?!]", taken) is None


NUMBERS = st.integers(1 - 10**18, 10**18 - 1)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_number_is_taken_between_its_bounds_only(one: int, other: int, number: int) -> None:
    low, high = sorted((one, other))
    param = Param(name="n", type=ParamType.INT, minimum=low, maximum=high)
    if low <= number <= high:
        assert str(number) == param.checked(str(number))
        return
    with pytest.raises(InvalidParameter) as refused:
        param.checked(str(number))

    assert str(high if number > high else low) in str(refused.value)


def test_a_pattern_is_matched_in_full() -> None:
    param = Param(name="p", pattern="[a-z]+")
    for value in ("eth0", "ethx y", "eth\n", ""):
        with pytest.raises(InvalidParameter):
            param.checked(value)

    assert "eth" == param.checked("eth")


def test_a_pattern_takes_what_a_plain_text_would_not() -> None:
    assert "{print $1}" == Param(name="p", pattern=r"\{.*\}").checked("{print $1}")


def test_a_pattern_narrows_a_number_too() -> None:
    param = Param(name="p", type=ParamType.INT, pattern="[0-9]{2}")
    with pytest.raises(InvalidParameter):
        param.checked("7")

    assert "07" == param.checked("07")


def test_a_controller_does_not_try_a_pattern_that_an_agent_sent() -> None:
    param = Param(name="p", pattern="(")  # would be an error, or worse: a slow one

    assert "x" == param.checked("x", patterns=False)


# --- whole commands -----------------------------------------------------------------------

PING = Command(
    ident="ping",
    description="Reach a host",
    params=(
        Param(name="host", type=ParamType.HOST, required=True, description="whom to reach"),
        Param(name="count", type=ParamType.INT, default="3", minimum=1, maximum=20),
        Param(name="source", type=ParamType.HOST),
    ),
)


def test_defaults_are_filled_in_and_what_was_not_given_is_left_out() -> None:
    assert {"host": "web-1", "count": "3"} == PING.checked({"host": "web-1"})


def test_given_values_stand_in_place_of_defaults() -> None:
    given_all = {"count": "5", "host": "web-1", "source": "10.0.0.1"}

    assert given_all == PING.checked(given_all)


def test_a_missing_value_is_named_and_described() -> None:
    with pytest.raises(InvalidParameter) as refused:
        PING.checked({"count": "5"})

    assert {"parameter": "host"} == refused.value.details
    assert "whom to reach" in str(refused.value)


def test_an_unknown_parameter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidParameter) as refused:
        PING.checked({"host": "web-1", "hosts": "web-2"})

    assert {"parameter": "hosts"} == refused.value.details
    assert "host, count, source" in str(refused.value)


def test_a_command_without_parameters_says_so() -> None:
    with pytest.raises(InvalidParameter, match="it takes: none"):
        Command(ident="uptime").checked({"x": "1"})


def test_a_wrong_value_is_refused_wherever_it_stands() -> None:
    with pytest.raises(InvalidParameter) as refused:
        PING.checked({"host": "web-1", "count": "21"})

    assert {"parameter": "count"} == refused.value.details


def test_a_default_that_does_not_match_is_refused_as_a_value_is() -> None:
    broken = Command(ident="x", params=(Param(name="n", type=ParamType.INT, default="many"),))
    with pytest.raises(InvalidParameter):
        broken.checked({})


def test_patterns_are_left_to_the_agent_for_all_parameters() -> None:
    command = Command(ident="x", params=(Param(name="p", pattern="("),))

    assert {"p": "v"} == command.checked({"p": "v"}, patterns=False)


def test_a_command_prints_text_unless_it_says_otherwise() -> None:
    assert OutputFormat.TEXT is PING.output
