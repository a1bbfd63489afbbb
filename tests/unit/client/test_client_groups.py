"""The answers of a job as the SDK tells them."""

import json
from typing import Any

import pytest

from farhand.client import Content, FarhandApiError, Groups, Progress, UnexpectedAnswer
from farhand.client._calls import Answer
from farhand.client._errors import AnswerLost
from farhand.client._groups import NOTHING, GroupFollowing, Wanted, contents_of, groups
from farhand.client._resume import Patience

TEXT = {"text": "é\n", "stored": 9, "truncated": True, "cut_bytes": 4}
BINARY = {"base64": "/wA=", "stored": 2, "truncated": False, "cut_bytes": 0}
GROUP = {
    "state": "failed",
    "why": "exit",
    "exit_code": 3,
    "signal": None,
    "message": "",
    "count": 2,
    "hosts": "web[1-2]",
    "hosts_cut": False,
    "example": {"run": "run_1", "agent": "web1"},
    "majority": True,
    "partial": False,
    "stdout": "a",
    "stderr": None,
    "diff": {"stdout": ["-a"]},
}


def told(*groups: dict[str, Any], contents: object = None, **more: object) -> dict[str, Any]:
    return {
        "job": "job_1",
        "state": "running",
        "groups": list(groups),
        "contents": contents or {},
    } | more


def event(kind: str, data: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def following() -> GroupFollowing:
    found = GroupFollowing("job_1", Patience(), Wanted())
    found.call()
    return found


def test_a_view_is_read_whole() -> None:
    cluster = {"state": "failed", "last_line": "bad", "count": 2, "hosts": "web[1-2]", "new": 1}
    whole = told(
        GROUP,
        contents={"a": TEXT},
        failures=[cluster],
        more_groups=4,
        more_runs=5,
        progress={"total": 9, "done": 2, "rate_per_s": 1.5, "left_s": None},
    )
    call = groups("job_1", Wanted(["numbers", "times"], diff=True, limit=5))
    found = call.read(Answer(200, {}, json.dumps(whole).encode()))
    (group,), (failures,) = found.groups, found.failures

    assert "/api/v1/jobs/job_1/groups?normalise=numbers%2Ctimes&diff=true&limit=5" == call.path
    assert Content(data="é\n".encode(), stored=9, cut_bytes=4) == group.stdout
    assert group.stdout.truncated
    assert NOTHING == group.stderr
    assert ("web[1-2]", "run_1", "web1", {"stdout": ["-a"]}) == (
        group.hosts,
        group.run,
        group.agent,
        group.diff,
    )
    assert ("bad", 2) == (failures.last_line, failures.count)
    assert (4, 5, False) == (found.more_groups, found.more_runs, found.done)
    assert Progress(total=9, done=2, rate_per_s=1.5) == found.progress


def test_what_is_absent_has_a_default() -> None:
    call = groups("job_1", Wanted())
    found = call.read(Answer(200, {}, b'{"job": "job_1"}'))

    assert "/api/v1/jobs/job_1/groups" == call.path
    assert Groups(job="job_1") == found


@pytest.mark.parametrize(
    "wrong", [b"[]", b"{}", b"x", b'{"job": "j", "contents": {"a": {"base64": "?"}}}']
)
def test_another_kind_of_answer_is_refused(wrong: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        groups("job_1", Wanted()).read(Answer(200, {}, wrong))


def test_binary_contents_say_so() -> None:
    assert {"a": Content(data=b"\xff\0", stored=2, binary=True)} == contents_of(
        {"contents": {"a": BINARY}}
    )


def test_a_content_is_remembered_as_long_as_a_group_names_it() -> None:
    reading = following()
    (first,) = reading.feed(event("groups", told(GROUP, contents={"a": TEXT})))
    (second,) = reading.feed(event("groups", told({**GROUP, "count": 3})))
    (third,) = reading.feed(event("groups", told({**GROUP, "stdout": "b"}, contents={"b": BINARY})))
    (fourth,) = reading.feed(event("groups", told(GROUP)))

    assert first.groups[0].stdout == second.groups[0].stdout
    assert 3 == second.groups[0].count
    assert third.groups[0].stdout.binary
    assert NOTHING == fourth.groups[0].stdout  # a controller tells again what it dropped


def test_the_end_ends_it_and_unknown_kinds_do_not() -> None:
    reading = following()
    ended = event("news", {}) + event("end", {"state": "done", "counts": {}})

    assert [] == reading.feed(ended + event("groups", told()))
    assert reading.over


def test_a_cut_stream_begins_anew() -> None:
    reading = following()
    reading.feed(event("groups", told(GROUP, contents={"a": TEXT}))[:20])
    with pytest.raises(AnswerLost):
        reading.feed(b"")
    reading.call()
    (view,) = reading.feed(event("groups", told(GROUP, contents={"a": BINARY})))

    assert view.groups[0].stdout.binary


def test_errors_of_the_stream_are_raised() -> None:
    with pytest.raises(FarhandApiError) as refused:
        following().feed(event("error", {"status": 404, "code": "unknown-job", "detail": "gone"}))

    assert "unknown-job" == refused.value.code
    with pytest.raises(UnexpectedAnswer):
        following().feed(event("groups", []))
    with pytest.raises(UnexpectedAnswer):
        following().answered(Answer(200, {"content-type": "text/html"}))
    with pytest.raises(FarhandApiError):
        following().answered(Answer(500, {}))
    assert following().answered(Answer(200, {"content-type": "text/event-stream"}))
