"""Every error of the tree as problem+json."""

import inspect
import json

import pytest

from farhand import errors
from farhand.errors import FarhandError, InvalidRange, LaunchFailed, MethodNotAllowed
from farhand.http.answer import problem

TREE = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, FarhandError)
]

EXPECTED = {
    "bad-request": 400,
    "invalid-body": 400,
    "body-too-large": 413,
    "unsupported-media-type": 415,
    "invalid-query": 400,
    "method-not-allowed": 405,
    "invalid-job": 400,
    "invalid-parameter": 400,
    "invalid-selector": 400,
    "invalid-name": 400,
    "invalid-cursor": 400,
    "invalid-range": 416,
    "no-targets": 400,
    "too-many-targets": 400,
    "ambiguous-name": 400,
    "unauthenticated": 401,
    "not-allowed": 403,
    "unknown-agent": 404,
    "unknown-command": 404,
    "unknown-job": 404,
    "unknown-run": 404,
    "not-found": 404,
    "conflict": 409,
    "idempotency-conflict": 409,
    "illegal-transition": 409,
    "over-share": 429,
    "agent-gone": 503,
    "agent-busy": 503,
    "overloaded": 503,
    "store-unavailable": 503,
    "data-dir-unwritable": 503,
    "internal": 500,
    "output-corrupt": 500,
}


def made(kind: type[FarhandError]) -> FarhandError:
    if kind is LaunchFailed:
        return LaunchFailed("spawn_failed", "no")
    facts = {MethodNotAllowed: {"allow": "GET"}, InvalidRange: {"length": 3}}
    return kind("what happened", **facts.get(kind, {}))  # type: ignore[arg-type] # facts of a test


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_has_its_status_and_its_code(kind: type[FarhandError]) -> None:
    answer = problem(made(kind))
    body = json.loads(bytes(answer.body))

    assert "application/problem+json" == answer.media_type
    assert answer.status_code == body["status"]
    assert f"urn:farhand:error:{kind.code}" == body["type"]
    assert {"type", "title", "status", "detail", "code"} <= set(body)
    if kind.code in EXPECTED:
        assert EXPECTED[kind.code] == answer.status_code


def test_codes_are_not_shared() -> None:
    codes = [kind.code for kind in TREE]

    assert sorted(set(codes)) == sorted(codes)


def test_facts_stand_beside_the_message_and_never_over_it() -> None:
    error = FarhandError("told", status="mine", agents=("a", {"b": 1}), error=ValueError("x"))

    body = json.loads(bytes(problem(error).body))

    assert 500 == body["status"]
    assert ["a", {"b": 1}] == body["agents"]
    assert "x" == body["error"]


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        (errors.Unauthenticated, ("www-authenticate", 'Bearer realm="farhand"')),
        (errors.MethodNotAllowed, ("allow", "GET")),
        (errors.InvalidRange, ("content-range", "bytes */3")),
    ],
)
def test_a_status_brings_the_header_that_http_wants(
    kind: type[FarhandError], header: tuple[str, str]
) -> None:
    name, value = header

    assert value == problem(made(kind)).headers[name]


UNAVAILABLE = [kind for kind in TREE if issubclass(kind, errors.Unavailable)]


@pytest.mark.parametrize("kind", UNAVAILABLE, ids=lambda kind: kind.__name__)
def test_who_may_come_again_is_told_when_and_not_all_the_same(kind: type[FarhandError]) -> None:
    told = {problem(made(kind)).headers.get("retry-after") for _ in range(200)}

    if kind is errors.AgentGone:  # nobody knows
        assert {None} == told
    else:
        assert 2 <= len(told)
        assert all(said is not None and 1 <= int(said) <= 15 for said in told)
