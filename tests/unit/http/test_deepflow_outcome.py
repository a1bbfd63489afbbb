"""What became of a run, in the words of DeepFlow's server."""

from typing import Any

import pytest

from farhand.domain.agent import Agent, Identity
from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import Run, RunState, Why
from farhand.http.deepflow.answers import OptStatus
from farhand.http.deepflow.outcome import verdict

AGENT = Agent(
    id=AgentId("agt"), identity=Identity(name="web-1", machine_id="m", ip="10.0.0.1", mac="aa")
)
BY_AGENT = (
    "The deepflow-agent is unable to execute the `date` command. "
    "Detailed error information is as follows:\n\n"
)
BY_SERVER = BY_AGENT.replace("agent", "server")


def run(state: RunState, why: Why | None = None, message: str = "", **more: Any) -> Run:
    return Run(
        id=RunId("run_1"),
        job=JobId("job_1"),
        agent=AGENT.id,
        agent_name="web-1",
        state=state,
        why=why,
        message=message,
        created_at=0.0,
        queue_until=30.0,
        timeout_s=30.0,
        **more,
    )


def told(of: Run, errors: str = "", waited_s: float | None = None) -> tuple[OptStatus, str]:
    return verdict(of, AGENT, errors, label="date", waited_s=waited_s)


def test_a_success_has_nothing_to_describe() -> None:
    assert (OptStatus.SUCCESS, "") == told(run(RunState.SUCCEEDED, Why.EXIT), "a warning")


def test_a_success_that_printed_too_much_is_partial() -> None:
    end = StreamEnd(total=100, kept=30, cut_at=20, cut_bytes=70)
    status, description = told(run(RunState.SUCCEEDED, streams={StreamName.STDOUT: end}))

    assert OptStatus.PARTIAL_RESULT == status
    assert description.startswith("70 bytes are missing at 20")


@pytest.mark.parametrize(
    ("of", "errors", "description"),
    [
        (run(RunState.FAILED, Why.EXIT, exit_code=3), "err\n", BY_AGENT + "err\n"),
        (run(RunState.FAILED, Why.EXIT), "", BY_AGENT + "command 'date' failed"),
        (run(RunState.FAILED, Why.SIGNAL, "killed"), "trace", BY_AGENT + "trace"),
        (run(RunState.FAILED, Why.SPAWN_FAILED, "no such file"), "", BY_AGENT + "no such file"),
        (run(RunState.FAILED, Why.OUTPUT_CORRUPT, "bad"), "err", BY_AGENT + "err\nbad"),
        (run(RunState.REFUSED, Why.DRAINED, "drained"), "", BY_AGENT + "drained"),
        (run(RunState.CANCELLED, Why.CANCELLED), "", BY_AGENT + "the command was cancelled"),
        (
            run(RunState.LOST, Why.CONTACT_LOST),
            "",
            BY_SERVER + "agent(key: 10.0.0.1-aa, name: web-1) command manager is lost",
        ),
        (
            run(RunState.LOST, Why.NO_CANCEL),
            "",
            BY_SERVER + "timeout(30s) to run agent command",
        ),
        (run(RunState.TIMED_OUT), "", BY_SERVER + "timeout(30s) to run agent command"),
        (run(RunState.EXPIRED), "", BY_SERVER + "timeout(30s) to run agent command"),
    ],
)
def test_an_end_that_is_no_success_is_told_by_the_side_it_came_from(
    of: Run, errors: str, description: str
) -> None:
    assert (OptStatus.SERVER_ERROR, description) == told(of, errors)


@pytest.mark.parametrize(
    "state", [RunState.QUEUED, RunState.SENT, RunState.RUNNING, RunState.CANCELLED]
)
def test_what_is_not_over_when_the_time_is_has_timed_out(state: RunState) -> None:
    assert (
        OptStatus.SERVER_ERROR,
        BY_SERVER + "timeout(2.5s) to run agent command",
    ) == told(run(state), waited_s=2.5)


@pytest.mark.parametrize("state", [*RunState])
def test_every_state_has_something_to_say(state: RunState) -> None:
    status, _ = told(run(state, Why.EXIT))

    assert (status is OptStatus.SUCCESS) == (state is RunState.SUCCEEDED)
