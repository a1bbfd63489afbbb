"""The server under the API: binding, TLS, bounds of a connection, stopping."""

import asyncio
import http.client
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from farhand.domain.limits import DEFAULTS
from farhand.errors import ConfigError, PortInUse
from farhand.http.server import Address, serving_http
from tests.integration.http.house import BEARER, eventually, house, served


@asynccontextmanager
async def talking(
    address: Address,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def said(address: Address, data: bytes) -> tuple[int, dict[str, object]]:
    """Send *data* and read one answer until the server closes."""
    async with talking(address) as (reader, writer):
        writer.write(data)
        async with asyncio.timeout(10):
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        assert b"application/problem+json" in head
        return int(head.split()[1]), json.loads(body)


async def test_any_port_is_a_real_port() -> None:
    async with house() as here, served(here) as (client, address):
        answer = await client.get("/healthz")

        assert 200 == answer.status_code
        assert 0 < address.port
        assert f"http://127.0.0.1:{address.port}" == address.url


def test_an_address_is_written_as_a_browser_takes_it() -> None:
    assert "https://[::1]:8443" == Address("::1", 8443, tls=True).url


async def test_a_port_in_use_is_told_and_the_first_goes_on() -> None:
    async with house() as here, served(here) as (client, address):
        with pytest.raises(PortInUse):
            async with serving_http(here.app, f"127.0.0.1:{address.port}"):
                pass

        assert 200 == (await client.get("/healthz")).status_code


@pytest.mark.parametrize(
    "bind", ["8080", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "198.51.100.7:0"]
)
async def test_an_address_that_cannot_be_is_refused(bind: str) -> None:
    async with house() as here:
        with pytest.raises(ConfigError):
            async with serving_http(here.app, bind):
                pass


async def test_a_certificate_that_is_not_there_is_told(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    async with house() as here:
        with pytest.raises(ConfigError):
            async with serving_http(here.app, "127.0.0.1:0", tls=(missing, missing)):
                pass


async def test_a_large_body_is_answered_and_the_connection_goes_on() -> None:
    async with house() as here, served(here) as (_, address):

        def ask() -> tuple[int, int]:
            connection = http.client.HTTPConnection(address.host, address.port, timeout=10)
            headers = {**BEARER, "Content-Type": "application/json"}
            connection.request("POST", "/api/v1/jobs", b" " * 10_000_000, headers)
            first = connection.getresponse()
            first.read()
            connection.request("GET", "/api/v1/jobs", headers=headers)
            second = connection.getresponse()
            second.read()
            connection.close()
            return first.status, second.status

        assert (413, 200) == await asyncio.to_thread(ask)


async def test_a_head_that_is_too_long_is_refused() -> None:
    limits = replace(DEFAULTS, head_bytes=1000)
    async with house() as here, served(here, limits) as (_, address):
        one = await said(address, b"GET / HTTP/1.1\r\nX: " + b"x" * 2000)
        many = await said(address, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 300)

        assert (431, "head-too-large") == (one[0], one[1]["code"])
        assert (431, "head-too-large") == (many[0], many[1]["code"])


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nX"])
async def test_a_head_that_does_not_come_ends_the_connection(begun: bytes) -> None:
    limits = replace(DEFAULTS, head_s=0.05)
    async with house() as here, served(here, limits) as (_, address):
        status, problem = await said(address, begun)

        assert (408, "timeout") == (status, problem["code"])


async def test_a_body_that_does_not_come_ends_the_request() -> None:
    async with house(replace(DEFAULTS, body_s=0.05)) as here, served(here) as (_, address):
        head = (
            b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: 10\r\n"
            b"Authorization: " + BEARER["Authorization"].encode() + b"\r\n\r\n{"
        )
        status, problem = await said(address, head)

        assert (400, "invalid-body") == (status, problem["code"])


@pytest.mark.parametrize("noise", [b"\x16\x03\x01\x00\xa5\x01", b"HELO\r\n\r\n", b"\xff" * 100])
async def test_what_is_no_http_is_refused(noise: bytes) -> None:
    async with house() as here, served(here) as (_, address):
        status, problem = await said(address, noise)

        assert (400, "bad-request") == (status, problem["code"])


async def test_a_body_in_broken_pieces_is_refused() -> None:
    async with house() as here, served(here) as (_, address):
        head = (
            b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: application/json\r\nAuthorization: "
        )
        bearer = BEARER["Authorization"].encode()
        status, problem = await said(address, head + bearer + b"\r\n\r\nzz\r\n\r\n")

        assert (400, "bad-request") == (status, problem["code"])


async def test_a_connection_too_many_is_refused() -> None:
    limits = replace(DEFAULTS, connections=1)
    async with house() as here, served(here, limits) as (_, address), talking(address):
        status, problem = await said(address, b"")

        assert (503, "overloaded") == (status, problem["code"])


async def test_a_waiting_caller_who_leaves_is_not_waited_for() -> None:
    body = {"targets": {"all": True}, "argv": ["true"]}
    async with house(replace(DEFAULTS, requests=1)) as here, served(here) as (client, _):
        await here.joined("web-1")
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(client.post("/api/v1/jobs?wait_s=60", json=body))
            await eventually(here.tenant.store.jobs, lambda page: page.items)
            during = await client.get("/api/v1/version")
            asked.cancel()
        after = await eventually(
            lambda: client.get("/api/v1/version"), lambda answer: answer.status_code == 200
        )

        assert [503, 200] == [during.status_code, after.status_code]


async def test_a_stop_waits_for_an_answer_under_way_within_its_budget() -> None:
    limits = replace(DEFAULTS, stop_s=1.0)
    async with house() as here:
        await here.joined("web-1")
        _, run = await here.submitted(targets={"all": True})
        await here.started(run)
        await here.printed(run, b"x" * (8 << 20))
        async with served(here, limits) as (_, address), talking(address) as (reader, writer):
            writer.write(
                f"GET /api/v1/runs/{run}/output HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: {BEARER['Authorization']}\r\n\r\n".encode()
            )
            await reader.readline()
            began = asyncio.get_running_loop().time()
        took = asyncio.get_running_loop().time() - began

        assert took < 5


async def test_an_idle_connection_does_not_hold_up_a_stop() -> None:
    async with house() as here:
        async with served(here) as (_, address), talking(address):
            began = asyncio.get_running_loop().time()
        took = asyncio.get_running_loop().time() - began

        assert took < 2


async def test_tls_is_served(certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    async with house() as here:
        async with serving_http(here.app, "127.0.0.1:0", tls=(str(chain), str(key))) as address:
            trusted = ssl.create_default_context(cafile=str(chain))
            async with httpx.AsyncClient(base_url=address.url, verify=trusted) as client:
                answer = await client.get("/healthz")

        assert 200 == answer.status_code
        assert address.url.startswith("https://")
