"""What the agents' door allows, by a controller's limits and what the process may open."""

import resource
from collections.abc import Iterator

import pytest

from farhand.domain.limits import DEFAULTS
from farhand.gateway.server import link_limits


@pytest.fixture
def descriptors() -> Iterator[int]:
    """So many this process may open, for once."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (800, before[1]))
    yield 800
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_agents_leave_a_quarter_of_the_descriptors_to_others(descriptors: int) -> None:
    assert descriptors * 3 // 4 == link_limits(DEFAULTS).connections


def test_all_that_wait_to_be_let_in_may_come_from_one_address() -> None:
    most = link_limits(DEFAULTS).unidentified_per_address

    assert DEFAULTS.admissions + DEFAULTS.admissions_waiting < most


def test_who_waits_to_be_let_in_is_told_before_its_stream_is_too_old() -> None:
    assert DEFAULTS.admission_s < link_limits(DEFAULTS).first_message_deadline_s
