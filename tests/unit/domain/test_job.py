"""Jobs: what is refused before anything is written, and what a job counts."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.ids import JobId
from farhand.domain.job import (
    PID_MAX,
    RLIMITS,
    AllAgents,
    Argv,
    CommandCall,
    Job,
    JobSpec,
    Names,
    NamespaceKind,
    NamespacesOf,
    Script,
    Targets,
    check_target_count,
    checked,
    targets_text,
)
from farhand.domain.limits import DEFAULTS, Limits
from farhand.domain.run import RunState
from farhand.domain.selector import Selector
from farhand.errors import InvalidJob, NoTargets, TooManyTargets

UPTIME = JobSpec(what=Argv(("uptime",)))
TIGHT = Limits(argv_bytes=16, script_bytes=16, stdin_bytes=4, env_bytes=16, output_max_bytes=100)


def refusal(spec: JobSpec, limits: Limits = DEFAULTS) -> str:
    with pytest.raises(InvalidJob) as refused:
        checked(spec, limits)
    assert "invalid-job" == refused.value.code
    return str(refused.value)


def test_a_job_that_can_be_run_is_returned_as_it_is() -> None:
    spec = JobSpec(
        what=Argv(("grep", "-c", "", "/etc/hosts")),
        stdin=b"\0\xff",
        env={"LANG": "C", "_x1": "ä"},
        cwd="/tmp",
        user="nobody",
        namespaces_of=NamespacesOf(PID_MAX, (NamespaceKind.NET,)),
        timeout_s=0.5,
        queue_ttl_s=DEFAULTS.queue_ttl_max_s,
        output_limit_bytes=0,
        nice=19,
        rlimits=dict.fromkeys(RLIMITS, 0),
    )

    assert spec is checked(spec)


def test_a_job_gets_the_default_limits_when_it_names_none() -> None:
    assert (DEFAULTS.run_time_s, DEFAULTS.queue_ttl_s, DEFAULTS.output_bytes) == (
        UPTIME.timeout_s,
        UPTIME.queue_ttl_s,
        UPTIME.output_limit_bytes,
    )


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (Argv(()), "argv is empty; its first item is the program to run"),
        (Argv(("",)), "argv is empty; its first item is the program to run"),
        (Argv(("", "x")), "argv is empty; its first item is the program to run"),
        (Argv(("echo", "a\0b")), "argv has a NUL byte; no program can be given one"),
        (Argv(("echo", "\ud800")), "argv is not valid Unicode text"),
        (Script(""), "script is empty"),
        (Script(" \n\t "), "script is empty"),
        (Script("echo \0"), "script has a NUL byte; no program can be given one"),
        (Script("echo \udfff"), "script is not valid Unicode text"),
        (CommandCall("", {}), "command is empty; `farhand commands AGENT` lists what there is"),
        (CommandCall("ps\0", {}), "command has a NUL byte; no program can be given one"),
        (CommandCall("ps", {"a": "\0"}), "command has a NUL byte; no program can be given one"),
        (CommandCall("ps", {"\ud800": "a"}), "command is not valid Unicode text"),
    ],
)
def test_something_that_no_program_is_cannot_be_run(what: Any, told: str) -> None:
    assert told == refusal(replace(UPTIME, what=what))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"timeout_s": 0.0}, "timeout_s is 0; it must be above 0"),
        ({"timeout_s": -1.0}, "timeout_s is -1;"),
        ({"timeout_s": math.nan}, "timeout_s is nan;"),
        ({"timeout_s": math.inf}, "timeout_s is inf;"),
        ({"timeout_s": DEFAULTS.run_time_max_s + 1}, "at most 604800"),
        ({"queue_ttl_s": 0.0}, "queue_ttl_s is 0;"),
        ({"queue_ttl_s": math.nan}, "queue_ttl_s is nan;"),
        ({"queue_ttl_s": DEFAULTS.queue_ttl_max_s + 1}, "at most 604800"),
        ({"output_limit_bytes": -1}, "output_limit_bytes must be from 0 to"),
        ({"output_limit_bytes": DEFAULTS.output_max_bytes + 1}, "output_limit_bytes must be"),
        ({"nice": -21}, "nice is -21; it must be from -20 to 19"),
        ({"nice": 20}, "nice is 20; it must be from -20 to 19"),
        ({"rlimits": {"nofiles": 10}}, "rlimits: nofiles=10 cannot be set; known are as, core"),
        ({"rlimits": {"nofile": -1}}, "rlimits: nofile=-1 cannot be set"),
        ({"rlimits": {"nofile": 1 << 63}}, "rlimits: nofile="),
        ({"env": {"": "x"}}, "env: '' is not a name"),
        ({"env": {"A=B": "x"}}, "env: 'A=B' is not a name"),
        ({"env": {"1A": "x"}}, "env: '1A' is not a name"),
        ({"env": {"A\n": "x"}}, "env: 'A\\n' is not a name"),
        ({"env": {"Ä": "x"}}, "env: 'Ä' is not a name"),
        ({"env": {"A": "\0"}}, "env has a NUL byte"),
        ({"env": {"A": "\ud800"}}, "env is not valid Unicode text"),
        ({"env": {"FARHAND_RUN": "x"}}, "env: FARHAND_RUN is reserved"),
        ({"cwd": ""}, "cwd is ''; it must be an absolute path"),
        ({"cwd": "tmp"}, "cwd is 'tmp'; it must be an absolute path"),
        ({"cwd": "/tmp\0"}, "cwd has a NUL byte"),
        ({"user": ""}, "user '' cannot be a user's name"),
        ({"user": "--reuid=0"}, "user '--reuid=0' cannot be a user's name"),
        ({"user": "a\0"}, "user has a NUL byte"),
        ({"namespaces_of": NamespacesOf(0, (NamespaceKind.NET,))}, "namespaces_of: pid must be"),
        ({"namespaces_of": NamespacesOf(-1, (NamespaceKind.NET,))}, "namespaces_of: pid must be"),
        (
            {"namespaces_of": NamespacesOf(PID_MAX + 1, (NamespaceKind.NET,))},
            "namespaces_of: pid must be from 1 to 4194304",
        ),
        ({"namespaces_of": NamespacesOf(1, ())}, "namespaces_of: kinds is empty"),
    ],
)
def test_surroundings_that_cannot_be_are_refused(changes: dict[str, Any], told: str) -> None:
    assert told in refusal(replace(UPTIME, **changes))


@pytest.mark.parametrize(
    ("fits", "too_much"),
    [
        (Argv(("a" * 13, "b")), Argv(("a" * 14, "b"))),  # each with its NUL
        (Argv(("ä" * 7,)), Argv(("ä" * 8,))),  # bytes, not characters
        (Script("é" * 8), Script("é" * 8 + "e")),
        (CommandCall("c", {"a": "b" * 15}), CommandCall("c", {"a": "b" * 16})),
    ],
)
def test_sizes_are_counted_in_bytes_to_the_last(fits: Any, too_much: Any) -> None:
    checked(replace(UPTIME, what=fits, output_limit_bytes=100), TIGHT)

    assert "16" in refusal(replace(UPTIME, what=too_much, output_limit_bytes=100), TIGHT)


def test_stdin_and_environment_have_a_size() -> None:
    small = replace(UPTIME, output_limit_bytes=100)
    checked(replace(small, stdin=b"1234", env={"A": "b" * 13}), TIGHT)

    assert "stdin has 5 bytes; at most 4 are taken" == refusal(
        replace(small, stdin=b"12345"), TIGHT
    )
    assert "env has more than 16 bytes" == refusal(replace(small, env={"A": "b" * 14}), TIGHT)


def test_limits_of_the_controller_count_rather_than_the_defaults() -> None:
    assert "from 0 to 100" in refusal(replace(UPTIME, output_limit_bytes=101), TIGHT)


anything = st.text(st.characters(codec=None), max_size=20)


@given(st.lists(anything, max_size=4), st.dictionaries(anything, anything, max_size=2), anything)
def test_any_texts_are_a_job_or_a_bad_one(argv: list[str], env: dict[str, str], where: str) -> None:
    try:
        checked(JobSpec(what=Argv(tuple(argv)), env=env, cwd=where, user=where))
    except InvalidJob:
        return
    for text in (*argv, *env, *env.values(), where):
        assert b"\0" not in text.encode()


def test_a_job_has_between_one_target_and_the_limit() -> None:
    check_target_count(1)
    check_target_count(10_000)
    with pytest.raises(NoTargets):
        check_target_count(0)
    with pytest.raises(TooManyTargets) as refused:
        check_target_count(10_001)

    assert {"count": 10_001, "limit": 10_000} == refused.value.details


def test_a_job_is_open_while_somebody_waits_for_one_of_its_runs() -> None:
    every = dict.fromkeys(RunState, 1)
    job = Job(
        id=JobId("job_01h455vb4pex5vsknk084sn02q"),
        spec=UPTIME,
        targets="all",
        by="admin",
        created_at=0.0,
        counts=every,
    )

    assert 4 == job.open  # held, queued, sent, running
    assert 0 == replace(job, counts={RunState.LOST: 3, RunState.SUCCEEDED: 2}).open


@pytest.mark.parametrize(
    ("targets", "expected"),
    [(AllAgents(), "*"), (Names(("a", "b")), "a,b"), (Selector("role=web"), "role=web")],
)
def test_targets_are_told_in_one_line(targets: Targets, expected: str) -> None:
    assert expected == targets_text(targets)
