"""Schedules through the front door: what is taken, what is refused and what is told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from farhand.domain.limits import DEFAULTS
from tests.integration.http.house import House, eventually, house

URL = "/api/v1/schedules"
JOB = {"argv": ["uptime"], "targets": {"all": True}}
NIGHTLY = {"name": "nightly", "cron": "0 3 * * *", "tz": "Europe/Berlin", "job": JOB}


async def added(here: House, **changes: object) -> dict[str, Any]:
    answer = await here.client.post(URL, json={**NIGHTLY, **changes})
    assert 201 == answer.status_code, answer.text
    found: dict[str, Any] = answer.json()
    return found


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_a_schedule_is_told_as_it_was_asked_with_its_next_due_times() -> None:
    async with house() as here:
        answer = await here.client.post(URL, json=NIGHTLY)
        made = answer.json()
        by_name = await here.client.get(f"{URL}/nightly")
        by_id = await here.client.get(f"{URL}/{made['id']}")

        assert (201, f"{URL}/{made['id']}") == (answer.status_code, answer.headers["location"])
        assert made == by_name.json() == by_id.json()
        assert ("0 3 * * *", None, "Europe/Berlin") == (made["cron"], made["at"], made["tz"])
        assert ("active", "skip", "skip", 300.0) == (
            made["state"],
            made["overlap"],
            made["missed"],
            made["grace_s"],
        )
        assert ({"argv": ["uptime"]}, "*", None) == (
            made["what"],
            made["targets"],
            made["spread"],
        )
        assert made["next_at"] == made["next"][0]["at"]
        assert [3] * 5 == [datetime.fromisoformat(due["local"]).hour for due in made["next"]]
        assert all(
            datetime.fromisoformat(due["at"]) == datetime.fromisoformat(due["local"])
            for due in made["next"]
        )


async def test_a_moment_is_read_on_the_clock_of_its_zone() -> None:
    async with house() as here:
        year = datetime.now(UTC).year + 1
        made = await added(here, cron=None, at=f"{year}-12-01T03:00")

        assert (f"{year}-12-01T02:00:00.000Z", None) == (made["at"], made["cron"])
        assert [f"{year}-12-01T03:00:00+01:00"] == [due["local"] for due in made["next"]]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cron": "0 25 * * *"}, "invalid-cron"),
        ({"cron": "0 0 31 2 *"}, "never-fires"),
        ({"tz": "Mars/Olympus"}, "unknown-zone"),
        ({"cron": None}, "invalid-schedule"),
        ({"at": "2099-01-01T00:00"}, "invalid-schedule"),  # and cron
        ({"cron": None, "at": "2020-01-01T00:00"}, "invalid-schedule"),
        ({"cron": None, "at": "never"}, "invalid-schedule"),
        ({"cron": None, "at": "2027-03-28T02:30"}, "invalid-schedule"),  # left out in Berlin
        ({"grace_s": 1e9}, "invalid-schedule"),
        ({"grace_s": -1}, "invalid-body"),
        ({"overlap": "both"}, "invalid-body"),
        ({"name": "a b"}, "invalid-name"),
        ({"job": {**JOB, "argv": []}}, "invalid-job"),
        ({"job": {**JOB, "hold": True}}, "invalid-schedule"),
        ({"job": {"argv": ["x"], "targets": {"selector": "role="}}}, "invalid-selector"),
        ({"job": {"argv": ["x"], "targets": {"preview": "pre_1"}}}, "invalid-schedule"),
        ({"job": {**JOB, "spread": {"waves": ["x"]}}}, "invalid-spread"),
    ],
)
async def test_what_cannot_be_is_refused_with_its_code(
    changes: dict[str, object], code: str
) -> None:
    async with house() as here:
        answer = await here.client.post(URL, json={**NIGHTLY, **changes})

        assert (400, code) == (answer.status_code, answer.json()["code"])


@pytest.mark.parametrize(
    ("job", "place"),
    [
        ({**JOB, "argv": "uptime"}, "/job/argv"),
        ({**JOB, "argv": ["a", 1]}, "/job/argv/1"),
        ({"argv": ["x"], "targets": {"names": [1]}}, "/job/targets/names/0"),
        ({"argv": ["x"], "targets": {}}, "/job/targets"),
        ({**JOB, "frobnicate": 1}, "/job/frobnicate"),
        ({"targets": {"all": True}}, "/job"),
    ],
)
async def test_what_is_wrong_in_the_job_is_told_with_its_place(
    job: dict[str, object], place: str
) -> None:
    async with house() as here:
        told = (await here.client.post(URL, json={**NIGHTLY, "job": job})).json()

        assert [place] == [error["at"] for error in told["errors"]]


async def test_the_place_in_a_cron_expression_is_marked() -> None:
    async with house() as here:
        told = (await here.client.post(URL, json={**NIGHTLY, "cron": "0 25 * * *"})).json()

        assert 2 == told["at"]
        assert told["detail"].endswith("\n0 25 * * *\n  ^")


async def test_a_schedule_may_say_how_many_targets_it_has() -> None:
    async with house() as here:
        await here.joined("web-1")
        wrong = await here.client.post(URL, json={**NIGHTLY, "job": {**JOB, "expect": 2}})
        made = await added(here, job={**JOB, "expect": 1})

        assert (409, "count-mismatch") == (wrong.status_code, wrong.json()["code"])
        assert 1 == made["expect"]


async def test_a_name_is_taken_once_and_an_org_has_a_bound() -> None:
    async with house(replace(DEFAULTS, schedules=2)) as here:
        await added(here)
        again = await here.client.post(URL, json=NIGHTLY)
        await added(here, name="two")
        third = await here.client.post(URL, json={**NIGHTLY, "name": "three"})

        assert (409, "schedule-exists") == (again.status_code, again.json()["code"])
        assert (429, "schedules") == (third.status_code, third.json()["bound"])


async def test_schedules_are_listed_in_the_order_they_were_added() -> None:
    async with house() as here:
        names = [f"job-{number}" for number in range(60)]
        for name in names:
            await added(here, name=name)
        first = (await here.client.get(URL, params={"limit": "40"})).json()
        second = (await here.client.get(URL, params={"cursor": first["next"]})).json()

        assert names == [one["name"] for one in first["items"] + second["items"]]
        assert second["next"] is None


async def test_timing_and_rules_are_edited_apart() -> None:
    async with house() as here:
        await added(here)
        moved = (await here.client.patch(f"{URL}/nightly", json={"tz": "UTC"})).json()
        ruled = (await here.client.patch(f"{URL}/nightly", json={"overlap": "allow"})).json()
        timed = await here.client.patch(f"{URL}/nightly", json={"at": soon(3_600)})
        zone = await here.client.patch(f"{URL}/nightly", json={"tz": "Europe/Berlin"})

        assert ("0 3 * * *", "UTC") == (moved["cron"], moved["tz"])
        assert ("allow", "UTC", "0 3 * * *") == (ruled["overlap"], ruled["tz"], ruled["cron"])
        assert timed.json()["cron"] is None
        assert (400, "invalid-schedule") == (zone.status_code, zone.json()["code"])


async def test_a_schedule_is_paused_resumed_and_removed() -> None:
    async with house() as here:
        await added(here)
        paused = (await here.client.post(f"{URL}/nightly/pause")).json()
        resumed = (await here.client.post(f"{URL}/nightly/resume")).json()
        removed = await here.client.delete(f"{URL}/nightly")
        gone = await here.client.get(f"{URL}/nightly")

        assert ("paused", None, []) == (paused["state"], paused["next_at"], paused["next"])
        assert ("active", 5) == (resumed["state"], len(resumed["next"]))
        assert (204, b"") == (removed.status_code, removed.content)
        assert (404, "unknown-schedule") == (gone.status_code, gone.json()["code"])


async def test_what_came_of_due_times_is_told_and_the_job_names_its_schedule() -> None:
    async with house() as here:
        await here.joined("stranger")  # who is forgotten in the first round of the clockwork
        await eventually(here.tenant.store.agents, lambda page: not page.items)
        await here.joined("web-1")
        made = await added(here, cron=None, at=soon(0.3))

        async def look() -> list[dict[str, Any]]:
            told = (await here.client.get(f"{URL}/nightly/firings")).json()
            items: list[dict[str, Any]] = told["items"]
            return items

        (firing,) = await eventually(look, len)
        job = (await here.client.get(f"/api/v1/jobs/{firing['job']}")).json()
        after = (await here.client.get(f"{URL}/nightly")).json()

        assert ("fired", 1, 0) == (firing["outcome"], firing["number"], firing["passed"])
        assert made["next_at"] == firing["due"]
        assert made["id"] == job["schedule"]
        assert ("over", firing["job"], "fired") == (
            after["state"],
            after["last_job"],
            after["last_outcome"],
        )


@pytest.mark.parametrize("cursor", ["x", "-1", "٣", "1.5"])
async def test_a_cursor_of_something_else_is_refused(cursor: str) -> None:
    async with house() as here:
        await added(here)
        answer = await here.client.get(f"{URL}/nightly/firings", params={"cursor": cursor})

        assert (400, "invalid-cursor") == (answer.status_code, answer.json()["code"])
