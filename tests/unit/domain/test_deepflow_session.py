"""One DeepFlow agent's stream: lanes, deadlines, lists, every end, and what is ignored."""

import itertools
from collections.abc import Iterator
from typing import TypeVar

import pytest

from farhand.domain.deepflow import batches
from farhand.domain.deepflow.answer import KILLED
from farhand.domain.deepflow.effects import (
    Abandoned,
    Cause,
    CommandsListed,
    Effect,
    Ended,
    HoldBack,
    ListFailed,
    NamespacesListed,
    NotSent,
    Order,
    OtherSender,
    Overdue,
    Printed,
    ReadOn,
    Refused,
    Send,
    Started,
    Stray,
    StreamLimits,
    Uncancellable,
)
from farhand.domain.deepflow.messages import (
    HEARTBEAT_REPLY,
    DataChunk,
    ExecType,
    LinuxNamespace,
    RemoteCommand,
    Request,
    Response,
    Sender,
    heartbeat,
)
from farhand.domain.deepflow.outlet import Room
from farhand.domain.deepflow.session import DeepFlowSession, sender_of
from farhand.domain.ids import RunId
from farhand.domain.output import StreamName
from farhand.domain.run import Why
from farhand.errors import ProtocolError
from tests.unit.wire.golden_deepflow import PRINTED, RESPONSES, SENDER, says

OUT, ERR = StreamName.STDOUT, StreamName.STDERR
RUNS = [RunId(f"run_01h455vb4pex5vsknk084sn0{at:02}") for at in range(10, 20)]
A, B, C = RUNS[:3]
LOTS = 1 << 30
Kind = TypeVar("Kind")


def numbers() -> Iterator[int]:
    """Request ids as unlike each other as real ones, but known: 1000, 1007, 1014, …"""
    return itertools.count(1000, 7)


def session(*, room: Room | None = None, limits: StreamLimits | None = None) -> DeepFlowSession:
    count = numbers()
    return DeepFlowSession(
        SENDER, room or Room(), numbers=lambda: next(count), limits=limits or StreamLimits()
    )


def order(
    run: RunId = A, *, until: float = 100.0, timeout_s: float = 10.0, grant: int = LOTS
) -> Order:
    return Order(
        run=run,
        ident="system_d2e",
        queue_until=until,
        timeout_s=timeout_s,
        output_bytes=1 << 20,
        grant=grant,
    )


def only(kind: type[Kind], effects: list[Effect]) -> list[Kind]:
    return [effect for effect in effects if isinstance(effect, kind)]


def asked(effects: list[Effect]) -> int:
    """The id of the one request that was sent."""
    (sent,) = only(Send, effects)
    assert sent.request.request_id is not None
    return sent.request.request_id


def printed(effects: list[Effect], stream: StreamName = OUT) -> bytes:
    return b"".join(e.chunk.data for e in only(Printed, effects) if e.chunk.stream is stream)


def ending(effects: list[Effect]) -> tuple[Why, int | None]:
    (ended,) = only(Ended, effects)
    return ended.ending.why, ended.ending.exit_code


def feed(machine: DeepFlowSession, responses: list[Response], now: float = 1.0) -> list[Effect]:
    return [effect for response in responses for effect in machine.receive(response, now)]


# --- who it is ----------------------------------------------------------------------------


def test_the_first_message_says_who_dials() -> None:
    assert SENDER == sender_of(heartbeat(SENDER))


@pytest.mark.parametrize("sender", [None, Sender(), Sender("10.0.0.1"), Sender(mac="x")])
def test_a_first_message_without_ip_and_mac_is_refused(sender: Sender | None) -> None:
    with pytest.raises(ProtocolError):
        sender_of(Response(sender=sender))


@pytest.mark.parametrize(
    "sender", [Sender("1" * 65, "m"), Sender("10.0.0.1", "m\n"), Sender("10.0.0.1", "a b")]
)
def test_a_first_message_with_what_cannot_be_an_ip_or_a_mac_is_refused(sender: Sender) -> None:
    with pytest.raises(ProtocolError, match="cannot be one"):
        sender_of(Response(sender=sender))


def test_a_later_message_from_somebody_else_counts_as_the_first_ones() -> None:
    machine, other = session(), Sender("10.9.9.9", "m")
    request = asked(machine.run(order(), 0.0))

    claimed = machine.receive(Response(sender=other, request_id=request, result=DataChunk()), 1.0)

    assert [OtherSender(other)] == only(OtherSender, claimed)
    assert (Why.EXIT, 0) == ending(claimed)
    assert [Send(HEARTBEAT_REPLY)] == machine.receive(heartbeat(other), 2.0)  # told once
    assert SENDER == machine.sender


@pytest.mark.parametrize("sender", [None, Sender(), Sender(SENDER.ip, SENDER.mac, "team", "x")])
def test_a_later_message_needs_no_identity_and_teams_do_not_count(sender: Sender | None) -> None:
    assert [Send(HEARTBEAT_REPLY)] == session().receive(Response(sender=sender), 0.0)


# --- heartbeats ---------------------------------------------------------------------------


def test_every_message_without_payload_and_request_is_answered_also_during_a_run() -> None:
    machine = session()
    machine.run(order(), 0.0)

    for message in (heartbeat(SENDER), heartbeat(SENDER), Response(request_id=0), Response()):
        assert [Send(Request(request_id=0))] == machine.receive(message, 1.0)
    assert 4 == machine.heartbeats


# --- one run ------------------------------------------------------------------------------


def test_a_run_is_sent_at_once_to_an_agent_that_is_free() -> None:
    assert [
        Started(A),
        Send(
            Request(
                request_id=1000,
                exec_type=ExecType.RUN_COMMAND,
                batch_len=256 * 1024,
                ident="system_d2e",
            )
        ),
    ] == session().run(order(), 0.0)


TRANSCRIPTS: list[tuple[list[str], Why, int | None, bytes, bytes]] = [
    (["success without output"], Why.EXIT, 0, b"", b""),
    (["success without output, with a mark of its end"], Why.EXIT, 0, b"", b""),
    (["a small output"], Why.EXIT, 0, b"hello", b""),
    (
        [f"{name} of three batches" for name in ("the first", "the second", "the last")],
        Why.EXIT,
        0,
        PRINTED,
        b"",
    ),
    (["exit 1 without a word"], Why.EXIT, 1, b"", b""),
    (["exit 3 with output and an error"], Why.EXIT, 3, b"out\n", b"err\n"),
    (["exit 4 with an error that is no text"], Why.EXIT, 4, b"", b""),
    (["killed after output"], Why.SIGNAL, None, b"out\n", b""),
    (["a trace"], Why.SIGNAL, None, b"", b"strace: Process 4242 attached\nread(0, "),
    (["a program that is not there"], Why.PROGRAM_NOT_FOUND, None, b"", b""),
    (["a system call that failed"], Why.AGENT_FAILED, None, b"", b""),
    (["no namespaces"], Why.AGENT_FAILED, None, b"", b""),
    (["the list of commands"], Why.AGENT_FAILED, None, b"", b""),
]


def readdressed(name: str, request: int) -> Response:
    golden = RESPONSES[name][0]
    return says(
        request,
        golden.result,
        errmsg=golden.errmsg,
        commands=golden.commands,
        namespaces=golden.namespaces,
    )


@pytest.mark.parametrize(
    ("names", "why", "code", "stdout", "stderr"), TRANSCRIPTS, ids=[t[0][0] for t in TRANSCRIPTS]
)
def test_each_transcript_of_a_run_ends_it_and_frees_the_agent(
    names: list[str], why: Why, code: int | None, stdout: bytes, stderr: bytes
) -> None:
    machine = session()
    request = asked(machine.run(order(), 1.0))
    assert [] == machine.run(order(), 1.0)  # it has the lane already
    machine.run(order(B), 1.0)

    effects = feed(machine, [readdressed(name, request) for name in names], now=3.5)

    assert (why, code) == ending(effects)
    assert (stdout, stderr) == (printed(effects), printed(effects, ERR))
    assert [Started(B)] == only(Started, effects)
    (ended,) = only(Ended, effects)
    assert 2.5 == ended.ending.duration_s
    assert {OUT: len(stdout), ERR: len(stderr)} == {
        name: end.total for name, end in ended.ending.streams.items()
    }


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no such command", Why.UNKNOWN_COMMAND),
        ("no command named", Why.UNKNOWN_COMMAND),
        ("a parameter that is not there", Why.INVALID_PARAMETER),
        ("a parameter that does not match", Why.INVALID_PARAMETER),
        ("a process that is gone", Why.NAMESPACES),
        ("an execution type that the agent does not know", Why.UNSUPPORTED),
    ],
)
def test_each_refusal_is_told_and_frees_the_agent(name: str, why: Why) -> None:
    machine = session()
    request = asked(machine.run(order(), 1.0))

    assert [Refused(A, why, RESPONSES[name][0].errmsg or "")] == machine.receive(
        readdressed(name, request), 2.0
    )
    assert machine.running is None


def test_a_signal_is_told_with_what_is_not_known_of_it() -> None:
    machine = session()
    request = asked(machine.run(order(), 1.0))

    (ended,) = only(Ended, machine.receive(readdressed("killed after output", request), 2.0))

    assert (None, None, KILLED) == (
        ended.ending.exit_code,
        ended.ending.signal,
        ended.ending.message,
    )


def test_damage_on_the_way_is_an_error_that_a_user_sees() -> None:
    machine = session()
    request = asked(machine.run(order(), 1.0))
    first, *_, last = batches.result(SENDER, request, stdout=PRINTED, size=1024)

    effects = feed(machine, [first, last])

    assert (Why.OUTPUT_CORRUPT, 0) == ending(effects)
    assert PRINTED[:1024] + PRINTED[2048:] == printed(effects)  # what came is kept all the same


def test_an_answer_counts_once() -> None:
    machine = session()
    request = asked(machine.run(order(), 1.0))
    answer = readdressed("a small output", request)
    machine.receive(answer, 2.0)

    assert [Stray(request)] == machine.receive(answer, 2.0)


@pytest.mark.parametrize("request_id", [None, 0, 1, 2, 999, 2**64 - 1])
def test_an_answer_to_nothing_that_was_asked_is_ignored(request_id: int | None) -> None:
    machine = session()
    machine.run(order(), 1.0)

    assert [Stray(request_id)] == machine.receive(Response(request_id=request_id, errmsg=""), 2.0)
    assert A == machine.running


def test_a_request_id_is_never_zero_and_never_in_use() -> None:
    drawn = iter([0, 5, 5, 0, 6])
    machine = DeepFlowSession(SENDER, Room(), numbers=lambda: next(drawn))

    assert 5 == asked(machine.list_commands(1, 0.0))
    assert 6 == asked(machine.run(order(), 0.0))


# --- the lane -----------------------------------------------------------------------------


def test_runs_are_sent_one_after_the_other_in_their_order() -> None:
    machine = session()
    request = asked(machine.run(order(A), 0.0))

    assert [] == machine.run(order(B), 0.0) + machine.run(order(C), 0.0)
    assert 2 == machine.waiting

    effects = machine.receive(says(request, DataChunk()), 1.0)
    request = asked(effects)

    assert [Started(B)] == only(Started, effects)
    assert [Started(C)] == only(Started, machine.receive(says(request, DataChunk()), 2.0))


def test_a_run_that_was_never_sent_by_its_deadline_is_told_so() -> None:
    machine = session()
    machine.run(order(A, timeout_s=50), 0.0)
    machine.run(order(B, until=20.0), 0.0)

    assert 20.0 == machine.due
    assert [] == machine.tick(19.9)
    (late,) = machine.tick(20.0)
    assert isinstance(late, NotSent)
    assert (B, Cause.DEADLINE) == (late.run, late.cause)


def test_a_run_whose_deadline_passed_unseen_is_not_sent_either() -> None:
    machine = session()
    request = asked(machine.run(order(A, timeout_s=50), 0.0))
    machine.run(order(B, until=20.0), 0.0)
    machine.run(order(C), 0.0)

    effects = machine.receive(says(request, DataChunk()), 30.0)

    assert [B] == [late.run for late in only(NotSent, effects)]
    assert [Started(C)] == only(Started, effects)


def test_more_runs_than_may_wait_are_told_so() -> None:
    machine = session(limits=StreamLimits(runs_waiting=1))
    machine.run(order(A), 0.0)
    machine.run(order(B), 0.0)
    (full,) = machine.run(order(C), 0.0)

    assert isinstance(full, NotSent)
    assert (C, Cause.LANE_FULL) == (full.run, full.cause)


def test_a_run_that_no_request_can_hold_is_told_so() -> None:
    large = Order(
        run=A,
        ident="x",
        params={"p": "x" * (1 << 20)},
        queue_until=9.0,
        timeout_s=9.0,
        output_bytes=1,
        grant=1,
    )
    (refused,) = session().run(large, 0.0)

    assert isinstance(refused, NotSent)
    assert Cause.TOO_LARGE is refused.cause


def test_a_run_past_its_limit_keeps_the_lane_and_its_late_answer_is_its_result() -> None:
    machine = session()
    request = asked(machine.run(order(A, timeout_s=5.0), 1.0))
    machine.run(order(B), 1.0)

    assert 6.0 == machine.due
    assert [Overdue(A)] == machine.tick(6.0)
    assert [] == machine.tick(7.0)
    assert A == machine.running

    effects = machine.receive(readdressed("a small output", request), 60.0)

    assert (Why.EXIT, 0) == ending(effects)
    assert b"hello" == printed(effects)
    assert [Started(B)] == only(Started, effects)


def test_a_cancel_takes_back_what_was_not_sent_and_cannot_stop_what_was() -> None:
    machine = session()
    machine.run(order(A), 0.0)
    machine.run(order(B), 0.0)

    (taken,) = machine.cancel(B)
    assert isinstance(taken, NotSent)
    assert (B, Cause.CANCELLED) == (taken.run, taken.cause)
    assert [Uncancellable(A)] == machine.cancel(A)
    assert [] == machine.cancel(B) + machine.cancel(C)
    assert 0 == machine.waiting


def test_a_run_that_is_forgotten_while_it_runs_keeps_the_lane_in_silence() -> None:
    machine = session()
    request = asked(machine.run(order(A, timeout_s=2.0), 0.0))
    machine.forget(A)
    machine.run(order(B), 0.0)

    assert [] == machine.run(order(A), 0.0)  # not twice
    assert [] == machine.tick(3.0)
    effects = machine.receive(readdressed("a small output", request), 4.0)

    assert [Started(B)] == only(Started, effects)
    assert [] == only(Printed, effects) + only(Ended, effects)
    assert 0 == machine.held


def test_a_run_that_is_forgotten_before_it_was_sent_is_never_sent() -> None:
    machine = session()
    request = asked(machine.run(order(A), 0.0))
    machine.run(order(B), 0.0)
    machine.forget(B)

    assert [] == only(Send, machine.receive(says(request, DataChunk()), 1.0))


# --- the end of the stream ----------------------------------------------------------------


def test_at_the_end_of_the_stream_each_open_run_is_told_what_became_of_it() -> None:
    machine = session()
    machine.run(order(A), 0.0)
    machine.run(order(B), 0.0)
    machine.list_commands(7, 0.0)
    machine.list_namespaces(8, 0.0)
    machine.list_namespaces(9, 0.0)

    effects = machine.over()

    assert [Abandoned(A)] == only(Abandoned, effects)
    assert [(B, Cause.STREAM_OVER)] == [(e.run, e.cause) for e in only(NotSent, effects)]
    assert [7, 8, 9] == [failed.token for failed in only(ListFailed, effects)]
    assert [] == machine.over()
    assert None is machine.due
    assert machine.running is None


def test_after_the_end_nothing_is_sent() -> None:
    machine = session()
    machine.over()

    assert [Cause.STREAM_OVER] == [e.cause for e in only(NotSent, machine.run(order(), 0.0))]
    assert [1] == [e.token for e in only(ListFailed, machine.list_commands(1, 0.0))]
    assert [2] == [e.token for e in only(ListFailed, machine.list_namespaces(2, 0.0))]


def test_a_finished_result_outlives_the_stream_until_it_is_stored() -> None:
    room = Room()
    machine = session(room=room)
    request = asked(machine.run(order(grant=2), 0.0))

    assert b"he" == printed(machine.receive(readdressed("a small output", request), 1.0))
    machine.over()
    assert len(b"hello") == machine.held

    effects = machine.stored(A, OUT, 2, 100)

    assert b"llo" == printed(effects)
    assert (Why.EXIT, 0) == ending(effects)
    machine.forget(A)
    assert 0 == machine.held == room.used


def test_closing_gives_everything_up() -> None:
    room = Room()
    machine = session(room=room)
    request = asked(machine.run(order(grant=2), 0.0))
    machine.receive(readdressed("a small output", request), 1.0)
    machine.run(order(B), 1.0)
    machine.close()

    assert 0 == machine.held == room.used


# --- output -------------------------------------------------------------------------------


def test_the_end_is_told_behind_the_last_byte() -> None:
    machine = session()
    request = asked(machine.run(order(grant=2), 0.0))
    first = machine.receive(readdressed("a small output", request), 1.0)
    second = machine.stored(A, OUT, 2, 4)
    third = machine.stored(A, OUT, 4, 6)

    assert [b"he", b"ll", b"o"] == [printed(effects) for effects in (first, second, third)]
    assert [0, 0, 1] == [len(only(Ended, effects)) for effects in (first, second, third)]
    assert [] == machine.stored(A, OUT, 5, 6)


def test_what_was_handed_out_is_handed_out_again_with_its_end() -> None:
    machine = session()
    request = asked(machine.run(order(), 0.0))
    machine.receive(readdressed("a small output", request), 1.0)

    effects = machine.rewind(A, {OUT: 2, ERR: 0}, {OUT: LOTS, ERR: LOTS})

    assert b"llo" == printed(effects)
    assert (Why.EXIT, 0) == ending(effects)


def test_a_stream_that_is_not_stored_is_held_back_when_the_room_is_full() -> None:
    room = Room(most=8, reserve=4)
    machine, other = session(room=room), session(room=room)
    request = asked(machine.run(order(), 0.0))
    other_request = asked(other.run(order(B), 0.0))
    part = Response(request_id=request, result=DataChunk(content=b"01234567"))

    assert [HoldBack()] == only(HoldBack, machine.receive(part, 1.0))

    few = Response(request_id=other_request, result=DataChunk(content=b"abcd"))
    assert [] == only(HoldBack, other.receive(few, 1.0))  # within its own reserve
    assert [] == only(ReadOn, machine.stored(A, OUT, 0, LOTS))
    assert [ReadOn()] == only(ReadOn, machine.stored(A, OUT, 8, LOTS))


def test_a_result_that_no_room_is_left_for_is_told_so() -> None:
    machine = session(room=Room(most=8, reserve=4))
    request = asked(machine.run(order(), 0.0))

    effects = machine.receive(says(request, DataChunk(), errmsg="0123456789"), 1.0)

    (ended,) = only(Ended, effects)
    assert Why.OUTPUT_CORRUPT is ended.ending.why
    assert ended.ending.message.startswith("10 bytes of its output could not be held")
    assert 0 == machine.held


# --- lists --------------------------------------------------------------------------------

COMMANDS = (RemoteCommand(cmd="date", ident="system_d2e"),)
NAMESPACES = (LinuxNamespace(id=4026531840, ns_type="net", user="root", pid=1, cmd="init"),)


def test_commands_are_listed_also_during_a_run_and_several_at_a_time() -> None:
    machine = session()
    machine.run(order(), 0.0)
    first, second = asked(machine.list_commands(1, 0.0)), asked(machine.list_commands(2, 0.0))

    assert [CommandsListed(2, COMMANDS)] == machine.receive(
        Response(request_id=second, commands=COMMANDS), 1.0
    )
    assert [CommandsListed(1, ())] == machine.receive(Response(request_id=first), 1.0)


def test_namespaces_are_asked_for_one_question_at_a_time() -> None:
    machine = session()
    first = asked(machine.list_namespaces(1, 0.0))
    assert [] == machine.list_namespaces(2, 0.0)

    effects = machine.receive(Response(request_id=first, namespaces=NAMESPACES), 1.0)

    assert [NamespacesListed(1, NAMESPACES)] == only(NamespacesListed, effects)
    second = asked(effects)
    assert [NamespacesListed(2, ())] == machine.receive(Response(request_id=second), 1.0)


@pytest.mark.parametrize("result", [None, DataChunk()])
def test_a_list_that_the_agent_could_not_make_is_an_error(result: DataChunk | None) -> None:
    machine = session()
    request = asked(machine.list_namespaces(1, 0.0))

    assert [ListFailed(1, "the agent says: Permission denied (os error 13)")] == machine.receive(
        says(request, result, errmsg="Permission denied (os error 13)"), 1.0
    )


@pytest.mark.parametrize(
    "answer", [{"namespaces": NAMESPACES}, {"result": DataChunk(md5="")}, {"result": DataChunk()}]
)
def test_an_answer_of_another_kind_is_no_list(answer: dict[str, object]) -> None:
    machine = session()
    request = asked(machine.list_commands(1, 0.0))

    effects = machine.receive(Response(request_id=request, **answer), 1.0)  # type: ignore[arg-type]  # by case

    assert [1] == [failed.token for failed in only(ListFailed, effects)]


def test_a_list_of_more_entries_than_any_host_has_is_refused() -> None:
    machine = session()
    request = asked(machine.list_commands(1, 0.0))

    assert [ListFailed(1, "the agent lists more than 20000 entries")] == machine.receive(
        Response(request_id=request, commands=COMMANDS * 20_001), 1.0
    )


def test_a_list_that_does_not_come_in_time_is_given_up_and_its_lane_is_free() -> None:
    machine = session(limits=StreamLimits(list_s=10.0))
    late = asked(machine.list_namespaces(1, 0.0))
    machine.list_namespaces(2, 5.0)

    assert 10.0 == machine.due
    effects = machine.tick(10.0)

    assert [1] == [failed.token for failed in only(ListFailed, effects)]
    assert late != asked(effects)
    assert [Stray(late)] == machine.receive(Response(request_id=late, namespaces=NAMESPACES), 11)
    assert [2] == [failed.token for failed in only(ListFailed, machine.tick(15.0))]
    assert [] == machine.tick(16.0)


def test_more_questions_than_may_wait_are_refused() -> None:
    machine = session(limits=StreamLimits(lists_waiting=1))
    machine.list_namespaces(1, 0.0)
    machine.list_namespaces(2, 0.0)
    failed = machine.list_namespaces(3, 0.0) + machine.list_commands(4, 0.0)

    assert [ListFailed(3, "too many lists are asked for")] == failed[:1]
    assert [3, 4] == [each.token for each in only(ListFailed, failed)]
