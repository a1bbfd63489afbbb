"""Jobs that are run again, through the front door."""

from farhand.domain.ids import AgentId
from tests.integration.http.house import house

TWO = {"targets": {"names": ["web-1", "web-2"]}}


async def test_a_job_is_run_again_as_a_new_job_that_names_it() -> None:
    async with house() as here:
        for name in ("web-1", "web-2"):
            await here.joined(name)
        job, _ = await here.submitted(stdin="read", **TWO)
        answer = await here.client.post(
            f"/api/v1/jobs/{job}/rerun", json={}, headers={"Idempotency-Key": "k"}
        )
        same = await here.client.post(
            f"/api/v1/jobs/{job}/rerun", json={}, headers={"Idempotency-Key": "k"}
        )
        again = answer.json()
        shown = (await here.client.get(answer.headers["Location"])).json()

        assert (202, f"/api/v1/jobs/{again['id']}") == (
            answer.status_code,
            answer.headers["Location"],
        )
        assert ["web-1", "web-2"] == [run["agent"]["name"] for run in again["runs"]]
        assert (job, 4, "web-[1-2]") == (shown["rerun_of"], shown["stdin_bytes"], shown["targets"])
        assert (again["id"], "true") == (
            same.json()["id"],
            same.headers["Idempotency-Replayed"],
        )


async def test_only_where_it_failed() -> None:
    async with house() as here:
        for name in ("web-1", "web-2"):
            await here.joined(name)
        job, run = await here.submitted(**TWO)
        await here.done(run)
        none = await here.client.post(f"/api/v1/jobs/{job}/rerun", json={"failed_only": True})
        other = (await here.client.get(f"/api/v1/jobs/{job}")).json()["runs"][1]["id"]
        await here.started(other)
        await here.ended(other, exit_code=1)
        again = await here.client.post(f"/api/v1/jobs/{job}/rerun", json={"failed_only": True})

        assert (409, "nothing-to-rerun") == (none.status_code, none.json()["code"])
        assert ["web-2"] == [run["agent"]["name"] for run in again.json()["runs"]]


async def test_agents_that_are_gone_are_named_and_a_slip_is_told() -> None:
    async with house() as here:
        agent = await here.joined("web-1")
        await here.joined("web-2")
        job, _ = await here.submitted(**TWO)
        await here.tenant.agents.remove(AgentId(agent.id), by="op")
        gone = await here.client.post(f"/api/v1/jobs/{job}/rerun", json={})
        skipped = await here.client.post(f"/api/v1/jobs/{job}/rerun", json={"skip_removed": True})
        slip = await here.client.post(f"/api/v1/jobs/{job}/rerun", json={"failed": True})
        nobody = await here.client.post("/api/v1/jobs/job_x/rerun", json={})

        assert (409, ["web-1"]) == (gone.status_code, gone.json()["names"])
        assert (202, 1) == (skipped.status_code, len(skipped.json()["runs"]))
        assert (400, "invalid-body") == (slip.status_code, slip.json()["code"])
        assert (404, "unknown-job") == (nobody.status_code, nobody.json()["code"])
