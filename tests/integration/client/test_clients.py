"""What both clients do alike: verbs, errors, keep-alive."""

import threading
from collections.abc import Iterator

import pytest

from farhand.client import (
    Agent,
    BadRequest,
    Conflict,
    ConnectionFailed,
    FarhandApiError,
    NotAllowed,
    NotConfigured,
    NotFound,
    TimedOut,
    Unavailable,
    UnexpectedAnswer,
)
from tests.integration.client.clients import Face, Kind, facing
from tests.integration.client.stub import Reply, Stub, accepted, problem, told

AGENT = {"id": "agt_1", "name": "web-1", "liveness": "online"}
RUN = {"id": "run_1", "agent": {"id": "agt_1", "name": "web-1"}, "state": "running"}
BY_HAND = ("hold", "resume", "abort")
JOB = {"id": "job_1", "state": "running", "counts": {"running": 1}, "runs": [RUN]}


def test_each_verb_asks_its_address(face: Face, stub: Stub) -> None:
    one = told(AGENT)
    for method, path, reply in (
        ("GET", "/api/v1/jobs/job_1", told(JOB)),
        ("POST", "/api/v1/jobs/job_1/cancel", told(JOB, 202)),
        *(("POST", f"/api/v1/jobs/job_1/{verb}", told(JOB, 202)) for verb in BY_HAND),
        ("GET", "/api/v1/runs/run_1", told(RUN)),
        ("POST", "/api/v1/runs/run_1/cancel", told(RUN, 202)),
        ("GET", "/api/v1/agents/web-1", one),
        ("PATCH", "/api/v1/agents/web-1", one),
        ("POST", "/api/v1/agents/web-1/drain", one),
        ("POST", "/api/v1/agents/web-1/undrain", one),
        ("DELETE", "/api/v1/agents/web-1", Reply(204)),
        ("GET", "/api/v1/agents/web-1/commands", told({"items": [{"ident": "ps"}]})),
        (
            *("GET", "/api/v1/agents/web-1/namespaces"),
            told({"items": [{"id": 1, "kind": "net", "pid": 2}]}),
        ),
        ("GET", "/api/v1/version", told({"version": "0.1.0"})),
        ("GET", "/readyz", told({"status": "ok"})),
    ):
        stub.on(method, path, reply)

    assert ["job_1", "job_1"] == [face.do(v, "job_1").id for v in ("get_job", "cancel_job")]
    assert ["job_1"] * 3 == [face.do(f"{verb}_job", "job_1").id for verb in BY_HAND]
    assert ["run_1", "run_1"] == [face.do(v, "run_1").id for v in ("get_run", "cancel_run")]
    for verb, *more in (
        ("get_agent",),
        ("rename", "web"),
        ("relabel", {"a": None}),
        ("drain",),
        ("undrain",),
    ):
        assert "agt_1" == face.do(verb, "web-1", *more).id
    assert face.do("remove", "web-1") is None
    assert ["ps"] == [command.ident for command in face.do("commands", "web-1")]
    assert [2] == [namespace.pid for namespace in face.do("namespaces", "web-1")]
    assert ("0.1.0", "ok") == (face.do("version").version, face.do("health"))
    assert {"Bearer secret"} == {seen.headers["authorization"] for seen in stub.seen}


def test_a_connection_serves_many_calls(face: Face, stub: Stub) -> None:
    stub.on("GET", "/readyz", told({"status": "ok"}))
    for _ in range(5):
        face.do("health")

    assert (5, 1) == (len(stub.seen), stub.connections)


def test_a_list_is_read_page_by_page(face: Face, stub: Stub) -> None:
    pages = [
        told({"items": [AGENT, {**AGENT, "id": "agt_2"}], "next": "c1"}),
        told({"items": [], "next": "c2"}),
        told({"items": [{**AGENT, "id": "agt_3"}], "next": None}),
    ]
    stub.on("GET", "/api/v1/agents", *pages)
    found: list[Agent] = face.do("agents", "role=web")

    assert ["agt_1", "agt_2", "agt_3"] == [agent.id for agent in found]
    assert [
        "selector=role%3Dweb&limit=1000",
        "selector=role%3Dweb&cursor=c1&limit=1000",
        "selector=role%3Dweb&cursor=c2&limit=1000",
    ] == [seen.query for seen in stub.seen]


def test_jobs_and_runs_are_lists(face: Face, stub: Stub) -> None:
    stub.on("GET", "/api/v1/jobs", told({"items": [JOB], "next": None}))
    stub.on("GET", "/api/v1/runs", told({"items": [RUN], "next": None}))

    assert ["job_1"] == [job.id for job in face.do("jobs")]
    assert ["run_1"] == [run.id for run in face.do("runs", agent="web-1", state=["running"])]
    assert "agent=web-1&state=running&limit=1000" == stub.seen[-1].query


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "invalid-job", BadRequest),
        (401, "unauthenticated", NotAllowed),
        (404, "unknown-agent", NotFound),
        (409, "idempotency-conflict", Conflict),
        (503, "overloaded", Unavailable),
        (500, "internal", FarhandApiError),
    ],
)
def test_a_refusal_is_raised_as_what_the_caller_can_do(
    kind: Kind, stub: Stub, status: int, code: str, expected: type[FarhandApiError]
) -> None:
    stub.on("POST", "/api/v1/jobs", problem(status, code, "because", names=["x"]))

    with facing(kind, stub.url, patience_s=0) as face, pytest.raises(expected) as caught:
        face.do("submit", ["id"], names="x")
    error = caught.value
    assert (status, code, "because", {"names": ["x"]}) == (
        *(error.status, error.code, error.detail, error.details),
    )


def test_a_job_is_sent_again_when_a_kept_connection_turns_out_to_be_closed(
    face: Face, stub: Stub
) -> None:
    body = b'{"status": "ok"}'
    stub.on("GET", "/readyz", Reply(body=body, length=len(body)))  # then hangs up, unannounced
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    face.do("health")

    assert "job_1" == face.do("submit", ["id"], names="web-1").id
    assert 2 == stub.connections


def test_nothing_that_listens_is_a_failed_connection(kind: Kind, stub: Stub) -> None:
    gone = stub.url.rpartition(":")[0] + ":1"

    with facing(kind, gone) as face, pytest.raises(ConnectionFailed, match="nothing listens"):
        face.do("version")


def test_a_silent_controller_is_given_up_in_time(kind: Kind, stub: Stub) -> None:
    release = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b"{"
        release.wait(10)

    stub.on("GET", "/api/v1/version", Reply(200, parts=slowly()))
    with facing(kind, stub.url, read_timeout_s=0.05) as face, pytest.raises(TimedOut):
        face.do("version")
    release.set()


def test_an_answer_that_was_cut_short_is_never_taken_for_whole(face: Face, stub: Stub) -> None:
    stub.on("GET", "/api/v1/version", Reply(200, body=b'{"version": "1"}', length=99))

    with pytest.raises(ConnectionFailed):
        face.do("version")


def test_another_server_is_named_as_such(face: Face, stub: Stub) -> None:
    stub.on("GET", "/api/v1/version", Reply(200, {"Content-Type": "text/html"}, body=b"<html>"))

    with pytest.raises(UnexpectedAnswer, match="farhand"):
        face.do("version")


@pytest.mark.parametrize(
    "url", ["", "controller", "ftp://x", "http://", "http://u:p@host", "http://x:99999"]
)
def test_a_url_that_cannot_be_is_refused(kind: Kind, url: str) -> None:
    with pytest.raises(NotConfigured), facing(kind, url or "x"):
        pass


def test_a_ca_that_is_none_is_refused(kind: Kind, stub: Stub) -> None:
    with pytest.raises(NotConfigured) as caught, facing(kind, "https://x", ca=__file__):
        pass
    assert "invalid-ca" == caught.value.code


def test_a_controller_may_live_below_a_path(kind: Kind, stub: Stub) -> None:
    stub.on("GET", "/far/hand/api/v1/version", told({"version": "0.1.0"}))

    with facing(kind, f"{stub.url}/far/hand/") as face:
        assert "0.1.0" == face.do("version").version


def test_a_controller_that_is_busy_is_asked_again(kind: Kind, stub: Stub) -> None:
    told_of: list[str] = []
    busy = problem(503, "overloaded", "full")
    limited = problem(429, "over-share", "yours is full")
    stub.on("GET", "/api/v1/version", busy, limited, told({"version": "0.1.0"}))
    with facing(kind, stub.url, notice=told_of.append) as face:
        assert "0.1.0" == face.do("version").version
    assert 3 == len(stub.asked("GET", "/api/v1/version"))
    assert [True, False] == [said.startswith("the controller takes no more") for said in told_of]


def test_what_will_not_pass_is_told_at_once(face: Face, stub: Stub) -> None:
    stub.on("GET", "/api/v1/agents/web-1/commands", problem(503, "agent-gone"))
    stub.on("GET", "/readyz", problem(503, "unavailable"))
    stub.on("DELETE", "/api/v1/agents/web-1", problem(503, "store-unavailable"))
    for verb, *args in (("commands", "web-1"), ("health",), ("remove", "web-1")):
        with pytest.raises(Unavailable):
            face.do(verb, *args)

    assert 3 == len(stub.seen)


def test_patience_may_be_none_at_all(kind: Kind, stub: Stub) -> None:
    stub.on("GET", "/api/v1/version", problem(503, "overloaded"))
    with facing(kind, stub.url, patience_s=0) as face, pytest.raises(Unavailable):
        face.do("version")
    assert 1 == len(stub.seen)
