"""This client against servers that people use: grpcio (blocking and asyncio) and grpclib."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpclib.const
import grpclib.encoding.base
import grpclib.exceptions
import grpclib.server
import grpclib.utils
import pytest

from farhand.wire.grpc import Connection, EndedBy, Status, connect
from tests.integration.grpc.world import (
    ECHO,
    HEADERS,
    HOLD,
    MESSAGE,
    MIB,
    ROOMY,
    Certificates,
    Client,
)
from tests.until import until

OPTIONS = [
    ("grpc.max_receive_message_length", 64 * MIB),
    ("grpc.max_send_message_length", 64 * MIB),
]
BIG = os.urandom(8 * MIB)


class Shared:
    """What the servers' handlers saw, in whatever thread."""

    def __init__(self) -> None:
        self.cancelled = 0


# -- the three servers ---------------------------------------------------------------------------


def handlers(behaviours: dict[str, Any]) -> grpc.GenericRpcHandler:
    methods = {
        path.rsplit("/", 1)[1]: grpc.stream_stream_rpc_method_handler(behaviour)
        for path, behaviour in behaviours.items()
    }
    return grpc.method_handlers_generic_handler("test.Raw", methods)


def key_pair(certificates: Certificates) -> grpc.ServerCredentials:
    pair = (certificates.server_key.read_bytes(), certificates.server.read_bytes())
    return grpc.ssl_server_credentials([pair])


def add_port(server: Any, tls: Certificates | None) -> int:
    port: int = (
        server.add_insecure_port("127.0.0.1:0")
        if tls is None
        else server.add_secure_port("127.0.0.1:0", key_pair(tls))
    )
    return port


@asynccontextmanager
async def blocking_server(tls: Certificates | None, shared: Shared) -> AsyncIterator[int]:
    def echo(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for message in messages:
            if message == b"fail":
                context.set_trailing_metadata((("kept-bin", b"\x00\xff"),))
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, MESSAGE)
            yield message

    def hold(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for _ in messages:
            yield b"held"
        return

    def headers(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.send_initial_metadata((("first", "yes"),))
        for name, value in context.invocation_metadata():
            yield f"{name}={value!r}".encode()

    pool = ThreadPoolExecutor(max_workers=8)
    server = grpc.server(pool, options=OPTIONS)
    server.add_generic_rpc_handlers((handlers({ECHO: echo, HOLD: hold, HEADERS: headers}),))
    port = add_port(server, tls)
    server.start()
    try:
        yield port
    finally:
        await asyncio.to_thread(server.stop(0).wait)
        pool.shutdown()


@asynccontextmanager
async def aio_server(tls: Certificates | None, shared: Shared) -> AsyncIterator[int]:
    async def echo(messages: Any, context: grpc.aio.ServicerContext) -> None:
        while (message := await context.read()) is not grpc.aio.EOF:
            if message == b"fail":
                context.set_trailing_metadata((("kept-bin", b"\x00\xff"),))
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, MESSAGE)
            await context.write(message)

    async def hold(messages: Any, context: grpc.aio.ServicerContext) -> None:
        try:
            await context.write(b"held")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            shared.cancelled += 1
            raise

    async def headers(messages: Any, context: grpc.aio.ServicerContext) -> None:
        await context.send_initial_metadata((("first", "yes"),))
        for name, value in context.invocation_metadata() or ():
            await context.write(f"{name}={value!r}".encode())

    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((handlers({ECHO: echo, HOLD: hold, HEADERS: headers}),))
    port = add_port(server, tls)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


class Identity(grpclib.encoding.base.CodecBase):
    """grpclib's codec for bytes as they are."""

    __content_subtype__ = "proto"

    def encode(self, message: bytes, message_type: type) -> bytes:
        return message

    def decode(self, data: bytes, message_type: type) -> bytes:
        return data


class GrpclibService:
    """The same three methods."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    async def echo(self, stream: Any) -> None:
        async for message in stream:
            if message == b"fail":
                raise grpclib.exceptions.GRPCError(
                    grpclib.const.Status.FAILED_PRECONDITION, MESSAGE
                )
            await stream.send_message(message)

    async def hold(self, stream: Any) -> None:
        try:
            await stream.send_message(b"held")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.shared.cancelled += 1
            raise

    async def headers(self, stream: Any) -> None:
        await stream.send_initial_metadata(metadata={"first": "yes"})
        for name, value in stream.metadata.items():
            await stream.send_message(f"{name}={value!r}".encode())

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        kind = grpclib.const.Cardinality.STREAM_STREAM
        return {
            ECHO: grpclib.const.Handler(self.echo, kind, bytes, bytes),
            HOLD: grpclib.const.Handler(self.hold, kind, bytes, bytes),
            HEADERS: grpclib.const.Handler(self.headers, kind, bytes, bytes),
        }


@asynccontextmanager
async def grpclib_server(tls: Certificates | None, shared: Shared) -> AsyncIterator[int]:
    server = grpclib.server.Server([GrpclibService(shared)], codec=Identity())
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(sock=listener, ssl=None if tls is None else tls.for_server())
    try:
        yield listener.getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


SERVERS = {"grpcio": blocking_server, "grpc.aio": aio_server, "grpclib": grpclib_server}


@dataclass
class Stock:
    """A stock server and our connection to it."""

    kind: str
    link: Connection
    shared: Shared


@pytest.fixture(params=["plaintext", "tls"])
def tls(request: pytest.FixtureRequest, certificates: Certificates) -> Certificates | None:
    return certificates if request.param == "tls" else None


@pytest.fixture(params=SERVERS)
async def stock(request: pytest.FixtureRequest, tls: Certificates | None) -> AsyncIterator[Stock]:
    make: Callable[..., Any] = SERVERS[request.param]
    shared = Shared()
    async with make(tls, shared) as port:
        context = None if tls is None else tls.for_client()
        link = await connect("localhost", port, tls=context, limits=ROOMY)
        yield Stock(request.param, link, shared)
        link.close()
        await link.wait_closed()


# -- what holds for each -------------------------------------------------------------------------


async def test_messages_of_0_1_and_8_mib_come_back_whole(stock: Stock) -> None:
    client = Client(stock.link, ECHO)
    for message in (b"", b"1", BIG):
        client.call.send(message)
        assert message == await client.message()
    client.call.half_close()

    end = await client.end()

    assert (Status.OK, EndedBy.STATUS) == (end.status, end.by)
    assert 1 == len(client.ends)


async def test_a_status_comes_with_its_message(stock: Stock) -> None:
    client = Client(stock.link, ECHO)
    client.call.send(b"fail")

    end = await client.end()

    assert (Status.FAILED_PRECONDITION, MESSAGE) == (end.status, end.message)


@pytest.mark.parametrize("stock", ["grpcio", "grpc.aio"], indirect=True)
async def test_binary_trailers_arrive(stock: Stock) -> None:
    client = Client(stock.link, ECHO)
    client.call.send(b"fail")

    end = await client.end()

    assert ("kept-bin", b"\x00\xff") in end.trailers


async def test_metadata_goes_both_ways(stock: Stock) -> None:
    client = Client(stock.link, HEADERS, metadata=(("k", "v"), ("raw-bin", b"\x00\x01")))
    client.call.half_close()
    await client.end()
    got = [client.messages.get_nowait() for _ in range(client.messages.qsize())]

    assert client.headers is not None
    assert ("first", "yes") in client.headers
    assert {b"k='v'", b"raw-bin=b'\\x00\\x01'"} <= set(got)


async def test_an_unknown_method_is_unimplemented(stock: Stock) -> None:
    client = Client(stock.link, "/no.Such/Method")
    client.call.half_close()

    assert Status.UNIMPLEMENTED == (await client.end()).status


async def test_a_cancel_ends_the_call_here_and_there(stock: Stock) -> None:
    client = Client(stock.link, HOLD)
    client.call.send(b"x")
    assert b"held" == await client.message()

    client.call.cancel("enough")

    end = await client.end()
    assert (Status.CANCELLED, "enough", EndedBy.HERE) == (end.status, end.message, end.by)
    if stock.kind != "grpcio":
        await until(lambda: stock.shared.cancelled == 1)


async def test_a_deadline_ends_the_call(stock: Stock) -> None:
    client = Client(stock.link, HOLD, timeout_s=0.1)
    client.call.send(b"x")

    end = await client.end()

    assert Status.DEADLINE_EXCEEDED == end.status


@pytest.mark.parametrize("stock", ["grpc.aio", "grpclib"], indirect=True)
async def test_100_calls_share_the_connection(stock: Stock) -> None:
    clients = [Client(stock.link, ECHO) for _ in range(100)]
    for n, client in enumerate(clients):
        client.call.send(b"%d" % n)
    echoed = [await client.message() for client in clients]
    for client in clients:
        client.call.half_close()
    ends = {(await client.end()).status for client in clients}

    assert [b"%d" % n for n in range(100)] == echoed
    assert {Status.OK} == ends
    assert 0 == stock.link.calls
