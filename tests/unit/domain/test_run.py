"""The states of a run: the table of the design, written out once more, against the code."""

from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.run import NEXT, Ending, Run, RunState, Why
from farhand.errors import IllegalTransition

# The design's table in words. "Any end" of a run that was started is one of the first four: a
# run that runs can be neither refused nor expired, but a lost one may turn out to be either.
ENDS = "succeeded failed timed_out cancelled"
TABLE = {
    "held": "queued cancelled",
    "queued": "sent refused cancelled expired",
    "sent": f"queued running refused expired lost {ENDS}",
    "running": f"lost {ENDS}",
    "lost": f"running refused expired {ENDS}",
    "succeeded": "",
    "failed": "",
    "timed_out": "",
    "cancelled": "",
    "refused": "",
    "expired": "",
}
STATES = list(RunState)


def a_run(state: RunState = RunState.QUEUED) -> Run:
    return Run(
        id=RunId("run_01h455vb4pex5vsknk084sn02q"),
        job=JobId("job_01h455vb4pex5vsknk084sn02q"),
        agent=AgentId("agt_01h455vb4pex5vsknk084sn02q"),
        agent_name="web-1",
        state=state,
        created_at=1.0,
        queue_until=301.0,
        timeout_s=600.0,
    )


def allowed(state: RunState) -> set[str]:
    return set(TABLE[state.value].split())


def test_the_table_names_every_state_once() -> None:
    assert {state.value for state in RunState} == TABLE.keys() == {s.value for s in NEXT}


@pytest.mark.parametrize("to", STATES)
@pytest.mark.parametrize("state", STATES)
def test_a_run_moves_where_the_table_says_and_nowhere_else(state: RunState, to: RunState) -> None:
    run = a_run(state)
    if to.value in allowed(state):
        assert replace(run, state=to) == run.moved_to(to)
        return
    with pytest.raises(IllegalTransition) as refused:
        run.moved_to(to)

    assert {"run": run.id, "state": state.value} == refused.value.details
    assert state is run.state


@pytest.mark.parametrize("state", STATES)
def test_a_state_is_final_when_nothing_follows_it(state: RunState) -> None:
    assert (not allowed(state)) == state.final


@pytest.mark.parametrize("state", STATES)
def test_nobody_waits_for_a_run_that_is_final_or_lost(state: RunState) -> None:
    assert (state.final or state is RunState.LOST) == state.resting


@pytest.mark.parametrize("state", STATES)
def test_every_state_that_is_not_final_can_still_come_to_an_end(state: RunState) -> None:
    reached, ahead = set[str](), {state.value}
    while ahead:
        reached |= ahead
        ahead = {to for one in ahead for to in allowed(RunState(one))} - reached

    assert any(RunState(one).final for one in reached)


def test_what_is_said_with_a_move_is_written_with_it() -> None:
    moved = a_run(RunState.RUNNING).moved_to(RunState.FAILED, why=Why.EXIT, exit_code=3)

    assert (RunState.FAILED, Why.EXIT, 3) == (moved.state, moved.why, moved.exit_code)


def test_a_run_is_a_value_that_nothing_changes() -> None:
    run = a_run()
    with pytest.raises(FrozenInstanceError):
        run.state = RunState.SENT  # type: ignore[misc]  # that is what is tried

    assert RunState.QUEUED is run.state


class RunsLife(RuleBasedStateMachine):
    """One run, pushed about at random: it only ever goes where the table leads."""

    def __init__(self) -> None:
        super().__init__()
        self.run = a_run(RunState.HELD)
        self.ended: Run | None = None

    @rule(to=st.sampled_from(STATES))
    def push(self, to: RunState) -> None:
        before = self.run
        try:
            self.run = before.moved_to(to)
        except IllegalTransition:
            assert to.value not in allowed(before.state)
        else:
            assert to.value in allowed(before.state)
        if self.run.state.final and self.ended is None:
            self.ended = self.run

    @invariant()
    def an_end_stays(self) -> None:
        assert self.ended is None or self.ended == self.run

    @invariant()
    def the_rest_stays_as_it_was(self) -> None:
        assert a_run(self.run.state) == self.run


TestRunsLife = RunsLife.TestCase


# --- endings ------------------------------------------------------------------------------

EXECUTED = {Why.EXIT, Why.TIME_LIMIT, Why.CANCELLED}


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        (Ending(why=Why.EXIT, exit_code=0), RunState.SUCCEEDED),
        (Ending(why=Why.EXIT, exit_code=1), RunState.FAILED),
        (Ending(why=Why.EXIT, exit_code=255), RunState.FAILED),
        (Ending(why=Why.EXIT), RunState.FAILED),
        (Ending(why=Why.SIGNAL, signal=9), RunState.FAILED),
        (Ending(why=Why.TIME_LIMIT, signal=15), RunState.TIMED_OUT),
        (Ending(why=Why.TIME_LIMIT, exit_code=0), RunState.TIMED_OUT),
        (Ending(why=Why.CANCELLED, signal=15), RunState.CANCELLED),
        (Ending(why=Why.CANCELLED, exit_code=0), RunState.CANCELLED),
    ],
)
def test_an_ending_means_one_state(ending: Ending, state: RunState) -> None:
    assert state is ending.state


@pytest.mark.parametrize("why", [why for why in Why if why not in EXECUTED])
def test_a_named_cause_is_a_failure_whatever_the_exit_code(why: Why) -> None:
    assert RunState.FAILED is Ending(why=why, exit_code=0).state


@pytest.mark.parametrize("why", list(Why))
@pytest.mark.parametrize("state", [RunState.SENT, RunState.RUNNING, RunState.LOST])
def test_every_ending_is_a_step_from_every_open_state(state: RunState, why: Why) -> None:
    assert Ending(why=why).state.value in allowed(state)
