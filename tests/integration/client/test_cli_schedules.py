"""`farhand schedules`: what is asked of the controller, and what is shown."""

import json

import pytest

from tests.integration.client.shell import Shell
from tests.integration.client.stub import Reply, Stub, told

SCHEDULE = {
    "id": "sch_1",
    "name": "nightly",
    "state": "active",
    "by": "admin",
    "cron": "0 3 * * *",
    "at": None,
    "tz": "Europe/Berlin",
    "overlap": "skip",
    "missed": "once",
    "grace_s": 300.0,
    "targets": "*",
    "summary": "apt-get update",
    "next_at": "2026-12-01T02:00:00.000Z",
    "last_due": None,
    "last_outcome": "fired",
    "last_job": "job_1",
}
NEXT = [{"at": "2026-12-01T02:00:00.000Z", "local": "2026-12-01T03:00:00+01:00"}]


def lines(out: bytes) -> list[list[str]]:
    return [line.split() for line in out.decode().splitlines()]


@pytest.mark.parametrize(
    "words",
    [
        ["nightly", "--cron", "0 3 * * *", "--tz", "Europe/Berlin", "web-1", "db"],
        ["nightly", "web-1", "db", "--cron", "0 3 * * *", "--tz", "Europe/Berlin"],
        ["--cron", "0 3 * * *", "nightly", "web-1", "--tz", "Europe/Berlin", "db"],
        ["--cron", "0 3 * * *", "--tz", "Europe/Berlin", "nightly", "web-1,db"],
    ],
)
def test_words_and_options_of_add_come_in_any_order(
    farhand: Shell, stub: Stub, words: list[str]
) -> None:
    stub.on("POST", "/api/v1/schedules", told({**SCHEDULE, "next": NEXT}, 201))
    said = farhand("schedules", "add", *words, "--", "apt-get", "update", "--cron")

    assert (0, "") == (said.code, said.err)
    assert {
        "name": "nightly",
        "cron": "0 3 * * *",
        "tz": "Europe/Berlin",
        "job": {"argv": ["apt-get", "update", "--cron"], "targets": {"names": ["web-1", "db"]}},
    } == json.loads(stub.seen[0].body)


def test_rules_and_limits_go_to_the_schedule_and_to_its_job(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/schedules", told(SCHEDULE, 201))
    farhand(
        *("schedules", "add", "once", "--at", "2026-12-01T03:00", "--all", "--overlap", "cancel"),
        *("--missed", "once", "--grace", "1h", "--timeout", "5m", "--command", "ping"),
    )

    assert {
        "name": "once",
        "at": "2026-12-01T03:00",
        "overlap": "cancel",
        "missed": "once",
        "grace_s": 3600.0,
        "job": {"command": "ping", "targets": {"all": True}, "timeout_s": 300.0},
    } == json.loads(stub.seen[0].body)


@pytest.mark.parametrize(
    ("words", "told_"),
    [
        (["add", "x", "web-1", "--", "id"], "one of --cron and --at"),
        (["add", "x", "--cron", "a", "--at", "b", "web-1", "--", "id"], "one of --cron and --at"),
        (["add", "x", "--cron", "@daily", "--", "id"], "say where"),
        (["add", "x", "--cron", "@daily", "web-1"], "say what"),
        (["add", "x", "--cron", "@daily", "--hold", "web-1", "--", "id"], "--hold"),
        (["show"], "NAME"),
        (["show", "x", "--", "id"], "behind `--`"),
        (["edit", "x", "--overlap", "both"], "both"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    farhand: Shell, words: list[str], told_: str
) -> None:
    said = farhand("schedules", *words)

    assert 64 == said.code
    assert told_ in said.err


def test_a_schedule_is_shown_with_its_next_due_times_there_and_in_utc(
    farhand: Shell, stub: Stub
) -> None:
    stub.on("GET", "/api/v1/schedules/nightly", told({**SCHEDULE, "next": NEXT}))
    said = farhand("schedules", "show", "nightly")

    assert ["when", "0", "3", "*", "*", "*", "Europe/Berlin"] in lines(said.out)
    assert "2026-12-01 03:00:00+01:00  2026-12-01 02:00:00" in said.out.decode()


@pytest.mark.parametrize("words", [[], ["list"]])
def test_schedules_are_listed(farhand: Shell, stub: Stub, words: list[str]) -> None:
    once = {**SCHEDULE, "name": "once", "cron": None, "at": "2026-12-01T02:00:00.000Z"}
    stub.on("GET", "/api/v1/schedules", told({"items": [SCHEDULE, once], "next": None}))
    said = farhand("schedules", *words)

    assert ["nightly", "active", "0", "3", "*", "*", "*"] == lines(said.out)[1][:7]
    assert ["once", "active", "at", "2026-12-01", "02:00:00", "UTC"] == lines(said.out)[2][:6]


def test_json_lists_are_what_the_controller_said(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/schedules", told({"items": [SCHEDULE], "next": None}))
    said = farhand("schedules", "list", "--json")

    assert [SCHEDULE] == [json.loads(line) for line in said.out.splitlines()]


@pytest.mark.parametrize(
    ("words", "asked", "body"),
    [
        (["pause", "nightly"], "POST /pause", None),
        (["resume", "nightly"], "POST /resume", None),
        (["edit", "nightly", "--tz", "UTC"], "PATCH ", {"tz": "UTC"}),
        (["edit", "nightly", "--cron", "@hourly"], "PATCH ", {"cron": "@hourly"}),
    ],
)
def test_a_schedule_is_changed_and_shown(
    farhand: Shell, stub: Stub, words: list[str], asked: str, body: object
) -> None:
    method, path = asked.split(" ")
    stub.on(method, f"/api/v1/schedules/nightly{path}", told(SCHEDULE))
    said = farhand("schedules", *words)
    sent = stub.seen[0].body

    assert ["name", "nightly"] in lines(said.out)
    assert body == (json.loads(sent) if sent else None)


def test_a_schedule_is_removed(farhand: Shell, stub: Stub) -> None:
    stub.on("DELETE", "/api/v1/schedules/nightly", Reply(204))
    said = farhand("schedules", "remove", "nightly")

    assert (0, b"", "") == (said.code, said.out, said.err)


def test_the_history_says_what_came_of_due_times(farhand: Shell, stub: Stub) -> None:
    firings = [
        {"number": 2, "outcome": "refused", "code": "no-targets", "message": "nobody", "passed": 3},
        {"number": 1, "outcome": "fired", "job": "job_1", "passed": 0},
    ]
    stub.on("GET", "/api/v1/schedules/nightly/firings", told({"items": firings, "next": None}))
    said = farhand("schedules", "history", "nightly")

    assert [["refused", "3", "no-targets", "nobody"], ["fired", "job_1"]] == lines(said.out)[1:]
