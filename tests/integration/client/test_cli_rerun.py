"""`farhand jobs rerun`: what is asked, that it is followed as a new job is, and both clients."""

import json

import pytest

from tests.integration.client.clients import Face
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

RERUN = "/api/v1/jobs/job_0/rerun"


def test_the_new_job_is_followed_to_its_end(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", RERUN, accepted("web-1"))
    stub.on(
        "GET",
        "/api/v1/jobs/job_1/events",
        stream(
            output(1, "run_1", 0, b"again\n"),
            changed(2, "run_1", "failed", why="exit", exit_code=3),
            ended(3, failed=1),
        ),
    )
    said = farhand("jobs", "rerun", "job_0", "--failed", "--idempotency-key", "k")
    asked = stub.asked("POST", RERUN)[0]

    assert (3, b"again\n") == (said.code, said.out)
    assert {"failed_only": True, "skip_removed": False} == json.loads(asked.body)
    assert "k" == asked.headers["idempotency-key"]


def test_detached_it_prints_the_id_of_the_new_job(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", RERUN, accepted("web-1"))
    said = farhand("jobs", "rerun", "job_0", "--detach", "--skip-removed")

    assert (0, b"job_1\n") == (said.code, said.out)
    assert {"failed_only": False, "skip_removed": True} == json.loads(stub.seen[0].body)


@pytest.mark.parametrize(
    ("status", "code", "exit_code"), [(409, "nothing-to-rerun", 65), (404, "unknown-job", 66)]
)
def test_what_cannot_run_again_is_told(
    farhand: Shell, stub: Stub, status: int, code: str, exit_code: int
) -> None:
    stub.on("POST", RERUN, problem(status, code))
    said = farhand("jobs", "rerun", "job_0")

    assert exit_code == said.code
    assert f"[{code}]" in said.err


def test_both_clients_return_the_new_job_with_its_runs(face: Face, stub: Stub) -> None:
    stub.on("POST", RERUN, accepted("web-1", "web-2"))
    stub.on("GET", "/api/v1/jobs/job_1", told({"id": "job_1", "rerun_of": "job_0"}))
    job = face.do("rerun_job", "job_0", failed_only=True)
    found = face.do("get_job", job.id)

    assert ("job_1", ["web-1", "web-2"]) == (job.id, [run.agent for run in job.runs])
    assert {"failed_only": True, "skip_removed": False} == json.loads(stub.seen[0].body)
    assert "job_0" == found.rerun_of
