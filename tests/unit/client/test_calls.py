import base64
import json
from typing import TypeVar

import pytest

from farhand.client import _calls as calls
from farhand.client import _history
from farhand.client._calls import Answer
from farhand.client._errors import BadRequest, NotFound, Unavailable, UnexpectedAnswer

T = TypeVar("T")


def body(call: calls.Call[T]) -> object:
    assert call.body is not None
    return json.loads(call.body)


def test_a_job_says_what_where_and_how() -> None:
    call = calls.submit(
        ["echo", "hällo"],
        {
            "names": ["web-1", "web-2"],
            "stdin": b"\xff",
            "env": {"A": "1"},
            "namespaces_of": (7, ("net", "mnt")),
            "timeout_s": 30.0,
            "cwd": None,
            "all_agents": False,
            "idempotency_key": "k",
        },
    )

    assert ("POST", "/api/v1/jobs", "k") == (
        *(call.method, call.path, call.headers["Idempotency-Key"]),
    )
    assert {
        "argv": ["echo", "hällo"],
        "targets": {"names": ["web-1", "web-2"]},
        "stdin_base64": base64.b64encode(b"\xff").decode(),
        "env": {"A": "1"},
        "namespaces_of": {"pid": 7, "kinds": ["net", "mnt"]},
        "timeout_s": 30.0,
    } == body(call)


def test_one_name_may_be_a_string_and_a_script_needs_no_argv() -> None:
    told = body(calls.submit(None, {"names": "web-1", "script": "id"}))

    assert {"targets": {"names": ["web-1"]}, "script": "id"} == told


def test_a_selector_and_everybody_are_targets() -> None:
    selected = calls.job_body(None, {"selector": "role=web", "command": "ps", "params": {"n": 3}})
    everybody = calls.job_body(["id"], {"all_agents": True})

    assert {"selector": "role=web"} == selected["targets"]
    assert {"n": 3} == selected["params"]
    assert {"all": True} == everybody["targets"]


def test_a_job_may_be_spread() -> None:
    told = calls.job_body(
        ["id"], {"names": "a", "rerunnable": True, "spread": {"waves": [1, "10%"], "retries": 1}}
    )

    assert (True, {"waves": [1, "10%"], "retries": 1}) == (told["rerunnable"], told["spread"])


def test_each_job_has_a_key_of_its_own_so_that_it_may_be_sent_again() -> None:
    first, second = (calls.submit(["id"], {"names": "a"}) for _ in range(2))

    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]
    assert first.repeatable


def test_an_argv_in_one_string_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="list of strings"):
        calls.submit("rm -rf", {"names": "a"})


def test_bytes_that_are_no_text_are_refused_before_they_are_sent() -> None:
    with pytest.raises(BadRequest, match="UTF-8"):
        calls.submit(["\udcff"], {"names": "a"})


def test_names_are_quoted_in_paths_and_queries() -> None:
    assert "/api/v1/agents/a%2Fb%3F%20%C3%A4" == calls.get_agent("a/b? ä").path
    assert "/api/v1/agents?selector=a%3Db+%26+c%3Dd&limit=5" == (
        calls.agents(None, 5, selector="a=b & c=d").path
    )
    assert "/api/v1/runs?job=j&state=failed&state=lost&cursor=c&limit=1000" == (
        _history.runs("c", {"job": "j", "state": ("failed", "lost")}).path
    )


def test_removing_is_not_repeated_and_answers_nothing() -> None:
    call = calls.remove("web-1")
    call.answered(Answer(204, {}))

    assert ("DELETE", False) == (call.method, call.repeatable)


def test_edits_are_patches() -> None:
    assert {"name": None} == body(calls.rename("a", None))
    assert {"labels": {"role": "web", "old": None}} == (
        body(calls.relabel("a", {"role": "web", "old": None}))
    )


def test_a_problem_is_raised_with_its_code_and_facts() -> None:
    told = {"type": "t", "status": 404, "code": "unknown-agent", "detail": "no x", "names": ["x"]}

    with pytest.raises(NotFound) as caught:
        calls.get_agent("x").answered(Answer(404, {}, json.dumps(told).encode()))
    error = caught.value
    assert ("no x", "unknown-agent", {"names": ["x"]}) == (error.detail, error.code, error.details)


def test_a_refusal_that_is_no_problem_keeps_its_status() -> None:
    with pytest.raises(Unavailable) as caught:
        calls.version().answered(Answer(503, {"retry-after": "7"}, b"<html>"))

    assert ("http-503", 7.0) == (caught.value.code, caught.value.retry_after_s)


@pytest.mark.parametrize(
    "answer",
    [Answer(302, {}), Answer(200, {}, b"<html>"), Answer(200, {}, b"[]"), Answer(200, {}, b"\xff")],
)
def test_an_answer_that_is_not_ours_is_named_as_such(answer: Answer) -> None:
    with pytest.raises(UnexpectedAnswer):
        calls.version().answered(answer)


def test_health_is_a_word() -> None:
    assert "ok" == calls.health().answered(Answer(200, {}, b'{"status": "ok"}'))
