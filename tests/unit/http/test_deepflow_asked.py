"""What a DeepFlow request asks to run: whatever is sent, it is read or refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.command import Command, Param
from farhand.errors import InvalidBody
from farhand.http.deepflow.asked import RunAsked, run_asked
from farhand.http.deepflow.cipher import UNREADABLE

STRACE = Command(ident="strace", params=(Param(name="pid"), Param(name="timeout")))


def asked(**body: Any) -> RunAsked:
    return run_asked(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("written", "binary"),
    [(0, False), (1, True), ("TEXT", False), ("BINARY", True), (None, False)],
)
def test_the_output_format_is_a_number_or_a_name(written: object, binary: bool) -> None:
    assert binary == asked(output_format=written).binary


def test_what_deepflow_reads_over_is_read_over() -> None:
    ignored = {
        "exec_type": "nonsense",
        "batch_len": -1,
        "command_data": {"content": 7},
        "command_id": [],
        "request_id": "x",
        "anything": None,
    }

    assert asked(command_ident="x") == asked(command_ident="x", **ignored)


@pytest.mark.parametrize(
    "body",
    [
        {"output_format": 2},
        {"output_format": "text"},
        {"output_format": True},
        {"output_format": 1.0},
        {"linux_ns_pid": -1},
        {"linux_ns_pid": 1 << 32},
        {"linux_ns_pid": "7"},
        {"params": {}},
        {"params": ["pid"]},
        {"params": [{"key": "pid", "value": 1}]},
        {"command_ident": 7},
        {"cmd": []},
        {"output_filename": "x" * 1025},
    ],
)
def test_a_field_that_cannot_be_is_told_by_its_place(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidBody) as refused:
        asked(**body)

    assert str(refused.value).startswith(next(iter(body)))


def test_a_value_that_cannot_be_is_not_repeated() -> None:
    with pytest.raises(InvalidBody) as refused:
        asked(params=[{"key": "password", "value": {"hunter2": 1}}])

    assert "hunter2" not in str(refused.value)


def test_of_two_values_the_first_counts_and_what_is_not_declared_is_left_out() -> None:
    params = [
        {"key": "colour", "value": "red"},
        {"key": "pid", "value": "7"},
        {"key": "pid", "value": "8"},
        {"key": "timeout", "value": None},
        {"key": "timeout", "value": "1s"},
        {"value": "nothing"},
        {},
    ]

    assert {"pid": "7"} == asked(params=params).values(STRACE)
    assert {} == asked(params=None).values(STRACE)


def test_the_label_is_what_the_caller_says_or_the_ident_and_not_endless() -> None:
    assert "date" == asked(cmd="date", command_ident="x").label
    assert "x" == asked(cmd="", command_ident="x").label
    assert "" == asked().label
    assert 256 == len(asked(cmd="x" * 1000).label)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys(RunAsked.model_fields, JSON))


@given(raw=st.binary(max_size=200) | JSON.map(json.dumps).map(str.encode))
def test_whatever_bytes_are_sent_they_are_read_or_refused(raw: bytes) -> None:
    try:
        run_asked(raw)
    except InvalidBody:
        return


@given(body=FIELDS)
def test_whatever_a_field_holds_it_is_read_or_refused(body: dict[str, Any]) -> None:
    try:
        asked(**body).values(STRACE)
    except InvalidBody:
        return


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 100_000, b'{"cmd":"\\ud800"}', b"\xff"])
def test_what_is_no_json_is_told_like_what_cannot_be_opened(raw: bytes) -> None:
    with pytest.raises(InvalidBody) as refused:
        run_asked(raw)

    assert UNREADABLE == str(refused.value)
