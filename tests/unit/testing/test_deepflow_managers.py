"""The fake DeepFlow server believes what the real one believes, and hangs where that hangs."""

from collections.abc import Hashable

import pytest

from farhand.domain.deepflow import batches
from farhand.domain.deepflow.messages import (
    DataChunk,
    ExecType,
    LinuxNamespace,
    RemoteCommand,
    Request,
    Response,
    Sender,
    heartbeat,
)
from farhand.testing.deepflow import CommandFailed, Managers
from tests.unit.wire.golden_deepflow import HELLO_MD5, RESPONSES, SENDER, says

KEY = SENDER.key


class Estate:
    """Managers whose requests are kept, and one connected agent, `stream`."""

    def __init__(self) -> None:
        self.sent: list[tuple[Hashable, Request]] = []
        self.managers = Managers(lambda stream, request: self.sent.append((stream, request)))
        self.done: list[int] = []
        self.managers.receive("stream", heartbeat(SENDER))
        self.sent.clear()

    def ask(self, exec_type: ExecType = ExecType.RUN_COMMAND) -> int:
        waiting = self.managers.ask(KEY, exec_type, lambda: self.done.append(0), ident="x")
        self.waiting = waiting
        assert waiting.request.request_id is not None
        return waiting.request.request_id

    def completes(self, *responses: Response) -> bool:
        for response in responses:
            self.managers.receive("stream", response)
        return bool(self.done)


@pytest.fixture
def estate() -> Estate:
    return Estate()


def test_every_heartbeat_is_answered_with_request_0(estate: Estate) -> None:
    estate.managers.receive("stream", heartbeat(SENDER))

    assert [("stream", Request(request_id=0))] == estate.sent
    assert [KEY] == estate.managers.keys


def test_request_ids_count_from_2(estate: Estate) -> None:
    assert [2, 3, 4] == [estate.ask() for _ in range(3)]


@pytest.mark.parametrize(
    "result",
    [
        [says(2, DataChunk(content=b"hel")), says(2, DataChunk(content=b"lo", md5=HELLO_MD5))],
        [says(2, DataChunk(md5=""))],
        [says(2, DataChunk(content=b"hello", md5="wrong", total_len=99, pkt_count=7))],
        [says(2, errmsg="")],
        [says(2, DataChunk(errno=1), errmsg="failed")],
        list(batches.result(SENDER, 2)),
        list(batches.result(SENDER, 2, stdout=b"hello", errmsg="err", errno=1, size=2)),
    ],
)
def test_a_result_is_complete_at_an_md5_or_at_an_error_without_content(
    estate: Estate, result: list[Response]
) -> None:
    estate.ask()

    assert [False] * (len(result) - 1) + [True] == [estate.completes(each) for each in result]


@pytest.mark.parametrize(
    "result",
    [
        [says(2, DataChunk())],
        [says(2)],
        [says(2, DataChunk(content=b"hello", total_len=5, pkt_count=1))],
        [says(2, DataChunk(errno=1, content=b"out"), errmsg="err")],
        [says(2, DataChunk(errno=1, content=b""), errmsg="err")],
    ],
)
def test_at_silence_and_at_an_error_beside_content_it_waits_for_ever(
    estate: Estate, result: list[Response]
) -> None:
    estate.ask()

    assert not estate.completes(*result)


def test_an_empty_list_of_namespaces_is_taken_for_a_heartbeat(estate: Estate) -> None:
    estate.ask(ExecType.LIST_NAMESPACE)
    estate.sent.clear()

    assert not estate.completes(says(2))
    assert [("stream", Request(request_id=0))] == estate.sent


def test_lists_are_complete_when_something_is_in_them(estate: Estate) -> None:
    estate.ask(ExecType.LIST_COMMAND)
    assert estate.completes(says(2, commands=(RemoteCommand(ident="x"),)))

    estate.done.clear()
    estate.ask(ExecType.LIST_NAMESPACE)
    assert estate.completes(says(3, namespaces=(LinuxNamespace(id=1),)))


def test_a_late_answer_is_an_answer_to_nothing(estate: Estate) -> None:
    estate.ask()
    estate.managers.forget(KEY, estate.waiting)
    late = RESPONSES["a small output"][0]

    assert not estate.completes(late)
    assert [late] == estate.managers.strays


def test_a_stream_completes_the_command_of_whoever_it_says_it_is(estate: Estate) -> None:
    estate.managers.receive("stranger", heartbeat(Sender("6.6.6.6", "m")))
    estate.ask()
    estate.managers.receive("stranger", says(2, DataChunk(content=b"FORGED", md5="")))

    assert b"FORGED" == estate.waiting.content
    assert estate.done


def test_two_streams_of_one_identity_get_the_requests_in_turn(estate: Estate) -> None:
    estate.managers.receive("twin", heartbeat(SENDER))
    estate.sent.clear()
    for _ in range(4):
        estate.ask()

    assert 2 == [stream for stream, _ in estate.sent].count("twin")


def test_any_stream_that_ends_takes_the_agent_along(estate: Estate) -> None:
    estate.managers.receive("twin", heartbeat(SENDER))
    estate.ask()
    estate.managers.ended("twin")

    assert [] == estate.managers.keys
    assert estate.done
    assert f"agent(key: {KEY}) command manager is lost" == estate.waiting.errmsg
    with pytest.raises(CommandFailed):
        estate.ask()


def test_a_message_without_identity_makes_the_stream_deaf(estate: Estate) -> None:
    estate.ask()
    estate.sent.clear()
    estate.managers.receive("stream", Response())
    estate.managers.receive("stream", heartbeat(SENDER))

    assert [] == estate.sent
    assert not estate.completes(says(2, DataChunk(md5="")))
    assert [KEY] == estate.managers.keys  # and can still be asked


def test_a_change_of_identity_leaves_the_old_one_behind_for_ever(estate: Estate) -> None:
    estate.managers.receive("stream", heartbeat(Sender("10.0.0.2", "m")))
    estate.managers.ended("stream")

    assert [KEY] == estate.managers.keys
