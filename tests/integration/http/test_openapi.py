"""The description of the API is valid, whole, and what the API does."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import checks

from farhand.domain.limits import DEFAULTS
from tests.integration.http.house import BEARER, House, house

# No agent is connected: whoever waits would wait in vain.
LIMITS = replace(DEFAULTS, wait_max_s=0.01)


@dataclass(slots=True)
class Hosted:
    """A house in a loop of its own, for tests that have none."""

    house: House
    loop: asyncio.AbstractEventLoop
    known: dict[str, str]

    def request(self, **case: Any) -> httpx.Response:
        del case["cookies"]  # none are known here
        asked = self.house.client.request(**case)
        return asyncio.run_coroutine_threadsafe(asked, self.loop).result(timeout=20)


@contextmanager
def hosted() -> Iterator[Hosted]:
    ready: Future[Hosted] = Future()
    over = asyncio.Event()

    async def host() -> None:
        async with house(LIMITS) as here:
            for name in ("web-1", "web-2"):
                await here.joined(name, {"role": "web", "os": "linux"})
            job, run = await here.submitted(targets={"names": ["web-1"]})
            await here.started(run)
            await here.printed(run, b"hello")
            await here.ended(run)
            nightly = {"argv": ["true"], "targets": {"all": True}}
            scheduled = {"name": "nightly", "cron": "@daily", "job": nightly}
            await here.client.post("/api/v1/schedules", json=scheduled)
            await here.client.put("/api/v1/groups/web", json={"selector": "role=web"})
            known = {"job": job, "run": run, "agent": "web-1", "schedule": "nightly"}
            known["group"] = "web"
            ready.set_result(Hosted(here, asyncio.get_running_loop(), known))
            await over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(host()))
    thread.start()
    try:
        found = ready.result(timeout=20)
        yield found
    finally:
        found.loop.call_soon_threadsafe(over.set)
        thread.join()


@pytest.fixture(scope="module")
def open_house() -> Iterator[Hosted]:
    with hosted() as found:
        yield found


@pytest.fixture(scope="module")
def described(open_house: Hosted) -> dict[str, Any]:
    document: dict[str, Any] = open_house.house.app.openapi()
    return document


def test_the_description_is_valid_openapi(described: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(described).validate()

    assert "3.1.0" == described["openapi"]


def test_every_operation_has_its_own_id_and_declares_its_errors(
    described: dict[str, Any],
) -> None:
    operations = [op for path in described["paths"].values() for op in path.values()]
    ids = [operation["operationId"] for operation in operations]
    declared = [
        content
        for operation in operations
        for status, response in operation["responses"].items()
        if int(status) >= 400
        for content in response["content"]
    ]

    assert sorted(set(ids)) == sorted(ids)
    assert {"application/problem+json"} == set(declared)


def test_what_needs_a_token_says_so(described: dict[str, Any]) -> None:
    free = {
        path
        for path, operations in described["paths"].items()
        for operation in operations.values()
        if "security" not in operation
    }

    assert {"/healthz", "/readyz"} == free


CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


def test_whatever_is_asked_the_answer_is_as_described(
    open_house: Hosted, described: dict[str, Any]
) -> None:
    schema = schemathesis.openapi.from_dict(described)
    told: set[int] = set()
    operations = [schema[path][method] for path in described["paths"] for method in schema[path]]
    # What stops or removes things comes last.
    final = [one for one in operations if one.method == "delete" or one.path.endswith("/freeze")]
    for operation in [one for one in operations if one not in final] + final:

        @given(case=operation.as_strategy(), known=st.booleans())
        @settings(max_examples=20, suppress_health_check=list(HealthCheck))
        def ask(case: schemathesis.Case[Any], *, known: bool) -> None:
            if known:  # that chance finds an id is not to be hoped for
                case.path_parameters = {
                    name: open_house.known[name] for name in case.path_parameters
                }
            kwargs = case.as_transport_kwargs(base_url="http://farhand", headers=BEARER)
            answer = open_house.request(**kwargs)
            told.add(answer.status_code)
            assert 500 != answer.status_code, answer.text
            case.validate_response(answer, checks=CHECKS)

        ask()

    # What chance is sure to bring; 204 and 503 have tests of their own.
    assert {200, 202, 400, 404} <= told
