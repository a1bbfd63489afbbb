"""DeepFlow's codec: golden bytes in both roles, presence kept, and any bytes at all."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.deepflow.messages import (
    REQUEST_BYTES,
    RESPONSE_BYTES,
    CommandParam,
    DataChunk,
    ExecType,
    LinuxNamespace,
    OutputKind,
    Parameter,
    ParamKind,
    RemoteCommand,
    Request,
    Response,
    Sender,
)
from farhand.domain.limits import MIB
from farhand.errors import ProtocolError
from farhand.wire import deepflow
from farhand.wire.gen import agent_pb2 as pb
from tests.unit.wire.golden_deepflow import REQUESTS, RESPONSES, SENDER_HEX

TEXTS = st.none() | st.text(max_size=8)
BYTES = st.none() | st.binary(max_size=20)
U32 = st.none() | st.integers(0, 2**32 - 1)
U64 = st.none() | st.integers(0, 2**64 - 1)
I32 = st.none() | st.integers(-(2**31), 2**31 - 1)


def few(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=3).map(tuple)


SENDERS = st.builds(Sender, TEXTS, TEXTS, TEXTS, TEXTS)
CHUNKS = st.builds(DataChunk, errno=I32, content=BYTES, md5=TEXTS, total_len=U64, pkt_count=U32)
PARAMS = st.builds(
    CommandParam,
    name=TEXTS,
    regex=TEXTS,
    required=st.none() | st.booleans(),
    kind=st.none() | st.sampled_from(ParamKind),
    description=TEXTS,
)
COMMANDS = st.builds(
    RemoteCommand,
    cmd=TEXTS,
    output=st.none() | st.sampled_from(OutputKind),
    ident=TEXTS,
    params=few(PARAMS),
    type_name=TEXTS,
)
NAMESPACES = st.builds(LinuxNamespace, id=U64, ns_type=TEXTS, user=TEXTS, pid=U32, cmd=TEXTS)
ANY_REQUEST = st.builds(
    Request,
    request_id=U64,
    exec_type=I32,
    params=few(st.builds(Parameter, TEXTS, TEXTS)),
    linux_ns_pid=U32,
    batch_len=U32,
    ident=TEXTS,
    data=st.none() | CHUNKS,
)
ANY_RESPONSE = st.builds(
    Response,
    sender=st.none() | SENDERS,
    request_id=U64,
    errmsg=TEXTS,
    commands=few(COMMANDS),
    namespaces=few(NAMESPACES),
    result=st.none() | CHUNKS,
)


# --- golden bytes -------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "golden"), REQUESTS.values(), ids=REQUESTS)
def test_a_request_is_these_bytes_for_a_server_and_for_an_agent(
    value: Request, golden: str
) -> None:
    assert golden == deepflow.encode_request(value).hex()
    assert value == deepflow.decode_request(bytes.fromhex(golden))


@pytest.mark.parametrize(("value", "golden"), RESPONSES.values(), ids=RESPONSES)
def test_a_response_is_these_bytes_for_an_agent_and_for_a_server(
    value: Response, golden: str
) -> None:
    assert golden == deepflow.encode_response(value).hex()
    assert value == deepflow.decode_response(bytes.fromhex(golden))


def test_the_goldens_of_a_heartbeat_are_the_ones_that_were_seen() -> None:
    seen = "0a210a0831302e302e302e31121130303a30303a30303a30303a30303a30311a002200"

    assert seen == SENDER_HEX
    assert Response(sender=Sender("10.0.0.1", "00:00:00:00:00:01", "", "")) == (
        deepflow.decode_response(bytes.fromhex(seen))
    )


NUMBERS = {
    "AgentId": {"ip": 1, "mac": 2, "team_id": 3, "group_id": 4},
    "CommandParam": {"name": 1, "regex": 2, "required": 3, "param_type": 4, "description": 5},
    "RemoteCommand": {
        "id": 1,
        "cmd": 2,
        "param_names": 3,
        "output_format": 4,
        "cmd_type": 5,
        "ident": 6,
        "params": 7,
        "type_name": 8,
    },
    "LinuxNamespace": {"id": 1, "ns_type": 2, "user": 3, "pid": 4, "cmd": 5},
    "DataChunk": {"errno": 1, "content": 2, "md5": 3, "total_len": 4, "pkt_count": 5},
    "Parameter": {"key": 1, "value": 2},
    "RemoteExecRequest": {
        "request_id": 1,
        "exec_type": 2,
        "command_id": 3,
        "params": 4,
        "linux_ns_pid": 5,
        "batch_len": 6,
        "command_ident": 7,
        "command_data": 10,
    },
    "RemoteExecResponse": {
        "agent_id": 1,
        "request_id": 2,
        "errmsg": 3,
        "commands": 4,
        "linux_namespaces": 5,
        "command_result": 6,
    },
}


def test_fields_have_the_numbers_of_deepflow() -> None:
    messages = pb.DESCRIPTOR.message_types_by_name

    assert NUMBERS == {
        name: {field.name: field.number for field in message.fields}
        for name, message in messages.items()
    }


def test_words_have_the_numbers_of_deepflow() -> None:
    kinds = pb.DESCRIPTOR.enum_types_by_name

    assert {kind.name: kind.value for kind in ExecType} == {
        value.name: value.number for value in kinds["ExecutionType"].values
    }
    assert {kind.name: kind.value for kind in OutputKind} == {
        value.name: value.number for value in kinds["OutputFormat"].values
    }
    assert {f"PF_{kind.name}": kind.value for kind in ParamKind} == {
        value.name: value.number for value in kinds["ParamType"].values
    }


# --- presence -----------------------------------------------------------------------------


@given(ANY_REQUEST)
def test_a_request_comes_back_as_it_was(request: Request) -> None:
    assert request == deepflow.decode_request(deepflow.encode_request(request))


@given(ANY_RESPONSE)
def test_a_response_comes_back_as_it_was(response: Response) -> None:
    assert response == deepflow.decode_response(deepflow.encode_response(response))


ZEROS = [
    Request(request_id=0),
    Request(exec_type=0),
    Request(linux_ns_pid=0),
    Request(batch_len=0),
    Request(ident=""),
    Request(params=(Parameter(),)),
    Request(params=(Parameter("", ""),)),
    Request(data=DataChunk()),
]


@pytest.mark.parametrize("zero", ZEROS, ids=repr)
def test_a_zero_that_is_there_is_not_nothing(zero: Request) -> None:
    assert deepflow.encode_request(zero) != deepflow.encode_request(Request())
    assert zero == deepflow.decode_request(deepflow.encode_request(zero))


def test_every_part_of_a_chunk_may_be_there_as_a_zero() -> None:
    zeros = {"errno": 0, "content": b"", "md5": "", "total_len": 0, "pkt_count": 0}
    some = [DataChunk(**{name: zero}) for name, zero in zeros.items()]  # type: ignore[arg-type]  # each its own

    assert [field.name for field in fields(DataChunk)] == list(zeros)
    assert some == [
        deepflow.decode_response(deepflow.encode_response(Response(result=chunk))).result
        for chunk in some
    ]


def test_an_execution_type_that_nobody_knows_keeps_its_number() -> None:
    assert 99 == deepflow.decode_request(bytes.fromhex("082a1063")).exec_type


def test_a_word_that_is_not_known_is_as_if_it_were_not_there() -> None:
    command = deepflow.decode_response(bytes.fromhex("220732036162632009"))

    assert (RemoteCommand(ident="abc"),) == command.commands


def test_what_is_deprecated_or_new_is_read_over() -> None:
    old = pb.RemoteExecRequest(request_id=2, exec_type=2, command_id=7).SerializeToString()

    assert Request(request_id=2, exec_type=2) == deepflow.decode_request(old)
    assert Request(request_id=2) == deepflow.decode_request(bytes.fromhex("0802f20302abcd"))


# --- sizes and any bytes ------------------------------------------------------------------


def test_a_request_stays_below_what_an_agent_takes() -> None:
    room = REQUEST_BYTES - len(deepflow.encode_request(Request(ident="x" * 100_000))) + 100_000
    largest = Request(ident="x" * room)

    assert MIB - 1 == len(deepflow.encode_request(largest))
    with pytest.raises(ProtocolError):
        deepflow.encode_request(Request(ident="x" * (room + 1)))


def test_a_response_of_100_mib_is_read_and_a_larger_one_is_not() -> None:
    room = RESPONSE_BYTES - 64
    response = Response(request_id=2, result=DataChunk(content=bytes(room)))
    data = deepflow.encode_response(response)

    assert response == deepflow.decode_response(data)
    with pytest.raises(ProtocolError):
        deepflow.decode_response(bytes(RESPONSE_BYTES + 1))
    with pytest.raises(ProtocolError):
        deepflow.encode_response(replace(response, result=DataChunk(content=bytes(room + 64))))


DECODERS: list[Callable[[bytes], Any]] = [deepflow.decode_request, deepflow.decode_response]


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.binary(max_size=80))
def test_any_bytes_give_a_message_or_a_protocol_error(
    decode: Callable[[bytes], Any], data: bytes
) -> None:
    try:
        decoded = decode(data)
    except ProtocolError:
        return

    assert isinstance(decoded, Request | Response)


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        (deepflow.decode_response, "1a02fffe"),
        (deepflow.decode_response, "0a030a01ff"),
        (deepflow.decode_response, "32031a01ff"),
        (deepflow.decode_request, "3a01ff"),
        (deepflow.decode_request, "22030a01ff"),
    ],
)
def test_text_that_is_no_text_is_refused(decode: Callable[[bytes], Any], data: str) -> None:
    with pytest.raises(ProtocolError, match="UTF-8"):
        decode(bytes.fromhex(data))
