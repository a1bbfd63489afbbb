"""Schedules in the SDK: what is sent, and what is made of the answers."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from farhand.client import Due, Firing, UnexpectedAnswer
from farhand.client import _schedules as calls
from farhand.client._calls import Answer

SCHEDULE = {
    "id": "sch_1",
    "name": "nightly",
    "state": "active",
    "cron": "0 3 * * *",
    "at": None,
    "tz": "Europe/Berlin",
    "next_at": "2026-12-01T02:00:00.000Z",
    "next": [{"at": "2026-12-01T02:00:00.000Z", "local": "2026-12-01T03:00:00+01:00"}],
    "later": "a field of another version",
}


def test_a_schedule_sends_its_job_apart() -> None:
    call = calls.add_schedule(
        "nightly", ["df", "-h"], {"names": "web-1", "cron": "@daily", "tz": "UTC", "timeout_s": 5}
    )

    assert ("POST", "/api/v1/schedules", False) == (call.method, call.path, call.repeatable)
    assert {
        "name": "nightly",
        "cron": "@daily",
        "tz": "UTC",
        "job": {"argv": ["df", "-h"], "targets": {"names": ["web-1"]}, "timeout_s": 5},
    } == json.loads(call.body or b"")


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-12-01T03:00", "2026-12-01T03:00"),
        (datetime(2026, 12, 1, 3), "2026-12-01T03:00:00"),  # noqa: DTZ001 - on the zone's clock
        (datetime(2026, 12, 1, 3, tzinfo=UTC), "2026-12-01T03:00:00+00:00"),
    ],
)
def test_a_moment_may_be_a_text_or_a_datetime(at: str | datetime, expected: str) -> None:
    call = calls.edit_schedule("a/b", {"at": at})

    assert ("PATCH", "/api/v1/schedules/a%2Fb") == (call.method, call.path)
    assert {"at": expected} == json.loads(call.body or b"")


def test_a_schedule_is_read_with_its_due_times() -> None:
    found = calls.get_schedule("x").answered(Answer(200, {}, json.dumps(SCHEDULE).encode()))
    berlin = timezone(timedelta(hours=1))
    moment = datetime(2026, 12, 1, 2, tzinfo=UTC)

    assert ("nightly", "active", "0 3 * * *", None) == (
        found.name,
        found.state,
        found.cron,
        found.at,
    )
    assert moment == found.next_at
    assert [Due(moment, datetime(2026, 12, 1, 3, tzinfo=berlin))] == list(found.next)
    assert "a field of another version" == found.raw["later"]


def test_a_firing_is_read() -> None:
    told = {"items": [{"number": 3, "outcome": "refused", "code": "frozen", "job": None}]}
    page = calls.firings("x", None).answered(Answer(200, {}, json.dumps(told).encode()))

    assert [Firing(number=3, outcome="refused", code="frozen")] == list(page.items)


@pytest.mark.parametrize("told", [[], {}, {"id": "sch_1"}, {**SCHEDULE, "next": 1}])
def test_what_is_no_schedule_is_named_as_such(told: object) -> None:
    with pytest.raises(UnexpectedAnswer):
        calls.get_schedule("x").answered(Answer(200, {}, json.dumps(told).encode()))
