"""Agents through the front door: finding, naming, labelling, draining, removing."""

import pytest

from tests.integration.http.house import house


async def test_an_agent_is_found_by_id_name_and_address() -> None:
    async with house() as here:
        agent = await here.joined("web-1.example:8")
        found = [
            (await here.client.get(f"/api/v1/agents/{name}")).json()["id"]
            for name in (agent.id, "web-1.example%3A8", agent.ip_mac)
        ]

        assert [agent.id] * 3 == found


async def test_agents_are_chosen_by_a_selector_over_all_pages() -> None:
    async with house() as here:
        for number in range(9):
            await here.joined(f"n-{number}", {"role": "web" if number % 4 == 0 else "db"})
        names: list[str] = []
        params = {"selector": "role=web", "limit": "2"}
        while True:
            page = (await here.client.get("/api/v1/agents", params=params)).json()
            names += [agent["name"] for agent in page["items"]]
            if page["next"] is None:
                break
            params["cursor"] = page["next"]

        assert ["n-0", "n-4", "n-8"] == sorted(names)


async def test_an_agent_is_renamed_and_its_own_name_given_back() -> None:
    async with house() as here:
        agent = await here.joined("web-1")
        url = f"/api/v1/agents/{agent.id}"
        renamed = (await here.client.patch(url, json={"name": "front"})).json()
        found = await here.client.get("/api/v1/agents/front")
        unnamed = (await here.client.patch(url, json={"name": None})).json()

        assert ("front", "web-1") == (renamed["name"], renamed["own_name"])
        assert agent.id == found.json()["id"]
        assert "web-1" == unnamed["name"]


async def test_labels_are_merged_and_hidden() -> None:
    async with house() as here:
        await here.joined("web-1", {"role": "web", "tier": "1"})
        edited = await here.client.patch(
            "/api/v1/agents/web-1", json={"labels": {"tier": None, "zone": "b"}}
        )

        assert {"role": "web", "zone": "b"} == edited.json()["labels"]
        assert {"role": "web", "tier": "1"} == edited.json()["own_labels"]


async def test_a_drained_agent_gets_no_new_runs_until_it_is_undrained() -> None:
    async with house() as here:
        await here.joined("web-1")
        ask = {"targets": {"all": True}, "argv": ["true"]}
        drained = (await here.client.post("/api/v1/agents/web-1/drain")).json()
        refused = await here.client.post("/api/v1/jobs", json=ask)
        undrained = (await here.client.post("/api/v1/agents/web-1/undrain")).json()
        taken = await here.client.post("/api/v1/jobs", json=ask)

        assert (True, False) == (drained["drained"], undrained["drained"])
        assert (400, "no-targets") == (refused.status_code, refused.json()["code"])
        assert 202 == taken.status_code


async def test_a_removed_agent_is_gone_and_its_runs_stay() -> None:
    async with house() as here:
        agent = await here.joined("web-1")
        _, run = await here.submitted(targets={"all": True})
        removed = await here.client.delete("/api/v1/agents/web-1")
        again = await here.client.delete("/api/v1/agents/web-1")
        runs = await here.client.get("/api/v1/runs", params={"agent": agent.id})

        assert (204, b"") == (removed.status_code, removed.content)
        assert (404, "unknown-agent") == (again.status_code, again.json()["code"])
        assert [run] == [one["id"] for one in runs.json()["items"]]


@pytest.mark.parametrize("question", ["commands", "namespaces"])
async def test_an_agent_that_is_away_answers_no_question(question: str) -> None:
    async with house() as here:
        await here.joined("web-1")
        answer = await here.client.get(f"/api/v1/agents/web-1/{question}")

        assert (503, "agent-gone") == (answer.status_code, answer.json()["code"])
        assert "retry-after" not in answer.headers  # nobody knows when it returns


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        ({"name": "-x"}, "invalid-name"),
        ({"name": ""}, "invalid-name"),
        ({"labels": {"a b": "c"}}, "invalid-name"),
        ({"labels": {"a": 1}}, "invalid-body"),
        ({"colour": "red"}, "invalid-body"),
    ],
)
async def test_an_edit_that_cannot_be_is_refused(edit: dict[str, object], code: str) -> None:
    async with house() as here:
        await here.joined("web-1")
        answer = await here.client.patch("/api/v1/agents/web-1", json=edit)

        assert (400, code) == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
async def test_an_agent_that_is_not_there_is_unknown(verb: str) -> None:
    async with house() as here:
        answer = await here.client.request(verb, "/api/v1/agents/nobody")

        assert (404, "unknown-agent") == (answer.status_code, answer.json()["code"])
