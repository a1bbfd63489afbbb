"""Searching and exporting the history over HTTP."""

import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from farhand.domain.history import SCANNED
from farhand.domain.ids import AgentId, JobId
from farhand.domain.job import Argv, Job, JobSpec
from farhand.domain.limits import DEFAULTS
from farhand.domain.run import Run, RunState
from farhand.errors import StoreUnavailable
from farhand.ports import AddJob, Page, RunFilter
from farhand.storage.memory import MemoryStore
from tests.integration.http.house import House, eventually, house, served

TOKENS = {"anna": "fh_api_of_anna"}
ANNA = {"Authorization": "Bearer fh_api_of_anna"}


async def listed(here: House, **asked: str) -> list[str]:
    """The ids of a search, and of all its pages."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await here.client.get("/api/v1/jobs", params={**asked, **cursor})
        assert 200 == answer.status_code, answer.text
        page = answer.json()
        found += [job["id"] for job in page["items"]]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


async def export(here: House, **asked: str) -> list[dict[str, Any]]:
    answer = await here.client.get("/api/v1/jobs/export", params=asked)
    assert (200, "application/x-ndjson") == (answer.status_code, answer.headers["content-type"])
    return [json.loads(line) for line in answer.content.splitlines()]


async def test_jobs_are_searched_by_what_is_known_of_them() -> None:
    async with house(callers=TOKENS) as here:
        agent = await here.joined("web-1")
        await here.joined("db-1")
        first, run = await here.submitted(targets={"names": ["web-1"]}, argv=["uptime"])
        await here.done(run)
        second, run = await here.submitted(targets={"names": ["db-1"]}, argv=["df", "-h"])
        await here.started(run)
        await here.ended(run, exit_code=1)
        body = {"targets": {"names": ["web-1", "db-1"]}, "script": "systemctl RESTART nginx"}
        made = await here.client.post("/api/v1/jobs", json=body, headers=ANNA)
        third = made.json()["id"]
        between = (await here.client.get(f"/api/v1/jobs/{second}")).json()["created_at"]

        assert [third] == await listed(here, by="anna")
        assert [third, second] == await listed(here, target="db-1")
        assert [third, first] == await listed(here, agent="web-1")
        assert [third, first] == await listed(here, agent=agent.id)
        assert [third] == await listed(here, command="restart NGINX")
        assert [third] == await listed(here, state="running")
        assert [first] == await listed(here, state="succeeded")
        assert [second] == await listed(here, state="failed")
        assert [second, first] == await listed(here, state="done")
        assert third in await listed(here, since=between)
        assert third not in await listed(here, until=between)
        assert [] == await listed(here, schedule="sch_01h455vb4pex5vsknk084sn02q")
        assert [second] == await listed(here, by="admin", agent="db-1", limit="1")


async def test_runs_are_listed_by_time() -> None:
    async with house() as here:
        await here.joined("web-1")
        _, run = await here.submitted(targets={"names": ["web-1"]})
        made = (await here.client.get(f"/api/v1/runs/{run}")).json()["created_at"]
        ahead = "2999-01-01T00:00:00Z"
        counts = {}
        for asked in ({"since": made}, {"until": made}, {"since": ahead}, {"until": ahead}):
            answer = await here.client.get("/api/v1/runs", params=asked)
            counts[str(asked)] = len(answer.json()["items"])

        # A time is written to the millisecond, so that the run itself may lie on either side.
        assert [0, 1] == [counts[str({"since": ahead})], counts[str({"until": ahead})]]
        assert 1 == counts[str({"since": made})] + counts[str({"until": made})]


BAD = [
    ({"since": "yesterday"}, 400, "invalid-query"),
    ({"since": "2026-01-31T12:00:00"}, 400, "invalid-query"),
    ({"until": "2026-01-31T12:00:00 02:00"}, 400, "invalid-query"),
    ({"until": "0001-01-01T00:00:00+23:59"}, 400, "invalid-query"),
    ({"since": "2026-01-31T12:00:00Z", "until": "2026-01-31T12:00:00Z"}, 400, "invalid-query"),
    ({"state": "lost"}, 400, "invalid-query"),
    ({"by_whom": "anna"}, 400, "invalid-query"),
    ({"target": "x" * 1025}, 400, "invalid-query"),
    ({"agent": "nobody"}, 404, "unknown-agent"),
    ({"schedule": "nightly"}, 404, "unknown-schedule"),
    ({"rerun_of": "yesterday"}, 404, "unknown-job"),
]


@pytest.mark.parametrize(("asked", "status", "code"), BAD)
@pytest.mark.parametrize("address", ["jobs", "jobs/export"])
async def test_a_search_that_cannot_be_is_refused(
    address: str, asked: dict[str, str], status: int, code: str
) -> None:
    async with house() as here:
        answer = await here.client.get(f"/api/v1/{address}?{urlencode(asked)}")

        assert (status, code) == (answer.status_code, answer.json()["code"])


async def test_the_cursor_of_another_search_is_refused() -> None:
    async with house() as here:
        await here.joined("web-1")
        for _ in range(2):
            await here.submitted(targets={"names": ["web-1"]})
        page = (await here.client.get("/api/v1/jobs?by=admin&limit=1")).json()
        answer = await here.client.get("/api/v1/jobs", params={"cursor": page["next"]})

        assert (400, "invalid-cursor") == (answer.status_code, answer.json()["code"])


def job_numbered(n: int) -> AddJob:
    job = Job(
        id=JobId(f"job_{n:026}"),
        spec=JobSpec(what=Argv(("true",))),
        targets="web-1",
        by="admin",
        created_at=float(n),
    )
    return AddJob(job=job, runs=())


async def test_a_page_that_finds_nothing_looks_at_a_bounded_part() -> None:
    store = MemoryStore()
    await store.apply([job_numbered(n) for n in range(1, 10_001)])
    async with house(store=store) as here:
        answer = (await here.client.get("/api/v1/jobs?by=nobody")).json()
        first = [JobId(f"job_{1:026}")]

        assert [] == answer["items"]
        assert answer["next"] is not None
        assert first == await listed(here, until="1970-01-01T00:00:02Z", command="true")
        assert 10_000 // SCANNED >= 5


# --- export ---------------------------------------------------------------------------------------


async def test_an_export_has_each_job_with_its_runs_and_an_end() -> None:
    async with house() as here:
        await here.joined("web-1")
        first, run = await here.submitted(targets={"names": ["web-1"]}, stdin="secret")
        await here.done(run)
        second, other = await here.submitted(targets={"names": ["web-1"]}, env={"KEY": "secret"})
        lines = await export(here)
        some = await export(here, state="succeeded")

        assert [second, other, first, run] == [line["id"] for line in lines[:-1]]
        assert ["job", "run", "job", "run", "end"] == [line["type"] for line in lines]
        assert {"type": "end", "jobs": 2, "runs": 2} == lines[-1]
        assert (["KEY"], 6) == (lines[0]["env"], lines[2]["stdin_bytes"])
        assert "secret" not in json.dumps(lines)
        assert [first, run] == [line["id"] for line in some[:-1]]


async def test_an_export_has_as_much_output_as_was_asked_for() -> None:
    async with house() as here:
        await here.joined("web-1")
        _, run = await here.submitted(targets={"names": ["web-1"]})
        await here.started(run)
        await here.printed(run, b"hello")
        await here.printed(run, b"\xff", "stderr")
        await here.ended(run)
        told = (await export(here, output_bytes="4"))[1]
        without = (await export(here))[1]

        assert {"text": "hell", "stored": 5, "truncated": True} == told["stdout"]
        assert {"base64": "/w==", "stored": 1, "truncated": False} == told["stderr"]
        assert "stdout" not in without


async def test_an_export_of_nothing_has_an_end() -> None:
    async with house() as here:
        assert [{"type": "end", "jobs": 0, "runs": 0}] == await export(here)


async def test_too_much_output_for_an_export_is_refused() -> None:
    async with house(replace(DEFAULTS, export_output_bytes=10)) as here:
        answer = await here.client.get("/api/v1/jobs/export?output_bytes=11")

        assert (400, "invalid-query") == (answer.status_code, answer.json()["code"])


async def test_one_export_too_many_is_told_to_come_later() -> None:
    async with house(replace(DEFAULTS, exports=0)) as here:
        answer = await here.client.get("/api/v1/jobs/export")

        assert (429, "over-share") == (answer.status_code, answer.json()["code"])


class _Failing(MemoryStore):
    """A store that cannot be read any more after some pages of runs."""

    def __init__(self, pages: int) -> None:
        super().__init__()
        self._pages = pages

    async def runs(
        self, which: RunFilter, *, cursor: str | None = None, limit: int = 100
    ) -> Page[Run]:
        self._pages -= 1
        if self._pages < 0:
            raise StoreUnavailable
        return await super().runs(which, cursor=cursor, limit=limit)


def many(jobs: int, runs: int) -> list[AddJob]:
    return [
        replace(
            job_numbered(n),
            runs=tuple(
                Run(
                    id=f"run_{n * runs + k:026}",  # type: ignore[arg-type]  # of tests
                    job=JobId(f"job_{n:026}"),
                    agent=AgentId(f"agt_{k:026}"),
                    agent_name=f"web-{k}",
                    state=RunState.SUCCEEDED,
                    created_at=1.0,
                    queue_until=2.0,
                    timeout_s=1.0,
                )
                for k in range(runs)
            ),
        )
        for n in range(1, jobs + 1)
    ]


async def test_an_export_that_fails_at_its_beginning_is_answered_as_an_error() -> None:
    store = _Failing(0)
    await store.apply(many(1, 1))
    async with house(store=store) as here:
        answer = await here.client.get("/api/v1/jobs/export")

        assert (503, "store-unavailable") == (answer.status_code, answer.json()["code"])


async def test_an_export_that_is_cut_is_seen_to_be_cut() -> None:
    store = _Failing(4)
    await store.apply(many(6, 100))
    async with house(store=store) as here, served(here) as (client, _):
        told = bytearray()

        async def read() -> None:
            async with client.stream("GET", "/api/v1/jobs/export") as answer:
                async for part in answer.aiter_bytes():
                    told.extend(part)

        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await read()

        assert told.startswith(b'{"type":"job"')
        assert b'"type":"end"' not in told
        assert 0 == here.tenant.exports.count


async def test_a_reader_of_an_export_who_leaves_frees_its_place() -> None:
    store = MemoryStore()
    await store.apply(many(50, 100))
    async with house(store=store) as here, served(here) as (client, _):
        async with client.stream("GET", "/api/v1/jobs/export") as answer:
            async for _ in answer.aiter_bytes():
                break

        async def count() -> int:
            return here.tenant.exports.count

        assert 0 == await eventually(count, lambda number: number == 0)
