"""Both clients and the command line against the real front door, with agents that are fakes."""

import asyncio
import json
import os
import sys
import threading
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farhand.boot.clock import SystemClock
from farhand.client import (
    AsyncClient,
    BadRequest,
    Client,
    Conflict,
    NotAllowed,
    NotFound,
    Result,
)
from farhand.domain.ids import RunId
from farhand.domain.limits import DEFAULTS
from farhand.http.app import build_app
from farhand.http.server import serving_http
from farhand.http.stream import CONNECTION
from farhand.testing import World, ended, hang, succeed
from tests.until import until

PRINTED = bytes(range(256)) * 8  # within what a fake agent may send before it is granted more


class Forgetful:
    """Carries out so many POSTs, and dies before it has answered them, as far as anybody sees."""

    def __init__(self, app: ASGIApp, *, deaths: int) -> None:
        self._deaths = deaths
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST" or not self._deaths:
            await self._app(scope, receive, send)
            return

        async def swallow(message: Message) -> None:
            del message

        self._deaths -= 1
        await self._app(scope, receive, swallow)
        scope["extensions"][CONNECTION]["transport"].abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def controller(*agents: str, deaths: int = 0) -> AsyncIterator[tuple[World, str]]:
    """A controller with a front door, and agents that print all the bytes there are."""
    async with World.start(SystemClock(), agents=agents, behaviour=succeed(PRINTED)) as world:
        app = build_app(world.tenants, world.enrolment, DEFAULTS, version="0.1.0")
        app.add_middleware(Forgetful, deaths=deaths)
        async with serving_http(app, "127.0.0.1:0") as http:
            async with asyncio.timeout(30):
                yield world, f"http://127.0.0.1:{http.port}"


async def test_a_job_runs_and_its_output_arrives_whole() -> None:
    async with (
        controller("web-1", "web-2") as (world, url),
        AsyncClient(url, world.admin_token) as client,
    ):
        job = await client.run(["x"], all_agents=True)
        result = await job.result()
        stored = [
            b"".join([part async for part in client.output(one.run.id, offset=7)])
            for one in result.runs
        ]
        settled = await job.wait()

    assert [("web-1", PRINTED, 0), ("web-2", PRINTED, 0)] == sorted(
        (one.run.agent, one.stdout, one.run.exit_code) for one in result.runs
    )
    assert [PRINTED[7:]] * 2 == stored
    assert (True, {"succeeded": 2}) == (settled.done, settled.counts)


async def test_the_blocking_client_sees_the_same() -> None:
    def ask(url: str, token: str) -> tuple[Result, list[str], list[str], str]:
        with Client(url, token) as client:
            result = client.run(script="id", names="web-1").result()
            listed = [agent.name for agent in client.agents("name=web-1")]
            runs = [run.state for run in client.runs(job=result.job)]
            return result, listed, runs, client.version().caller

    async with controller("web-1") as (world, url):
        result, listed, runs, caller = await asyncio.to_thread(ask, url, world.admin_token)

    assert [PRINTED] == [one.stdout for one in result.runs]
    assert (["web-1"], ["succeeded"], "admin") == (listed, runs, caller)


async def test_a_job_whose_answer_was_lost_is_asked_for_again_and_is_one_job() -> None:
    told: list[str] = []

    def ask(url: str, token: str) -> Result:
        with Client(url, token, notice=told.append) as client:
            return client.run(["x"], names="web-1").result()

    async with controller("web-1", deaths=2) as (world, url):
        blocking = await asyncio.to_thread(ask, url, world.admin_token)
        jobs = (await world.store.jobs()).items
    async with (
        controller("web-1", deaths=2) as (world, url),
        AsyncClient(url, world.admin_token, notice=told.append) as client,
    ):
        asynchronous = await (await client.run(["x"], names="web-1")).result()
        others = (await world.store.jobs()).items

    assert [PRINTED] * 2 == [r.stdout for it in (blocking, asynchronous) for r in it.runs]
    assert [[blocking.job], [asynchronous.job]] == [
        [job.id for job in jobs],
        [job.id for job in others],
    ]
    assert [True, False] * 2 == [said.startswith("lost the controller") for said in told]


async def test_whoever_waits_for_a_job_outlives_the_front_door() -> None:
    def wait(url: str, token: str, job: str, begun: threading.Event) -> str:
        with Client(url, token) as client:
            client.version()
            begun.set()
            return client.follow(job).wait(timeout_s=30).state

    begun = threading.Event()
    async with World.start(SystemClock()) as world:
        agent = await world.join("web-1", behaviour=hang)
        token = world.admin_token

        def app() -> FastAPI:
            return build_app(world.tenants, world.enrolment, DEFAULTS, version="0.1.0")

        async with serving_http(app(), "127.0.0.1:0") as http:
            url = f"http://127.0.0.1:{http.port}"
            client = AsyncClient(url, token)
            job = await client.run(["x"], names="web-1")
            blocking = asyncio.create_task(asyncio.to_thread(wait, url, token, job.id, begun))
            asynchronous = asyncio.create_task(job.wait())
            await until(begun.is_set)
        agent.say(ended(RunId(job.runs[0].id)))
        async with serving_http(app(), f"127.0.0.1:{http.port}"):
            states = await blocking, (await asynchronous).state
        await client.aclose()

    assert ("done", "done") == states


async def test_refusals_have_their_codes() -> None:
    async with (
        controller("web-1") as (world, url),
        AsyncClient(url, world.admin_token) as client,
        AsyncClient(url, "wrong") as stranger,
    ):
        with pytest.raises(NotAllowed) as unknown:
            await stranger.version()
        with pytest.raises(NotFound) as nobody:
            await client.run(["x"], names=["wbe-1"])
        with pytest.raises(BadRequest) as nothing:
            await client.run([], names=["web-1"])
        await client.submit(["x"], names=["web-1"], idempotency_key="k")
        with pytest.raises(Conflict) as reused:
            await client.submit(["y"], names=["web-1"], idempotency_key="k")

    assert ["unauthenticated", "unknown-agent", "invalid-job", "idempotency-conflict"] == [
        caught.value.code for caught in (unknown, nobody, nothing, reused)
    ]
    assert ["wbe-1"] == nobody.value.details["names"]


async def test_a_job_is_cancelled_and_an_agent_is_changed() -> None:
    async with (
        controller() as (world, url),
        AsyncClient(url, world.admin_token) as client,
    ):
        await world.join("web-1", behaviour=hang)
        cancelled = await (await client.run(["x"], names="web-1")).cancel()
        renamed = await client.rename("web-1", "db")
        labelled = await client.relabel("db", {"role": "db"})
        drained = await client.drain("db")
        free = await client.undrain("db")
        await client.remove("db")
        left = [agent.name async for agent in client.agents()]

    assert cancelled.cancel_requested
    assert ("db", {"role": "db"}, True, False) == (
        *(renamed.name, labelled.labels, drained.drained, free.drained),
    )
    assert [] == left


async def test_the_command_line_speaks_to_it(tmp_path: Path) -> None:
    async with controller("web-1") as (world, url):
        env = {**os.environ, "FARHAND_URL": url, "FARHAND_TOKEN": world.admin_token}
        env["XDG_RUNTIME_DIR"] = str(tmp_path)

        async def farhand(*argv: str) -> tuple[int | None, bytes, bytes]:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", "from farhand.cli.main import main; exit(main())", *argv),
                env=env,
                stdout=PIPE,
                stderr=PIPE,
            )
            out, err = await process.communicate()
            return process.returncode, out, err

        ran = await farhand("run", "web-1", "--", "x")
        missing = await farhand("run", "wbe-1", "--", "x")
        healthy, found, _ = await farhand("doctor", "--json")

    assert (0, PRINTED, b"") == ran
    assert (66, True) == (missing[0], b"did you mean web-1?" in missing[2])
    assert 0 == healthy
    assert "fail" not in {json.loads(line)["level"] for line in found.splitlines()}
