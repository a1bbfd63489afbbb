"""The health service, asked by grpcio as load balancers and probes do."""

import asyncio

import grpc

from tests.integration.grpc.world import Place

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


def asking(name: str) -> bytes:
    return b"\n" + bytes((len(name),)) + name.encode() if name else b""


async def test_the_server_as_a_whole_serves(plain: Place) -> None:
    async with grpc.aio.insecure_channel(plain.target) as channel:
        assert SERVING == await channel.unary_unary(CHECK)(b"", timeout=10)


async def test_a_service_serves_as_it_was_told(plain: Place) -> None:
    plain.server.health.set("a.B", serving=True)
    plain.server.health.set("c.D", serving=False)
    async with grpc.aio.insecure_channel(plain.target) as channel:
        check = channel.unary_unary(CHECK)

        assert SERVING == await check(asking("a.B"), timeout=10)
        assert NOT_SERVING == await check(asking("c.D"), timeout=10)


async def code_of(plain: Place, request: bytes) -> tuple[grpc.StatusCode, str | None]:
    async with grpc.aio.insecure_channel(plain.target) as channel:
        call = channel.unary_unary(CHECK)(request, timeout=10)
        return await call.code(), await call.details()


async def test_an_unknown_service_is_not_found(plain: Place) -> None:
    assert (grpc.StatusCode.NOT_FOUND, "unknown service") == await code_of(plain, asking("no"))


async def test_what_is_no_request_is_an_invalid_argument(plain: Place) -> None:
    for request in (b"\x00", b"\n\x05abc", b"\n", b"\n\x01\xff", b"\n\x81" + bytes(200)):
        code, _ = await code_of(plain, request)

        assert grpc.StatusCode.INVALID_ARGUMENT == code


async def test_a_watch_hears_every_change_and_the_end(plain: Place) -> None:
    async with grpc.aio.insecure_channel(plain.target) as channel:
        watch = channel.unary_stream(WATCH)(asking("a.B"))
        heard = [await asyncio.wait_for(watch.read(), 10)]
        plain.server.health.set("a.B", serving=True)
        heard.append(await asyncio.wait_for(watch.read(), 10))
        plain.server.health.set("a.B", serving=True)  # no change, no message
        plain.server.health.set("a.B", serving=False)
        heard.append(await asyncio.wait_for(watch.read(), 10))

        await plain.server.drain(grace_s=10)

        assert [SERVICE_UNKNOWN, SERVING, NOT_SERVING] == heard
        assert grpc.StatusCode.UNAVAILABLE == await asyncio.wait_for(watch.code(), 10)


async def test_a_watch_that_is_cancelled_is_forgotten(plain: Place) -> None:
    async with grpc.aio.insecure_channel(plain.target) as channel:
        watch = channel.unary_stream(WATCH)(b"")
        assert SERVING == await asyncio.wait_for(watch.read(), 10)
        watch.cancel()

        await plain.server.drain(grace_s=10)

        assert 0 == plain.server.connections
