"""DeepFlow's messages as values: who sends them, and which ones are heartbeats."""

import pytest

from farhand.domain.deepflow.messages import (
    HEARTBEAT_REPLY,
    DataChunk,
    LinuxNamespace,
    RemoteCommand,
    Request,
    Response,
    Sender,
    heartbeat,
)

SENDER = Sender("10.0.0.1", "00:00:00:00:00:01")


def test_an_agent_is_named_by_ip_and_mac() -> None:
    assert "10.0.0.1-00:00:00:00:00:01" == SENDER.key


@pytest.mark.parametrize(
    "sender", [Sender(), Sender("10.0.0.1"), Sender(mac="00:00:00:00:00:01"), Sender("", "x")]
)
def test_an_agent_without_ip_or_mac_has_no_name(sender: Sender) -> None:
    assert "" == sender.key


@pytest.mark.parametrize("request_id", [None, 0])
def test_a_response_without_payload_and_request_is_a_heartbeat(request_id: int | None) -> None:
    assert Response(sender=SENDER, request_id=request_id).heartbeat
    assert heartbeat(SENDER).heartbeat
    assert Request(request_id=0) == HEARTBEAT_REPLY


def test_an_empty_answer_to_a_request_is_no_heartbeat() -> None:
    answer = Response(sender=SENDER, request_id=42)

    assert answer.empty
    assert not answer.heartbeat


@pytest.mark.parametrize(
    "answer",
    [
        Response(errmsg=""),
        Response(result=DataChunk()),
        Response(commands=(RemoteCommand(),)),
        Response(namespaces=(LinuxNamespace(),)),
    ],
)
def test_a_payload_that_is_there_is_an_answer_however_little_is_in_it(answer: Response) -> None:
    assert not answer.empty
    assert not answer.heartbeat
