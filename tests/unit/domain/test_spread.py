"""How fast a job may spread: what is taken, what is refused, and the sizes that come of it."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.job import Argv, JobSpec
from farhand.domain.spread import Gate, Share, Spread, check, share, waves
from farhand.errors import InvalidJob, InvalidSpread, WaveTooLarge

SPEC = JobSpec(what=Argv(("true",)))
AGAIN = JobSpec(what=Argv(("true",)), rerunnable=True)


@pytest.mark.parametrize(
    ("text", "total", "hosts"),
    [
        ("1", 10, 1),
        ("50", 10, 50),
        ("10%", 10, 1),
        ("10%", 11, 2),
        ("1%", 5, 1),
        ("100%", 7, 7),
        ("0.5%", 1000, 5),
        (" 33.34% ", 3, 2),
    ],
)
def test_a_share_of_hosts_is_rounded_up(text: str, total: int, hosts: int) -> None:
    assert hosts == share(text, "concurrency").of(total)


@pytest.mark.parametrize(
    "text", ["", "0", "0%", "101%", "100.01%", "-1", "1.5", "ten", "10 %%", "1e3", "%", "rest"]
)
def test_what_is_no_share_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(InvalidSpread) as refused:
        share(text, "abort_after")

    assert "abort_after" == refused.value.details["at"]


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_a_percent_is_never_nothing_and_never_more_than_all(hundredths: int, total: int) -> None:
    assert 1 <= Share(percent=hundredths / 100).of(total) <= total


@pytest.mark.parametrize("text", ["7", "12%", "0.25%"])
def test_a_share_is_written_as_it_was_read(text: str) -> None:
    assert text == str(share(text, "waves"))


@pytest.mark.parametrize(
    ("texts", "total", "sizes"),
    [
        ([], 5, (5,)),
        (["rest"], 5, (5,)),
        (["1", "10%", "rest"], 40, (1, 4, 35)),
        (["1", "10%"], 40, (1, 4, 35)),
        (["50%", "50%"], 5, (3, 2)),
        (["100%", "1"], 5, (5,)),
        (["3", "3", "3"], 5, (3, 2)),
        (["1", "10%", "rest"], 1, (1,)),
    ],
)
def test_waves_cover_all_hosts_and_no_more(
    texts: list[str], total: int, sizes: tuple[int, ...]
) -> None:
    assert sizes == Spread(waves=waves(texts)).sizes(total)


def test_nothing_comes_behind_the_rest() -> None:
    with pytest.raises(InvalidSpread, match="stand last"):
        waves(["1", "rest", "10%"])


@pytest.mark.parametrize(
    ("texts", "total", "sizes"),
    [(["1", "50", "10%"], 3, (1, 2)), (["50"], 3, (3,)), (["2", "rest"], 3, (2, 1)), ([], 3, (3,))],
)
def test_waves_are_fitted_to_fewer_hosts(
    texts: list[str], total: int, sizes: tuple[int, ...]
) -> None:
    assert sizes == Spread(waves=waves(texts)).fitted(total).sizes(total)


def test_a_wave_of_more_hosts_than_the_job_has_is_an_error() -> None:
    with pytest.raises(WaveTooLarge) as refused:
        Spread(waves=waves(["1", "500"])).sizes(12)

    assert {"wave": 2, "size": 500, "targets": 12} == refused.value.details


def test_a_share_of_no_hosts_is_an_error() -> None:
    with pytest.raises(InvalidSpread, match="no hosts"):
        Spread(waves=waves(["10%"])).sizes(0)


REFUSED: list[Callable[[], Spread]] = [
    lambda: Spread(pause_s=5.0),
    lambda: Spread(by_hand=True),
    lambda: Spread(gate=Gate(spec=SPEC, targets="a")),
    lambda: Spread(waves=waves(["1"]), pause_s=-1.0),
    lambda: Spread(waves=waves(["1"]), pause_s=float("nan")),
    lambda: Spread(waves=waves(["1"]), pause_s=1e9),
    lambda: Spread(waves=waves(["1"] * 101)),
    lambda: Spread(retries=11),
    lambda: Spread(retries=-1),
    lambda: Spread(retries=1, retry_delay_s=1e9),
]


@pytest.mark.parametrize("spread", REFUSED)
def test_what_cannot_be_is_refused(spread: Callable[[], Spread]) -> None:
    with pytest.raises(InvalidSpread):
        check(spread(), AGAIN)


def test_only_a_job_that_may_be_run_again_is_retried() -> None:
    assert 1 == check(Spread(retries=1), AGAIN).retries
    with pytest.raises(InvalidSpread, match="rerunnable"):
        check(Spread(retries=1), SPEC)


def test_a_gate_is_checked_as_any_job_is() -> None:
    gate = Gate(spec=JobSpec(what=Argv(())), targets="probe")

    with pytest.raises(InvalidJob):
        check(Spread(waves=waves(["1"]), gate=gate), SPEC)
