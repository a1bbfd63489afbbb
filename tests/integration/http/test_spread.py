"""Jobs that are spread, through the front door: asked, shown, held, resumed, aborted, refused."""

from typing import Any

import pytest

from tests.integration.http.house import House, eventually, house

SPREAD = {"concurrency": 1, "waves": [1, "rest"], "by_hand": True, "abort_after": "50%"}


async def spread(here: House, **more: Any) -> dict[str, Any]:
    body = {"argv": ["true"], "targets": {"all": True}, "spread": SPREAD, **more}
    answer = await here.client.post("/api/v1/jobs", json=body)
    assert 202 == answer.status_code, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def shown(here: House, job: str) -> dict[str, Any]:
    found: dict[str, Any] = (await here.client.get(f"/api/v1/jobs/{job}")).json()
    return found


async def told(here: House, job: str, verb: str) -> dict[str, Any]:
    answer = await here.client.post(f"/api/v1/jobs/{job}/{verb}")
    assert 202 == answer.status_code, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def begun(here: House, job: str, *states: str) -> dict[str, Any]:
    """The job, once its runs are in these states."""

    async def look() -> dict[str, Any]:
        return await shown(here, job)

    return await eventually(look, lambda found: list(states) == [r["state"] for r in found["runs"]])


async def test_a_job_that_is_spread_goes_wave_by_wave() -> None:
    async with house() as here:
        for name in ("web-1", "web-2"):
            await here.joined(name)
        job = await spread(here, rerunnable=True)
        first, second = [run["id"] for run in job["runs"]]
        found = await begun(here, job["id"], "queued", "held")

        assert [1, 2] == [run["wave"] for run in found["runs"]]
        assert found["rerunnable"]
        rollout = found["rollout"]
        assert ("rolling", 1, [1, 1]) == (rollout["phase"], rollout["wave"], rollout["sizes"])
        assert ["1"] == rollout["spread"]["waves"]
        assert ("1", "50%") == (
            rollout["spread"]["concurrency"],
            rollout["spread"]["abort_after"],
        )

        await here.done(first)

        async def look() -> dict[str, Any]:
            return await shown(here, job["id"])

        found = await eventually(look, lambda found: found["rollout"]["phase"] == "held")

        assert ("running", "pause") == (found["state"], found["rollout"]["hold"]["why"])
        assert "held" != (await told(here, job["id"], "resume"))["rollout"]["phase"]
        await begun(here, job["id"], "succeeded", "queued")
        await here.done(second)
        found = await eventually(look, lambda found: found["state"] == "done")

        assert ("done", "completed") == (found["rollout"]["phase"], found["rollout"]["ended"])


async def test_a_job_is_held_and_aborted_by_hand() -> None:
    async with house() as here:
        for name in ("web-1", "web-2"):
            await here.joined(name)
        job = (await spread(here))["id"]
        await begun(here, job, "queued", "held")
        held = await told(here, job, "hold")

        assert ("held", "hand", "admin") == (
            held["rollout"]["phase"],
            held["rollout"]["hold"]["why"],
            held["rollout"]["hold"]["by"],
        )
        assert held == await told(here, job, "hold")

        await told(here, job, "abort")
        found = await begun(here, job, "cancelled", "cancelled")

        assert {"aborted"} == {run["why"] for run in found["runs"]}
        answer = await here.client.post(f"/api/v1/jobs/{job}/resume")
        assert (409, "not-rolling") == (answer.status_code, answer.json()["code"])


async def test_a_job_may_wait_for_its_first_wave() -> None:
    async with house() as here:
        await here.joined("web-1")
        job = (await spread(here, hold=True, spread={"concurrency": "10%"}))["id"]

        assert "held" == (await shown(here, job))["rollout"]["phase"]

        await here.client.post(f"/api/v1/jobs/{job}/release")
        await begun(here, job, "queued")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"waves": [5]}, "wave-too-large"),
        ({"concurrency": "0%"}, "invalid-spread"),
        ({"retries": 1}, "invalid-spread"),
        ({"waves": [1], "gate": {"argv": ["x"], "selector": "role=none"}}, "gate-cannot-run"),
        ({"waves": [1], "gate": {"argv": ["x"], "selector": "role="}}, "invalid-selector"),
        ({"waves": [1], "gate": {"argv": [], "selector": "os=linux"}}, "invalid-job"),
    ],
)
async def test_a_spread_that_cannot_be_is_refused_and_nothing_is_written(
    asked: dict[str, Any], code: str
) -> None:
    async with house() as here:
        await here.joined("web-1", {"os": "linux"})
        body = {"argv": ["true"], "targets": {"all": True}, "spread": asked}
        answer = await here.client.post("/api/v1/jobs", json=body)

        assert (400, code) == (answer.status_code, answer.json()["code"])
        assert [] == (await here.client.get("/api/v1/jobs")).json()["items"]


async def test_a_job_that_is_not_spread_has_no_rollout() -> None:
    async with house() as here:
        await here.joined("web-1")
        job, _ = await here.submitted(targets={"all": True})

        assert (await shown(here, job))["rollout"] is None
        answer = await here.client.post(f"/api/v1/jobs/{job}/hold")
        assert (409, "not-rolling") == (answer.status_code, answer.json()["code"])
