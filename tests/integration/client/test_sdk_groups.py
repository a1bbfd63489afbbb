"""Answers in groups, as both clients tell them of a real controller."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from farhand.boot.clock import SystemClock
from farhand.client import AsyncClient, Client, Groups, NotFound
from farhand.domain.limits import DEFAULTS
from farhand.domain.messages import StartRun
from farhand.http.app import build_app
from farhand.http.server import serving_http
from farhand.testing import World, ended, hang, succeed
from tests.integration.client.clients import Face
from tests.integration.client.stub import Stub, event, stream
from tests.until import until


@asynccontextmanager
async def controller() -> AsyncIterator[tuple[World, str]]:
    """A controller with a front door and three agents, of which one takes its time."""
    async with World.start(SystemClock()) as world:
        for name, behaviour in (("web1", succeed(b"1")), ("web2", succeed(b"2")), ("web3", hang)):
            await world.join(name, behaviour=behaviour)
        app = build_app(world.tenants, world.enrolment, DEFAULTS, version="0.1.0")
        async with serving_http(app, "127.0.0.1:0") as http:
            async with asyncio.timeout(30):
                yield world, f"http://127.0.0.1:{http.port}"


def finish(world: World) -> None:
    """Let the slow one print and end."""
    (order,) = world.agent("web3").orders(StartRun)
    assert isinstance(order, StartRun)
    world.agent("web3").say(ended(order.run, stdout=b"", code=4))


async def test_views_arrive_until_the_job_is_over() -> None:
    async with (
        controller() as (world, url),
        AsyncClient(url, world.admin_token) as client,
    ):
        job = await client.run(["x"], all_agents=True)
        views: list[Groups] = []
        finished = False
        async for view in job.groups(normalise=["numbers"]):
            views.append(view)
            if view.progress.done == 2 and not finished:
                finished = True
                await until(lambda: world.agent("web3").orders(StartRun))
                finish(world)
        plain = await client.groups(job.id, limit=1)

    last = views[-1]
    assert last.done
    assert [("web[1-2]", 0, b"1"), ("web3", 4, b"")] == [
        (group.hosts, group.exit_code, group.stdout.data) for group in last.groups
    ]
    assert [("web3", 1)] == [(failures.hosts, failures.count) for failures in last.failures]
    assert (1, 2) == (len(plain.groups), plain.more_groups)


async def test_the_blocking_client_sees_the_same() -> None:
    def ask(url: str, token: str) -> tuple[list[Groups], Groups]:
        with Client(url, token) as client:
            job = client.run(["x"], names=["web1", "web2"])
            return list(job.groups(normalise=["numbers"])), client.groups(job.id, diff=True)

    async with controller() as (world, url):
        views, plain = await asyncio.to_thread(ask, url, world.admin_token)

    assert "web[1-2]" == views[-1].groups[0].hosts
    assert {"stdout": ["@ line 1", "-1", "+2"], "stderr": []} == plain.groups[1].diff


def test_a_job_that_is_not_there_has_no_groups(face: Face, stub: Stub) -> None:
    with pytest.raises(NotFound):
        face.do("groups", "job_1")
    with pytest.raises(NotFound):
        face.of(face.do("follow", "job_1"), "groups")


def test_a_cut_stream_begins_anew(face: Face, stub: Stub, told: list[str]) -> None:
    view = {"job": "job_1", "state": "running", "groups": [], "contents": {}}
    begun = event(None, "groups", view)
    whole = event(None, "groups", {**view, "state": "done"}), event(1, "end", {})
    stub.on("GET", "/api/v1/jobs/job_1/groups/events", stream(begun, cut=True), stream(*whole))
    views = face.of(face.do("follow", "job_1"), "groups")

    assert ["running", "done"] == [one.state for one in views]
    assert any("there again" in notice for notice in told)
