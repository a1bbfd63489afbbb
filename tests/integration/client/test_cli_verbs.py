"""The other verbs: lists, single things, changes."""

import json

import pytest

from tests.integration.client.shell import Shell
from tests.integration.client.stub import (
    Reply,
    Stub,
    changed,
    ended,
    output,
    problem,
    stream,
    told,
)

AGENT = {
    "id": "agt_1",
    "name": "web-1",
    "liveness": "online",
    "labels": {"role": "web"},
    "facts": {"os": "linux"},
    "ip": "10.0.0.1",
    "drained": False,
}
RUN = {
    "id": "run_1",
    "job": "job_1",
    "agent": {"id": "agt_1", "name": "web-1"},
    "state": "failed",
    "why": "exit",
    "exit_code": 3,
    "duration_s": 0.5,
}
OTHER = {**RUN, "id": "run_2", "agent": {"id": "agt_2", "name": "db"}, "state": "succeeded"}
JOB = {"id": "job_1", "state": "done", "by": "admin", "targets": "*", "summary": "id", "runs": []}
COMMAND = {
    "ident": "ping",
    "description": "Echo requests",
    "params": [
        {"name": "host", "type": "host", "required": True, "description": "whom"},
        {"name": "mode", "type": "choice", "choices": ["a", "b"], "default": "a"},
    ],
}


def page(*items: object) -> Reply:
    return told({"items": items, "next": None})


def lines(out: bytes) -> list[list[str]]:
    return [line.split() for line in out.decode().splitlines()]


def test_agents_are_listed(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/agents", page(AGENT, {**AGENT, "name": "db", "liveness": "offline"}))
    said = farhand("agents", "-l", "role=web")

    assert ["NAME", "STATE", "IP", "SEEN", "LABELS", "ID"] == lines(said.out)[0]
    assert ["web-1", "online", "10.0.0.1", "now", "role=web", "agt_1"] == lines(said.out)[1]
    assert "selector=role%3Dweb&limit=1000" == stub.seen[0].query


def test_json_lists_are_what_the_controller_said(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/agents", page(AGENT))

    assert [AGENT] == [json.loads(line) for line in farhand("agents", "--json").out.splitlines()]


def test_an_empty_fleet_is_no_error(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/agents", page())
    said = farhand("agents")

    assert (0, b"") == (said.code, said.out)
    assert "no agent here" in said.err


@pytest.mark.parametrize(
    ("words", "asked", "body"),
    [
        (["show", "web-1"], "GET ", None),
        (["rename", "web-1", "web"], "PATCH ", {"name": "web"}),
        (["rename", "web-1"], "PATCH ", {"name": None}),
        (["label", "web-1", "a=1", "b-"], "PATCH ", {"labels": {"a": "1", "b": None}}),
        (["drain", "web-1"], "POST /drain", None),
        (["undrain", "web-1"], "POST /undrain", None),
    ],
)
def test_an_agent_is_changed_and_shown(
    farhand: Shell, stub: Stub, words: list[str], asked: str, body: object
) -> None:
    method, path = asked.split(" ")
    stub.on(method, f"/api/v1/agents/web-1{path}", told(AGENT))
    said = farhand("agents", *words)
    sent = stub.seen[0].body

    assert 0 == said.code
    assert ["name", "web-1"] in lines(said.out)
    assert body == (json.loads(sent) if sent else None)


def test_an_agent_is_removed(farhand: Shell, stub: Stub) -> None:
    stub.on("DELETE", "/api/v1/agents/web-1", Reply(204))

    said = farhand("agents", "remove", "web-1")

    assert (0, b"", "") == (said.code, said.out, said.err)


def test_commands_are_listed_and_one_is_explained(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/agents/web-1/commands", page(COMMAND))
    listed = lines(farhand("commands", "web-1").out)
    explained = farhand("commands", "web-1", "ping").out.decode()

    assert ["ping", "host", "[mode]", "Echo", "requests"] == listed[1]
    assert "host       host  required  whom" in explained
    assert "mode       a|b   a" in explained


def test_a_deepflow_agents_words_for_its_commands_are_shown(farhand: Shell, stub: Stub) -> None:
    theirs = {"ident": "system_d2e", "description": "date", "label": "date", "group": "system"}
    stub.on("GET", "/api/v1/agents/web-1/commands", page(theirs, COMMAND))
    listed = lines(farhand("commands", "web-1").out)
    explained = lines(farhand("commands", "web-1", "system_d2e").out)

    assert "GROUP" == listed[0][-1]
    assert [["system_d2e", "date", "system"]] == [row for row in listed if "system_d2e" in row]
    assert [["label", "date"], ["group", "system"]] == explained[1:3]


def test_a_command_that_is_not_there_comes_with_its_neighbours(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/agents/web-1/commands", page(COMMAND))
    said = farhand("commands", "web-1", "pnig")

    assert 66 == said.code
    assert "did you mean ping?" in said.err


def test_without_an_agent_the_first_that_is_online_is_asked(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/agents", page({**AGENT, "id": "agt_0", "liveness": "offline"}, AGENT))
    stub.on("GET", "/api/v1/agents/agt_1/commands", page(COMMAND))

    assert 0 == farhand("commands").code


def test_an_agent_that_is_away_is_try_again(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/agents/web-1/namespaces", problem(503, "agent-gone"))
    stub.on("GET", "/api/v1/agents", page())

    assert 75 == farhand("namespaces", "web-1").code
    assert 75 == farhand("commands").code


def test_namespaces_are_listed_by_kind(farhand: Shell, stub: Stub) -> None:
    net = {"id": 4026531840, "kind": "net", "pid": 1, "processes": 9, "command": "init " * 30}
    stub.on("GET", "/api/v1/agents/web-1/namespaces", page(net, {**net, "kind": "mnt"}))
    listed = lines(farhand("namespaces", "web-1", "--kind", "net").out)

    assert 2 == len(listed)
    assert ["net", "4026531840", "1", "9"] == listed[1][:4]
    assert listed[1][-1].endswith("…")


def test_jobs_are_listed_to_a_limit(farhand: Shell, stub: Stub) -> None:
    more = [{**JOB, "id": f"job_{n}"} for n in range(30)]
    stub.on("GET", "/api/v1/jobs", page(*more))

    assert 1 + 20 == len(lines(farhand("jobs").out))
    assert 1 + 2 == len(lines(farhand("jobs", "-n", "2").out))


def test_a_job_is_shown_with_its_runs(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/jobs/job_1", told(JOB))
    stub.on("GET", "/api/v1/runs", page(RUN, OTHER))
    said = farhand("jobs", "show", "job_1")

    assert ["state", "done"] in lines(said.out)
    assert ["run_1", "web-1", "failed", "3", "0.50", "s", "exit", "code", "3"] in lines(said.out)
    assert b'"id": "job_1"' in farhand("jobs", "show", "job_1", "--json").out


def test_a_job_is_followed_from_the_beginning(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/jobs/job_1", told(JOB))
    stub.on("GET", "/api/v1/runs", page(RUN))
    stub.on(
        "GET",
        "/api/v1/jobs/job_1/events",
        stream(
            output(1, "run_1", 0, b"x\n"),
            changed(2, "run_1", "failed", why="exit", exit_code=3),
            ended(3),
        ),
    )
    said = farhand("jobs", "follow", "job_1")

    assert (3, b"x\n") == (said.code, said.out)


def test_what_is_stored_of_a_job_is_shown_host_by_host(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/runs", page(RUN, OTHER))
    stub.on("GET", "/api/v1/runs/run_1/output", Reply(body=b"a\nb"))
    stub.on("GET", "/api/v1/runs/run_2/output", Reply(body=b"c\n"))
    said = farhand("jobs", "output", "job_1", "--stderr")

    assert b"web-1 | a\nweb-1 | b\ndb    | c\n" == said.out
    assert {"stream=stderr"} == {
        seen.query for seen in stub.asked("GET", "/api/v1/runs/run_1/output")
    }


ROLLOUT = {"phase": "held", "wave": 1, "sizes": [1, 9], "hold": {"why": "hand", "by": "ada"}}


@pytest.mark.parametrize("verb", ["hold", "resume", "abort"])
def test_a_job_that_is_spread_is_driven_by_hand(farhand: Shell, stub: Stub, verb: str) -> None:
    stub.on("POST", f"/api/v1/jobs/job_1/{verb}", told({**JOB, "rollout": ROLLOUT}, 202))
    said = farhand("jobs", verb, "job_1")

    assert (0, True) == (said.code, b"held by ada" in said.out)
    assert b"wave 1 of 2 (1+9 hosts)" in said.out


def test_a_job_and_a_run_are_cancelled(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs/job_1/cancel", told({**JOB, "cancel_requested": True}, 202))
    stub.on("POST", "/api/v1/runs/run_1/cancel", told(RUN, 202))

    assert b"cancel requested" in farhand("jobs", "cancel", "job_1").out
    assert 0 == farhand("runs", "cancel", "run_1").code


def test_runs_are_listed_by_what_is_asked(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/runs", page(RUN))
    said = farhand("runs", "--agent", "web-1", "--state", "failed", "--state", "lost")

    assert ["run_1", "web-1", "failed", "3", "0.50", "s"] == lines(said.out)[1]
    assert "agent=web-1&state=failed&state=lost&limit=1000" == stub.seen[0].query


def test_a_run_and_its_output_are_shown(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/runs/run_1", told({**RUN, "streams": {"stdout": {"total": 2048}}}))
    stub.on("GET", "/api/v1/runs/run_1/output", Reply(body=b"\0\xff"))
    shown = farhand("runs", "show", "run_1").out

    assert b"how     exit code 3" in shown
    assert b"2.0 KiB printed, 0 B kept" in shown
    assert b"\0\xff" == farhand("runs", "output", "run_1").out
    assert "AP8=" == json.loads(farhand("runs", "output", "run_1", "--json").out)["base64"]


def test_versions_of_both_sides_are_told(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/version", told({"version": "9.9.9"}))
    said = farhand("version")
    farhand.env["FARHAND_URL"] = "http://127.0.0.1:1"
    alone = farhand("--version")

    assert b"controller 9.9.9 at http://127.0.0.1" in said.out
    assert (0, True) == (alone.code, b"controller not asked" in alone.out)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_can_complete(farhand: Shell, shell: str) -> None:
    said = farhand("completion", shell)

    assert 0 == said.code
    assert {b"--selector", b"doctor", b"undrain"} <= {
        word for word in (b"--selector", b"doctor", b"undrain") if word in said.out
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["agnts"], "did you mean agents"),
        (["agents", "shw"], "did you mean show?"),
        (["jobs", "show"], "the following arguments are required: JOB"),
        (["runs", "--state", "fialed"], "did you mean failed"),
        (["namespaces"], "required: AGENT"),
        (["completion", "fish"], "'fish' is not known"),
        (["xyzzy"], "`farhand --help` lists the verbs"),
    ],
)
def test_slips_are_answered_with_what_was_meant(
    farhand: Shell, words: list[str], said: str
) -> None:
    got = farhand(*words)

    assert (64, b"") == (got.code, got.out)
    assert said in got.err


def test_help_is_there_for_everything(farhand: Shell) -> None:
    assert (64, b"") == (farhand().code, farhand().out)
    for words in ([], ["run"], ["agents"], ["agents", "label"], ["jobs"], ["doctor"], ["commands"]):
        said = farhand(*words, "--help")
        assert (0, "") == (said.code, said.err)
        assert b"farhand" in said.out
