"""Peers that are slow or stop cost a bounded amount, are let go, and hold up nobody else."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvloop

from farhand.domain.limits import DEFAULTS, MIB
from farhand.http import connection
from farhand.http.counts import Counts
from farhand.http.server import Address, serving_http
from tests.integration.http.house import BEARER, House, eventually, house, served

AUTHORIZED = b"Host: x\r\nAuthorization: " + BEARER["Authorization"].encode() + b"\r\n"
IMPATIENT = replace(DEFAULTS, reader_stuck_s=0.2)

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Both loops: their transports are not the same, and the product runs on the second."""

    def asyncio_run(main: Coroutine[Any, Any, None]) -> None:
        asyncio.run(main)

    def uvloop_run(main: Coroutine[Any, Any, None]) -> None:
        uvloop.run(main)

    return uvloop_run if request.param == "uvloop" else asyncio_run


def counts(here: House) -> Counts:
    found: Counts = here.app.state.sources.counts
    return found


@contextlib.contextmanager
def asking(address: Address, request: bytes) -> Iterator[socket.socket]:
    """A connection with a small window that asks and then reads nothing."""
    with socket.socket() as asker:
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        asker.connect((address.host, address.port))
        asker.sendall(request)
        yield asker


def get(path: str) -> bytes:
    return b"GET /api/v1" + path.encode() + b" HTTP/1.1\r\n" + AUTHORIZED + b"\r\n"


def post(path: str, body: bytes, length: int | None = None) -> bytes:
    head = b"POST /api/v1" + path.encode() + b" HTTP/1.1\r\n" + AUTHORIZED
    kind = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head + kind % (len(body) if length is None else length) + body


async def printing(here: House, size: int) -> tuple[str, str]:
    """A job on one agent that has printed *size* bytes; its id and its run's."""
    await here.joined("web-1")
    job, run = await here.submitted(targets={"all": True})
    await here.started(run)
    for _ in range(size // MIB):
        await here.printed(run, b"x" * MIB)
    return job, run


async def labelled(here: House, count: int) -> None:
    """Many agents with much to say: their list is a large answer."""
    for number in range(count):
        await here.joined(f"n-{number}", {f"label-{n}": "x" * 250 for n in range(80)})


async def told(look: Callable[[], object]) -> None:
    async def looked() -> object:
        return look()

    await eventually(looked, bool)


# --- readers ------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["events", "output", "list"])
def test_a_reader_that_stops_is_let_go_while_others_read_on(run: Run, asked: str) -> None:
    async def main() -> None:
        async with house(IMPATIENT) as here, served(here, IMPATIENT) as (client, address):
            job, of = await printing(here, 16 * MIB)
            await labelled(here, 400)
            paths = {
                "events": f"/jobs/{job}/events",
                "output": f"/runs/{of}/output",
                "list": "/agents?limit=1000",
            }
            with asking(address, get(paths[asked])):
                await told(lambda: counts(here).requests == 1)
                quick = await client.get(f"/api/v1{paths['output']}")
                during = counts(here).requests
                await told(lambda: counts(here).stuck == 1)
                await told(lambda: counts(here).requests == 0)

        assert 16 * MIB == len(quick.content)
        assert 1 == during

    run(main())


def test_a_reader_that_stops_behind_tls_is_let_go(run: Run, certificate: tuple[Path, Path]) -> None:
    chain, key = certificate

    async def main() -> None:
        async with house(IMPATIENT) as here:
            _, of = await printing(here, 16 * MIB)
            tls = str(chain), str(key)
            async with serving_http(here.app, "127.0.0.1:0", tls=tls, limits=IMPATIENT) as address:
                trusted = ssl.create_default_context(cafile=str(chain))

                def ask() -> ssl.SSLSocket:
                    plain = socket.socket()
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    plain.connect((address.host, address.port))
                    asker = trusted.wrap_socket(plain, server_hostname=address.host)
                    asker.sendall(get(f"/runs/{of}/output"))
                    return asker

                asker = await asyncio.to_thread(ask)
                await told(lambda: counts(here).stuck == 1)
                await told(lambda: counts(here).connections == 0)
                asker.close()

    run(main())


def test_the_last_words_to_a_reader_that_stops_do_not_keep_its_connection(run: Run) -> None:
    limits = replace(DEFAULTS, reader_stuck_s=0.2, requests_bytes=1)

    async def main() -> None:
        async with house(limits) as here, served(here, limits) as (_, address):
            pipelined = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 200
            with asking(address, pipelined):
                await told(lambda: counts(here).stuck == 1)
                await told(lambda: counts(here).connections == 0)

    run(main())


def test_a_slow_reader_is_not_a_stuck_one(run: Run) -> None:
    async def main() -> None:
        async with house(IMPATIENT) as here, served(here, IMPATIENT) as (_, address):
            _, of = await printing(here, 8 * MIB)

            def read_slowly() -> int:
                size, until = 0, time.monotonic() + 5 * IMPATIENT.reader_stuck_s
                with asking(address, get(f"/runs/{of}/output")) as asker:
                    while time.monotonic() < until:
                        size += len(asker.recv(16 * 1024))
                        time.sleep(0.002)
                return size

            size = await asyncio.to_thread(read_slowly)

        assert 0 < size < 8 * MIB
        assert 0 == counts(here).stuck

    run(main())


def test_readers_that_stop_hold_little_memory(run: Run) -> None:
    readers, size = 16, 24 * MIB  # without a bound they would hold 384 MiB

    async def main() -> None:
        async with house() as here, served(here) as (client, address):
            job, of = await printing(here, size)
            process = psutil.Process()
            before = process.memory_info().rss
            with contextlib.ExitStack() as stack:
                for number in range(readers):
                    path = f"/jobs/{job}/events" if number % 2 else f"/runs/{of}/output"
                    stack.enter_context(asking(address, get(path)))
                await told(lambda: counts(here).requests == readers)
                quick = await client.get(f"/api/v1/runs/{of}/output", headers={"Range": "bytes=-9"})
                for _ in range(5):  # those behind would have been read by now
                    await client.get(f"/api/v1/runs/{of}/output")
                held = process.memory_info().rss - before

        assert 9 == len(quick.content)
        assert held < 150 * MIB

    run(main())


# --- memory of all requests ---------------------------------------------------------------


async def test_large_answers_that_nobody_takes_are_bounded_together() -> None:
    limits = replace(DEFAULTS, requests_bytes=12 * MIB)
    async with house(limits) as here, served(here, limits) as (client, address):
        await labelled(here, 200)
        alone = await client.get("/api/v1/agents?limit=1000")
        assert 6 * MIB < len(alone.content) < 12 * MIB
        with asking(address, get("/agents?limit=1000")):
            await told(lambda: counts(here).requests == 1)
            refused = await client.get("/api/v1/agents?limit=1000")
            small = await client.get("/api/v1/agents?limit=1")
        again = await eventually(
            lambda: client.get("/api/v1/agents?limit=1000"), lambda it: it.status_code == 200
        )

        assert ("overloaded", "requests_bytes") == (refused.json()["code"], refused.json()["bound"])
        assert 1 <= int(refused.headers["retry-after"])
        assert [503, 200] == [refused.status_code, small.status_code]
        assert 200 == len(again.json()["items"])


async def test_bodies_that_do_not_come_to_an_end_are_bounded_together() -> None:
    limits = replace(DEFAULTS, requests_bytes=MIB)
    async with house(limits) as here, served(here, limits) as (client, address):
        await here.joined("web-1")
        with asking(address, post("/jobs", b" " * (MIB - 1000), 2 * MIB)):
            body = {"argv": ["x" * 2000], "targets": {"all": True}}
            refused = await eventually(
                lambda: client.post("/api/v1/jobs", json=body), lambda it: it.status_code == 503
            )
        taken = await eventually(
            lambda: client.post("/api/v1/jobs", json=body), lambda it: it.status_code == 202
        )

        assert "requests_bytes" == refused.json()["bound"]
        assert "running" == taken.json()["state"]


async def test_a_job_whose_results_find_no_room_is_told_to_be_taken() -> None:
    limits = replace(DEFAULTS, requests_bytes=MIB)
    async with house(limits) as here, served(here, limits) as (client, address):
        await here.joined("web-1")

        async def finish() -> None:
            page = await eventually(here.tenant.store.jobs, lambda page: page.items)
            (run,) = (await here.client.get(f"/api/v1/runs?job={page.items[0].id}")).json()["items"]
            await here.started(run["id"])
            await here.printed(run["id"], b"x" * MIB)
            await here.ended(run["id"])

        with asking(address, post("/jobs", b" " * (MIB // 2), MIB)):
            await told(lambda: counts(here).requests == 1)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(finish())
                body = {"argv": ["true"], "targets": {"all": True}}
                answer = await client.post("/api/v1/jobs?wait_s=20", json=body)

        assert (202, {"queued": 1}) == (answer.status_code, answer.json()["counts"])


# --- shares -------------------------------------------------------------------------------


async def test_a_caller_has_a_share_of_the_requests() -> None:
    limits = replace(DEFAULTS, requests_per_caller=1)
    async with house(limits) as here, served(here, limits) as (client, _):
        job, _run = await printing(here, 0)
        async with following(client, job):
            answer = await client.get("/api/v1/version")
            health = await client.get("/healthz")
        after = await eventually(
            lambda: client.get("/api/v1/version"), lambda it: it.status_code == 200
        )

        assert (429, "over-share") == (answer.status_code, answer.json()["code"])
        assert {"bound": "requests_per_caller", "limit": 1}.items() <= answer.json().items()
        assert 1 <= int(answer.headers["retry-after"])
        assert [200, 200] == [health.status_code, after.status_code]


@asynccontextmanager
async def following(client: httpx.AsyncClient, job: str) -> AsyncIterator[httpx.Response]:
    async with client.stream("GET", f"/api/v1/jobs/{job}/events") as answer:
        assert 200 == answer.status_code
        yield answer


async def test_who_waits_too_many_is_refused_and_leaves_no_job() -> None:
    limits = replace(DEFAULTS, waiting=1)
    async with house(limits) as here:
        await here.joined("web-1")
        body = {"argv": ["true"], "targets": {"all": True}}
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(here.client.post("/api/v1/jobs?wait_s=60", json=body))
            page = await eventually(here.tenant.store.jobs, lambda page: page.items)
            refused = await here.client.post("/api/v1/jobs?wait_s=60", json=body)
            unhurried = await here.client.post("/api/v1/jobs", json=body)
            (run,) = (await here.client.get(f"/api/v1/runs?job={page.items[0].id}")).json()["items"]
            await here.done(run["id"])
        jobs = (await here.client.get("/api/v1/jobs")).json()["items"]

        assert (429, "waiting") == (refused.status_code, refused.json()["bound"])
        assert [202, 200] == [unhurried.status_code, first.result().status_code]
        assert 2 == len(jobs)
        assert 0 == here.tenant.followers.waiting


# --- writers ------------------------------------------------------------------------------


def closed(asker: socket.socket) -> Awaitable[bytes]:
    """What the server said until it closed."""

    def read() -> bytes:
        asker.settimeout(20)
        said = b""
        while more := asker.recv(4096):
            said += more
        return said

    return asyncio.to_thread(read)


@pytest.mark.parametrize("authorized", [True, False])
def test_the_rest_of_a_body_that_nobody_waits_for_has_a_deadline(
    run: Run, authorized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = replace(DEFAULTS, body_s=0.05)
    monkeypatch.setattr(connection, "REST_S", 0.1)
    request = post("/jobs", b"{", 10)
    if not authorized:
        request = request.replace(b"Bearer", b"Wrong")

    async def main() -> None:
        async with house(limits) as here, served(here, limits) as (_, address):
            with asking(address, request) as asker:
                said = await closed(asker)
            await told(lambda: counts(here).connections == 0)

        assert (b" 400 " if authorized else b" 401 ") in said.partition(b"\r\n")[0]
        assert 1 == said.count(b"HTTP/1.1")

    run(main())


def test_a_body_that_a_waiting_stream_holds_up_is_not_the_callers_fault(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = replace(DEFAULTS, body_s=0.05)
    monkeypatch.setattr(connection, "REST_S", 0.0)

    async def main() -> None:
        async with house(limits) as here, served(here, limits) as (_, address):
            job, of = await printing(here, 0)
            behind = post("/jobs", b" " * 200_000, 300_000)  # behind the stream, not read yet
            with asking(address, get(f"/jobs/{job}/events") + behind) as asker:
                await told(lambda: counts(here).requests == 1)
                await asyncio.sleep(0.2)  # four times its deadline
                during = counts(here).requests
                await here.ended(of)
                said = await closed(asker)

        assert 1 == during
        assert b"event: end" in said

    run(main())


def test_tls_handshakes_that_do_not_end_are_counted_and_let_go(
    run: Run, certificate: tuple[Path, Path]
) -> None:
    chain, key = certificate
    limits = replace(DEFAULTS, head_s=0.5, connections=3)

    async def main() -> None:
        async with house(limits) as here:
            tls = str(chain), str(key)
            async with serving_http(here.app, "127.0.0.1:0", tls=tls, limits=limits) as address:
                trusted = ssl.create_default_context(cafile=str(chain))
                with contextlib.ExitStack() as stack:
                    silent = [
                        stack.enter_context(asking(address, begun))
                        for begun in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01")
                    ]
                    await told(lambda: counts(here).handshakes == 3)
                    with asking(address, b"") as fourth:
                        turned_away = await closed(fourth)
                    said = [await closed(asker) for asker in silent]
                    await told(lambda: counts(here).handshakes == 0)
                async with httpx.AsyncClient(base_url=address.url, verify=trusted) as client:
                    answer = await client.get("/healthz")

        assert b"" == turned_away
        assert [b""] * 3 == said
        assert 200 == answer.status_code
        assert 1 == counts(here).refused["overloaded"]

    run(main())


async def test_a_connection_too_many_is_told_when_to_come_again() -> None:
    limits = replace(DEFAULTS, connections=1)
    async with house() as here, served(here, limits) as (_, address):
        with asking(address, b""):
            await told(lambda: counts(here).connections == 1)
            with asking(address, b"") as second:
                said = await closed(second)

        assert b" 503 " in said
        assert b"\r\nRetry-After: " in said
