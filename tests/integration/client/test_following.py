"""What both clients do when streams are cut: take them up again, and lose nothing."""

from itertools import chain, repeat

import pytest

from farhand.client import End, NotFound, Output, RunChanged, StreamLost, UnexpectedAnswer
from tests.integration.client.clients import Face, Kind, facing
from tests.integration.client.stub import (
    Reply,
    Stub,
    accepted,
    changed,
    ended,
    event,
    output,
    problem,
    stream,
)
from tests.integration.client.stub import told as answer

EVENTS = "/api/v1/jobs/job_1/events"
STORED = "/api/v1/runs/run_1/output"


def printed(events: list[object]) -> bytes:
    return b"".join(one.data for one in events if isinstance(one, Output))


def test_a_job_is_followed_to_its_end(face: Face, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    stub.on(
        "GET",
        EVENTS,
        stream(
            changed(1, "run_1", "running"),
            output(2, "run_1", 0, b"hello\n"),
            changed(3, "run_1", "succeeded", exit_code=0),
            ended(4, succeeded=1),
        ),
    )
    job = face.do("run", ["echo", "hello"], names="web-1")
    events = face.of(job, "events")

    assert [RunChanged, Output, RunChanged, End] == [type(one) for one in events]
    assert [("web-1", b"hello\n")] == [(e.agent, e.data) for e in events if isinstance(e, Output)]


def test_a_stream_that_is_cut_in_an_event_goes_on_behind_the_last_whole_one(
    face: Face, stub: Stub, told: list[str]
) -> None:
    second = output(2, "run_1", 5, b" world")
    stub.on(
        "GET",
        EVENTS,
        stream(output(1, "run_1", 0, b"hello"), second[:-9], cut=True),
        stream(),
        stream(b": alive\n\n", second, ended(3)),
    )
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    events = face.of(face.do("run", ["x"], names="web-1"), "events")

    assert b"hello world" == printed(events)
    assert [None, "1", "1"] == [
        seen.headers.get("last-event-id") for seen in stub.asked("GET", EVENTS)
    ]
    back = "the controller is there again; the output goes on where it stopped"
    assert [back] * 2 == told[1::2]


def test_pieces_that_come_again_are_told_once(face: Face, stub: Stub) -> None:
    stub.on(
        "GET",
        EVENTS,
        stream(output(None, "run_1", 0, b"abc"), output(None, "run_1", 3, b"def"), cut=True),
        stream(output(None, "run_1", 0, b"abcd"), output(1, "run_1", 4, b"efgh"), ended(2)),
    )
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    events = face.of(face.do("run", ["x"], names="web-1"), "events")

    assert b"abcdefgh" == printed(events)


def test_a_controller_that_is_busy_for_a_moment_is_asked_again(face: Face, stub: Stub) -> None:
    refusal = event(None, "error", {"status": 503, "code": "overloaded", "detail": "too slow"})
    stub.on(
        "GET",
        EVENTS,
        problem(503, "overloaded"),
        stream(output(1, "run_1", 0, b"a"), refusal),
        stream(output(2, "run_1", 1, b"b"), ended(3)),
    )
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    events = face.of(face.do("run", ["x"], names="web-1"), "events")

    assert b"ab" == printed(events)


def test_a_job_that_ended_long_ago_has_nothing_behind_its_end(face: Face, stub: Stub) -> None:
    stub.on("GET", EVENTS, Reply(204))
    job = face.do("follow", "job_1")

    assert [] == face.of(job, "events", after=7)
    assert "7" == stub.seen[0].headers["last-event-id"]


def test_a_job_that_is_not_there_is_not_waited_for(face: Face, stub: Stub) -> None:
    stub.on("GET", EVENTS, problem(404, "unknown-job"))

    with pytest.raises(NotFound):
        face.of(face.do("follow", "job_1"), "events")


def test_patience_has_an_end(kind: Kind, stub: Stub) -> None:
    stub.on("GET", EVENTS, stream(changed(1, "run_1", "running"), cut=True), stream())

    with facing(kind, stub.url, patience_s=0.05) as face, pytest.raises(StreamLost):
        face.of(face.do("follow", "job_1"), "events")


def test_a_hole_in_the_output_is_never_passed_over(face: Face, stub: Stub) -> None:
    stub.on("GET", EVENTS, stream(output(1, "run_1", 3, b"x"), ended(2)))

    with pytest.raises(UnexpectedAnswer, match="missing"):
        face.of(face.do("follow", "job_1"), "events")


def test_a_result_has_what_was_printed(face: Face, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1", "web-2"))
    stub.on(
        "GET",
        EVENTS,
        stream(
            output(1, "run_1", 0, b"out"),
            output(2, "run_1", 0, b"err", "stderr"),
            changed(3, "run_1", "succeeded"),
            changed(4, "run_2", "expired", "web-2", why="queue_ttl"),
            ended(5),
        ),
    )
    result = face.of(face.do("run", ["x"], all_agents=True), "result")

    assert [("web-1", b"out", b"err", True), ("web-2", b"", b"", False)] == [
        (one.run.agent, one.stdout, one.stderr, one.ok) for one in result.runs
    ]


def test_waiting_asks_until_the_job_is_done(face: Face, stub: Stub) -> None:
    running: dict[str, object] = {"id": "job_1", "state": "running", "counts": {}}
    stub.on("GET", "/api/v1/jobs/job_1", answer(running), answer({**running, "state": "done"}))

    assert face.of(face.do("follow", "job_1"), "wait").done


def test_stored_output_is_fetched_over_as_many_connections_as_it_takes(
    face: Face, stub: Stub
) -> None:
    def rest(begin: int, end: int, *, cut: bool) -> Reply:
        named = {"Content-Range": f"bytes {begin}-9/10"}
        return Reply(206, named, body=b"0123456789"[begin:end], length=10 - begin if cut else None)

    stub.on(
        "GET",
        STORED,
        Reply(200, body=b"0123", length=10),
        rest(4, 7, cut=True),
        rest(7, 10, cut=False),
    )

    assert b"0123456789" == b"".join(face.do("output", "run_1", "stderr"))
    assert [None, "bytes=4-", "bytes=7-"] == [seen.headers.get("range") for seen in stub.seen]
    assert {"stream=stderr"} == {seen.query for seen in stub.seen}


def test_much_output_is_never_held_as_a_whole(face: Face, stub: Stub) -> None:
    part = b"x" * 65_536
    stub.on("GET", STORED, Reply(200, parts=chain(repeat(part, 64))))
    pieces = face.do("output", "run_1")

    assert 64 * 65_536 == sum(map(len, pieces))
    assert max(map(len, pieces)) <= 256 * 1024
