"""The numbers: read as Prometheus reads them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from farhand.boot.config import ControllerConfig
from farhand.boot.controller import running_controller
from farhand.domain.ids import OrgId
from farhand.domain.limits import DEFAULTS, Limits
from farhand.domain.run import RunState
from farhand.http.app import build_app
from farhand.http.metrics import BOUNDS, AgentsDoor, Elsewhere
from farhand.ports import StoreCounters
from farhand.testing import World
from tests.integration.agent.estate import Estate
from tests.integration.http.house import House, eventually, house, served

Labels = tuple[tuple[str, str], ...]


async def numbers(client: httpx.AsyncClient) -> dict[tuple[str, Labels], float]:
    """Every sample by its name and labels."""
    answer = await client.get("/metrics")
    assert 200 == answer.status_code, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(here: House, **labels: str) -> Labels:
    return tuple(sorted({"org": here.tenant.org, **labels}.items()))


async def test_refusals_are_counted_by_code_and_answers_by_status() -> None:
    limits = replace(DEFAULTS, followers=0)
    async with house(limits) as here, served(here, limits) as (client, address):
        await here.joined("web-1")
        job, _ = await here.submitted(targets={"all": True})
        await client.get(f"/api/v1/jobs/{job}/events")
        await client.get(f"/api/v1/jobs/{job}/events")
        await client.get("/nowhere")
        await client.get("/api/v1/version", headers={"Authorization": "Bearer wrong"})
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"HELO\r\n\r\n")
        await reader.read()
        writer.close()
        found = await numbers(client)

    refused = {dict(labels)["code"]: n for (name, labels), n in found.items() if "refused" in name}
    answers = {dict(labels)["status"]: n for (name, labels), n in found.items() if "answ" in name}
    assert {"over-share": 2, "not-found": 1, "unauthenticated": 1, "bad-request": 1} == refused
    assert {"202": 1, "429": 2, "404": 1, "401": 1, "400": 1} == answers


async def test_what_is_going_on_is_told_beside_its_bound() -> None:
    async with house() as here, served(here) as (client, _):
        await here.joined("web-1")
        job, run = await here.submitted(targets={"all": True})
        async with client.stream("GET", f"/api/v1/jobs/{job}/events") as answer:
            await eventually(here.followers, lambda count: count == 1)
            during = await numbers(client)
            await here.done(run)
            await answer.aread()
        after = await numbers(client)

    told = {name: during["farhand_limit", (("bound", name),)] for name in BOUNDS}
    assert {name: float(getattr(DEFAULTS, name)) for name in BOUNDS} == told
    assert (2, 2) == (
        during["farhand_http_requests", ()],  # the follower, and whoever asks for the numbers
        during["farhand_http_connections", ()],
    )
    assert [1, 0] == [it["farhand_followers", of(here)] for it in (during, after)]
    assert 1 == after["farhand_build_info", (("version", "1.2.3"),)]
    assert 0 < after["process_resident_memory_bytes", ()]
    assert 1 <= after["process_open_fds", ()]


async def test_the_tasks_of_the_loop_are_counted() -> None:
    async with house() as here, served(here) as (client, _):
        stop = asyncio.Event()
        before = (await numbers(client))["farhand_loop_tasks", ()]
        async with asyncio.TaskGroup() as tasks:
            for _ in range(50):
                tasks.create_task(stop.wait())
            during = (await numbers(client))["farhand_loop_tasks", ()]
            stop.set()

    assert 45 < during - before < 55


async def test_numbers_of_other_rooms_are_read_when_somebody_asks() -> None:
    stores: dict[OrgId, StoreCounters] = {OrgId("org_of_somebody_else"): StoreCounters(commits=9)}
    elsewhere = Elsewhere(stores=lambda: stores, agents=lambda: 7, outbox_bytes=lambda: 4096)
    limits = Limits()
    async with World.start(agents=["web-1"]) as world:
        app = build_app(world.tenants, world.enrolment, limits, version="1", elsewhere=elsewhere)
        stores[world.tenant.org] = StoreCounters(
            commits=3,
            moved={RunState.RUNNING: 5},
            kept_bytes=100,
            queued=2,
            queued_bytes=1024,
            outside=1,
            commit_s=0.5,
        )
        bearer = {"Authorization": f"Bearer {world.admin_token}"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=bearer) as c:
            found = await numbers(c)

    org = (("org", world.tenant.org),)
    names = (
        "store_commits_total",
        "store_queued_changes",
        "store_outside",
        "output_kept_bytes_total",
    )
    assert [3, 2, 1, 100] == [found[f"farhand_{name}", org] for name in names]
    assert 1 == found["farhand_sessions", org]
    assert 0.5 == found["farhand_store_commit_seconds_total", org]
    assert 5 == found["farhand_runs_moved_total", (*org, ("state", "running"))]
    assert [7, 4096] == [
        found[name, ()] for name in ("farhand_agent_connections", "farhand_agent_outbox_bytes")
    ]
    assert not [labels for _, labels in found if ("org", "org_of_somebody_else") in labels]


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=1.0.0", "*/*", ""])
async def test_whoever_asks_may_choose_the_format(accept: str) -> None:
    async with house() as here:
        answer = await here.client.get("/metrics", headers={"Accept": accept})
        text = answer.text
        families = (
            openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call] # it has none
            if "openmetrics" in accept
            else text_string_to_metric_families(text)
        )
        names = {family.name for family in families}

        assert {"farhand_http_requests", "farhand_runs_moved"} <= names
        assert answer.headers["content-type"].startswith(
            "application/openmetrics-text" if "openmetrics" in accept else "text/plain"
        )


async def test_the_agents_door_tells_who_stands_there() -> None:
    door = AgentsDoor(
        strangers=1,
        entering=2,
        waiting=3,
        most_entering=4,
        most_waiting=5,
        begun=6,
        sent_away=7,
        refused={"strangers": 8},
    )
    async with World.start() as world:
        elsewhere = Elsewhere(door=lambda: door)
        app = build_app(world.tenants, world.enrolment, Limits(), version="1", elsewhere=elsewhere)
        bearer = {"Authorization": f"Bearer {world.admin_token}"}
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers=bearer) as c:
            found = await numbers(c)

    names = ("strangers", "entering", "waiting", "entering_most", "waiting_most")
    assert [1, 2, 3, 4, 5] == [found[f"farhand_agents_{name}", ()] for name in names]
    assert [6, 7] == [
        found[f"farhand_agents_{name}_total", ()] for name in ("entered", "sent_away")
    ]
    assert 8 == found["farhand_agents_refused_total", (("why", "strangers"),)]


async def test_numbers_need_a_token() -> None:
    async with house() as here:
        answer = await here.client.get("/metrics", headers={"Authorization": "Bearer wrong"})

        assert 401 == answer.status_code


async def test_a_whole_controller_counts_its_store_and_its_agents(tmp_path: Path) -> None:
    config = ControllerConfig(data=tmp_path / "d", http="127.0.0.1:0", agents="127.0.0.1:0")
    async with running_controller(config.checked()) as controller:
        estate = Estate(tmp_path / "d", config.limits)
        bearer = {"Authorization": f"Bearer {(tmp_path / 'd/admin.token').read_text().strip()}"}
        async with (
            estate.agent(controller.gateway.address) as agent,
            httpx.AsyncClient(base_url=controller.http.url, headers=bearer, timeout=20) as client,
        ):
            await agent.connected.wait()
            body = {"targets": {"all": True}, "argv": ["echo", "hi"]}
            answer = await client.post("/api/v1/jobs?wait_s=20", json=body)
            found = await numbers(client)

    org = (("org", controller.tenants.all[0].org),)
    assert {"succeeded": 1} == answer.json()["counts"]
    assert 1 == found["farhand_agent_connections", ()]
    assert 1 == found["farhand_runs_moved_total", (*org, ("state", "succeeded"))]
    assert len("hi\n") == found["farhand_output_kept_bytes_total", org]
    assert 0 < found["farhand_store_commits_total", org]
    assert 0 < found["farhand_store_flushes_total", org]
