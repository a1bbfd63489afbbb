"""How a search tells the jobs it is about from the others; tests/contract/ has it in the stores."""

from dataclasses import replace

import pytest

from farhand.domain.history import (
    ALL_JOBS,
    CLOCK_SLACK_S,
    SEARCHED_CHARS,
    JobFilter,
    JobStanding,
    before_all,
    outline_of,
    within,
)
from farhand.domain.job import Script
from farhand.domain.run import RunState
from tests.contract.storing import job

JOB = outline_of(replace(job(1), counts={RunState.SUCCEEDED: 2, RunState.FAILED: 0}))


def test_no_condition_takes_every_job() -> None:
    assert ALL_JOBS.takes(JOB)


def test_one_condition_that_fails_is_enough() -> None:
    both = JobFilter(by=JOB.by, command="uptime")

    assert both.takes(JOB)
    assert not replace(both, by="somebody else").takes(JOB)
    assert not replace(both, command="downtime").takes(JOB)


def test_letters_of_either_case_are_the_same_in_every_script() -> None:
    job_here = replace(JOB, what="LÖSCHE ΟΔΟΣ", targets="Web-1")

    assert JobFilter(command="lösche οδος", target="WEB").takes(job_here)


def test_a_time_is_in_from_its_beginning_and_out_at_its_end() -> None:
    assert [False, True, True, False] == [within(at, 1.0, 3.0) for at in (0.9, 1.0, 2.9, 3.0)]
    assert within(1.0, None, None)


def test_nothing_is_left_out_for_a_clock_that_was_set_back_a_little() -> None:
    assert not before_all(100.0, 100.0 + CLOCK_SLACK_S)
    assert before_all(99.0, 100.0 + CLOCK_SLACK_S)
    assert not before_all(0.0, None)


@pytest.mark.parametrize(
    ("state", "standings"),
    [
        (RunState.RUNNING, {JobStanding.RUNNING}),
        (RunState.SUCCEEDED, {JobStanding.DONE, JobStanding.SUCCEEDED}),
        (RunState.LOST, {JobStanding.DONE, JobStanding.FAILED}),
        (RunState.CANCELLED, {JobStanding.DONE, JobStanding.FAILED}),
    ],
)
def test_a_job_stands_as_its_runs_do(state: RunState, standings: set[JobStanding]) -> None:
    of_this = replace(JOB, counts={state: 1}, open=int(not state.resting))

    assert standings == {one for one in JobStanding if JobFilter(standing=one).takes(of_this)}


def test_of_a_long_script_the_beginning_is_searched() -> None:
    long = outline_of(replace(job(1), spec=replace(job(1).spec, what=Script("x" * 10_000))))

    assert SEARCHED_CHARS == len(long.what)
