"""Budgets: each stream has its share, everybody has a reserve, and who waits is woken."""

import asyncio

import pytest

from farhand.agent.budget import Budget
from farhand.domain.limits import AGENT_DEFAULTS, AgentLimits

LIMITS = AgentLimits(
    spool_bytes=40, spool_total_bytes=100, spool_reserve_bytes=8, spool_disk_bytes=1000
)


def test_a_stream_that_holds_its_share_of_the_memory_is_not_read_on() -> None:
    budget = Budget(LIMITS)

    assert [True, True, False] == [budget.room_in_memory(held) for held in (0, 39, 40)]


def test_when_the_memory_is_taken_each_stream_still_has_its_reserve() -> None:
    budget = Budget(LIMITS)
    budget.count(memory=100)

    assert 0 == budget.free_memory
    assert [True, True, False] == [budget.room_in_memory(held) for held in (0, 7, 8)]


def test_one_stream_never_takes_more_of_the_disk_than_it_leaves() -> None:
    budget = Budget(LIMITS)
    shares = []
    for _ in range(4):
        used = 0
        while budget.room_on_disk(used):
            used += 1
            budget.count(disk=1)
        shares.append(used)

    assert [500, 250, 125, 63] == shares


def test_when_the_disk_is_taken_each_stream_still_has_its_reserve() -> None:
    budget = Budget(LIMITS)
    budget.count(disk=2000)

    assert 0 == budget.free_disk
    assert [True, True, False] == [budget.room_on_disk(used) for used in (0, 7, 8)]


def test_a_stream_alone_has_plenty() -> None:
    assert Budget(AGENT_DEFAULTS).room_on_disk(AGENT_DEFAULTS.spool_disk_bytes // 2 - 1)


@pytest.mark.parametrize("given", [{"memory": -1}, {"disk": -1}])
async def test_what_is_given_back_wakes_everybody_who_waits(given: dict[str, int]) -> None:
    budget = Budget(LIMITS)
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(budget.change(), name=f"wait-{n}") for n in range(3)]
        await asyncio.sleep(0)
        assert budget.wanted
        budget.count(memory=5, disk=5)
        await asyncio.sleep(0)
        assert not any(each.done() for each in waiting)
        budget.count(**given)

    assert not budget.wanted
