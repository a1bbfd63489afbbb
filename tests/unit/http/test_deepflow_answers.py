"""DeepFlow's answers: names, order and presence of every field."""

import json
import re

import pytest

from farhand.agent.diagnosis import ENTRIES
from farhand.api.writing import dumped
from farhand.domain.command import Command, OutputFormat, Param, ParamType
from farhand.domain.job import NamespaceKind
from farhand.domain.messages import Namespace
from farhand.errors import (
    AgentBusy,
    AmbiguousName,
    FarhandError,
    InvalidJob,
    NotAllowed,
    OverShare,
    StoreUnavailable,
    UnknownJob,
)
from farhand.http.deepflow.answers import (
    STATUS,
    OptStatus,
    answered,
    around,
    envelope,
    linux_namespace,
    remote_command,
)


def test_a_command_of_a_deepflow_agent_is_written_as_it_told_it() -> None:
    pid = Param(
        name="pid", pattern="^[0-9]+$", required=True, description="The PID to run strace on"
    )
    strace = Command(ident="system_t5t", label="strace", group="system", params=(pid,))
    written = (
        b'{"cmd":"strace","output_format":0,"ident":"system_t5t","params":[{"name":"pid",'
        b'"regex":"^[0-9]+$","required":true,"param_type":0,'
        b'"description":"The PID to run strace on"}],"type_name":"system"}'
    )

    assert written == dumped(remote_command(strace, "strace"))


def test_what_a_command_does_not_have_is_left_out() -> None:
    heap = Command(ident="heap", output=OutputFormat.BINARY)

    assert {"cmd": "heap", "output_format": 1, "ident": "heap"} == remote_command(heap, "heap")


def test_a_flag_is_a_boolean_and_its_description_may_be_missing() -> None:
    command = Command(ident="x", params=(Param(name="all", type=ParamType.BOOL),))

    assert [{"name": "all", "regex": "^(?:true|false)$", "required": False, "param_type": 1}] == (
        remote_command(command, "x")["params"]
    )


PARAMS = [param for entry in ENTRIES for param in entry.command.params]


@pytest.mark.parametrize("param", PARAMS, ids=lambda param: param.name)
def test_an_expression_takes_what_the_parameter_takes(param: Param) -> None:
    regex = re.compile(param.regex)
    samples = ["eth0", "a/b c", "-x", "true", "7", "-1", "", "::1", "é", *param.choices]
    samples += [param.default] if param.default is not None else []

    for value in samples:
        taken = param._problem(value, patterns=True) is None
        assert regex.fullmatch(value) or not taken, value


def test_a_namespace_has_all_its_fields() -> None:
    written = b'{"id":4026531840,"ns_type":"net","user":"root","pid":1,"cmd":""}'
    namespace = Namespace(id=4026531840, kind=NamespaceKind.NET, pid=1, owner="root")

    assert written == dumped(linux_namespace(namespace))


@pytest.mark.parametrize("status", OptStatus)
def test_an_envelope_has_its_three_fields_in_order(status: OptStatus) -> None:
    answer = envelope(status, "told")

    assert f'{{"OPT_STATUS":"{status}","DESCRIPTION":"told","DATA":null}}' == (
        bytes(answer.body).decode()
    )
    assert STATUS[status] == answer.status_code


@pytest.mark.parametrize("description", ["", '"', '\\"', "\ud800", "a\nb", "é", '""}'])
def test_an_envelope_in_parts_is_the_envelope(description: str) -> None:
    head, tail = around(OptStatus.SUCCESS, description)
    whole = envelope(OptStatus.SUCCESS, description, "QUJD")

    assert bytes(whole.body) == head + b"QUJD" + tail
    assert description == json.loads(head + tail)["DESCRIPTION"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidJob("x"), OptStatus.INVALID_PARAMETERS),
        (AmbiguousName("x"), OptStatus.INVALID_PARAMETERS),
        (UnknownJob("x"), OptStatus.INVALID_PARAMETERS),
        (NotAllowed("x"), OptStatus.NO_PERMISSIONS),
        (StoreUnavailable("x"), OptStatus.SERVICE_UNAVAILABLE),
        (AgentBusy("x"), OptStatus.SERVICE_UNAVAILABLE),
        (OverShare("x"), OptStatus.SERVICE_UNAVAILABLE),
        (FarhandError("x"), OptStatus.SERVER_ERROR),
    ],
)
def test_an_error_of_farhands_is_told_in_an_envelope(
    error: FarhandError, status: OptStatus
) -> None:
    told = answered(error).envelope

    assert (STATUS[status], status) == (
        told.status_code,
        json.loads(bytes(told.body))["OPT_STATUS"],
    )
    assert (status is OptStatus.SERVICE_UNAVAILABLE) == ("retry-after" in told.headers)
