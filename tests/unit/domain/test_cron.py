"""Cron expressions: against an oracle that asks every minute, in zones whose clocks are odd."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from farhand.domain import cron
from farhand.errors import InvalidCron, NeverFires, UnknownZone

BERLIN = "Europe/Berlin"


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def due(text: str, zone: str, begin: str, count: int) -> list[str]:
    """The next due times as the zone's clock shows them, with its offset."""
    found = islice(cron.after(text, zone, at(begin)), count)
    local = [datetime.fromtimestamp(moment, ZoneInfo(zone)) for moment in found]
    return [moment.isoformat(timespec="minutes") for moment in local]


# --- when a clock is changed --------------------------------------------------------------


def test_a_time_that_does_not_exist_is_due_when_the_gap_ends() -> None:
    found = due("30 2 * * *", BERLIN, "2026-03-28T12:00+01:00", 2)

    assert ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"] == found


def test_two_times_that_do_not_exist_are_due_once() -> None:
    found = due("0,30 2 * * *", BERLIN, "2026-03-29T00:00+01:00", 2)

    assert ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"] == found


def test_a_time_that_exists_twice_is_due_the_first_time() -> None:
    found = due("30 2 * * *", BERLIN, "2026-10-24T12:00+02:00", 2)

    assert ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"] == found


def test_a_time_that_exists_twice_is_not_due_again_for_who_asks_in_between() -> None:
    found = due("45 2 * * *", BERLIN, "2026-10-25T02:35+01:00", 1)

    assert ["2026-10-26T02:45+01:00"] == found


def test_an_expression_with_a_star_goes_by_the_time_that_passes() -> None:
    spring = due("*/30 * * * *", BERLIN, "2026-03-29T01:10+01:00", 3)
    autumn = due("*/30 * * * *", BERLIN, "2026-10-25T02:10+02:00", 4)

    assert [
        "2026-03-29T01:30+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-29T03:30+02:00",
    ] == spring
    assert [
        "2026-10-25T02:30+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T02:30+01:00",
        "2026-10-25T03:00+01:00",
    ] == autumn


# Berlin and New York change by an hour, Lord Howe by half of one, Cairo at midnight, Kathmandu is
# off by a quarter, Apia left a whole day out in 2011, Troll changes by two hours.
ZONES = [
    *("UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"),
    *("Asia/Kathmandu", "Antarctica/Troll"),
]


def oracle(minutes: set[int], hours: set[int], zone: str, begin: float, end: float) -> list[float]:
    """Where minute and hour are given: every matching clock time of every day, once.

    Walks the clock of the zone a minute at a time, without its offset; the first moment that shows
    this time, or the first behind the gap, is when it is due.
    """
    here = ZoneInfo(zone)
    clock = datetime.fromtimestamp(begin, here).replace(tzinfo=None, second=0, fold=0)
    clock -= timedelta(days=1)
    found: set[float] = set()
    while (moment := clock.replace(tzinfo=here).timestamp()) <= end + 86_400:
        if clock.minute in minutes and clock.hour in hours:
            shown = clock
            while datetime.fromtimestamp(moment, here).replace(tzinfo=None, fold=0) != shown:
                shown += timedelta(minutes=1)  # it does not exist
                moment = shown.replace(tzinfo=here).timestamp()
            found.add(moment)
        clock += timedelta(minutes=1)
    return sorted(moment for moment in found if begin < moment <= end)


def passing(minutes: set[int], hours: set[int], zone: str, begin: float, end: float) -> list[float]:
    """Where one of them is a star: every minute that passes and shows a matching time."""
    here, found = ZoneInfo(zone), []
    moment = begin - begin % 60 + 60
    while moment <= end:
        shown = datetime.fromtimestamp(moment, here)
        if shown.minute in minutes and shown.hour in hours:
            found.append(moment)
        moment += 60
    return found


CHANGES = [  # a day around which some zone's clock is changed
    *("2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-05", "2026-10-04"),
    *("2026-04-24", "2026-10-30", "2026-07-01"),
]
SOME = st.sets(st.integers(0, 59), min_size=1, max_size=3)
HOURS = st.sets(st.integers(0, 4), min_size=1, max_size=2)


def listed(values: set[int]) -> str:
    return ",".join(map(str, sorted(values)))


@settings(max_examples=60, deadline=None)
@given(
    minutes=SOME,
    hours=HOURS,
    zone=st.sampled_from(ZONES),
    day=st.sampled_from(CHANGES),
    offset=st.integers(0, 36 * 60),
)
@example(minutes={30}, hours={2}, zone="Australia/Lord_Howe", day="2026-10-04", offset=0)
@example(minutes={0}, hours={0}, zone="Africa/Cairo", day="2026-04-24", offset=0)
@example(minutes={0}, hours={1}, zone="Antarctica/Troll", day="2026-03-29", offset=0)
def test_given_times_are_due_once_a_day_whatever_the_clock_does(
    minutes: set[int], hours: set[int], zone: str, day: str, offset: int
) -> None:
    begin = at(f"{day}T00:00+00:00") - 86_400 + offset * 60 + 7
    end = begin + 2 * 86_400
    text = f"{listed(minutes)} {listed(hours)} * * *"
    found = [moment for moment in islice(cron.after(text, zone, begin), 40) if moment <= end]

    assert oracle(minutes, hours, zone, begin, end) == found


@settings(max_examples=60, deadline=None)
@given(
    step=st.sampled_from([1, 7, 20, 30]),
    zone=st.sampled_from(ZONES),
    day=st.sampled_from(CHANGES),
    offset=st.integers(0, 36 * 60),
)
def test_stars_go_by_the_time_that_passes_whatever_the_clock_does(
    step: int, zone: str, day: str, offset: int
) -> None:
    begin = at(f"{day}T00:00+00:00") - 43_200 + offset * 60
    end = begin + 6 * 3_600
    found = [t for t in islice(cron.after(f"*/{step} * * * *", zone, begin), 400) if t <= end]

    assert passing(set(range(0, 60, step)), set(range(24)), zone, begin, end) == found


@settings(max_examples=100, deadline=None)
@given(
    text=st.sampled_from(["30 2 * * *", "0,30 1-3 * * *", "*/20 * * * *", "0 0 * * SUN", "@daily"]),
    zone=st.sampled_from(ZONES),
    begin=st.integers(1_770_000_000, 1_810_000_000),
    share=st.floats(0, 0.999),
)
def test_what_is_due_next_does_not_depend_on_when_one_asks(
    text: str, zone: str, begin: int, share: float
) -> None:
    found = cron.next_after(text, zone, begin)
    assert found is not None
    between = begin + (found - begin) * share

    assert begin < found
    assert found == cron.next_after(text, zone, between)


# --- what is read -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*/15 * * * *", "2026-06-10T12:15"),
        ("0 3 * * *", "2026-06-11T03:00"),
        ("0 3 * * mon", "2026-06-15T03:00"),
        ("0 0 1 JAN *", "2027-01-01T00:00"),
        ("0 0 13 * FRI", "2026-06-12T00:00"),  # either, as cron has it
        ("0 0 L * *", "2026-06-30T00:00"),
        ("0 0 * * MON#1", "2026-07-06T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("@hourly", "2026-06-10T13:00"),
        ("@Daily", "2026-06-11T00:00"),
        ("@weekly", "2026-06-14T00:00"),
        ("@monthly", "2026-07-01T00:00"),
        ("@yearly", "2027-01-01T00:00"),
        ("  5   4 * * *  ", "2026-06-11T04:05"),
    ],
)
def test_an_expression_is_due_when_it_says(text: str, expected: str) -> None:
    cron.check(text)

    assert [f"{expected}+00:00"] == due(text, "UTC", "2026-06-10T12:00+00:00", 1)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", 0),
        ("0 3 * *", 0),
        ("0 0 3 * * *", 0),  # seconds are not cron's
        ("60 3 * * *", 0),
        ("0 25 * * *", 2),
        ("1,2,99 3 * * *", 4),
        ("1,,2 3 * * *", 2),
        ("0 0 0 * *", 4),
        ("0 0 * 13 *", 6),
        ("0 0 * FOO *", 6),
        ("0 3 * * MOON", 8),
        ("5-1 * * * *", 0),
        ("*/0 * * * *", 0),
        ("a/b * * * *", 0),
        ("٣ * * * *", 0),
        ("@reboot", 0),
        (" @reboot", 1),
    ],
)
def test_what_cannot_be_read_is_marked(text: str, place: int) -> None:
    with pytest.raises(InvalidCron) as caught:
        cron.check(text)

    assert place == caught.value.details["at"]
    assert str(caught.value).endswith(f"\n{' ' * place}^")


def test_an_expression_has_a_bound() -> None:
    with pytest.raises(InvalidCron):
        cron.check("0 " * cron.MAX_LENGTH)


@pytest.mark.parametrize(
    "text", ["0 0 31 2 *", "0 0 30 FEB *", "0 0 31 4,6,9,11 *", "* * */20 * 1L"]
)
def test_an_expression_without_any_day_is_never_due(text: str) -> None:
    with pytest.raises(NeverFires):
        cron.check(text)


@given(st.text(max_size=40))
def test_any_text_at_all_is_read_or_refused(text: str) -> None:
    try:
        cron.check(text)
    except (InvalidCron, NeverFires):
        return
    found = cron.next_after(text, "UTC", 1_800_000_000)

    assert found is not None
    assert datetime.fromtimestamp(found, UTC).second == 0


@settings(max_examples=200)
@given(
    st.lists(
        st.text(alphabet="0123456789*/,-LW#MONSUNJAN", min_size=1, max_size=6),
        min_size=5,
        max_size=5,
    ).map(" ".join)
)
def test_anything_like_an_expression_is_read_or_refused(text: str) -> None:
    try:
        cron.check(text)
    except (InvalidCron, NeverFires):
        return
    assert cron.next_after(text, BERLIN, 1_800_000_000) is not None


# --- zones --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "", "Europe", "../../etc/passwd", "/etc/localtime", "\0", "x" * 9000]
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(UnknownZone):
        cron.zone(name)


def test_a_slip_in_a_zone_gets_a_suggestion() -> None:
    with pytest.raises(UnknownZone, match="did you mean Europe/Berlin"):
        cron.zone("europe/berlin")
