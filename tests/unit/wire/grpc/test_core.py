"""The core alone: two of them talk in memory; then random, cut and bent bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.errors import ProtocolError
from farhand.wire.grpc import EndedBy, LinkClosed, LinkLimits, Status
from farhand.wire.grpc.shell import Role
from tests.unit.wire.grpc.pair import ECHO, MIB, OPEN, Pair, Recorder, Side

STRANGER = "/test.Raw/Stranger"


def test_messages_go_there_and_back_and_the_call_ends_once_on_both_sides() -> None:
    pair = Pair()
    client = pair.open(metadata=(("k", "v"), ("raw-bin", b"\x00")))
    for message in (b"", b"a", bytes(100_000)):
        client.call.send(message)
    client.call.half_close()
    pair.pump()

    server = pair.server.shell.handlers[0]
    assert [b"", b"a", bytes(100_000)] == client.messages == server.messages
    assert [Status.OK] == [end.status for end in client.ends]
    assert [EndedBy.STATUS] == [end.by for end in server.ends]
    assert ("raw-bin", b"\x00") in server.call.metadata
    assert ECHO == server.call.path
    assert 0 == pair.client.core.calls == pair.server.core.calls


def test_the_headers_of_the_answer_go_out_at_once() -> None:
    pair = Pair()
    client = pair.open(OPEN)
    pair.pump()

    assert () == client.headers


def test_a_status_of_the_server_comes_through_with_everything() -> None:
    pair = Pair()
    client = pair.open(OPEN)
    pair.pump()
    pair.server.shell.handlers[0].call.finish(Status.ABORTED, " ü %\n", (("t-bin", b"\xff"),))
    pair.pump()

    assert (Status.ABORTED, "ü %") == (client.ends[0].status, client.ends[0].message)
    assert (("t-bin", b"\xff"),) == client.ends[0].trailers
    assert [EndedBy.STATUS] == [end.by for end in pair.server.shell.handlers[0].ends]


def test_a_call_that_finishes_while_the_client_still_sends_leaves_no_stream() -> None:
    pair = Pair()
    client = pair.open(OPEN)
    pair.pump()
    pair.server.shell.handlers[0].call.finish()
    pair.pump()

    assert 0 == pair.server.core.calls == pair.client.core.calls
    assert Status.OK == client.ends[0].status
    assert client.call.ended


def test_callbacks_never_come_inside_the_applications_own_calls() -> None:
    pair = Pair()
    client = pair.open(OPEN)
    pair.pump()
    client.call.cancel("enough")

    assert [] == client.ends
    pair.pump()
    assert ["enough"] == [end.message for end in client.ends]
    assert [(Status.CANCELLED, EndedBy.PEER)] == [
        (end.status, end.by) for end in pair.server.shell.handlers[0].ends
    ]


def test_an_unknown_method_is_refused_without_a_handler() -> None:
    pair = Pair()
    client = pair.open("/no/Such")
    client.call.send(b"x")
    pair.pump()

    assert (Status.UNIMPLEMENTED, "no method /no/Such") == (
        client.ends[0].status,
        client.ends[0].message,
    )
    assert [] == pair.server.shell.handlers


def test_a_client_refuses_calls_of_its_server() -> None:
    pair = Pair()

    with pytest.raises(LinkClosed):
        pair.server.core.open(ECHO, Recorder, authority="a", scheme="http")


def test_the_servers_deadline_ends_the_call_on_both_sides() -> None:
    pair = Pair()
    client = pair.open(OPEN, timeout_s=5.0)
    pair.pump()
    assert 5.0 == pair.server.shell.due

    pair.server.now = 5.0
    pair.server.core.tick(5.0)
    pair.pump()

    assert (Status.DEADLINE_EXCEEDED, EndedBy.STATUS) == (client.ends[0].status, client.ends[0].by)
    assert EndedBy.DEADLINE == pair.server.shell.handlers[0].ends[0].by


def test_the_clients_deadline_needs_no_server() -> None:
    pair = Pair()
    client = pair.open(OPEN, timeout_s=5.0)
    pair.client.core.tick(4.9)
    assert [] == client.ends

    pair.client.core.tick(5.0)

    assert (Status.DEADLINE_EXCEEDED, EndedBy.DEADLINE) == (
        client.ends[0].status,
        client.ends[0].by,
    )


def test_a_stranger_has_until_the_deadline() -> None:
    pair = Pair(LinkLimits(first_message_deadline_s=10.0))
    client = pair.open(STRANGER)
    pair.pump()
    pair.at(9.9)
    assert [] == client.ends
    pair.at(10.0)
    pair.pump()

    assert (Status.DEADLINE_EXCEEDED, "not identified within 10 s") == (
        client.ends[0].status,
        client.ends[0].message,
    )
    assert EndedBy.LIMIT == pair.server.shell.handlers[0].ends[0].by


def test_who_is_identified_has_no_limits_of_strangers() -> None:
    pair = Pair(LinkLimits(first_message_deadline_s=10.0))
    client = pair.open(STRANGER)
    pair.pump()
    pair.server.shell.handlers[0].call.identified()
    pair.at(100.0)
    client.call.send(bytes(MIB))
    pair.pump()

    assert [bytes(MIB)] == pair.server.shell.handlers[0].messages
    assert 1 == pair.server.shell.known


def test_a_stranger_has_a_budget_of_bytes() -> None:
    pair = Pair()
    client = pair.open(STRANGER)
    client.call.send(bytes(16 * 1024))
    pair.pump()
    assert [16 * 1024] == [len(m) for m in pair.server.shell.handlers[0].messages]

    client.call.send(b"x" * 100)
    pair.pump()

    assert Status.RESOURCE_EXHAUSTED == client.ends[0].status
    assert "more than 16384 bytes before identification" == client.ends[0].message


def test_a_queue_tells_when_it_has_room_again() -> None:
    pair = Pair(LinkLimits(writable_bytes_per_call=100_000))
    client = pair.open()
    pair.pump()
    client.call.send(bytes(100_001))
    before = (client.call.writable, client.call.queued)
    pair.pump()

    assert (False, 100_006) == before
    assert (True, 0) == (client.call.writable, client.call.queued)
    assert 1 == client.writable


def test_a_first_message_may_be_above_the_bound_of_the_queue() -> None:
    pair = Pair(LinkLimits(queued_bytes_per_call=1000))
    client = pair.open()
    client.call.send(bytes(2000))
    pair.pump()

    assert [bytes(2000)] == client.messages


def test_a_queue_above_its_bound_resets_the_call() -> None:
    pair = Pair(LinkLimits(queued_bytes_per_call=1000))
    client = pair.open()
    client.call.send(bytes(600))
    client.call.send(bytes(600))
    pair.pump()

    assert (Status.RESOURCE_EXHAUSTED, EndedBy.LIMIT) == (client.ends[0].status, client.ends[0].by)
    assert 0 == pair.server.core.calls


def test_a_call_whose_window_stays_shut_is_reset_after_the_deadline() -> None:
    pair = Pair(LinkLimits(stream_window_bytes=1000, stall_deadline_s=30.0))
    client = pair.open(OPEN)
    pair.pump()
    pair.server.shell.handlers[0].call.pause_reading()
    client.call.send(bytes(2000))
    pair.pump()
    assert 30.0 == pair.client.shell.due
    pair.at(29.0)
    assert [] == client.ends

    pair.at(30.0)

    assert (Status.RESOURCE_EXHAUSTED, EndedBy.LIMIT) == (client.ends[0].status, client.ends[0].by)
    other = pair.open()
    other.call.send(b"x")
    pair.pump()
    assert [b"x"] == other.messages


def test_a_queue_that_moves_is_not_stalled() -> None:
    pair = Pair(LinkLimits(stream_window_bytes=1000, stall_deadline_s=30.0))
    client = pair.open(OPEN)
    pair.pump()
    reader = pair.server.shell.handlers[0]
    client.call.send(bytes(10_000))
    for n in range(1, 8):
        reader.call.pause_reading()
        pair.pump()
        pair.at(29.0 * n)
        reader.call.resume_reading()
        pair.pump()

    assert [] == client.ends


def test_a_connection_whose_window_stays_shut_is_over() -> None:
    pair = Pair(
        LinkLimits(stream_window_bytes=MIB, connection_window_bytes=65_535, stall_deadline_s=30.0)
    )
    client = pair.open(OPEN)
    pair.pump()
    pair.server.shell.handlers[0].call.pause_reading()
    client.call.send(bytes(100_000))
    pair.pump()

    with pytest.raises(ProtocolError) as caught:
        pair.at(30.0)

    assert "the peer keeps the connection's window shut" == str(caught.value)


def test_the_goodbye_takes_two_steps() -> None:
    pair = Pair()
    running = pair.open()
    pair.pump()
    late = pair.open()  # on its way when the goodbye begins
    pair.server.core.drain()
    pair.pump()
    for client in (running, late):
        client.call.send(b"x")
    pair.pump()

    assert [[b"x"], [b"x"]] == [running.messages, late.messages]
    with pytest.raises(LinkClosed):
        pair.open()
    assert not pair.server.core.closing
    for client in (running, late):
        client.call.half_close()
    pair.pump()
    assert [Status.OK, Status.OK] == [running.ends[0].status, late.ends[0].status]
    assert pair.server.core.closing


def test_ending_all_calls_tells_the_peers_the_status() -> None:
    pair = Pair()
    clients = [pair.open(OPEN) for _ in range(3)]
    pair.pump()
    pair.server.core.end_calls(Status.UNAVAILABLE, "going", EndedBy.LINK)
    pair.pump()

    assert [(Status.UNAVAILABLE, "going")] * 3 == [
        (client.ends[0].status, client.ends[0].message) for client in clients
    ]
    assert {EndedBy.LINK} == {h.ends[0].by for h in pair.server.shell.handlers}


def test_an_abandoned_connection_ends_its_calls_once() -> None:
    pair = Pair()
    client = pair.open(OPEN)
    pair.pump()
    for side in (pair.client, pair.server):
        side.core.abandon("the cable")
        side.core.abandon("again")

    assert [(Status.UNAVAILABLE, "the cable", EndedBy.LINK)] == [
        (end.status, end.message, end.by) for end in client.ends
    ]
    assert 1 == len(pair.server.shell.handlers[0].ends)


def test_an_answer_waits_behind_paused_reading() -> None:
    pair = Pair()
    client = pair.open()
    client.call.send(b"a")
    client.call.send(b"b")
    client.call.half_close()
    client.call.pause_reading()
    pair.pump()
    assert [] == client.messages + client.ends
    assert 1 == pair.client.core.calls

    client.call.resume_reading()
    pair.pump()

    assert [b"a", b"b"] == client.messages
    assert [Status.OK] == [end.status for end in client.ends]
    assert 0 == pair.client.core.calls


def test_a_paused_answer_is_dropped_with_its_connection() -> None:
    pair = Pair()
    client = pair.open()
    client.call.send(b"a")
    client.call.half_close()
    client.call.pause_reading()
    pair.pump()

    pair.client.core.abandon("gone")

    assert [EndedBy.LINK] == [end.by for end in client.ends]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ([(b":status", b"503"), (b"content-type", b"text/html")], Status.UNAVAILABLE),
        ([(b":status", b"404")], Status.UNIMPLEMENTED),
        ([(b":status", b"200"), (b"content-type", b"text/html")], Status.UNKNOWN),
        ([(b":status", b"200"), (b"grpc-status", b"99")], Status.UNKNOWN),
    ],
)
def test_an_answer_that_is_not_grpc_ends_the_call(
    answer: list[tuple[bytes, bytes]], status: Status
) -> None:
    pair = Pair()
    client = pair.open(OPEN)
    stream = pair.client.core._streams[1]

    stream.heard_headers(tuple(answer), False)
    pair.client.core.settle()

    assert [status] == [end.status for end in client.ends]


# -- bytes from anybody --------------------------------------------------------------------------


def conversation() -> tuple[bytes, bytes]:
    """What a client and a server say in a call with everything in it."""
    pair = Pair()
    up, down = [], []
    client = pair.open(metadata=(("k", "v"),), timeout_s=100.0)
    client.call.send(b"hello")
    client.call.send(bytes(300))

    def carry() -> None:
        while True:
            up.append(pair.client.take())
            pair.server.core.receive(up[-1])
            down.append(pair.server.take())
            pair.client.core.receive(down[-1])
            if not up[-1] and not down[-1]:
                return

    carry()
    client.call.half_close()
    pair.server.core.drain()
    carry()
    return b"".join(up), b"".join(down)


def recorded(role: Role) -> bytes:
    """The whole input of one side, from its first byte on."""
    hello = Side(Role.CLIENT if role is Role.SERVER else Role.SERVER, LinkLimits()).take()
    return hello + conversation()[0 if role is Role.SERVER else 1]


RECORDED = {role: recorded(role) for role in Role}


def fresh(role: Role) -> Side:
    side = Side(role, LinkLimits())
    if role is Role.CLIENT:
        side.core.open(ECHO, side.shell.recorder, authority="test", scheme="http")
        side.core.open(ECHO, side.shell.recorder, authority="test", scheme="http", timeout_s=1.0)
    side.take()
    return side


def judge(side: Side) -> None:
    """Whatever came: time still passes, the end can be told, and nothing is owed."""
    if not side.core.closing:
        try:
            side.core.tick(1000.0)
            side.take()
        except ProtocolError:
            pass
    side.core.abandon("the test is over")
    assert 0 == side.core.calls
    assert all(len(handler.ends) == 1 for handler in side.shell.handlers)
    assert side.budget.left == LinkLimits().large_messages_bytes


roles = st.sampled_from(Role)


@given(roles, st.lists(st.binary(max_size=400), max_size=8))
def test_random_bytes_are_an_event_or_a_protocol_error(role: Role, pieces: list[bytes]) -> None:
    side = fresh(role)
    for piece in pieces:
        if side.feed(piece) is not None:
            break

    judge(side)


@given(roles, st.data())
def test_a_conversation_cut_anywhere_and_in_any_pieces_is_no_error(
    role: Role, data: st.DataObject
) -> None:
    said = RECORDED[role]
    end = data.draw(st.integers(0, len(said)))
    cuts = sorted(data.draw(st.lists(st.integers(0, end), max_size=6)))
    side = fresh(role)
    errors = [
        side.feed(said[start:stop]) for start, stop in zip([0, *cuts], [*cuts, end], strict=True)
    ]

    assert [None] * len(errors) == errors
    judge(side)


@given(roles, st.data())
def test_a_bent_conversation_is_an_event_or_a_protocol_error(
    role: Role, data: st.DataObject
) -> None:
    said = bytearray(RECORDED[role])
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(said) - 1))
        match data.draw(st.sampled_from(["flip", "drop", "insert"])):
            case "flip":
                said[place] = data.draw(st.integers(0, 255))
            case "drop":
                del said[place : place + data.draw(st.integers(1, 40))]
                said += b"\x00"
            case _:
                said[place:place] = data.draw(st.binary(min_size=1, max_size=40))
    side = fresh(role)
    for start in range(0, len(said), 300):
        if side.feed(bytes(said[start : start + 300])) is not None:
            break

    judge(side)
