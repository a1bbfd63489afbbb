from datetime import UTC, datetime

import pytest

from farhand.client import _shapes as shapes
from farhand.client._errors import UnexpectedAnswer

RUN = {
    "id": "run_1",
    "job": "job_1",
    "agent": {"id": "agt_1", "name": "web-1"},
    "state": "failed",
    "why": "exit",
    "message": "",
    "exit_code": 3,
    "signal": None,
    "started_at": "2026-01-31T12:00:00.500Z",
    "ended_at": None,
    "duration_s": 1.5,
    "streams": {"stdout": {"total": 9, "kept": 5, "cut_at": 3, "cut_bytes": 4, "sha256_all": ""}},
    "of_tomorrow": {"x": 1},
}


def test_a_run_is_read_with_what_it_needs_and_keeps_the_rest() -> None:
    run = shapes.read_run(RUN)

    assert ("run_1", "web-1", "agt_1", "failed", 3, None) == (
        *(run.id, run.agent, run.agent_id, run.state, run.exit_code, run.signal),
    )
    assert datetime(2026, 1, 31, 12, 0, 0, 500_000, UTC) == run.started_at
    assert 4 == run.streams["stdout"].cut_bytes
    assert {"x": 1} == run.raw["of_tomorrow"]


def test_a_run_just_made_is_a_run() -> None:
    run = shapes.read_run({"id": "r", "agent": {"id": "a", "name": ""}, "state": "queued"})

    assert ("a", False) == (run.agent, run.resting)


@pytest.mark.parametrize("state", sorted(shapes.RESTING))
def test_a_run_that_nobody_waits_for_rests(state: str) -> None:
    assert shapes.read_run({"id": "r", "state": state}).resting


def test_a_job_is_done_when_the_controller_says_so() -> None:
    job = shapes.read_job({"id": "j", "state": "done", "runs": [RUN], "counts": {"failed": 1}})

    assert job.done
    assert [3] == [run.exit_code for run in job.runs]


def test_an_agent_a_command_and_a_namespace_are_read() -> None:
    agent = shapes.read_agent({"id": "a", "name": "n", "labels": {"role": "web"}, "mac": None})
    command = shapes.read_command(
        {"ident": "ping", "params": [{"name": "host", "type": "host", "choices": []}]}
    )
    namespace = shapes.read_namespace({"id": 4026531840, "kind": "net", "pid": 1, "owner": "root"})

    assert ({"role": "web"}, "", "offline") == (agent.labels, agent.mac, agent.liveness)
    assert ("ping", "host", "host") == (
        *(command.ident, command.params[0].name, command.params[0].type),
    )
    assert (4026531840, "root") == (namespace.id, namespace.owner)


def test_a_page_has_items_and_a_cursor() -> None:
    page = shapes.page_of(shapes.read_version)({"items": [{"version": "1"}], "next": "c"})

    assert (["1"], "c") == ([item.version for item in page.items], page.next)


@pytest.mark.parametrize("found", [None, [], "x", {}, {"items": None}, {"items": {}}])
def test_an_answer_of_another_kind_is_refused(found: object) -> None:
    with pytest.raises(UnexpectedAnswer):
        shapes.page_of(shapes.read_job)(found)


@pytest.mark.parametrize(
    "found",
    [
        {"id": 1, "state": "x"},
        {"id": "r", "state": "x", "agent": "web"},
        {"id": "r", "state": "x", "started_at": "yesterday"},
        {"id": "r"},
    ],
)
def test_a_run_that_is_none_is_refused(found: object) -> None:
    with pytest.raises(UnexpectedAnswer):
        shapes.read_run(found)


def test_a_namespace_without_a_number_is_refused() -> None:
    with pytest.raises(UnexpectedAnswer):
        shapes.read_namespace({"id": "x", "kind": "net", "pid": 1})
