"""`farhand run`, as a person types it and a script relies on it."""

import json
import sys
from pathlib import Path

import pytest

from tests.integration.client.shell import Shell
from tests.integration.client.stub import (
    Stub,
    accepted,
    changed,
    ended,
    output,
    problem,
    stream,
    told,
)

EVENTS = "/api/v1/jobs/job_1/events"


def one(stub: Stub, *events: bytes) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    stub.on("GET", EVENTS, stream(*events))


def two(stub: Stub, *events: bytes) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1", "db"))
    stub.on("GET", EVENTS, stream(*events))


def body(stub: Stub) -> dict[str, object]:
    found: dict[str, object] = json.loads(stub.asked("POST", "/api/v1/jobs")[0].body)
    return found


def test_one_host_prints_its_bytes_and_gives_its_exit_code(farhand: Shell, stub: Stub) -> None:
    one(
        stub,
        changed(1, "run_1", "running"),
        output(2, "run_1", 0, b"out \xff\0"),
        output(3, "run_1", 0, b"err", "stderr"),
        output(4, "run_1", 6, b"\r\n"),
        changed(5, "run_1", "failed", why="exit", exit_code=7),
        ended(6, failed=1),
    )
    said = farhand("run", "web-1", "--", "sh", "-c", "exit 7")

    assert (7, b"out \xff\0\r\n", "err") == (said.code, said.out, said.err)
    assert {"argv": ["sh", "-c", "exit 7"], "targets": {"names": ["web-1"]}} == body(stub)


def test_a_host_that_was_tried_again_counts_by_its_last_try(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1", "db"))
    stub.on(
        "GET",
        EVENTS,
        stream(
            changed(1, "run_1", "failed", why="exit", exit_code=7),
            changed(2, "run_2", "succeeded", "db", why="exit", exit_code=0),
            changed(3, "run_3", "held", wave=1, retry_of="run_1"),
            changed(4, "run_3", "running", wave=1, retry_of="run_1"),
            output(5, "run_3", 0, b"at last\n"),
            changed(6, "run_3", "succeeded", why="exit", exit_code=0, wave=1, retry_of="run_1"),
            ended(7, failed=1, succeeded=2),
        ),
    )
    said = farhand("run", "web-1,db", "--retries", "1", "--rerunnable", "--", "x")

    assert (0, b"web-1 | at last\n") == (said.code, said.out)
    assert "farhand: 2 hosts: 2 succeeded\n" == said.err
    assert ({"retries": 1}, True) == (body(stub)["spread"], body(stub)["rerunnable"])


def test_several_hosts_print_whole_lines_and_are_summed_up(farhand: Shell, stub: Stub) -> None:
    two(
        stub,
        output(1, "run_1", 0, b"a"),
        output(2, "run_2", 0, b"x\ny"),
        output(3, "run_1", 1, b"b\n"),
        output(4, "run_2", 0, b"oops", "stderr"),
        changed(5, "run_2", "failed", "db", why="exit", exit_code=3),
        changed(6, "run_1", "succeeded", why="exit", exit_code=0),
        ended(7),
    )
    said = farhand("run", "web-1,db", "--", "x")

    assert b"db    | x\nweb-1 | ab\ndb    | y\n" == said.out
    assert (
        "db    | oops\nfarhand: 2 hosts: 1 succeeded, 1 failed\nfarhand: db: exit code 3\n"
    ) == said.err
    assert 1 == said.code


def test_without_prefixes_the_bytes_come_as_they_are(farhand: Shell, stub: Stub) -> None:
    two(stub, output(1, "run_1", 0, b"a"), output(2, "run_2", 0, b"b"), ended(3))
    stub.on("GET", "/api/v1/runs", told({"items": []}))
    said = farhand("run", "--all", "--no-prefix", "--quiet", "--", "x")

    assert (b"ab", "") == (said.out, said.err)


def test_json_is_one_object_a_line(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    stub.on(
        "GET",
        EVENTS,
        stream(
            output(1, "run_1", 0, "ä\n".encode()),
            output(2, "run_1", 3, b"\xff"),
            changed(3, "run_1", "succeeded", why="exit", exit_code=0),
            ended(4, succeeded=1),
        ),
    )
    said = farhand("run", "web-1", "--json", "--", "x")
    lines = [json.loads(line) for line in said.out.splitlines()]

    assert ["job", "output", "output", "run", "end"] == [line["type"] for line in lines]
    assert "ä\n" == lines[1]["text"]
    assert ("/w==", 3, "web-1") == (lines[2]["base64"], lines[2]["offset"], lines[2]["agent"])
    assert ("succeeded", 0) == (lines[3]["state"], lines[3]["exit_code"])
    assert (0, "") == (said.code, said.err)


def test_detached_the_id_is_all(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    said = farhand("run", "web-1", "--detach", "--", "x")

    assert (0, b"job_1\n", "") == (said.code, said.out, said.err)


def test_every_option_reaches_the_controller(farhand: Shell, stub: Stub, tmp_path: Path) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    (tmp_path / "in").write_bytes(b"\0in")
    (tmp_path / "script").write_text("echo hällo")
    how = ["--timeout", "5m", "--queue-ttl", "1h", "--output-limit", "10M", "--nice", "5"]
    how += ["--env", "A=1", "--cwd", "/tmp", "--user", "nobody", "--rlimit", "nofile=64"]
    how += ["--ns-pid", "7", "--ns", "net,mnt", "--stdin", str(tmp_path / "in")]
    how += ["--keep-children", "--idempotency-key", "mine", "--detach"]
    farhand("run", "-l", "role=web", "--script", str(tmp_path / "script"), *how)

    assert {
        "targets": {"selector": "role=web"},
        "script": "echo hällo",
        "timeout_s": 300.0,
        "queue_ttl_s": 3600.0,
        "output_limit_bytes": 10 << 20,
        "nice": 5,
        "env": {"A": "1"},
        "cwd": "/tmp",
        "user": "nobody",
        "rlimits": {"nofile": 64},
        "namespaces_of": {"pid": 7, "kinds": ["net", "mnt"]},
        "stdin_base64": "AGlu",
        "keep_children": True,
    } == body(stub)
    assert "mine" == stub.seen[0].headers["idempotency-key"]


def test_a_catalogue_command_has_parameters(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    farhand("run", "--all", "--command", "ping", "-p", "host=a", "-p", "count=3", "--detach")

    assert {
        "targets": {"all": True},
        "command": "ping",
        "params": {"host": "a", "count": "3"},
    } == body(stub)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say where"),
        (["web-1"], "say what"),
        (["web-1", "--all", "--", "x"], "say where"),
        (["web-1", "--script", "f", "--", "x"], "say what"),
        (["web-1", "uptime"], "say what to run, behind `--`"),
        (["web-1", "-p", "a=b", "--", "x"], "-p goes with --command"),
        (["web-1", "--ns", "net", "--", "x"], "--ns-pid and --ns go together"),
        (["web-1", "--script", "-", "--stdin", "-"], "cannot both"),
        (["web-1", "--timeout", "soon", "--", "x"], "is not a duration"),
        (["web-1", "--rlimit", "nofile=all", "--", "x"], "is not a number"),
        (["web-1", "--script", "/nowhere"], "cannot be read"),
        (["web-1", "--stdin", "/dev/zero", "--", "x"], "copy it there"),
        (["web-1", "--script", sys.executable], "UTF-8"),
        (["web-1,,b", "--", "x"], "empty name"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    farhand: Shell, stub: Stub, words: list[str], said: str
) -> None:
    got = farhand("run", *words)

    assert (64, b"") == (got.code, got.out)
    assert said in got.err.splitlines()[0]
    assert "[usage]" in got.err
    assert [] == stub.seen


def test_a_forgotten_separator_is_shown_where_it_goes(farhand: Shell) -> None:
    assert "farhand: farhand run web-1 -- df /\n" in farhand("run", "web-1", "df", "/").err
    assert "stands behind `--`" in farhand("run", "web-1", "ls", "-l", "/").err


def test_a_name_that_is_not_there_comes_with_its_neighbours(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", problem(404, "unknown-agent", "no wbe-1", names=["wbe-1"]))
    agents = [{"id": f"agt_{name}", "name": name} for name in ("web-1", "db")]
    stub.on("GET", "/api/v1/agents", told({"items": agents, "next": None}))
    said = farhand("run", "wbe-1", "--", "x")

    assert 66 == said.code
    assert "farhand: no wbe-1 [unknown-agent]\nfarhand: did you mean web-1?\n" == said.err


def test_a_fleet_without_agents_says_how_one_joins(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", problem(404, "unknown-agent", "no x", names=["x"]))
    stub.on("GET", "/api/v1/agents", told({"items": [], "next": None}))

    assert "no agent has joined yet" in farhand("run", "x", "--", "x").err


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "invalid-job", 65),
        (401, "unauthenticated", 77),
        (503, "overloaded", 75),
        (409, "idempotency-conflict", 65),
        (500, "internal", 70),
    ],
)
def test_a_refusal_is_one_line_and_an_exit_code(
    farhand: Shell, stub: Stub, status: int, code: str, expected: int
) -> None:
    stub.on("POST", "/api/v1/jobs", problem(status, code, "because it is so."))
    said = farhand("run", "--patience", "0", "web-1", "--", "x")

    assert (expected, f"farhand: because it is so [{code}]\n") == (said.code, said.err)


def test_a_controller_that_is_busy_is_asked_again_and_takes_the_same_job(
    farhand: Shell, stub: Stub
) -> None:
    busy = problem(429, "over-share", "too many runs are open.")
    busy.headers["Retry-After"] = "1"
    stub.on("POST", "/api/v1/jobs", busy, accepted("web-1"))
    stub.on("GET", EVENTS, stream(changed(1, "run_1", "succeeded", why="exit"), ended(2)))
    said = farhand("run", "web-1", "--", "x")
    keys = {seen.headers["idempotency-key"] for seen in stub.asked("POST", "/api/v1/jobs")}

    assert (0, 1) == (said.code, len(keys))
    assert [
        (
            "farhand: the controller takes no more just now (too many runs are open.); "
            "trying again for 10 min at most"
        ),
        "farhand: the controller is there again",
    ] == said.err.splitlines()


def test_when_patience_with_a_busy_controller_ends_nothing_was_done(
    farhand: Shell, stub: Stub
) -> None:
    stub.on("POST", "/api/v1/jobs", problem(503, "overloaded", "2000 requests are answered"))
    said = farhand("run", "--patience", "300ms", "web-1", "--", "x")

    assert 75 == said.code
    assert [
        "farhand: 2000 requests are answered [overloaded]",
        "farhand: tried for 0.3 s; nothing was done",
    ] == said.err.splitlines()[1:]
    assert 2 <= len(stub.asked("POST", "/api/v1/jobs"))


def test_a_controller_that_is_not_there_is_69(farhand: Shell) -> None:
    farhand.env["FARHAND_URL"] = "http://127.0.0.1:1"
    said = farhand("run", "web-1", "--", "x")

    assert 69 == said.code
    assert "farhand: nothing listens at 127.0.0.1:1 [connection-failed]" in said.err


def test_no_controller_at_all_is_78(farhand: Shell) -> None:
    del farhand.env["FARHAND_URL"]

    assert 78 == farhand("agents").code


def test_a_cut_stream_is_taken_up_again_with_a_notice(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    stub.on(
        "GET",
        EVENTS,
        stream(output(1, "run_1", 0, b"one "), cut=True),
        stream(
            output(2, "run_1", 4, b"two"),
            changed(3, "run_1", "succeeded", why="exit", exit_code=0),
            ended(4),
        ),
    )
    said = farhand("run", "web-1", "--", "x")

    assert (0, b"one two") == (said.code, said.out)
    lost, back = said.err.splitlines()
    assert lost.startswith("farhand: lost the controller (")
    assert "; the job goes on and all that it prints is kept; trying again for 10 min" in lost
    assert "farhand: the controller is there again; the output goes on where it stopped" == back


def test_none_reached_is_2(farhand: Shell, stub: Stub) -> None:
    two(
        stub,
        changed(1, "run_1", "expired", why="queue_ttl"),
        changed(2, "run_2", "expired", "db", why="queue_ttl"),
        ended(3),
    )
    said = farhand("run", "--all", "--", "x")

    assert 2 == said.code
    assert "farhand: 2 hosts: 2 expired\nfarhand: web-1, db: expired [queue_ttl]" in said.err


def test_what_the_events_did_not_tell_is_asked_for(farhand: Shell, stub: Stub) -> None:
    one(stub, ended(1))
    run = {"id": "run_1", "agent": {"id": "a", "name": "web-1"}, "state": "failed", "why": "exit"}
    stub.on("GET", "/api/v1/runs", told({"items": [{**run, "exit_code": 9}], "next": None}))

    assert 9 == farhand("run", "web-1", "--", "x").code


def test_options_that_say_which_controller_may_stand_in_front(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    url = farhand.env.pop("FARHAND_URL")

    assert 0 == farhand("--url", url, "run", "web-1", "--detach", "--", "x").code
    assert 0 == farhand(f"--url={url}", "run", "web-1", "--detach", "--", "x").code


def test_a_job_that_may_not_be_followed_in_time_goes_on_without_us(
    farhand: Shell, stub: Stub
) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    stub.on("GET", EVENTS, problem(429, "over-share", "1000 followers are connected"))
    said = farhand("run", "--patience", "300ms", "web-1", "--", "x")

    assert 75 == said.code
    assert "farhand: 1000 followers are connected [over-share]" in said.err
    assert "the job goes on without this program" in said.err
