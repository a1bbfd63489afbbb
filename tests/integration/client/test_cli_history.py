"""Finding jobs at the prompt and in the SDK, and exporting them."""

import json
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs

import pytest

from farhand.client import UnexpectedAnswer
from tests.integration.client.clients import Face
from tests.integration.client.shell import Shell
from tests.integration.client.stub import Reply, Stub, problem, told
from tests.integration.client.test_cli_verbs import JOB, RUN, page

MADE = {"type": "job", **JOB}
RAN = {"type": "run", **RUN}
END = {"type": "end", "jobs": 1, "runs": 1}
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def exported(*lines: object) -> Reply:
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return Reply(200, {"Content-Type": "application/x-ndjson"}, body=body)


def test_every_option_of_a_search_is_asked_for(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/jobs", page(JOB))
    said = farhand(
        *("jobs", "--by", "anna", "--target", "web", "--agent", "web-1", "--command", "apt get"),
        *("--state", "failed", "--since", "2026-01-31T12:00Z", "--until", "2026-01-31T13:00+00:00"),
        *("--schedule", "nightly", "--rerun-of", "job_0", "-n", "3"),
    )
    (asked,) = stub.asked("GET", "/api/v1/jobs")

    assert (0, True) == (said.code, b"job_1" in said.out)
    assert parse_qs(asked.query) == {
        "by": ["anna"],
        "target": ["web"],
        "agent": ["web-1"],
        "command": ["apt get"],
        "state": ["failed"],
        "since": ["2026-01-31T12:00:00Z"],
        "until": ["2026-01-31T13:00:00Z"],
        "schedule": ["nightly"],
        "rerun_of": ["job_0"],
        "limit": ["1000"],
    }


def test_a_time_may_be_so_long_ago(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/runs", page())
    before = datetime.now(UTC)
    said = farhand("runs", "--since", "2h")
    (asked,) = stub.asked("GET", "/api/v1/runs")
    since = datetime.fromisoformat(parse_qs(asked.query)["since"][0])

    assert 0 == said.code
    assert before <= since + timedelta(hours=2) <= datetime.now(UTC)


@pytest.mark.parametrize("when", ["yesterday", "2026-13-01", "2 hours", "-2h", ""])
def test_what_is_no_time_is_a_usage_error(farhand: Shell, when: str) -> None:
    said = farhand("jobs", f"--since={when}")

    assert 64 == said.code
    assert "write 2h for two hours ago" in said.err


def test_a_state_that_no_job_has_is_a_usage_error(farhand: Shell) -> None:
    said = farhand("jobs", "--state", "succeded")

    assert 64 == said.code
    assert "did you mean succeeded?" in said.err


def test_a_search_that_finds_nothing_says_so(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/jobs", page())

    assert "no job is like that" in farhand("jobs", "--by", "nobody").err
    assert "no job yet" in farhand("jobs").err


def test_pages_that_are_empty_are_passed_over(farhand: Shell, stub: Stub) -> None:
    empty = told({"items": [], "next": "on"})
    stub.on("GET", "/api/v1/jobs", empty, empty, page(JOB))

    assert b"job_1" in farhand("jobs", "--by", "anna").out


def test_what_a_schedule_made_or_what_repeats_another_is_shown_so(
    farhand: Shell, stub: Stub
) -> None:
    made = {**JOB, "schedule": "sch_1", "rerun_of": "job_0"}
    stub.on("GET", "/api/v1/jobs", page(made))
    stub.on("GET", "/api/v1/jobs/job_1", told(made))
    stub.on("GET", "/api/v1/runs", page())
    shown = farhand("jobs", "show", "job_1").out

    assert b"sch_1" in farhand("jobs", "--json").out
    assert (True, True) == (b"sch_1" in shown, b"job_0" in shown)


# --- export ---------------------------------------------------------------------------------------


def test_an_export_is_a_json_object_a_line(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/jobs/export", exported(MADE, RAN, END))
    said = farhand("jobs", "export", "--since", "2026-01-31T12:00Z", "--output", "4K")
    (asked,) = stub.asked("GET", "/api/v1/jobs/export")

    assert 0 == said.code
    assert [MADE, RAN] == [json.loads(line) for line in said.out.splitlines()]
    assert {"since": ["2026-01-31T12:00:00Z"], "output_bytes": ["4096"]} == parse_qs(asked.query)
    assert "exported: jobs=1 runs=1" in said.err


def test_an_export_that_is_cut_is_an_error(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/jobs/export", exported(MADE, RAN))
    said = farhand("jobs", "export")

    assert 0 != said.code
    assert "the export was cut after 2 lines" in said.err


def test_an_export_is_refused_as_anything_else_is(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/api/v1/jobs/export", problem(404, "unknown-schedule", "there is none"))
    said = farhand("jobs", "export", "--schedule", "nightly")

    assert (66, "farhand: there is none [unknown-schedule]\n") == (said.code, said.err)


def test_both_clients_search(face: Face, stub: Stub) -> None:
    stub.on("GET", "/api/v1/jobs", page({**JOB, "schedule": "sch_1"}))
    elsewhere = NOON.astimezone(timezone(timedelta(hours=2)))
    (job,) = face.do("jobs", by="anna", since=elsewhere, until=None)
    (asked,) = stub.asked("GET", "/api/v1/jobs")

    assert "sch_1" == job.schedule
    assert {"by": ["anna"], "since": ["2026-01-31T12:00:00Z"], "limit": ["1000"]} == parse_qs(
        asked.query
    )


def test_both_clients_export(face: Face, stub: Stub) -> None:
    stub.on("GET", "/api/v1/jobs/export", exported(MADE, RAN, END))

    assert [MADE, RAN] == face.do("export", state="failed")
    stub.on("GET", "/api/v1/jobs/export", exported(MADE))
    with pytest.raises(UnexpectedAnswer, match="cut after 1 lines"):
        face.do("export")
