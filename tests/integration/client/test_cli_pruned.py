"""Output that is not kept any more, at the prompt and in the SDK."""

import pytest

from farhand.client import NotFound
from tests.integration.client.clients import Face
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
from tests.integration.client.test_cli_verbs import JOB, OTHER, RUN, page

STREAMS = {"stdout": {"total": 5, "kept": 5}, "stderr": {"total": 0, "kept": 0}}
PRUNED = {**RUN, "output_pruned": True, "streams": STREAMS}


def test_jobs_output_says_whose_is_gone_and_prints_the_rest(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/runs", page(PRUNED, OTHER))
    stub.on("GET", "/api/v1/runs/run_2/output", Reply(200, body=b"kept\n"))
    said = farhand("jobs", "output", "job_1")

    assert (0, b"db    | kept\n") == (said.code, said.out)
    assert "farhand: web-1: what it printed is not kept any more" in said.err


def test_jobs_follow_says_it_before_the_end(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/jobs/job_1", told(JOB))
    stub.on("GET", "/api/v1/runs", page(PRUNED))
    events = stream(changed(1, "run_1", "failed", why="exit", exit_code=3), ended(2, failed=1))
    stub.on("GET", "/api/v1/jobs/job_1/events", events)
    said = farhand("jobs", "follow", "job_1")
    quiet = farhand("jobs", "follow", "job_1", "--json")

    assert (3, b"") == (said.code, said.out)
    assert "not kept any more" in said.err
    assert (3, "") == (quiet.code, quiet.err)


def test_one_run_says_it_by_its_error_and_among_its_facts(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/runs/run_1/output", problem(410, "output-pruned", "it is gone"))
    stub.on("GET", "/api/v1/runs/run_1", told(PRUNED))
    fetched = farhand("runs", "output", "run_1")
    shown = farhand("runs", "show", "run_1")

    assert (66, "farhand: it is gone [output-pruned]\n") == (fetched.code, fetched.err)
    assert b"5 B printed, not kept any more" in shown.out
    assert b"0 B printed, 0 B kept" in shown.out


def test_a_group_says_it(farhand: Shell, stub: Stub) -> None:
    group = {"state": "succeeded", "count": 1, "hosts": "web-1", "output_pruned": True}
    view = {"job": "job_1", "state": "done", "progress": {"total": 1, "done": 1}}
    stub.on("GET", "/api/v1/jobs/job_1/groups", told({**view, "groups": [group]}))
    said = farhand("jobs", "groups", "job_1")

    assert b"(what it printed is not kept any more)" in said.out


def test_both_clients_tell_it_of_a_run_and_refuse_its_output(face: Face, stub: Stub) -> None:
    stub.on("GET", "/api/v1/runs/run_1", told(PRUNED))
    stub.on("GET", "/api/v1/runs/run_1/output", problem(410, "output-pruned"))

    assert face.do("get_run", "run_1").output_pruned
    with pytest.raises(NotFound) as caught:
        face.do("output", "run_1")
    assert ("output-pruned", 410) == (caught.value.code, caught.value.status)


def test_a_result_without_the_bytes_says_that_they_are_not_all(face: Face, stub: Stub) -> None:
    both = {"stdout": {"total": 5, "kept": 5}, "stderr": {"total": 0, "kept": 0}}
    stub.on(
        "GET",
        "/api/v1/jobs/job_1/events",
        stream(changed(1, "run_1", "succeeded", streams=both), ended(2, succeeded=1)),
    )
    stub.on(
        "GET",
        "/api/v1/jobs/job_2/events",
        stream(
            output(1, "run_1", 0, b"12345"),
            changed(2, "run_1", "succeeded", streams=both),
            ended(3, succeeded=1),
        ),
    )
    results = [face.of(face.do("follow", job), "result") for job in ("job_1", "job_2")]

    assert [True, False] == [result.runs[0].truncated for result in results]
