"""Domain values become JSON that the shapes describe."""

import json
from dataclasses import replace
from typing import Any

import pytest
from pydantic import TypeAdapter

from farhand.api import shapes, writing
from farhand.domain.agent import Agent, Identity
from farhand.domain.command import Command, Param
from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.job import (
    Argv,
    CommandCall,
    Job,
    JobSpec,
    NamespaceKind,
    Script,
    What,
)
from farhand.domain.messages import Namespace
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.rollout import Ended, HoldWhy, Rollout, aborted, held
from farhand.domain.run import Run, RunState, Usage, Why
from farhand.domain.spread import Gate, Share, Spread

RUN = Run(
    id=RunId("run_1"),
    job=JobId("job_1"),
    agent=AgentId("agt_1"),
    agent_name="web-1",
    created_at=0.0,
    queue_until=300.0,
    timeout_s=600.0,
)
ENDED = replace(
    RUN,
    state=RunState.FAILED,
    why=Why.EXIT,
    exit_code=3,
    ended_at=1.5,
    usage=Usage(user_s=0.5),
    streams={StreamName.STDOUT: StreamEnd(total=10, kept=6, cut_at=4, cut_bytes=4)},
)
JOB = Job(
    id=JobId("job_1"),
    spec=JobSpec(what=Argv(("uptime",)), env={"SECRET": "hunter2"}, stdin=b"abc"),
    targets="web-1",
    by="admin",
    created_at=0.0,
    counts={RunState.FAILED: 1, RunState.QUEUED: 0},
)
SPREAD = Spread(
    concurrency=Share(percent=10.0),
    waves=(Share(hosts=1),),
    gate=Gate(spec=JobSpec(what=Argv(("probe",))), targets="role=probe"),
)
ROLLOUT = Rollout(id="job_1", spread=SPREAD, sizes=(1, 9), created_at=0.0)
HELD = held(ROLLOUT, HoldWhy.HAND, by="ada", now=1.0)
AGENT = Agent(
    id=AgentId("agt_1"),
    identity=Identity(name="web-1", machine_id="m", labels={"role": "web", "tier": "1"}),
    given_name="front",
    given_labels={"tier": None},
)


@pytest.mark.parametrize(
    ("shape", "written"),
    [
        (shapes.RunShape, writing.run(RUN)),
        (shapes.RunShape, writing.run(ENDED)),
        (shapes.RunBrief, writing.run_brief(RUN)),
        (shapes.RunEvent, writing.run_event(ENDED)),
        (shapes.JobBrief, writing.job_brief(JOB)),
        (shapes.JobShape, writing.job_whole(JOB, [RUN, ENDED], "next")),
        (shapes.JobShape, writing.job_whole(JOB, [RUN], None, HELD)),
        (shapes.JobRolling, writing.job_rolling(JOB, ROLLOUT)),
        (shapes.RolloutShape, writing.rollout(HELD)),
        (shapes.RolloutShape, writing.rollout(aborted(HELD, Ended.HAND, "enough", by="ada"))),
        (shapes.EndEvent, writing.end_event(JOB)),
        (shapes.AgentShape, writing.agent(AGENT)),
        (
            shapes.CommandShape,
            writing.command(Command(ident="ping", params=(Param(name="host"),))),
        ),
        (
            shapes.NamespaceShape,
            writing.namespace(Namespace(id=1, kind=NamespaceKind.NET, pid=2)),
        ),
    ],
)
def test_what_is_written_is_what_the_shape_says(shape: Any, written: Any) -> None:
    read = json.loads(writing.dumped(written))
    names = set(shape.__annotations__)

    TypeAdapter(shape).validate_python(read)
    assert names == set(read)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1769860800.1239, "2026-01-31T12:00:00.123Z"),
        (None, None),
    ],
)
def test_times_are_utc_with_milliseconds(seconds: float | None, text: str | None) -> None:
    assert text == writing.time(seconds)


def test_a_rollout_that_is_held_says_so_and_why() -> None:
    told = writing.rollout(HELD)

    assert ("held", ("1",), "10%") == (
        told["phase"],
        tuple(told["spread"]["waves"]),
        told["spread"]["concurrency"],
    )
    assert {"why": "hand", "by": "ada", "at": "1970-01-01T00:00:01.000Z", "message": ""} == told[
        "hold"
    ]


def test_a_job_shows_the_names_of_its_environment_and_not_the_values() -> None:
    written = writing.dumped(writing.job_whole(JOB, [], None))

    assert b"SECRET" in written
    assert b"hunter2" not in written


def test_counts_leave_out_states_without_a_run() -> None:
    assert {"failed": 1} == writing.job_brief(JOB)["counts"]


def test_a_job_is_done_when_nobody_waits_for_a_run() -> None:
    lost = replace(JOB, counts={RunState.LOST: 1})

    assert "done" == writing.job_state(lost)
    assert "running" == writing.job_state(replace(JOB, counts={RunState.QUEUED: 1}))


@pytest.mark.parametrize(
    ("what", "summary"),
    [
        (Argv(("echo", "a b")), "echo 'a b'"),
        (Script("#!/bin/sh\necho  hello\n"), "#!/bin/sh echo hello"),
        (CommandCall("ping", {"host": "h"}), "ping host=h"),
        (Argv(("x" * 300,)), "x" * 199 + "…"),
    ],
)
def test_a_summary_is_one_short_line(what: What, summary: str) -> None:
    job = replace(JOB, spec=JobSpec(what=what))

    assert summary == writing.job_brief(job)["summary"]


@pytest.mark.parametrize(
    ("head", "stored", "expected"),
    [
        (b"", 0, {"text": "", "stored": 0, "truncated": False}),
        (b"caf\xc3\xa9", 5, {"text": "café", "stored": 5, "truncated": False}),
        (b"caf\xc3", 5, {"text": "caf", "stored": 5, "truncated": True}),
        (b"caf\xc3", 4, {"base64": "Y2Fmww==", "stored": 4, "truncated": False}),
        (b"\xff", 9, {"base64": "/w==", "stored": 9, "truncated": True}),
    ],
)
def test_output_is_text_when_it_is_utf_8(head: bytes, stored: int, expected: object) -> None:
    assert expected == writing.output(head, stored)


def test_an_output_event_is_json() -> None:
    written = writing.output_event(RunId("run_1"), StreamName.STDERR, 7, b"\xff\n")

    assert {"run": "run_1", "stream": "stderr", "offset": 7, "bytes": "/wo="} == json.loads(written)


def test_text_that_utf_8_cannot_hold_is_escaped() -> None:
    assert {"message": "\udcff"} == json.loads(writing.dumped({"message": "\udcff"}))
