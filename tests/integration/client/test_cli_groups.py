"""Answers in groups, as a person watches them and a script reads them."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

from tests.integration.client.shell import Shell
from tests.integration.client.stub import Stub, accepted, event, live, problem, stream, told

JOB = "/api/v1/jobs"
GROUPS = f"{JOB}/job_1/groups"
CONTENTS = {
    "a": {"text": "fine\n", "stored": 5, "truncated": False, "cut_bytes": 0},
    "b": {"base64": "/w==", "stored": 1, "truncated": False, "cut_bytes": 0},
}
FINE = {
    "state": "succeeded",
    "why": "exit",
    "exit_code": 0,
    "signal": None,
    "message": "",
    "count": 11,
    "hosts": "web[1-11]",
    "hosts_cut": False,
    "majority": True,
    "example": {"run": "run_1", "agent": "web1"},
    "stdout": "a",
    "stderr": None,
    "diff": None,
}
BAD = {
    **FINE,
    "state": "failed",
    "exit_code": 3,
    "count": 1,
    "hosts": "web12",
    "majority": False,
    "stdout": "b",
    "diff": {},
}
FAILURES = {
    "state": "failed",
    "why": "exit",
    "exit_code": 3,
    "signal": None,
    "last_line": "oh\x07",
    "count": 1,
    "hosts": "web12",
    "hosts_cut": False,
}
NAMES = [f"web{n}" for n in range(1, 13)]


def view(*groups: object, done: int, state: str = "running", **more: object) -> dict[str, object]:
    progress = {"total": 12, "done": done, "failed": 0, "running": 12 - done, "waiting": 0}
    whole = {"job": "job_1", "state": state, "progress": progress, "groups": groups}
    return {**whole, "contents": {}, "failures": [], "more_groups": 0, "more_runs": 0, **more}


def last(contents: object) -> dict[str, object]:
    return view(FINE, BAD, done=12, state="done", contents=contents, failures=[FAILURES]) | {
        "progress": {"total": 12, "done": 12, "failed": 1}
    }


def served(stub: Stub) -> None:
    """A job of twelve hosts whose groups arrive in two views."""
    stub.on("POST", JOB, accepted(*NAMES))
    stub.on(
        "GET",
        f"{GROUPS}/events",
        stream(
            event(
                None, "groups", view({**FINE, "count": 3}, done=3, contents={"a": CONTENTS["a"]})
            ),
            event(None, "groups", last({"b": CONTENTS["b"]})),
            event(1, "end", {"state": "done", "counts": {"succeeded": 11, "failed": 1}}),
        ),
    )


REPORT = b"""\
\xe2\x94\x80\xe2\x94\x80 web[1-11] (11 hosts) exit 0 \xe2\x94\x80\xe2\x94\x80
fine
\xe2\x94\x80\xe2\x94\x80 web12 (1 host) exit 3 \xe2\x94\x80\xe2\x94\x80
(binary, 1 B; `farhand runs output run_1` has it)
\xe2\x94\x80\xe2\x94\x80 failures \xe2\x94\x80\xe2\x94\x80
1 host exit 3: oh\xef\xbf\xbd \xe2\x80\x94 web12
"""
SUMMARY = "farhand: 12 hosts: 11 succeeded, 1 did not; 2 groups of equal answers\n"


def test_group_tells_equal_answers_once(farhand: Shell, stub: Stub) -> None:
    served(stub)
    said = farhand("run", "--group", ",".join(NAMES), "--", "x")

    assert (1, REPORT, SUMMARY) == (said.code, said.out, said.err)
    assert "diff=true" == stub.asked("GET", f"{GROUPS}/events")[0].query


def test_in_a_pipe_every_line_is_shown_unless_groups_are_asked_for(
    farhand: Shell, stub: Stub
) -> None:
    served(stub)
    stub.on("GET", f"{JOB}/job_1/events", stream(event(1, "end", {"counts": {}})))
    stub.on("GET", "/api/v1/runs", told({"items": [], "next": None}))
    farhand("run", ",".join(NAMES), "--", "x")
    farhand("run", "--normalise", "numbers,times", ",".join(NAMES), "--", "x")

    (asked,) = stub.asked("GET", f"{GROUPS}/events")
    assert "normalise=numbers%2Ctimes&diff=true" == asked.query
    assert 1 == len(stub.asked("GET", f"{JOB}/job_1/events"))


def test_a_normaliser_that_nobody_knows_is_a_slip(farhand: Shell) -> None:
    said = farhand("run", "--normalise", "dates", "web1", "--", "x")

    assert 64 == said.code
    assert "hostname" in said.err


def test_json_is_a_line_for_each_group(farhand: Shell, stub: Stub) -> None:
    served(stub)
    said = farhand("run", "--group", "--json", ",".join(NAMES), "--", "x")
    lines = [json.loads(line) for line in said.out.splitlines()]

    assert ["job", "progress", "progress", "group", "group", "failures", "end"] == [
        line["type"] for line in lines
    ]
    assert (3, "fine\n", "/w==") == (
        lines[1]["done"],
        lines[3]["stdout"]["text"],
        lines[4]["stdout"]["base64"],
    )
    assert "" == said.err


def test_groups_of_a_job_now(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", GROUPS, told(last(CONTENTS)))
    said = farhand("jobs", "groups", "job_1", "--normalise", "times", "--no-diff", "--most", "5")

    assert (0, REPORT) == (said.code, said.out)
    assert "farhand: 12/12 done · 1 failed\n" == said.err
    assert "normalise=times&limit=5" == stub.asked("GET", GROUPS)[0].query


def test_groups_of_a_job_to_its_end(farhand: Shell, stub: Stub) -> None:
    served(stub)
    said = farhand("jobs", "groups", "--follow", "-q", "job_1")

    assert (1, REPORT, "") == (said.code, said.out, said.err)


def test_a_cut_stream_is_taken_up_again(farhand: Shell, stub: Stub) -> None:
    served(stub)
    begun = event(None, "groups", view(FINE, done=3, contents=CONTENTS))
    whole = event(None, "groups", last(CONTENTS)), event(1, "end", {"counts": {}})
    stub.on("GET", f"{GROUPS}/events", stream(begun, cut=True), stream(*whole))
    said = farhand("run", "--group", ",".join(NAMES), "--", "x")

    assert (1, REPORT) == (said.code, said.out)
    assert "there again" in said.err


def test_a_refusal_is_told(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", GROUPS, problem(404, "unknown-job"))

    assert 66 == farhand("jobs", "groups", "job_1").code


def watched(farhand: Shell, *argv: str, **env: str) -> bytes:
    """What farhand writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    code = "import sys; from farhand.cli.main import main; sys.exit(main())"
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        [sys.executable, "-c", code, *argv],
        env={**farhand.env, "PYTHONPATH": path, "TERM": "xterm", **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        read = bytearray()
        with suppress(OSError):  # the end of a terminal
            while more := os.read(ours, 4096):
                read += more
        process.wait(30)
    os.close(ours)
    return bytes(read).replace(b"\r\n", b"\n")


def test_on_a_terminal_more_than_ten_hosts_are_grouped_and_drawn_as_they_come(
    farhand: Shell, stub: Stub
) -> None:
    served(stub)
    seen = watched(farhand, "run", ",".join(NAMES), "--", "x", NO_COLOR="1")

    assert b"3/12 done \xc2\xb7 9 running\n3  exit 0  web[1-11]  fine\n" in seen
    assert seen.endswith(REPORT + SUMMARY.encode())
    assert b"\x1b[31m" not in seen


def test_colours_are_on_unless_they_are_not_wanted(farhand: Shell, stub: Stub) -> None:
    served(stub)

    assert b"\x1b[31mexit 3\x1b[0m" in watched(farhand, "run", ",".join(NAMES), "--", "x")


def test_few_hosts_are_not_grouped(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", JOB, accepted("web1", "web2"))
    stub.on("GET", f"{JOB}/job_1/events", stream(event(1, "end", {"counts": {}})))
    stub.on("GET", "/api/v1/runs", told({"items": [], "next": None}))
    watched(farhand, "run", "web1,web2", "--", "x")

    assert [] == stub.asked("GET", f"{GROUPS}/events")


def test_ctrl_c_cancels_and_the_answers_are_told(farhand: Shell, stub: Stub) -> None:
    cancelled = threading.Event()
    ended = view({**FINE, "state": "cancelled", "why": "cancelled"}, done=12) | {
        "failures": [{**FAILURES, "state": "cancelled", "why": "cancelled", "count": 12}],
        "progress": {"total": 12, "done": 12, "failed": 12},
    }

    def parts() -> Iterator[bytes]:
        yield event(None, "groups", view(done=0))
        assert cancelled.wait(20)
        yield event(None, "groups", ended)
        yield event(1, "end", {"counts": {}})

    stub.on("POST", JOB, accepted(*NAMES))
    stub.on("GET", f"{GROUPS}/events", live(parts()))
    stub.on("POST", f"{JOB}/job_1/cancel", told({"id": "job_1", "state": "running"}, 202))
    process = farhand.start("run", "--group", ",".join(NAMES), "--", "x")
    while not stub.asked("GET", f"{GROUPS}/events"):
        assert process.poll() is None
    process.send_signal(2)
    while not stub.asked("POST", f"{JOB}/job_1/cancel"):
        assert process.poll() is None
    cancelled.set()
    out, err = process.communicate(timeout=30)

    assert 130 == process.returncode
    assert b"cancelled" in out
    assert b"cancelling" in err
