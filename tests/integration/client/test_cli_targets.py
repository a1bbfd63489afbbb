"""Whom a job is for, at the prompt: selectors, previews, groups, the freeze, and why not."""

import json

import pytest

from tests.integration.client.shell import Shell
from tests.integration.client.stub import Reply, Stub, problem, told

RUN = {"id": "run_1", "agent": {"id": "agt_1", "name": "web-1"}, "state": "queued"}
JOB = {"id": "job_1", "state": "running", "counts": {"queued": 1}, "runs": [RUN]}
PREVIEW = {
    "preview": "pre_1",
    "targets": "role=web",
    "count": 42,
    "hosts": "web-[1-42]",
    "away": {"count": 2, "hosts": "web-[7-8]"},
    "drained": {"count": 1, "hosts": "web-43"},
    "refusing": [{"why": "unsupported", "message": "no stdin", "count": 1, "hosts": "web-9"}],
    "until": "2026-12-01T12:00:00.000Z",
}
GROUP = {"name": "front", "selector": "role=web", "by": "admin", "at": "2026-12-01T12:00:00.000Z"}
FROZEN = {"frozen": True, "reason": "incident", "by": "admin", "at": "2026-12-01T12:00:00.000Z"}


@pytest.mark.parametrize(
    ("words", "targets"),
    [
        (["web-1"], {"names": ["web-1"]}),
        (["web-1,web-2", "db"], {"names": ["web-1", "web-2", "db"]}),
        (["web[1-40,52]"], {"selector": "web[1-40,52]"}),
        (["web-*", "@db & os=linux"], {"selector": "(web-*) | (@db & os=linux)"}),
        (["role=web"], {"selector": "role=web"}),
        (["-l", "role=web"], {"selector": "role=web"}),
        (["--all"], {"all": True}),
        (["--bind", "pre_1"], {"preview": "pre_1"}),
    ],
)
def test_a_target_is_a_name_or_any_selector(
    farhand: Shell, stub: Stub, words: list[str], targets: dict[str, object]
) -> None:
    stub.on("POST", "/api/v1/jobs", told(JOB, 202))
    said = farhand("run", "--detach", "--expect", "3", *words, "--", "true")

    assert 0 == said.code
    body = json.loads(stub.seen[0].body)
    assert (targets, 3) == (body["targets"], body["expect"])


@pytest.mark.parametrize(
    ("words", "told_"),
    [
        (["web-1", "--bind", "pre_1"], "say where"),
        (["--all", "-l", "role=web"], "say where"),
        (["web-1,,web-2"], "empty name"),
        (["web-1", "--expect", "many"], "--expect"),
    ],
)
def test_two_places_or_none_are_a_usage_error(farhand: Shell, words: list[str], told_: str) -> None:
    said = farhand("run", *words, "--", "true")

    assert 64 == said.code
    assert told_ in said.err


def test_a_preview_tells_whom_it_is_for_and_how_to_go_on(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", told(PREVIEW))
    said = farhand("run", "--preview", "-l", "role=web", "--", "reboot")

    assert (0, "preview=true") == (said.code, stub.seen[0].query)
    assert [
        "42 hosts: web-[1-42]",
        "  2 away, would be waited for: web-[7-8]",
        "  1 would refuse (unsupported): web-9",
        "    no stdin",
        "  passed over, drained: web-43",
    ] == said.out.decode().splitlines()
    assert "--bind pre_1" in said.err


def test_a_preview_is_json_for_programs(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", told(PREVIEW))

    assert PREVIEW == json.loads(farhand("run", "--preview", "--json", "--all", "--", "id").out)


def test_what_hosts_call_themselves_cannot_move_the_cursor(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", told({**PREVIEW, "hosts": "web\x1b[2J"}))
    said = farhand("run", "--preview", "--all", "--", "id")

    assert b"\x1b" not in said.out


def test_groups_are_saved_listed_and_removed(farhand: Shell, stub: Stub) -> None:
    stub.on("PUT", "/api/v1/groups/front", told(GROUP))
    stub.on("GET", "/api/v1/groups", told({"items": [GROUP], "next": None}))
    stub.on("DELETE", "/api/v1/groups/front", Reply(204))
    saved = farhand("groups", "set", "@front", "role=web")
    listed = farhand("groups")
    removed = farhand("groups", "remove", "front")

    assert {"selector": "role=web"} == json.loads(stub.seen[0].body)
    assert [0] * 3 == [saved.code, listed.code, removed.code]
    assert ["@front", "role=web", "admin"] == listed.out.decode().splitlines()[1].split()[:3]


def test_the_freeze_is_set_shown_and_lifted(farhand: Shell, stub: Stub) -> None:
    stub.on("PUT", "/api/v1/freeze", told(FROZEN))
    stub.on("GET", "/api/v1/freeze", told(FROZEN), told({**FROZEN, "frozen": False}))
    stub.on("DELETE", "/api/v1/freeze", Reply(204))
    frozen = farhand("freeze", "incident")
    shown = farhand("freeze", "--json")
    lifted = farhand("unfreeze")
    free = farhand("freeze")
    wrong = farhand("unfreeze", "now")

    assert {"reason": "incident"} == json.loads(stub.seen[0].body)
    assert b"incident" in frozen.out
    assert FROZEN == json.loads(shown.out)
    assert "may begin again" in lifted.err
    assert "jobs may begin" in free.err
    assert [0, 0, 0, 0, 64] == [s.code for s in (frozen, shown, lifted, free, wrong)]


def test_a_frozen_controller_refuses_with_the_reason(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", problem(409, "frozen", "admin froze all jobs: incident"))
    said = farhand("run", "web-1", "--", "true")

    assert (65, "farhand: admin froze all jobs: incident [frozen]\n") == (said.code, said.err)


def test_why_a_host_is_not_in_a_job_is_one_line(farhand: Shell, stub: Stub) -> None:
    answer = {"agent": "db-1", "verdict": "not_matched", "message": "it has role=db", "run": None}
    stub.on("GET", "/api/v1/jobs/job_1/why", told(answer))
    said = farhand("jobs", "why", "job_1", "db-1")

    assert (0, b"it has role=db [not_matched]\n") == (said.code, said.out)
    assert "agent=db-1" == stub.seen[0].query
