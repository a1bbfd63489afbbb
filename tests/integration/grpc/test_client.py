"""The client's own duties: connecting, failing to, proxies, TLS names, and leaving."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from farhand.wire.grpc import (
    CallEnded,
    ConnectFailed,
    EndedBy,
    HttpProxy,
    LinkClosed,
    LinkLimits,
    ProxyRefused,
    Status,
    TimerWheel,
    connect,
)
from tests.integration.grpc import frames as h2
from tests.integration.grpc.world import (
    ECHO,
    HOLD,
    Certificates,
    Client,
    Place,
    Seen,
    raw_server,
)
from tests.until import until

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[int]:
    """A server that is not one of ours; every connection of it is gone at the end."""
    talking: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(writer)
        try:
            await talk(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            talking.discard(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
        await until(lambda: not talking)


class Proxy:
    """A tiny CONNECT proxy."""

    def __init__(self, *, secret: str | None = None) -> None:
        self.secret = secret
        self.heads: list[str] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self.secret is not None:
            wanted = base64.b64encode(self.secret.encode()).decode()
            if f"Proxy-Authorization: Basic {wanted}" not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
        host, port = head.split()[1].rsplit(":", 1)
        there_reader, there = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.copy(reader, there))
            tasks.create_task(self.copy(there_reader, writer))

    async def copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            pass
        writer.close()


async def echoes(link: object, client: Client) -> bytes:
    client.call.send(b"x")
    return await client.message()


async def test_a_call_goes_through_a_proxy(place: Place) -> None:
    proxy = Proxy()
    async with listening(proxy.talk) as port:
        tls = place.certificates.for_client() if place.tls else None
        through = HttpProxy("127.0.0.1", port)
        link = await connect("localhost", place.port, tls=tls, proxy=through)

        assert b"x" == await echoes(link, Client(link, ECHO))
        assert proxy.heads[0].startswith(f"CONNECT localhost:{place.port} HTTP/1.1\r\n")
        link.close()
        await link.wait_closed()
        await until(lambda: place.server.connections == 0)


async def test_a_proxy_gets_the_password_that_it_wants(plain: Place) -> None:
    proxy = Proxy(secret="me:se:cret")
    async with listening(proxy.talk) as port:
        through = HttpProxy("127.0.0.1", port, username="me", password="se:cret")
        link = await connect("127.0.0.1", plain.port, proxy=through)

        assert b"x" == await echoes(link, Client(link, ECHO))
        link.close()
        await link.wait_closed()
        await until(lambda: plain.server.connections == 0)


async def test_a_proxy_that_refuses_is_named_with_its_answer(plain: Place) -> None:
    proxy = Proxy(secret="other")
    async with listening(proxy.talk) as port:
        with pytest.raises(ProxyRefused) as caught:
            await connect("127.0.0.1", plain.port, proxy=HttpProxy("127.0.0.1", port))

    assert "407 Proxy Authentication Required" in str(caught.value)
    assert f"127.0.0.1:{port}" in str(caught.value)


async def test_a_proxy_that_speaks_something_else_is_refused() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await reader.read()

    async with listening(talk) as port:
        with pytest.raises(ProxyRefused) as caught:
            await connect("127.0.0.1", 9, proxy=HttpProxy("127.0.0.1", port))

    assert "does not answer like an HTTP proxy" in str(caught.value)


async def test_a_closed_port_fails_with_its_address() -> None:
    async with listening(Proxy().talk) as port:
        pass

    with pytest.raises(ConnectFailed) as caught:
        await connect("127.0.0.1", port)

    assert str(caught.value).startswith(f"127.0.0.1:{port}: ")
    assert "connect-failed" == caught.value.code


async def test_a_server_that_says_nothing_fails_at_the_deadline() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(talk) as port:
        with pytest.raises(ConnectFailed) as caught:
            await connect("127.0.0.1", port, limits=LinkLimits(connect_deadline_s=0.1))

    assert f"127.0.0.1:{port}: no answer in 0.1 s" == str(caught.value)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x00" * 100], ids=["http", "eof", "0"]
)
async def test_a_server_of_another_kind_fails(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)

    async with listening(talk) as port:
        with pytest.raises(ConnectFailed):
            await connect("127.0.0.1", port)


async def test_a_certificate_for_another_name_is_refused(certificates: Certificates) -> None:
    server = raw_server(Seen(), tls=certificates.for_server())
    _, port = await server.listen("127.0.0.1")

    with pytest.raises(ConnectFailed) as caught:
        await connect(
            "127.0.0.1", port, tls=certificates.for_client(), server_hostname="elsewhere.example"
        )

    assert "the certificate was not accepted" in str(caught.value)
    assert "elsewhere.example" in str(caught.value)
    await server.close()


async def test_plaintext_to_a_tls_port_and_the_other_way_fail(certificates: Certificates) -> None:
    seen = Seen()
    with_tls, without = raw_server(seen, tls=certificates.for_server()), raw_server(seen)
    _, tls_port = await with_tls.listen("127.0.0.1")
    _, plain_port = await without.listen("127.0.0.1")

    with pytest.raises(ConnectFailed):
        await connect("127.0.0.1", tls_port)
    with pytest.raises(ConnectFailed):
        await connect("127.0.0.1", plain_port, tls=certificates.for_client())

    await with_tls.close()
    await without.close()


async def test_mutual_tls_shows_the_server_who_calls(certificates: Certificates) -> None:
    seen = Seen()
    server = raw_server(seen, tls=certificates.for_server(demand_client=True))
    _, port = await server.listen("127.0.0.1")
    link = await connect("localhost", port, tls=certificates.for_client(known=True))

    assert b"x" == await echoes(link, Client(link, ECHO))

    peer = seen.calls[0].peer
    assert peer.tls
    assert peer.certificate is not None
    assert b"client" in peer.certificate
    link.close()
    await server.close()


async def test_mutual_tls_refuses_who_has_no_certificate(certificates: Certificates) -> None:
    server = raw_server(Seen(), tls=certificates.for_server(demand_client=True))
    _, port = await server.listen("127.0.0.1")

    with pytest.raises(ConnectFailed):
        await connect("localhost", port, tls=certificates.for_client())

    await until(lambda: server.connections == 0)
    assert not server.strangers
    await server.close()


async def test_a_deadline_that_the_server_does_not_keep_is_kept_here() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(h2.frame(h2.SETTINGS, 0, 0))
        await reader.read()

    async with listening(deaf) as port:
        link = await connect("127.0.0.1", port)
        client = Client(link, HOLD, timeout_s=0.05)

        end = await client.end()

        assert (Status.DEADLINE_EXCEEDED, EndedBy.DEADLINE) == (end.status, end.by)
        link.close()
        await link.wait_closed()


async def test_a_server_that_vanishes_is_noticed_by_keepalive() -> None:
    async def frozen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(h2.frame(h2.SETTINGS, 0, 0))
        await reader.read()

    limits = LinkLimits(keepalive_interval_s=0.1, keepalive_timeout_s=0.1)
    async with listening(frozen) as port:
        link = await connect("127.0.0.1", port, limits=limits)
        client = Client(link, HOLD)

        end = await client.end()

        assert (Status.UNAVAILABLE, EndedBy.LINK) == (end.status, end.by)
        assert "the peer does not answer" == await link.wait_closed()


async def test_keepalive_leaves_a_living_silent_peer_alone(plain: Place) -> None:
    limits = LinkLimits(keepalive_interval_s=0.05, keepalive_timeout_s=0.05)
    link = await plain.connect(limits)
    client = Client(link, HOLD)
    before = link.reads

    await until(lambda: link.reads >= before + 4)

    assert not client.ends
    link.close()


async def test_closing_ends_calls_here_and_refuses_new_ones(place: Place) -> None:
    link = await place.connect()
    client = Client(link, HOLD)
    await until(lambda: place.seen.calls)

    link.close()

    assert [(Status.CANCELLED, EndedBy.HERE)] == [(end.status, end.by) for end in client.ends]
    with pytest.raises(LinkClosed):
        Client(link, HOLD)
    with pytest.raises(CallEnded):
        client.call.send(b"x")
    assert "the connection was closed here" == await link.wait_closed()
    await until(lambda: place.server.connections == 0)
    assert [EndedBy.PEER] == [end.by for end in place.seen.ended(HOLD)]


async def test_a_factory_that_raises_leaves_no_call_behind(plain: Place) -> None:
    link = await plain.connect()

    def broken(call: object) -> Client:
        raise RuntimeError("no handler")

    with pytest.raises(RuntimeError):
        link.open(ECHO, broken)

    await until(lambda: link.calls == 0)
    assert b"x" == await echoes(link, Client(link, ECHO))
    link.close()


@pytest.mark.parametrize(
    "metadata",
    [(("grpc-timeout", "1S"),), ((":path", "/"),), (("k", "a\nb"),), (("k", "ü"),), (("", "v"),)],
)
async def test_metadata_that_cannot_be_sent_is_refused(
    plain: Place, metadata: tuple[tuple[str, str]]
) -> None:
    link = await plain.connect()

    with pytest.raises(ValueError, match="metadata"):
        link.open(ECHO, lambda _: Client(link, ECHO), metadata=metadata)

    assert 0 == link.calls
    link.close()


async def test_connections_can_share_one_timer(plain: Place) -> None:
    timers = TimerWheel(asyncio.get_running_loop())
    links = [await connect("127.0.0.1", plain.port, timers=timers) for _ in range(3)]
    clients = [Client(link, HOLD, timeout_s=0.05) for link in links]

    ends = [(await client.end()).status for client in clients]

    assert [Status.DEADLINE_EXCEEDED] * 3 == ends
    for link in links:
        link.close()
