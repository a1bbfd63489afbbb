"""When answers are grouped, and what is said of hosts that have not begun."""

import io

import pytest

from farhand.cli.region import Region
from farhand.cli.watching import FEW, Watched, grouping_wanted
from farhand.client import Groups, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("asked", "hosts", "raw", "terminal", "wanted"),
    [
        (None, FEW + 1, False, True, True),
        (None, FEW, False, True, False),
        (None, FEW + 1, True, True, False),
        (None, FEW + 1, False, False, False),
        (True, 1, True, False, True),
        (False, 5_000, False, True, False),
    ],
)
def test_many_hosts_are_grouped_for_a_person_and_whenever_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    *,
    asked: bool | None,
    hosts: int,
    raw: bool,
    terminal: bool,
    wanted: bool,
) -> None:
    monkeypatch.setattr("sys.stdout", Terminal() if terminal else io.StringIO())

    assert wanted == grouping_wanted(asked, hosts, raw=raw)


def test_hosts_that_have_not_begun_are_waited_for() -> None:
    watched = Watched(Region({}), colour=False, as_json=False)
    before = watched.waiting()
    arrived = watched.take(Groups(job="j", progress=Progress(total=12, waiting=12)))
    waiting = watched.waiting()
    begun = watched.take(Groups(job="j", progress=Progress(total=12, running=12)))

    assert (None, False, True) == (before, arrived, begun)
    assert "waiting for 12 of 12 hosts (not connected, or busy)" == waiting
    assert watched.waiting() is None
