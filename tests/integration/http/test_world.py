"""The door with agents behind it: a real controller, and the SDK in front."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from farhand.boot.clock import SystemClock
from farhand.client import AsyncClient, Output
from farhand.domain.command import Command, Param, ParamType
from farhand.domain.job import NamespaceKind
from farhand.domain.limits import DEFAULTS
from farhand.domain.messages import Namespace
from farhand.http.app import build_app
from farhand.http.server import serving_http
from farhand.testing import Behaviour, World, succeed
from tests.integration.http.house import eventually

PING = Command(
    ident="ping",
    description="Ask a host for an echo",
    params=(Param(name="host", type=ParamType.HOST, required=True),),
)


@asynccontextmanager
async def behind_the_door(
    behaviour: Behaviour,
) -> AsyncIterator[tuple[World, httpx.AsyncClient, str]]:
    async with World.start(SystemClock(), agents=["web-1", "web-2"], behaviour=behaviour) as world:
        world.agent("web-1").commands = (PING,)
        world.agent("web-1").namespaces = (Namespace(id=7, kind=NamespaceKind.NET, pid=1),)
        app = build_app(world.tenants, world.enrolment, DEFAULTS, version="1.2.3")
        headers = {"Authorization": f"Bearer {world.admin_token}"}
        async with (
            serving_http(app, "127.0.0.1:0") as address,
            httpx.AsyncClient(base_url=address.url, headers=headers) as client,
        ):
            yield world, client, address.url


async def test_a_job_on_two_agents_is_answered_with_what_they_printed() -> None:
    async with behind_the_door(succeed(b"up 3 days\n")) as (_, client, _url):
        body = {"targets": {"names": ["web-1", "web-2"]}, "argv": ["uptime"]}
        answer = await client.post("/api/v1/jobs?wait_s=20", json=body)
        job = answer.json()

        assert 200 == answer.status_code
        assert {"succeeded": 2} == job["counts"]
        assert ["up 3 days\n"] * 2 == [run["stdout"]["text"] for run in job["runs"]]
        assert {"web-1", "web-2"} == {run["agent"]["name"] for run in job["runs"]}


async def test_an_agent_tells_its_commands_and_namespaces() -> None:
    async with behind_the_door(succeed()) as (_, client, _url):
        commands = (await client.get("/api/v1/agents/web-1/commands")).json()
        namespaces = (await client.get("/api/v1/agents/web-1/namespaces")).json()

        assert ["ping"] == [command["ident"] for command in commands["items"]]
        assert ["host"] == [param["name"] for param in commands["items"][0]["params"]]
        assert [(7, "net")] == [(one["id"], one["kind"]) for one in namespaces["items"]]


async def test_a_command_that_cannot_be_is_refused_before_anything_is_kept() -> None:
    async with behind_the_door(succeed()) as (world, client, _url):
        answers = [
            await client.post(
                "/api/v1/jobs", json={"targets": {"names": ["web-1"]}, "command": ident, **params}
            )
            for ident, params in (
                ("pong", {}),
                ("ping", {}),
                ("ping", {"params": {"host": "-x; reboot"}}),
                ("ping", {"params": {"host": "a", "count": 1}}),
            )
        ]

        assert [
            (404, "unknown-command"),
            (400, "invalid-parameter"),
            (400, "invalid-parameter"),
            (400, "invalid-parameter"),
        ] == [(answer.status_code, answer.json()["code"]) for answer in answers]
        assert [] == list((await world.store.jobs()).items)


async def test_the_sdk_reads_what_the_door_writes() -> None:
    async with behind_the_door(succeed(b"\xff\n")) as (world, _, url):
        async with AsyncClient(url, world.admin_token) as client:
            job = await client.run(["uptime"], names=["web-1", "web-2"])
            told = [event async for event in job if isinstance(event, Output)]
            result = await job.result()
            runs = [run async for run in client.runs()]
            whole = await client.get_job(job.id)
            version = await client.version()

        assert {("web-1", b"\xff\n"), ("web-2", b"\xff\n")} == {
            (event.agent, event.data) for event in told
        }
        assert [b"\xff\n"] * 2 == [run.stdout for run in result.runs]
        assert {run.id for run in job.runs} == {run.id for run in runs}
        assert whole.done
        assert "1.2.3" == version.version


async def test_no_follower_stays_behind() -> None:
    async with behind_the_door(succeed(b"x")) as (world, _, url):
        async with AsyncClient(url, world.admin_token) as client:
            job = await client.run(["uptime"], names=["web-1"])
            await job.result()

        async def followers() -> int:
            return world.tenant.followers.count

        assert 0 == await eventually(followers, lambda count: count == 0)
