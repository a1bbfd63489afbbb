"""The server with our own client: what a handler may do, and what its failures cost."""

import asyncio
import logging
from functools import partial

import pytest

from farhand.wire.grpc import (
    Call,
    CallEnd,
    CallEnded,
    EndedBy,
    GrpcServer,
    Handler,
    LinkLimits,
    Peer,
    Status,
    connect,
)
from tests.integration.grpc import frames as h2
from tests.integration.grpc.world import (
    ECHO,
    FAULTY,
    HOLD,
    MIB,
    STRANGER,
    Certificates,
    Client,
    Place,
    Seen,
    raw_server,
)
from tests.until import until


async def test_a_handler_that_raises_ends_its_call_and_nothing_else(
    plain: Place, caplog: pytest.LogCaptureFixture
) -> None:
    link = await plain.connect()
    innocent, faulty = Client(link, ECHO), Client(link, FAULTY)

    with caplog.at_level(logging.ERROR):
        faulty.call.send(b"now")
        end = await faulty.end()

    innocent.call.send(b"x")
    assert b"x" == await innocent.message()
    assert (Status.INTERNAL, "the handler of the call failed") == (end.status, end.message)
    assert [EndedBy.FAULT] == [end.by for end in plain.seen.ended(FAULTY)]
    assert ["on_message", "on_closed"] == [
        str(record.exc_info[1]) for record in caplog.records if record.exc_info
    ]
    link.close()


async def test_a_handler_that_raises_at_half_close_ends_its_call(plain: Place) -> None:
    link = await plain.connect()
    faulty = Client(link, FAULTY)
    faulty.call.half_close()

    assert Status.INTERNAL == (await faulty.end()).status
    link.close()


async def test_a_factory_that_raises_ends_its_call() -> None:
    def broken(call: Call) -> Handler:
        raise RuntimeError(call.path)

    server = GrpcServer({ECHO: broken})
    _, port = await server.listen("127.0.0.1")
    link = await connect("127.0.0.1", port)
    client = Client(link, ECHO)

    assert Status.INTERNAL == (await client.end()).status
    link.close()
    await server.close()


async def test_a_send_after_the_end_says_how_the_call_ended(plain: Place) -> None:
    link = await plain.connect()
    client = Client(link, ECHO)
    client.call.send(b"fail")
    await client.end()

    with pytest.raises(CallEnded) as caught:
        client.call.send(b"x")

    assert Status.FAILED_PRECONDITION == caught.value.status
    assert "call-ended" == caught.value.code
    await until(lambda: plain.seen.ended(ECHO))
    with pytest.raises(CallEnded):
        plain.seen.calls[0].finish()
    link.close()


async def test_a_lost_connection_ends_its_calls_once(plain: Place) -> None:
    link = await plain.connect()
    clients = [Client(link, HOLD) for _ in range(3)]
    await until(lambda: len(plain.seen.calls) == 3)

    link.abort()
    await link.wait_closed()

    await until(lambda: plain.server.connections == 0)
    assert [(Status.UNAVAILABLE, EndedBy.LINK)] * 3 == [
        (end.status, end.by) for end in plain.seen.ended(HOLD)
    ]
    assert [[EndedBy.LINK]] * 3 == [[end.by for end in client.ends] for client in clients]
    assert 0 == plain.server.calls


async def test_closing_the_server_tells_every_call_why(place: Place) -> None:
    link = await place.connect()
    client = Client(link, HOLD)
    await until(lambda: place.seen.calls)

    await place.server.close()

    end = await client.end()
    assert (Status.UNAVAILABLE, "the server is shutting down") == (end.status, end.message)
    assert [EndedBy.LINK] == [end.by for end in place.seen.ended(HOLD)]
    await link.wait_closed()


class Pausing(Handler):
    """Takes one message, then waits to be told."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.got: list[bytes] = []
        self.half_closed = False
        call.identified()

    def on_message(self, message: bytes) -> None:
        self.got.append(message)
        self.call.pause_reading()

    def on_half_close(self) -> None:
        self.half_closed = True
        self.call.finish()


def one_more(handler: Pausing, before: int) -> bool:
    return len(handler.got) == before + 1


async def test_a_paused_call_holds_back_messages_and_the_window() -> None:
    made: list[Pausing] = []

    def pausing(call: Call) -> Handler:
        made.append(Pausing(call))
        return made[-1]

    limits = LinkLimits(stream_window_bytes=64 * 1024, queued_bytes_per_call=8 * MIB)
    server = GrpcServer({ECHO: pausing}, limits=limits)
    _, port = await server.listen("127.0.0.1")
    link = await connect("127.0.0.1", port, limits=limits)
    client = Client(link, ECHO)
    sent = [bytes([n]) * 30_000 for n in range(20)]
    for message in sent:
        client.call.send(message)
    client.call.half_close()

    await until(lambda: made and len(made[0].got) == 1)
    await until(lambda: client.call.queued > 400_000)
    handler = made[0]
    while len(handler.got) < len(sent):
        before = len(handler.got)
        assert not handler.half_closed
        handler.call.resume_reading()
        assert before == len(handler.got)  # never inside resume_reading
        await until(partial(one_more, handler, before))
    handler.call.resume_reading()

    assert Status.OK == (await client.end()).status
    assert sent == handler.got
    link.close()
    await server.close()


class Collecting(Handler):
    """Allows large messages and counts them."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.sizes: list[int] = []
        call.identified(message_bytes=3 * MIB)

    def on_message(self, message: bytes) -> None:
        self.call.send(b"%d" % len(message))


async def test_large_messages_come_out_of_a_common_budget() -> None:
    limits = LinkLimits(message_bytes=MIB, large_messages_bytes=3 * MIB)
    server = GrpcServer({ECHO: Collecting}, limits=limits)
    _, port = await server.listen("127.0.0.1")
    _, slow = await asyncio.open_connection("127.0.0.1", port)
    prefix = b"\x00" + (2 * MIB).to_bytes(4, "big")
    slow.write(h2.START + h2.call(ECHO) + h2.frame(h2.DATA, 0, 1, prefix))
    await until(lambda: server.large.left == MIB)
    link = await connect("127.0.0.1", port)
    refused, after = Client(link, ECHO), Client(link, ECHO)

    refused.call.send(bytes(2 * MIB))
    end = await refused.end()
    slow.transport.abort()
    await until(lambda: server.large.left == 3 * MIB)
    after.call.send(bytes(2 * MIB))

    assert Status.RESOURCE_EXHAUSTED == end.status
    assert "too many large messages at the same time" == end.message
    assert b"2097152" == await after.message()
    assert 3 * MIB == server.large.left
    link.close()
    await server.close()


async def test_a_message_above_what_a_known_peer_may_is_refused() -> None:
    server = GrpcServer({ECHO: Collecting})
    _, port = await server.listen("127.0.0.1")
    link = await connect("127.0.0.1", port)
    client = Client(link, ECHO)
    client.call.send(bytes(3 * MIB + 1))

    end = await client.end()

    assert Status.RESOURCE_EXHAUSTED == end.status
    assert "a message of 3145729 bytes is above the limit of 3145728" == end.message
    link.close()
    await server.close()


async def test_a_stranger_may_open_few_calls_at_a_time(plain: Place) -> None:
    link = await plain.connect()
    clients = [Client(link, STRANGER) for _ in range(9)]

    end = await clients[8].end()

    assert Status.RESOURCE_EXHAUSTED == end.status
    assert "too many calls before identification" == end.message
    assert not any(client.ends for client in clients[:8])
    link.close()


async def test_plaintext_beside_tls_carries_only_what_the_policy_allows(
    certificates: Certificates,
) -> None:
    asked: list[tuple[Peer, str]] = []

    def policy(peer: Peer, path: str) -> bool:
        asked.append((peer, path))
        return path == ECHO

    seen = Seen()
    server = raw_server(seen, tls=certificates.for_server())
    server.plaintext = policy
    _, port = await server.listen("127.0.0.1")
    plain = await connect("127.0.0.1", port)
    allowed, refused = Client(plain, ECHO), Client(plain, HOLD)
    allowed.call.send(b"x")
    assert b"x" == await allowed.message()
    end = await refused.end()
    tls = await connect("127.0.0.1", port, tls=certificates.for_client())
    over_tls = Client(tls, HOLD)
    await until(lambda: len(seen.calls) == 2)

    assert (Status.PERMISSION_DENIED, "this method needs TLS") == (end.status, end.message)
    assert [(ECHO, False), (HOLD, False)] == [(path, peer.tls) for peer, path in asked]
    assert [False, True] == [call.peer.tls for call in seen.calls]
    assert not over_tls.ends
    plain.close()
    tls.close()
    await server.close()


async def test_a_server_listens_on_several_addresses() -> None:
    server = raw_server(Seen())
    first = await server.listen("127.0.0.1")
    second = await server.listen("127.0.0.1")

    assert [first, second] == server.addresses
    await server.close()
    assert [] == server.addresses


async def test_a_known_connection_without_calls_is_closed_in_the_end() -> None:
    seen = Seen()
    server = raw_server(seen, limits=LinkLimits(idle_deadline_s=0.1, first_message_deadline_s=0.1))
    _, port = await server.listen("127.0.0.1")
    link = await connect("127.0.0.1", port)
    client = Client(link, ECHO)
    client.call.half_close()
    await client.end()

    await asyncio.wait_for(link.wait_closed(), 10)

    assert link.draining
    await until(lambda: server.connections == 0)
    await server.close()


def test_a_call_end_is_a_value() -> None:
    assert CallEnd(Status.OK) == CallEnd(Status.OK, "", (), EndedBy.STATUS)
