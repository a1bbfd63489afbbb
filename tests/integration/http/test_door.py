"""The door: nobody comes in without a token, and nothing comes out but what one may see."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import httpx
import pytest
from structlog.testing import capture_logs

from farhand.domain.agent import Agent
from farhand.domain.ids import JobId
from farhand.domain.job import Job
from farhand.domain.limits import DEFAULTS
from farhand.errors import StoreUnavailable
from farhand.http.door import OPEN
from farhand.storage.memory import MemoryStore
from tests.integration.http.house import TOKEN, House, house


def addresses(here: House) -> list[tuple[str, str]]:
    """Every method of every address, with some id in its place."""
    return [
        (method.upper(), re.sub(r"\{\w+\}", "web-1", path))
        for path, operations in here.app.openapi()["paths"].items()
        for method in operations
    ] + [("GET", "/api/v1/openapi.json"), ("GET", "/nowhere"), ("PUT", "/api/v1/jobs")]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer \xff"},
        {"Authorization": f"Bearer {'x' * 5000}"},
        {"X-Forwarded-User": "admin", "Cookie": f"token={TOKEN}"},
    ],
)
async def test_every_address_is_closed_to_whoever_has_no_token(given: dict[str, str]) -> None:
    async with house() as here:
        await here.joined("web-1")
        stranger = httpx.AsyncClient(
            transport=httpx.ASGITransport(here.app), base_url="http://farhand"
        )
        headers = {name.encode(): value.encode("latin-1") for name, value in given.items()}
        async with stranger:
            answers = {
                (method, path): await stranger.request(method, path, headers=headers)
                for method, path in addresses(here)
            }
        let_in = {path for (_, path), answer in answers.items() if answer.status_code != 401}
        refused = [
            answer
            for (method, _), answer in answers.items()
            if answer.status_code == 401 and method != "HEAD"  # which has no body
        ]

        assert OPEN == let_in
        assert {"unauthenticated"} == {answer.json()["code"] for answer in refused}
        assert {'Bearer realm="farhand"'} == {
            answer.headers["www-authenticate"] for answer in refused
        }
        assert 1 == len((await here.tenant.store.agents()).items)


async def test_two_tokens_are_none() -> None:
    async with house() as here:
        both = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other")]
        stranger = httpx.AsyncClient(
            transport=httpx.ASGITransport(here.app), base_url="http://farhand"
        )
        async with stranger:
            answer = await stranger.get("/api/v1/version", headers=both)

        assert 401 == answer.status_code


async def test_a_caller_is_who_the_token_says() -> None:
    async with house() as here:
        forged = {"X-Forwarded-User": "root", "X-Remote-User": "root", "Host": "elsewhere"}
        answer = await here.client.get("/api/v1/version", headers=forged)

        assert "admin" == answer.json()["caller"]
        assert here.tenant.org == answer.json()["org"]
        assert "1.2.3" == answer.json()["version"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not-found"),
        ("GET", "/api/v1/jobs/", 404, "not-found"),
        ("GET", "/api/v2/jobs", 404, "not-found"),
        ("PUT", "/api/v1/jobs", 405, "method-not-allowed"),
        ("POST", "/healthz", 405, "method-not-allowed"),
        ("OPTIONS", "/api/v1/jobs", 405, "method-not-allowed"),
        ("DELETE", "/api/v1/openapi.json", 405, "method-not-allowed"),
        ("GET", "/api/v1/version?verbose=1", 400, "invalid-query"),
        ("GET", "/healthz?verbose=1", 400, "invalid-query"),
    ],
)
async def test_a_slip_has_an_error_of_its_own(
    method: str, path: str, status: int, code: str
) -> None:
    async with house() as here:
        answer = await here.client.request(method, path)

        assert (status, code) == (answer.status_code, answer.json()["code"])
        assert "application/problem+json" == answer.headers["content-type"]


async def test_a_wrong_method_is_told_all_the_right_ones() -> None:
    async with house() as here:
        answer = await here.client.put("/api/v1/agents/web-1")

        assert "DELETE, GET, PATCH" == answer.headers["allow"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_that_is_not_said_to_be_json_is_not_read(kind: str) -> None:
    async with house() as here:
        answer = await here.client.post(
            "/api/v1/jobs", content=b"{}", headers={"Content-Type": kind}
        )

        assert (415, "unsupported-media-type") == (answer.status_code, answer.json()["code"])


async def test_a_body_beyond_the_limit_is_refused_by_its_length_and_as_it_comes() -> None:
    async with house(replace(DEFAULTS, body_bytes=1000)) as here:
        taken = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal taken
            for _ in range(1000):
                taken += 100
                yield b" " * 100

        headers = {"Content-Type": "application/json"}
        told = await here.client.post("/api/v1/jobs", content=b" " * 1001, headers=headers)
        untold = await here.client.post("/api/v1/jobs", content=endless(), headers=headers)

        assert [(413, "body-too-large")] * 2 == [
            (answer.status_code, answer.json()["code"]) for answer in (told, untold)
        ]
        assert 1100 == taken


async def test_a_request_too_many_is_told_to_come_later_and_health_still_answers() -> None:
    async with house(replace(DEFAULTS, requests=0)) as here:
        answer = await here.client.get("/api/v1/jobs")
        health = await here.client.get("/healthz")

        assert (503, "overloaded") == (answer.status_code, answer.json()["code"])
        assert 200 == health.status_code


class Broken(MemoryStore):
    """A store that fails in the ways it must not, and in the ways it may."""

    async def job(self, job: JobId) -> Job | None:
        raise RuntimeError(f"a secret of {job}")

    async def agents_named(self, name: str) -> Sequence[Agent]:
        raise StoreUnavailable


async def test_what_breaks_here_is_told_as_an_incident_and_no_more() -> None:
    async with house(store=Broken()) as here:
        with capture_logs() as logs:
            answer = await here.client.get("/api/v1/jobs/job_01m850v554e0r8bz4neyzzf55m")
        problem = answer.json()

        assert (500, "internal") == (answer.status_code, problem["code"])
        assert "secret" not in answer.text
        assert [problem["incident"]] == [line["incident"] for line in logs]
        assert TOKEN not in repr(logs)


async def test_a_store_that_does_not_answer_is_told_as_such() -> None:
    async with house(store=Broken()) as here:
        answer = await here.client.get("/api/v1/agents/web-1")

        assert (503, "store-unavailable") == (answer.status_code, answer.json()["code"])


async def test_it_is_ready_until_it_stops() -> None:
    async with house() as here:
        before = await here.client.get("/readyz")
        here.app.state.stopping.set()
        after = await here.client.get("/readyz")
        health = await here.client.get("/healthz")

        assert {"status": "ok"} == before.json()
        assert (503, "unavailable") == (after.status_code, after.json()["code"])
        assert 200 == health.status_code


async def test_answers_are_dated_and_not_kept_by_caches() -> None:
    async with house() as here:
        answer = await here.client.get("/api/v1/jobs")

        assert answer.headers["date"].endswith("GMT")
        assert "no-store" == answer.headers["cache-control"]
        assert "nosniff" == answer.headers["x-content-type-options"]
        assert "access-control-allow-origin" not in answer.headers
