"""Clients that people use, against this server: grpcio (blocking and asyncio) and grpclib."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpclib.client
import grpclib.const
import grpclib.encoding.base
import grpclib.exceptions
import pytest

from farhand.wire.grpc import EndedBy, Status
from tests.integration.grpc.world import (
    ECHO,
    FLOOD,
    HEADERS,
    HOLD,
    MESSAGE,
    MIB,
    TRAILERS,
    Place,
)
from tests.until import until

OPTIONS = [
    ("grpc.max_receive_message_length", 64 * MIB),
    ("grpc.max_send_message_length", 64 * MIB),
]
BIG = os.urandom(8 * MIB)


def credentials(place: Place) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(place.certificates.ca.read_bytes())


def blocking_channel(place: Place) -> grpc.Channel:
    if place.tls:
        return grpc.secure_channel(place.target, credentials(place), options=OPTIONS)
    return grpc.insecure_channel(place.target, options=OPTIONS)


def aio_channel(place: Place) -> grpc.aio.Channel:
    if place.tls:
        return grpc.aio.secure_channel(place.target, credentials(place), options=OPTIONS)
    return grpc.aio.insecure_channel(place.target, options=OPTIONS)


async def blocking(place: Place, use: Callable[[grpc.Channel], Any]) -> Any:
    def run() -> Any:
        with blocking_channel(place) as channel:
            return use(channel)

    return await asyncio.to_thread(run)


# -- grpcio, blocking ----------------------------------------------------------------------------


async def test_grpcio_streams_both_ways_with_8_mib_and_empty_messages(place: Place) -> None:
    sent = [b"a", b"", BIG, b"b" * 70_000]

    got = await blocking(place, lambda channel: list(channel.stream_stream(ECHO)(iter(sent))))

    assert sent == got
    assert [Status.OK] == [end.status for end in place.seen.ended(ECHO)]


async def test_grpcio_makes_a_unary_call(place: Place) -> None:
    got = await blocking(place, lambda channel: channel.unary_unary(ECHO)(b"one", timeout=10))

    assert got == b"one"


async def test_grpcio_reads_status_message_and_trailers(place: Place) -> None:
    def use(channel: grpc.Channel) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as caught:
            list(channel.stream_stream(ECHO)(iter([b"fail"])))
        return caught.value

    error = await blocking(place, use)

    assert grpc.StatusCode.FAILED_PRECONDITION == error.code()
    assert MESSAGE == error.details()
    assert set(TRAILERS) <= {(item.key, item.value) for item in error.trailing_metadata()}


async def test_grpcio_gets_its_metadata_through(place: Place) -> None:
    metadata = (("k", "v" * 3000), ("raw-bin", b"\x00\xfe"), ("k", "again"))

    got = await blocking(
        place, lambda channel: list(channel.stream_stream(HEADERS)(iter([]), metadata=metadata))
    )

    assert {b"k='" + b"v" * 3000 + b"'", b"raw-bin=b'\\x00\\xfe'", b"k='again'"} <= set(got)


async def test_grpcio_learns_that_a_method_is_unknown(place: Place) -> None:
    def use(channel: grpc.Channel) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/no.Such/Method")(b"", timeout=10)
        return caught.value

    error = await blocking(place, use)

    assert grpc.StatusCode.UNIMPLEMENTED == error.code()
    assert "no method /no.Such/Method" == error.details()


async def test_a_compressed_message_is_refused_as_unimplemented(place: Place) -> None:
    def use(channel: grpc.Channel) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(ECHO)(b"x" * 5000, compression=grpc.Compression.Gzip, timeout=10)
        return caught.value

    error = await blocking(place, use)

    assert grpc.StatusCode.UNIMPLEMENTED == error.code()


async def test_a_message_above_the_limit_is_refused_as_exhausted(place: Place) -> None:
    def use(channel: grpc.Channel) -> grpc.RpcError:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(ECHO)(bytes(16 * MIB + 1), timeout=10)
        return caught.value

    error = await blocking(place, use)

    assert grpc.StatusCode.RESOURCE_EXHAUSTED == error.code()
    assert [EndedBy.LIMIT] == [end.by for end in place.seen.ended(ECHO)]


# -- grpcio, asyncio -----------------------------------------------------------------------------


async def test_grpc_aio_plays_ping_pong_with_8_mib(place: Place) -> None:
    async with aio_channel(place) as channel:
        call = channel.stream_stream(ECHO)()
        for _ in range(2):
            await call.write(BIG)
            assert BIG == await call.read()
        await call.done_writing()

        assert grpc.aio.EOF == await call.read()
        assert grpc.StatusCode.OK == await call.code()


async def test_grpc_aio_gets_the_headers_before_any_message(place: Place) -> None:
    async with aio_channel(place) as channel:
        call = channel.stream_stream(HOLD)()

        await asyncio.wait_for(call.initial_metadata(), 10)

        assert not call.done()
        call.cancel()


async def test_a_cancel_of_grpc_aio_ends_the_handler_once(place: Place) -> None:
    async with aio_channel(place) as channel:
        call = channel.stream_stream(ECHO)()
        await call.write(b"x")
        await call.read()
        call.cancel()

        await until(lambda: place.seen.ended(ECHO))

        assert [(Status.CANCELLED, EndedBy.PEER)] == [
            (end.status, end.by) for end in place.seen.ended(ECHO)
        ]


async def test_grpc_aio_learns_that_the_server_cancelled(place: Place) -> None:
    async with aio_channel(place) as channel:
        call = channel.stream_stream(ECHO)()
        await call.write(b"cancel")

        assert grpc.StatusCode.CANCELLED == await asyncio.wait_for(call.code(), 10)
        assert [EndedBy.HERE] == [end.by for end in place.seen.ended(ECHO)]


async def test_the_server_keeps_the_deadline_of_grpc_aio(place: Place) -> None:
    async with aio_channel(place) as channel:
        call = channel.stream_stream(HOLD)(timeout=0.2)

        assert grpc.StatusCode.DEADLINE_EXCEEDED == await asyncio.wait_for(call.code(), 10)
        await until(lambda: place.seen.ended(HOLD))
        assert place.seen.ended(HOLD)[0].by in {EndedBy.DEADLINE, EndedBy.PEER}


async def test_500_streams_share_one_connection(place: Place) -> None:
    async with aio_channel(place) as channel:
        calls = [channel.stream_stream(ECHO)() for _ in range(500)]
        await asyncio.gather(*(call.write(b"%d" % n) for n, call in enumerate(calls)))
        echoed = await asyncio.gather(*(call.read() for call in calls))
        most = (place.server.connections, place.server.calls)
        await asyncio.gather(*(call.done_writing() for call in calls))
        codes = [await call.code() for call in calls]

    assert [b"%d" % n for n in range(500)] == echoed
    assert (1, 500) == most
    assert {grpc.StatusCode.OK} == set(codes)


async def test_a_reader_that_stops_costs_a_bounded_queue_and_nobody_else(place: Place) -> None:
    async with aio_channel(place) as channel:
        stuck = channel.stream_stream(FLOOD)()
        await stuck.write(b"65536")
        await until(lambda: place.seen.calls and place.seen.calls[0].queued > 0)
        other = channel.stream_stream(ECHO)()
        for n in range(20):
            await other.write(b"%d" % n)
            assert b"%d" % n == await asyncio.wait_for(other.read(), 10)

        flooding = place.seen.calls[0]
        assert 0 < flooding.queued <= place.server.limits.writable_bytes_per_call + 2 * 65_536
        assert not flooding.writable
        stuck.cancel()
        other.cancel()


async def test_a_running_call_outlives_the_goodbye_and_a_new_one_is_refused(place: Place) -> None:
    async with aio_channel(place) as channel:
        call = channel.stream_stream(ECHO)()
        await call.write(b"x")
        await call.read()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(place.server.drain(grace_s=10))
            await until(lambda: not place.server.addresses)
            await call.write(b"y")
            assert b"y" == await asyncio.wait_for(call.read(), 10)
            await call.done_writing()
            assert grpc.StatusCode.OK == await call.code()

        assert 0 == place.server.connections
        refused = channel.stream_stream(ECHO)()
        assert grpc.StatusCode.UNAVAILABLE == await asyncio.wait_for(refused.code(), 10)


async def test_after_the_grace_a_call_is_cut_with_unavailable(place: Place) -> None:
    async with aio_channel(place) as channel:
        call = channel.stream_stream(HOLD)()
        await call.initial_metadata()

        await place.server.drain(grace_s=0.05)

        assert grpc.StatusCode.UNAVAILABLE == await asyncio.wait_for(call.code(), 10)
        assert [EndedBy.LINK] == [end.by for end in place.seen.ended(HOLD)]


# -- grpclib -------------------------------------------------------------------------------------


class Identity(grpclib.encoding.base.CodecBase):
    """grpclib's codec for bytes as they are."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, message_type: type) -> bytes:
        return message

    def decode(self, data: bytes, message_type: type) -> bytes:
        return data


@asynccontextmanager
async def grpclib_stream(place: Place, path: str, **options: Any) -> AsyncIterator[Any]:
    tls: ssl.SSLContext | None = place.certificates.for_client() if place.tls else None
    channel = grpclib.client.Channel("localhost", place.port, codec=Identity(), ssl=tls)
    kind = grpclib.const.Cardinality.STREAM_STREAM
    try:
        async with channel.request(path, kind, bytes, bytes, **options) as stream:
            yield stream
    finally:
        channel.close()


async def collect(stream: Any) -> list[bytes]:
    return [message async for message in stream]


async def test_grpclib_streams_both_ways_with_8_mib(place: Place) -> None:
    async with grpclib_stream(place, ECHO) as stream, asyncio.TaskGroup() as tasks:
        await stream.send_request()
        got = tasks.create_task(collect(stream))
        for message in (b"a", BIG):
            await stream.send_message(message)
        await stream.end()

    assert [b"a", BIG] == got.result()


async def exchange(place: Place, path: str, *messages: bytes) -> None:
    async with grpclib_stream(place, path) as stream:
        await stream.send_request()
        for message in messages:
            await stream.send_message(message)
        await stream.recv_message()


async def test_grpclib_reads_status_and_message(place: Place) -> None:
    with pytest.raises(grpclib.exceptions.GRPCError) as caught:
        await exchange(place, ECHO, b"fail")

    assert grpclib.const.Status.FAILED_PRECONDITION == caught.value.status
    assert MESSAGE == caught.value.message


async def test_grpclib_learns_that_a_method_is_unknown(place: Place) -> None:
    with pytest.raises(grpclib.exceptions.GRPCError) as caught:
        await exchange(place, "/no.Such/Method")

    assert grpclib.const.Status.UNIMPLEMENTED == caught.value.status


async def test_a_cancel_of_grpclib_ends_the_handler(place: Place) -> None:
    async with grpclib_stream(place, ECHO) as stream:
        await stream.send_message(b"x")
        assert b"x" == await stream.recv_message()
        await stream.cancel()

    await until(lambda: place.seen.ended(ECHO))
    assert [EndedBy.PEER] == [end.by for end in place.seen.ended(ECHO)]


async def test_grpclib_sends_metadata(place: Place) -> None:
    async with grpclib_stream(place, HEADERS, metadata={"k": "v", "raw-bin": b"\x01"}) as stream:
        await stream.send_request()
        await stream.end()
        got = await collect(stream)

    assert {b"k='v'", b"raw-bin=b'\\x01'"} <= set(got)
