"""A job followed live: server-sent events over a real connection."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import httpx
import pytest

from farhand.domain.limits import DEFAULTS
from farhand.http import stream
from farhand.http.server import Address, serving_http
from tests.integration.http.house import (
    BEARER,
    TOKEN,
    House,
    Told,
    events,
    eventually,
    house,
    served,
)


@asynccontextmanager
async def following(
    client: httpx.AsyncClient, job: str, **headers: str
) -> AsyncIterator[AsyncIterator[Told]]:
    async with client.stream("GET", f"/api/v1/jobs/{job}/events", headers=headers) as answer:
        assert 200 == answer.status_code
        assert "text/event-stream" == answer.headers["content-type"].partition(";")[0]
        async with aclosing(events(answer.aiter_lines())) as told:  # type: ignore[type-var] # a generator
            yield told


async def all_of(told: AsyncIterator[Told]) -> list[Told]:
    return [event async for event in told]


async def submitted(here: House) -> tuple[str, str]:
    await here.joined("web-1")
    return await here.submitted(targets={"all": True})


def printed(told: list[Told], name: str) -> bytes:
    """Put together what came of one stream, as a client does."""
    whole = bytearray()
    for event in told:
        if event.event == "output" and event.data["stream"] == name:
            data = base64.b64decode(event.data["bytes"])
            assert event.data["offset"] <= len(whole)
            whole[event.data["offset"] :] = data
    return bytes(whole)


async def test_a_job_is_followed_from_its_beginning_to_its_end() -> None:
    async with house() as here, served(here) as (client, _):
        job, run = await submitted(here)
        async with following(client, job) as told:
            await here.started(run)
            await here.printed(run, b"hello\n")
            await here.printed(run, b"\xff\x00", "stderr")
            await here.ended(run)
            found = await all_of(told)

        states = [event.data["state"] for event in found if event.event == "run"]
        assert ["sent", "running", "succeeded"] == states[-3:]
        assert (b"hello\n", b"\xff\x00") == (printed(found, "stdout"), printed(found, "stderr"))
        assert "end" == found[-1].event
        assert {"state": "done", "counts": {"succeeded": 1}} == found[-1].data
        ids = [event.id for event in found if event.id is not None]
        assert sorted(set(ids)) == ids


async def test_output_is_there_before_the_run_ends() -> None:
    async with house() as here, served(here) as (client, _):
        job, run = await submitted(here)
        await here.started(run)
        async with following(client, job) as told:
            for word in (b"one", b"two", b"three"):
                await here.printed(run, word)
                async for event in told:
                    if event.event == "output":
                        break

                assert word == base64.b64decode(event.data["bytes"])


async def test_a_stream_begins_before_anything_happens() -> None:
    async with house() as here, served(here) as (client, _):
        job, _run = await submitted(here)

        async with following(client, job):
            pass


@pytest.mark.parametrize("how", ["header", "query"])
async def test_a_follower_comes_back_and_misses_nothing(how: str) -> None:
    async with house() as here, served(here) as (client, _):
        job, run = await submitted(here)
        await here.started(run)
        await here.printed(run, b"before ")
        found: list[Told] = []
        async with following(client, job) as told:
            async for event in told:
                found.append(event)
                if event.event == "output":
                    break
        await here.printed(run, b"between ")
        await here.ended(run)
        last = str(found[-1].id)
        asked = {"headers": {"Last-Event-ID": last}} if how == "header" else {}
        url = f"/api/v1/jobs/{job}/events" + ("" if how == "header" else f"?after={last}")
        async with client.stream("GET", url, **asked) as answer:  # type: ignore[arg-type] # of tests
            found += [event async for event in events(answer.aiter_lines())]

        assert b"before between " == printed(found, "stdout")
        assert "end" == found[-1].event


@pytest.mark.parametrize("over", [False, True])
async def test_whoever_has_seen_more_than_a_restored_store_is_told_all_of_it_again(
    over: bool,
) -> None:
    async with house() as here, served(here) as (client, _):
        job, run = await submitted(here)
        await here.started(run)
        await here.printed(run, b"kept")
        if over:
            await here.ended(run)
        found: list[Told] = []
        async with following(client, job, **{"Last-Event-ID": "99"}) as told:
            async for event in told:
                found.append(event)
                if event.event == "output":
                    break
            if not over:
                await here.ended(run)
            found += await all_of(told)

        assert b"kept" == printed(found, "stdout")
        assert (1, "end") == (found[0].id, found[-1].event)


async def test_behind_the_end_there_is_nothing() -> None:
    async with house() as here:
        job, run = await submitted(here)
        await here.done(run)
        whole = await here.client.get(f"/api/v1/jobs/{job}/events")
        last = [line for line in whole.text.splitlines() if line.startswith("id: ")][-1][4:]
        answer = await here.client.get(f"/api/v1/jobs/{job}/events?after={last}")
        again = await here.client.get(
            f"/api/v1/jobs/{job}/events?after=0", headers={"Last-Event-ID": last}
        )

        assert (204, b"") == (answer.status_code, answer.content)
        assert 204 == again.status_code


async def test_large_output_comes_in_pieces_of_which_the_last_has_the_number() -> None:
    data = bytes(range(256)) * 2600  # 650 KiB, one event
    async with house() as here:
        job, run = await submitted(here)
        await here.started(run)
        await here.printed(run, data)
        await here.ended(run)
        answer = await here.client.get(f"/api/v1/jobs/{job}/events")
        found = [event async for event in events(aiter_of(answer.text.splitlines()))]
        pieces = [event for event in found if event.event == "output"]

        assert data == printed(found, "stdout")
        assert [*[False] * 10, True] == [event.id is not None for event in pieces]


async def aiter_of(lines: list[str]) -> AsyncIterator[str]:
    for line in lines:
        yield line


@pytest.mark.parametrize("after", ["-1", "x", "1.5", str(1 << 63)])
async def test_a_place_that_cannot_be_is_refused(after: str) -> None:
    async with house() as here:
        job, _run = await submitted(here)
        query = await here.client.get(f"/api/v1/jobs/{job}/events?after={after}")
        header = await here.client.get(
            f"/api/v1/jobs/{job}/events", headers={"Last-Event-ID": after}
        )

        assert ["invalid-query"] * 2 == [query.json()["code"], header.json()["code"]]


async def test_a_follower_too_many_is_told_to_come_later() -> None:
    limits = replace(DEFAULTS, followers=1)
    async with house(limits) as here, served(here) as (client, _):
        job, run = await submitted(here)
        await here.started(run)
        async with following(client, job):
            answer = await client.get(f"/api/v1/jobs/{job}/events")

        assert (429, "over-share") == (answer.status_code, answer.json()["code"])
        assert 1 <= int(answer.headers["retry-after"])


async def test_a_follower_that_leaves_is_forgotten_at_once() -> None:
    async with house() as here, served(here) as (client, _):
        job, _run = await submitted(here)
        async with following(client, job):
            during = await here.followers()

        assert 1 == during
        assert 0 == await eventually(here.followers, lambda count: count == 0)


async def test_a_silent_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.01)
    async with house() as here, served(here) as (client, _):
        job, _run = await submitted(here)
        async with client.stream("GET", f"/api/v1/jobs/{job}/events") as answer:
            lines = answer.aiter_lines()

            assert ":" == await anext(lines)


async def test_a_stream_ends_in_order_when_the_server_stops() -> None:
    async with house() as here:
        job, run = await submitted(here)
        await here.started(run)
        async with httpx.AsyncClient(headers=BEARER) as client, asyncio.TaskGroup() as tasks:
            async with serving_http(here.app, "127.0.0.1:0") as address:
                client.base_url = httpx.URL(address.url)
                follower = tasks.create_task(_follow(client, job))
                await eventually(here.followers, lambda count: count == 1)
            found = await follower

        assert ["run", "run"] == [event.event for event in found]


async def _follow(client: httpx.AsyncClient, job: str) -> list[Told]:
    async with following(client, job) as told:
        return await all_of(told)


async def test_a_reader_that_stops_costs_little_and_is_let_go_while_others_read_on() -> None:
    limits = replace(DEFAULTS, reader_stuck_s=0.3)
    data = b"x" * (1 << 20)
    async with house(limits) as here, served(here, limits) as (client, address):
        job, run = await submitted(here)
        await here.started(run)
        with _stuck(address, job):
            await eventually(here.followers, lambda count: count == 1)
            for _ in range(24):
                await here.printed(run, data)
            async with following(client, job) as told:
                await here.ended(run)
                found = await all_of(told)
            await eventually(here.followers, lambda count: count == 0)

        assert 24 * len(data) == len(printed(found, "stdout"))


def _stuck(address: Address, job: str) -> socket.socket:
    """Return a connection that asks for the events of *job* and reads none."""
    asking = socket.create_connection((address.host, address.port))
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    asking.sendall(
        f"GET /api/v1/jobs/{job}/events HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
    )
    return asking


async def test_a_fast_reader_leaves_turns_to_others() -> None:
    async with house() as here:
        job, run = await submitted(here)
        await here.started(run)
        for _ in range(50):
            for name in ("stdout", "stderr"):
                await here.printed(run, b"x" * (1 << 16), name)
        await here.ended(run)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        await here.client.get(f"/api/v1/jobs/{job}/events")
        beside.cancel()

        assert 100 <= turns


async def test_an_error_behind_the_beginning_is_an_event() -> None:
    async with house() as here, served(here) as (client, _):
        job, run = await submitted(here)
        await here.started(run)
        async with following(client, job) as told:
            await anext(told)
            _forget(here, job)
            here.tenant.sessions.hint([job])  # type: ignore[list-item] # an id
            found = await all_of(told)

        assert "error" == found[-1].event
        assert "unknown-job" == found[-1].data["code"]


def _forget(here: House, job: str) -> None:
    """Delete a job under its followers, as nothing but time does."""
    rows = here.tenant.store._rows  # type: ignore[attr-defined]
    del rows.jobs[job]


async def test_each_event_is_json_on_one_line() -> None:
    async with house() as here:
        job, run = await submitted(here)
        await here.started(run)
        await here.printed(run, b"a\r\n\nb\n")
        await here.ended(run, message="two\nlines")
        text = (await here.client.get(f"/api/v1/jobs/{job}/events")).text
        data = [line[6:] for line in text.split("\n") if line.startswith("data: ")]

        assert all(isinstance(json.loads(line), dict) for line in data)
