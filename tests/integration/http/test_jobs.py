"""Jobs through the front door: asking, waiting, repeating, listing, cancelling."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from farhand.domain.limits import DEFAULTS
from farhand.domain.run import Why
from farhand.errors import StoreUnavailable
from farhand.ports import AddJob, Change, Outcome, RunFilter
from farhand.storage.memory import MemoryStore
from tests.integration.http.house import House, eventually, house

ALL = {"targets": {"all": True}, "argv": ["uptime"]}


async def test_a_job_is_accepted_with_its_runs() -> None:
    async with house() as here:
        agent = await here.joined("web-1")
        answer = await here.client.post("/api/v1/jobs", json=ALL)
        job = answer.json()

        assert 202 == answer.status_code
        assert f"/api/v1/jobs/{job['id']}" == answer.headers["location"]
        assert "running" == job["state"]
        assert {"queued": 1} == job["counts"]
        (run,) = job["runs"]
        assert {"id": agent.id, "name": "web-1"} == run["agent"]
        assert "queued" == run["state"]


async def test_a_job_shows_what_was_asked_and_its_runs() -> None:
    async with house() as here:
        await here.joined("web-1")
        job, run = await here.submitted(
            targets={"selector": "name=web-*"}, argv=["env"], env={"A": "secret"}, timeout_s=9
        )
        found = (await here.client.get(f"/api/v1/jobs/{job}")).json()

        assert {"argv": ["env"]} == found["what"]
        assert "name=web-*" == found["targets"]
        assert ["A"] == found["env"]
        assert 9 == found["limits"]["timeout_s"]
        assert [run] == [one["id"] for one in found["runs"]]
        assert found["runs_next"] is None


async def test_jobs_are_listed_newest_first_in_pages() -> None:
    async with house() as here:
        await here.joined("web-1")
        made = [(await here.submitted(targets={"all": True}))[0] for _ in range(5)]
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await here.client.get("/api/v1/jobs", params={"limit": "2", **cursor})).json()
            found += [job["id"] for job in page["items"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}

        assert made[::-1] == found


async def test_a_long_page_of_jobs_is_whole() -> None:
    async with house() as here:
        await here.joined("web-1")
        made = [(await here.submitted(targets={"all": True}))[0] for _ in range(60)]
        first = (await here.client.get("/api/v1/jobs?limit=55")).json()
        rest = (await here.client.get(f"/api/v1/jobs?cursor={first['next']}")).json()

        assert 55 == len(first["items"])
        assert made[::-1] == [job["id"] for job in [*first["items"], *rest["items"]]]
        assert rest["next"] is None


async def test_the_runs_that_a_job_does_not_show_follow_by_cursor() -> None:
    async with house() as here:
        for number in range(101):
            await here.joined(f"web-{number}")
        accepted = (await here.client.post("/api/v1/jobs", json=ALL)).json()
        job = (await here.client.get(f"/api/v1/jobs/{accepted['id']}")).json()
        rest = await here.client.get(
            "/api/v1/runs", params={"job": job["id"], "cursor": job["runs_next"]}
        )

        shown = [run["id"] for run in [*job["runs"], *rest.json()["items"]]]
        assert [run["id"] for run in accepted["runs"]] == shown


async def test_the_same_key_is_the_same_job() -> None:
    async with house() as here:
        await here.joined("web-1")
        headers = {"Idempotency-Key": "k-1"}
        first = await here.client.post("/api/v1/jobs", json=ALL, headers=headers)
        again = await here.client.post("/api/v1/jobs", json=ALL, headers=headers)
        other = await here.client.post(
            "/api/v1/jobs", json={**ALL, "argv": ["date"]}, headers=headers
        )

        assert first.json()["id"] == again.json()["id"]
        assert first.json()["runs"] == again.json()["runs"]
        assert "idempotency-replayed" not in first.headers
        assert "true" == again.headers["idempotency-replayed"]
        assert (409, "idempotency-conflict") == (other.status_code, other.json()["code"])


class Doorkeeper(MemoryStore):
    """Lets nobody add a job before *together* of them want to."""

    def __init__(self, together: int) -> None:
        super().__init__()
        self._all = asyncio.Barrier(together)

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        if any(isinstance(change, AddJob) for change in changes):
            await self._all.wait()
        return await super().apply(changes)


async def test_the_same_key_is_the_same_job_while_the_first_is_still_being_written() -> None:
    async with house(store=Doorkeeper(5)) as here:
        await here.joined("web-1")
        headers = {"Idempotency-Key": "k-1"}
        answers = await asyncio.gather(
            *(here.client.post("/api/v1/jobs", json=ALL, headers=headers) for _ in range(5))
        )
        jobs = (await here.tenant.store.jobs()).items
        replayed = [answer.headers.get("idempotency-replayed") for answer in answers]

        assert {202} == {answer.status_code for answer in answers}
        assert {jobs[0].id} == {answer.json()["id"] for answer in answers}
        assert 1 == len(jobs)
        assert 4 == replayed.count("true")


class Dying(MemoryStore):
    """Commits, and has no answer any more, as the store of a process that is killed just then."""

    dying = True

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = await super().apply(changes)
        if self.dying and any(isinstance(change, AddJob) for change in changes):
            raise StoreUnavailable
        return outcomes


async def test_the_same_key_is_the_same_job_across_a_crash_between_commit_and_answer() -> None:
    store, headers = Dying(), {"Idempotency-Key": "k-1"}
    async with house(store=store) as here:
        await here.joined("web-1")
        first = await here.client.post("/api/v1/jobs", json=ALL, headers=headers)
    store.dying = False
    async with house(store=store) as after:
        again = await after.client.post("/api/v1/jobs", json=ALL, headers=headers)
        other = await after.client.post(
            "/api/v1/jobs", json={**ALL, "argv": ["date"]}, headers=headers
        )
        (job,) = (await store.jobs()).items

        assert 503 == first.status_code
        assert int(first.headers["retry-after"]) >= 1
        assert (202, "true") == (again.status_code, again.headers["idempotency-replayed"])
        assert job.id == again.json()["id"]
        assert 1 == len(again.json()["runs"])
        assert 409 == other.status_code


async def test_the_same_key_of_another_caller_is_another_job() -> None:
    async with house(callers={"bob": "fh_api_of_bob"}) as here:
        await here.joined("web-1")
        key = {"Idempotency-Key": "k-1"}
        bob = {**key, "Authorization": "Bearer fh_api_of_bob"}
        mine = await here.client.post("/api/v1/jobs", json=ALL, headers=key)
        his = await here.client.post("/api/v1/jobs", json={**ALL, "argv": ["date"]}, headers=bob)

        assert (202, 202) == (mine.status_code, his.status_code)
        assert mine.json()["id"] != his.json()["id"]


async def test_a_key_whose_time_is_over_makes_a_new_job() -> None:
    async with house(replace(DEFAULTS, idempotency_s=0.0)) as here:
        await here.joined("web-1")
        headers = {"Idempotency-Key": "k-1"}
        first = await here.client.post("/api/v1/jobs", json=ALL, headers=headers)
        again = await here.client.post(
            "/api/v1/jobs", json={**ALL, "argv": ["date"]}, headers=headers
        )

        assert (202, 202) == (first.status_code, again.status_code)
        assert first.json()["id"] != again.json()["id"]


async def _finish(here: House, *prints: tuple[str, bytes]) -> None:
    """Play the agent for the first run that appears."""
    page = await eventually(lambda: here.tenant.store.runs(RunFilter()), lambda page: page.items)
    run = page.items[0].id
    await here.started(run)
    for stream, data in prints:
        await here.printed(run, data, stream)
    await here.ended(run, exit_code=3)


async def test_whoever_waits_is_answered_with_results_and_output() -> None:
    async with house() as here:
        await here.joined("web-1")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_finish(here, ("stdout", b"out\n"), ("stderr", b"\xff")))
            answer = await here.client.post("/api/v1/jobs?wait_s=20", json=ALL)
        job = answer.json()
        (run,) = job["runs"]

        assert 200 == answer.status_code
        assert "done" == job["state"]
        assert ("failed", 3) == (run["state"], run["exit_code"])
        assert {"text": "out\n", "stored": 4, "truncated": False} == run["stdout"]
        assert {"base64": "/w==", "stored": 1, "truncated": False} == run["stderr"]


async def test_whoever_waited_in_vain_is_answered_as_without() -> None:
    async with house() as here:
        await here.joined("web-1")
        answer = await here.client.post("/api/v1/jobs?wait_s=0.01", json=ALL)

        assert 202 == answer.status_code
        assert "queued" == answer.json()["runs"][0]["state"]


async def test_a_wait_ends_when_the_server_does() -> None:
    async with house() as here:
        await here.joined("web-1")
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(here.client.post("/api/v1/jobs?wait_s=60", json=ALL))
            await eventually(here.tenant.store.jobs, lambda page: page.items)
            here.app.state.stopping.set()

        assert 202 == asked.result().status_code


async def test_output_in_an_answer_is_bounded_for_each_stream_and_for_all() -> None:
    limits = replace(DEFAULTS, wait_output_bytes=6, wait_total_bytes=8)
    async with house(limits) as here:
        await here.joined("web-1")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_finish(here, ("stdout", b"o" * 9), ("stderr", b"e" * 9)))
            answer = await here.client.post("/api/v1/jobs?wait_s=20", json=ALL)
        (run,) = answer.json()["runs"]

        assert {"text": "o" * 6, "stored": 9, "truncated": True} == run["stdout"]
        assert {"text": "e" * 2, "stored": 9, "truncated": True} == run["stderr"]


async def test_a_job_is_cancelled_more_than_once_with_the_same_end() -> None:
    async with house() as here:
        await here.joined("web-1")
        job, run = await here.submitted(targets={"all": True})
        answers = [await here.client.post(f"/api/v1/jobs/{job}/cancel") for _ in range(2)]
        found = (await here.client.get(f"/api/v1/runs/{run}")).json()

        assert [202, 202] == [answer.status_code for answer in answers]
        assert ["done", "done"] == [answer.json()["state"] for answer in answers]
        assert "cancelled" == found["state"]


async def test_a_run_that_runs_is_asked_to_end() -> None:
    async with house() as here:
        await here.joined("web-1")
        _, run = await here.submitted(targets={"all": True})
        await here.started(run)
        answer = await here.client.post(f"/api/v1/runs/{run}/cancel")
        await here.ended(run, why=Why.CANCELLED, exit_code=None, signal=15)
        found = (await here.client.get(f"/api/v1/runs/{run}")).json()

        assert 202 == answer.status_code
        assert ("running", True) == (answer.json()["state"], answer.json()["cancel_requested"])
        assert ("cancelled", 15) == (found["state"], found["signal"])


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"targets": {"names": []}}, 400, "no-targets"),
    ({"targets": {"names": ["a"] * 10_001}}, 400, "too-many-targets"),
    ({"targets": {"selector": "liveness=online"}}, 400, "no-targets"),
    ({"targets": {"selector": "rol=db"}}, 400, "unknown-label"),
    ({"targets": {"selector": "role="}}, 400, "invalid-selector"),
    ({"targets": {"names": ["nobody"]}}, 404, "unknown-agent"),
    ({"targets": {"names": ["twin"]}}, 400, "ambiguous-name"),
    ({"argv": []}, 400, "invalid-job"),
    ({"argv": ["a\0b"]}, 400, "invalid-job"),
    ({"argv": ["x" * 200_000]}, 400, "invalid-job"),
    ({"cwd": "tmp"}, 400, "invalid-job"),
    ({"env": {"FARHAND_X": "1"}}, 400, "invalid-job"),
    ({"stdin_base64": "%%%"}, 400, "invalid-job"),
    ({"timeout_s": 1e9}, 400, "invalid-job"),
    ({"rlimits": {"nofiles": 1}}, 400, "invalid-job"),
    ({"nice": "low"}, 400, "invalid-body"),
    ({"colour": "red"}, 400, "invalid-body"),
]


@pytest.mark.parametrize(("wrong", "status", "code"), BAD)
async def test_a_job_that_cannot_be_is_refused_and_nothing_is_kept(
    wrong: dict[str, Any], status: int, code: str
) -> None:
    async with house() as here:
        for name in ("web-1", "twin", "twin"):
            await here.joined(name)
        answer = await here.client.post("/api/v1/jobs", json={**ALL, **wrong})

        assert (status, code) == (answer.status_code, answer.json()["code"])
        assert "application/problem+json" == answer.headers["content-type"]
        assert [] == list((await here.tenant.store.jobs()).items)


async def test_a_name_that_two_bear_lists_them() -> None:
    async with house() as here:
        twins = [(await here.joined("twin")).id for _ in range(2)]
        wrong = {**ALL, "targets": {"names": ["twin"]}}
        answer = await here.client.post("/api/v1/jobs", json=wrong)

        assert sorted(twins) == sorted(answer.json()["agents"])


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"targets": {"all": true}, "argv": ["\xff"]}', b""])
async def test_a_body_that_is_no_json_is_refused(raw: bytes) -> None:
    async with house() as here:
        headers = {"Content-Type": "application/json"}
        answer = await here.client.post("/api/v1/jobs", content=raw, headers=headers)

        assert (400, "invalid-body") == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize("query", ["wait_s=301", "wait_s=-1", "wait_s=nan", "wait_s=x", "wait=3"])
async def test_a_wait_that_cannot_be_is_refused_and_nothing_is_kept(query: str) -> None:
    async with house() as here:
        await here.joined("web-1")
        answer = await here.client.post(f"/api/v1/jobs?{query}", json=ALL)

        assert (400, "invalid-query") == (answer.status_code, answer.json()["code"])
        assert [] == list((await here.tenant.store.jobs()).items)


@pytest.mark.parametrize("verb", ["GET", "POST"])
@pytest.mark.parametrize("job", ["job_01m850v554e0r8bz4neyzzf55m", "nonsense", "%00"])
async def test_a_job_that_is_not_there_is_unknown(verb: str, job: str) -> None:
    async with house() as here:
        path = f"/api/v1/jobs/{job}" + ("/cancel" if verb == "POST" else "")
        answer = await here.client.request(verb, path)

        assert (404, "unknown-job") == (answer.status_code, answer.json()["code"])
