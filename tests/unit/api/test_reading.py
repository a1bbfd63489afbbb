"""Bodies become domain values, or errors that name the place."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.api.reading import (
    AGENT_BODY,
    JOB_BODY,
    agent_edit,
    digest,
    job_spec,
    parsed,
    spread,
    targets,
)
from farhand.api.shapes import JobRequest
from farhand.domain.job import (
    AllAgents,
    Argv,
    CommandCall,
    JobSpec,
    Names,
    NamespaceKind,
    NamespacesOf,
    Script,
)
from farhand.domain.limits import DEFAULTS
from farhand.domain.selector import Selector
from farhand.domain.spread import Gate, Share, Spread
from farhand.errors import (
    InvalidBody,
    InvalidJob,
    InvalidSelector,
    InvalidSpread,
    NoTargets,
    TooManyTargets,
)


def asked(**fields: Any) -> JobRequest:
    what = {} if {"script", "command"} & fields.keys() else {"argv": ["true"]}
    body = {"targets": {"all": True}, **what, **fields}
    return parsed(JOB_BODY, json.dumps(body).encode())


def spec(**fields: Any) -> JobSpec:
    return job_spec(asked(**fields), DEFAULTS)


def problems(**fields: Any) -> list[str]:
    with pytest.raises(InvalidBody) as caught:
        asked(**fields)
    errors: Any = caught.value.details["errors"]
    return [error["at"] for error in errors]


def test_a_short_body_takes_every_default() -> None:
    assert JobSpec(what=Argv(("true",))) == spec()


def test_every_field_reaches_the_spec() -> None:
    found = spec(
        argv=["printf", "%s", "x y"],
        stdin="in",
        env={"A": "1"},
        cwd="/tmp",
        user="nobody",
        namespaces_of={"pid": 7, "kinds": ["net", "mnt", "net"]},
        timeout_s=5,
        queue_ttl_s=6.5,
        output_limit_bytes=0,
        nice=-3,
        rlimits={"nofile": 64},
        keep_children=True,
        rerunnable=True,
    )

    assert found == JobSpec(
        what=Argv(("printf", "%s", "x y")),
        stdin=b"in",
        env={"A": "1"},
        cwd="/tmp",
        user="nobody",
        namespaces_of=NamespacesOf(7, (NamespaceKind.NET, NamespaceKind.MNT)),
        timeout_s=5.0,
        queue_ttl_s=6.5,
        output_limit_bytes=0,
        nice=-3,
        rlimits={"nofile": 64},
        keep_children=True,
        rerunnable=True,
    )


def test_null_is_as_if_it_was_not_given() -> None:
    assert spec() == spec(stdin=None, env=None, cwd=None, timeout_s=None, keep_children=None)


def test_a_script_and_a_command_are_read() -> None:
    call = spec(command="ping", params={"host": "h", "count": 3, "numeric": True})

    assert Script("echo\n") == spec(script="echo\n").what
    assert CommandCall("ping", {"host": "h", "count": "3", "numeric": "true"}) == call.what


def test_bytes_for_stdin_are_base64() -> None:
    assert b"\xff\x00" == spec(stdin_base64="/wA=").stdin


@pytest.mark.parametrize("fields", [{"stdin_base64": "?"}, {"stdin": "a", "stdin_base64": "YQ=="}])
def test_stdin_that_cannot_be_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(InvalidJob):
        spec(**fields)


def test_targets_are_all_names_or_a_selector() -> None:
    def read(**wanted: Any) -> object:
        return targets(asked(targets=wanted), DEFAULTS)

    assert AllAgents() == read(all=True)
    assert Names(("b", "a")) == read(names=["b", "a"])
    assert Selector("role=web") == read(selector="role=web")


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ({"names": []}, NoTargets),
        ({"names": ["a"] * 10_001}, TooManyTargets),
        ({"selector": "="}, InvalidSelector),
    ],
)
def test_targets_that_cannot_be_are_refused(wanted: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        targets(asked(targets=wanted), DEFAULTS)


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({"colour": "red"}, ["/colour"]),
        ({"targets": {"all": False}}, ["/targets/all"]),
        ({"targets": {}}, ["/targets"]),
        ({"targets": {"all": True, "names": ["a"]}}, ["/targets"]),
        ({"targets": {"names": ["a", 1]}}, ["/targets/names/1"]),
        ({"script": "x", "argv": ["y"]}, [""]),
        ({"argv": "uptime"}, ["/argv"]),
        ({"timeout_s": "30"}, ["/timeout_s"]),
        ({"timeout_s": 0}, ["/timeout_s"]),
        ({"nice": 20}, ["/nice"]),
        ({"namespaces_of": {"pid": 1, "kinds": ["nets"]}}, ["/namespaces_of/kinds/0"]),
        ({"command": "c", "params": {"a": 1.5, "b": None}}, ["/params/a", "/params/b"]),
    ],
)
def test_an_error_names_its_place(fields: Any, places: list[str]) -> None:
    assert places == problems(**fields)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b'{"argv": ["\xff"]}', b'{"argv": ["\\ud800"]}', b"[" * 100_000],
)
def test_what_is_no_json_object_is_an_invalid_body(raw: bytes) -> None:
    with pytest.raises(InvalidBody):
        parsed(JOB_BODY, raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with suppress(InvalidBody):
        parsed(JOB_BODY, raw)
    with suppress(InvalidBody):
        parsed(AGENT_BODY, raw)


def test_no_value_that_was_sent_is_told_back() -> None:
    with pytest.raises(InvalidBody) as caught:
        asked(env={"SECRET": ["hunter2"]})

    assert "hunter2" not in f"{caught.value} {caught.value.details}"


def test_the_same_body_has_the_same_digest_however_it_is_laid_out() -> None:
    one = parsed(JOB_BODY, b'{"targets":{"all":true},"argv":["x"],"env":{"A":"1","B":"2"}}')
    other = parsed(
        JOB_BODY,
        b'{ "env": {"B":"2","A":"1"}, "argv": ["x"], "targets": {"all": true}, "cwd": null }',
    )

    assert digest(one) == digest(other)
    assert digest(one) != digest(asked(argv=["x"]))


def test_an_edit_tells_absent_from_null() -> None:
    nothing = agent_edit(parsed(AGENT_BODY, b"{}"))
    unnamed = agent_edit(parsed(AGENT_BODY, b'{"name": null, "labels": {"a": null, "b": "c"}}'))

    assert {"name": None, "unname": False, "labels": None, "drained": None} == nothing
    assert unnamed["unname"]
    assert {"a": None, "b": "c"} == unnamed["labels"]


def test_a_spread_is_read_with_its_gate() -> None:
    found = spread(
        asked(
            spread={
                "concurrency": "12.5%",
                "waves": [1, "10%", "rest"],
                "pause_s": 30,
                "abort_after": 3,
                "gate": {"command": "ping", "params": {"count": 3}, "selector": "role=probe"},
                "retries": 2,
                "retry_delay_s": 1.5,
            }
        ),
        DEFAULTS,
    )

    assert found == Spread(
        concurrency=Share(percent=12.5),
        waves=(Share(hosts=1), Share(percent=10.0)),
        pause_s=30.0,
        abort_after=Share(hosts=3),
        gate=Gate(
            spec=JobSpec(what=CommandCall("ping", {"count": "3"})),
            targets="role=probe",
        ),
        retries=2,
        retry_delay_s=1.5,
    )
    assert spread(asked(), DEFAULTS) is None


@pytest.mark.parametrize(
    "told",
    [
        {"concurrency": 0},
        {"concurrency": "0%"},
        {"abort_after": "many"},
        {"waves": [1, "rest", 2]},
        {"gate": {"selector": "a=b"}},
        {"gate": {"selector": "a=b", "argv": ["x"], "script": "x"}},
    ],
)
def test_a_spread_that_cannot_be_read_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpread):
        spread(asked(spread=told), DEFAULTS)


@pytest.mark.parametrize("told", [{"concurrency": 1.5}, {"waves": "1"}, {"pause_s": -1}, {"x": 1}])
def test_a_spread_of_another_shape_is_refused_with_its_place(told: dict[str, Any]) -> None:
    (where,) = set(problems(spread=told))

    assert where.startswith(f"/spread/{next(iter(told))}")
