"""Schedules: when they are due, what is missed, and what clocks that are set do to them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farhand.domain.ids import JobId
from farhand.domain.job import AllAgents, Argv, JobSpec
from farhand.domain.schedule import (
    COUNTED,
    Cron,
    Firing,
    FiringOutcome,
    Look,
    Missed,
    Once,
    Schedule,
    ScheduleState,
    Timing,
    check_grace,
    corrected,
    firing_id,
    first_due,
    look,
    moment_of,
    next_after,
    noted,
    paused,
    resumed,
    retimed,
)
from farhand.errors import InvalidCron, InvalidSchedule, NeverFires, UnknownZone
from farhand.storage.documents import body_of, document_of

NOW = datetime(2026, 6, 10, 12, 0, tzinfo=UTC).timestamp()
MINUTELY = Cron("* * * * *")
DAILY = Cron("0 3 * * *")


def schedule(timing: Timing = DAILY, **changes: object) -> Schedule:
    made = Schedule(
        id="sch_1",
        name="backup",
        spec=JobSpec(what=Argv(("true",))),
        targets=AllAgents(),
        timing=timing,
        by="admin",
        created_at=NOW,
        next_at=next_after(timing, NOW),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # of its own fields


def firing(of: Schedule, now: float, outcome: FiringOutcome = FiringOutcome.FIRED) -> Firing:
    number = of.firings + 1
    assert of.next_at is not None
    due = look(of, now).due
    job = JobId("job_1") if outcome is FiringOutcome.FIRED else None
    return Firing(
        id=firing_id(of.id, number), number=number, due=due, at=now, outcome=outcome, job=job
    )


# --- what was asked -----------------------------------------------------------------------


def test_a_moment_is_due_once() -> None:
    assert NOW + 1 == first_due(Once(NOW + 1), NOW)
    assert next_after(Once(NOW + 1), NOW + 1) is None


@pytest.mark.parametrize(
    ("timing", "error"),
    [
        (Once(NOW), InvalidSchedule),
        (Once(NOW - 1), InvalidSchedule),
        (Once(NOW + 51 * 366 * 86_400), InvalidSchedule),
        (Once(NOW + 1, "Mars/Olympus"), UnknownZone),
        (Cron("0 25 * * *"), InvalidCron),
        (Cron("0 0 31 2 *"), NeverFires),
        (Cron("0 0 * * *", "Mars/Olympus"), UnknownZone),
    ],
)
def test_what_cannot_be_due_is_refused(timing: Timing, error: type[Exception]) -> None:
    with pytest.raises(error):
        first_due(timing, NOW)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-12-01T03:00", "UTC", "2026-12-01T03:00+00:00"),
        ("2026-12-01 03:00:30", "Europe/Berlin", "2026-12-01T03:00:30+01:00"),
        ("2026-12-01T03:00Z", "Europe/Berlin", "2026-12-01T03:00+00:00"),
        ("2026-12-01T03:00+05:45", "UTC", "2026-12-01T03:00+05:45"),
        ("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T02:30+02:00"),  # the first of both
        ("2026-10-25T02:30+01:00", "Europe/Berlin", "2026-10-25T02:30+01:00"),
    ],
)
def test_a_time_is_read_on_the_clock_of_the_zone(text: str, zone: str, expected: str) -> None:
    assert datetime.fromisoformat(expected).timestamp() == moment_of(text, zone)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026-13-01T00:00",
        "2026-03-29T02:30",
        "0001-01-01T00:00",
    ],
)
def test_what_is_no_time_there_is_refused(text: str) -> None:
    with pytest.raises(InvalidSchedule):
        moment_of(text, "Europe/Berlin")


def test_a_time_that_the_clock_leaves_out_is_told_with_the_one_it_goes_on_at() -> None:
    with pytest.raises(InvalidSchedule, match=r"does not exist in Europe/Berlin.*to 03:30"):
        moment_of("2026-03-29T02:30", "Europe/Berlin")


@pytest.mark.parametrize("grace_s", [-1.0, float("nan"), float("inf"), 8 * 86_400.0])
def test_a_grace_has_bounds(grace_s: float) -> None:
    with pytest.raises(InvalidSchedule):
        check_grace(grace_s)


# --- what is done about a due time --------------------------------------------------------


def test_a_due_time_is_in_time_within_the_grace() -> None:
    daily = schedule(grace_s=60.0)
    due = daily.next_at
    assert due is not None

    assert Look(due=due, passed=0, in_time=True) == look(daily, due)
    assert Look(due=due, passed=0, in_time=True) == look(daily, due + 60)
    assert Look(due=due, passed=0, in_time=False) == look(daily, due + 61)


def test_what_was_missed_gets_one_job_where_that_was_asked() -> None:
    daily = schedule(missed=Missed.ONCE)
    due = daily.next_at
    assert due is not None

    assert Look(due=due + 2 * 86_400, passed=2, in_time=True) == look(daily, due + 2.5 * 86_400)


def test_the_last_of_many_due_times_counts_and_the_others_are_counted() -> None:
    minutely = schedule(MINUTELY, grace_s=30.0)

    assert Look(due=NOW + 600, passed=9, in_time=True) == look(minutely, NOW + 620)
    assert Look(due=NOW + 600, passed=9, in_time=False) == look(minutely, NOW + 650)


def test_years_of_every_minute_are_looked_at_at_once() -> None:
    now = NOW + 5 * 366 * 86_400 + 7

    assert Look(due=now - 7, passed=COUNTED, in_time=True) == look(schedule(MINUTELY), now)


@settings(max_examples=80, deadline=None)
@given(
    text=st.sampled_from(["* * * * *", "*/7 3-5 * * *", "30 2 * * *", "0 0 * * 1", "0 0 1 1 *"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
    begin=st.integers(1_770_000_000, 1_780_000_000),
    late=st.integers(0, 2 * 86_400),
)
def test_the_last_due_time_is_found_as_if_all_were_counted(
    text: str, zone: str, begin: int, late: int
) -> None:
    made = schedule(Cron(text, zone), next_at=next_after(Cron(text, zone), begin))
    assert made.next_at is not None
    now = made.next_at + late
    all_due, at = [], made.next_at
    while at is not None and at <= now:
        all_due.append(at)
        at = next_after(made.timing, at)  # type: ignore[assignment]  # None ends it
    found = look(made, now)

    assert (all_due[-1], min(len(all_due) - 1, COUNTED)) == (found.due, found.passed)


# --- what becomes of it -------------------------------------------------------------------


def test_after_a_firing_it_is_due_next_later_than_now() -> None:
    minutely = schedule(MINUTELY)
    after = noted(minutely, firing(minutely, NOW + 605), keep_s=100.0)

    assert (NOW + 660, NOW + 660) == (after.next_at, after.due_at)
    assert (NOW + 600, NOW + 605, 1) == (after.last_due, after.last_at, after.firings)
    assert ("job_1", FiringOutcome.FIRED) == (after.last_job, after.last_outcome)


def test_a_firing_without_a_job_leaves_the_job_before() -> None:
    minutely = schedule(MINUTELY, last_job=JobId("job_0"))
    after = noted(minutely, firing(minutely, NOW + 60, FiringOutcome.OVERLAP), keep_s=100.0)

    assert ("job_0", FiringOutcome.OVERLAP) == (after.last_job, after.last_outcome)


def test_a_moment_that_was_looked_at_is_over_and_goes_later() -> None:
    once = schedule(Once(NOW + 10))
    after = noted(once, firing(once, NOW + 11), keep_s=100.0)

    assert (ScheduleState.OVER, None, NOW + 111) == (after.state, after.next_at, after.due_at)


def test_a_paused_schedule_is_never_due_and_has_missed_nothing_when_it_is_resumed() -> None:
    away = paused(schedule(MINUTELY), "owner-gone")
    back = resumed(away, NOW + 3_601)

    assert (ScheduleState.PAUSED, None, "owner-gone") == (away.state, away.due_at, away.why)
    assert (ScheduleState.ACTIVE, NOW + 3_660, None) == (back.state, back.due_at, back.why)


def test_a_moment_that_passed_while_it_was_paused_cannot_be_resumed() -> None:
    away = paused(schedule(Once(NOW + 10)))

    with pytest.raises(InvalidSchedule):
        resumed(away, NOW + 11)


def test_a_schedule_gets_another_timing() -> None:
    once = schedule(Once(NOW + 10))
    over = noted(once, firing(once, NOW + 11), keep_s=100.0)
    again = retimed(over, Once(NOW + 20), NOW + 12)
    away = retimed(paused(once), DAILY, NOW)

    assert (ScheduleState.ACTIVE, NOW + 20) == (again.state, again.due_at)
    assert (ScheduleState.PAUSED, None, DAILY) == (away.state, away.due_at, away.timing)


def test_a_due_time_is_not_repeated_when_the_clock_is_set_back_a_little() -> None:
    hourly = schedule(Cron("@hourly"))
    fired = noted(hourly, firing(hourly, NOW + 3_600), keep_s=1.0)

    assert fired == corrected(fired, NOW + 1_800)  # waits for the hour behind


def test_a_clock_that_was_wrong_by_much_is_forgotten() -> None:
    daily = schedule(DAILY)
    fired = noted(daily, firing(daily, NOW + 366 * 86_400), keep_s=1.0)
    back = corrected(fired, NOW)

    assert next_after(DAILY, NOW) == back.next_at


@given(
    jumps=st.lists(st.integers(-2 * 86_400, 400 * 86_400), max_size=20),
    missed=st.sampled_from(Missed),
)
def test_no_due_time_is_looked_at_twice_however_the_clock_is_set(
    jumps: list[int], missed: Missed
) -> None:
    now, hourly, looked = NOW, schedule(Cron("17 * * * *"), missed=missed), []
    for jump in jumps:
        now += jump
        if hourly.due_at is not None and hourly.due_at <= now:
            found = firing(hourly, now)
            hourly = noted(hourly, found, keep_s=1.0)
            looked.append(found.due)

    assert sorted(set(looked)) == looked


# --- kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize("timing", [Once(NOW + 1.5, "Europe/Berlin"), Cron("0 3 * * *", "UTC")])
def test_a_schedule_is_kept_as_it_is(timing: Timing) -> None:
    made = schedule(timing, grace_s=1.5, why="x", last_job=JobId("job_1"), version=3)

    assert made == document_of(Schedule, 3, body_of(made))
