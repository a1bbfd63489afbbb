"""Whom a job is for, through the front door: previews, saved groups, the freeze, and why not."""

import time
from typing import Any

import pytest

from tests.integration.http.house import House, house

TRUE = {"argv": ["true"]}


async def asked(here: House, targets: dict[str, Any], **more: Any) -> Any:
    return await here.client.post("/api/v1/jobs", json={**TRUE, "targets": targets, **more})


async def previewed(here: House, targets: dict[str, Any], **what: Any) -> Any:
    body = {**(what or TRUE), "targets": targets}
    answer = await here.client.post("/api/v1/jobs?preview=true", json=body)
    assert 200 == answer.status_code, answer.text
    return answer.json()


async def jobs(here: House) -> list[Any]:
    items: list[Any] = (await here.client.get("/api/v1/jobs")).json()["items"]
    return items


async def fleet(here: House) -> None:
    for number in range(1, 6):
        await here.joined(f"web-{number}", {"role": "web", "env": "prod"})
    await here.joined("db-1", {"role": "db", "env": "prod"})


# --- previews -----------------------------------------------------------------------------


async def test_a_preview_tells_whom_a_job_would_be_for_and_starts_nothing() -> None:
    async with house() as here:
        await fleet(here)
        await here.client.post("/api/v1/agents/web-5/drain")
        found = await previewed(here, {"selector": "web-[1-5] | db-1"})

        assert (5, "db-1,web-[1-4]") == (found["count"], found["hosts"])
        assert {"count": 5, "hosts": "db-1,web-[1-4]"} == found["away"]
        assert {"count": 1, "hosts": "web-5"} == found["drained"]
        assert [] == found["refusing"]
        assert [] == await jobs(here)


async def test_a_preview_tells_who_would_refuse_and_why() -> None:
    async with house() as here:
        await fleet(here)
        await here.client.post("/api/v1/agents/web-5/drain")
        found = await previewed(here, {"names": ["web-4", "web-5"]})

        assert (2, [("drained", 1, "web-5")]) == (
            found["count"],
            [(it["why"], it["count"], it["hosts"]) for it in found["refusing"]],
        )
        assert "farhand agents undrain web-5" in found["refusing"][0]["message"]


async def test_a_job_is_bound_to_the_agents_of_its_preview() -> None:
    async with house() as here:
        await fleet(here)
        found = await previewed(here, {"selector": "role=web"})
        await here.joined("web-6", {"role": "web"})
        await here.client.patch("/api/v1/agents/web-1", json={"labels": {"role": "db"}})
        job = (await asked(here, {"preview": found["preview"]})).json()

        assert [f"web-{n}" for n in range(1, 6)] == sorted(
            run["agent"]["name"] for run in job["runs"]
        )


async def test_a_preview_that_is_gone_or_lacks_an_agent_binds_no_job() -> None:
    async with house() as here:
        await fleet(here)
        found = await previewed(here, {"selector": "role=web"})
        unknown = await asked(here, {"preview": "pre_01h455vb4pex5vsknk084sn02q"})
        await here.client.delete("/api/v1/agents/web-3")
        lacking = await asked(here, {"preview": found["preview"]})

        assert (404, "unknown-preview") == (unknown.status_code, unknown.json()["code"])
        assert (404, "unknown-agent") == (lacking.status_code, lacking.json()["code"])
        assert "web-3" in lacking.json()["detail"] or "agt_" in lacking.json()["detail"]
        assert [] == await jobs(here)


# --- counts -------------------------------------------------------------------------------


async def test_a_job_that_says_how_many_it_expects_is_held_to_it() -> None:
    async with house() as here:
        await fleet(here)
        wrong = await asked(here, {"all": True}, expect=5)
        right = await asked(here, {"all": True}, expect=6)

        assert (409, "count-mismatch", 6) == (
            wrong.status_code,
            wrong.json()["code"],
            wrong.json()["count"],
        )
        assert 202 == right.status_code
        assert 1 == len(await jobs(here))


async def test_a_job_on_many_must_say_how_many_it_expects() -> None:
    async with house() as here:
        for number in range(201):
            await here.joined(f"n-{number}")
        unnamed = await asked(here, {"all": True})
        few = await asked(here, {"selector": "n-[0-199]"})
        named = await asked(here, {"all": True}, expect=201)
        found = await previewed(here, {"all": True})
        bound = await asked(here, {"preview": found["preview"]})

        assert (400, "count-unnamed", 201) == (
            unnamed.status_code,
            unnamed.json()["code"],
            unnamed.json()["count"],
        )
        assert "--expect 201" in unnamed.json()["detail"]
        assert [202] * 3 == [few.status_code, named.status_code, bound.status_code]


# --- selectors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "status", "code", "told"),
    [
        ("role=web &", 400, "invalid-selector", "at character 11"),
        ("role=web,env=prod", 400, "invalid-selector", "a comma"),
        ("rol=web", 400, "unknown-label", "did you mean role?"),
        ("!rol=web", 400, "unknown-label", "did you mean role?"),
        ("web-[1-9]", 404, "unknown-agent", "web-[6-9]"),
        ("!wbe-1", 404, "unknown-agent", "did you mean"),
        ("@nobody", 400, "invalid-selector", "no group @nobody"),
        ("role=web & role=db", 400, "no-targets", "no agent matches"),
        ("web-[1-100000000]", 400, "invalid-selector", "more than"),
    ],
)
async def test_a_selector_with_a_mistake_starts_nothing(
    selector: str, status: int, code: str, told: str
) -> None:
    async with house() as here:
        await fleet(here)
        answer = await asked(here, {"selector": selector})

        assert (status, code) == (answer.status_code, answer.json()["code"])
        assert told in answer.json()["detail"]
        assert [] == await jobs(here)


async def test_a_name_with_a_typo_is_told_what_it_may_have_been() -> None:
    async with house() as here:
        await fleet(here)
        answer = await asked(here, {"names": ["wbe-1"]})

        assert (404, "unknown-agent") == (answer.status_code, answer.json()["code"])
        assert "did you mean web-1" in answer.json()["detail"]


# --- saved groups -------------------------------------------------------------------------


async def test_a_saved_group_stands_for_its_selector_until_it_is_changed() -> None:
    async with house() as here:
        await fleet(here)
        url = "/api/v1/groups/front"
        saved = (await here.client.put(url, json={"selector": "role=web & !web-5"})).json()
        first = (await asked(here, {"selector": "@front | db-1"})).json()
        await here.client.put(url, json={"selector": "web-1"})
        second = (await asked(here, {"selector": "@front"})).json()
        listed = (await here.client.get("/api/v1/groups")).json()["items"]

        assert ("front", "role=web & !web-5", "admin") == (
            saved["name"],
            saved["selector"],
            saved["by"],
        )
        assert (5, 1) == (len(first["runs"]), len(second["runs"]))
        assert [("front", "web-1")] == [(group["name"], group["selector"]) for group in listed]


async def test_a_group_that_cannot_be_is_not_saved() -> None:
    async with house() as here:
        wrong = {
            "a b": "role=web",
            "loop": "@loop",
            "open": "role=",
            "lost": "@nobody",
        }
        told = {
            name: (await here.client.put(f"/api/v1/groups/{name}", json={"selector": selector}))
            for name, selector in wrong.items()
        }
        missing = await here.client.get("/api/v1/groups/loop")

        assert {
            "a b": "invalid-name",
            "loop": "invalid-selector",
            "open": "invalid-selector",
            "lost": "invalid-selector",
        } == {name: answer.json()["code"] for name, answer in told.items()}
        assert (404, "unknown-group") == (missing.status_code, missing.json()["code"])


async def test_a_group_that_others_use_is_not_removed() -> None:
    async with house() as here:
        await here.client.put("/api/v1/groups/inner", json={"selector": "role=web"})
        await here.client.put("/api/v1/groups/outer", json={"selector": "@inner"})
        used = await here.client.delete("/api/v1/groups/inner")
        removed = [
            (await here.client.delete(f"/api/v1/groups/{name}")).status_code
            for name in ("outer", "inner", "inner")
        ]

        assert (400, "invalid-selector") == (used.status_code, used.json()["code"])
        assert "@outer" in used.json()["detail"]
        assert [204, 204, 404] == removed


# --- the freeze ---------------------------------------------------------------------------


async def test_while_the_org_is_frozen_no_job_begins_and_what_runs_goes_on() -> None:
    async with house() as here:
        await here.joined("web-1")
        running = (await asked(here, {"all": True})).json()
        frozen = (await here.client.put("/api/v1/freeze", json={"reason": "incident 7"})).json()
        refused = await asked(here, {"all": True})
        looked = await here.client.post(
            "/api/v1/jobs?preview=true", json={**TRUE, "targets": {"all": True}}
        )
        cancelled = await here.client.post(f"/api/v1/jobs/{running['id']}/cancel")
        lifted = [(await here.client.delete("/api/v1/freeze")).status_code for _ in range(2)]
        taken = await asked(here, {"all": True})

        assert (True, "incident 7", "admin") == (frozen["frozen"], frozen["reason"], frozen["by"])
        assert (409, "frozen") == (refused.status_code, refused.json()["code"])
        assert "incident 7" in refused.json()["detail"]
        assert (200, 202, [204, 204]) == (looked.status_code, cancelled.status_code, lifted)
        assert 202 == taken.status_code
        assert not (await here.client.get("/api/v1/freeze")).json()["frozen"]


# --- why not ------------------------------------------------------------------------------


async def why(here: House, job: str, agent: str) -> tuple[str, str]:
    answer = await here.client.get(f"/api/v1/jobs/{job}/why", params={"agent": agent})
    assert 200 == answer.status_code, answer.text
    return answer.json()["verdict"], answer.json()["message"]


async def test_why_a_host_was_not_in_a_job_has_an_answer() -> None:
    async with house() as here:
        await fleet(here)
        await here.client.put("/api/v1/groups/front", json={"selector": "role=web & env=prod"})
        await here.client.post("/api/v1/agents/web-5/drain")
        job = (await asked(here, {"selector": "@front & !web-1"})).json()["id"]
        await here.client.put("/api/v1/groups/front", json={"selector": "role=db"})
        await here.client.post("/api/v1/agents/web-5/undrain")
        await here.joined("web-9", {"role": "web", "env": "prod"}, at=time.time() + 60)
        unknown = await here.client.get(f"/api/v1/jobs/{job}/why?agent=nobody")
        told = {
            name: await why(here, job, name)
            for name in ("web-1", "web-2", "web-5", "web-9", "db-1")
        }

        assert {
            "web-1": "not_matched",
            "web-2": "in_job",
            "web-5": "drained",
            "web-9": "joined_later",
            "db-1": "not_matched",
        } == {name: verdict for name, (verdict, _) in told.items()}
        assert "role=web: it has role=db" in told["db-1"][1]
        assert (404, "unknown-agent") == (unknown.status_code, unknown.json()["code"])


async def test_a_host_that_would_match_only_now_is_told_apart() -> None:
    async with house() as here:
        await fleet(here)
        selected = (await asked(here, {"selector": "role=web"})).json()["id"]
        named = (await asked(here, {"names": ["web-1", "web-2"]})).json()["id"]
        await here.client.patch("/api/v1/agents/db-1", json={"labels": {"role": "web"}})

        assert "matches_now" == (await why(here, selected, "db-1"))[0]
        assert "not_named" == (await why(here, named, "db-1"))[0]
