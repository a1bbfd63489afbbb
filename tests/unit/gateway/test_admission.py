"""Letting agents in a few at a time, in order, and telling the others when to come back."""

import asyncio
from dataclasses import replace

import pytest

from farhand.domain.limits import DEFAULTS
from farhand.gateway.admission import AWAY_S, Admissions, ComeLater, Counters
from farhand.testing import ManualClock
from tests.until import until


def door(*, at_once: int = 2, waiting: int = 10, wait_s: float = 10.0) -> Admissions:
    limits = replace(
        DEFAULTS,
        admissions=at_once,
        admissions_waiting=waiting,
        admission_s=wait_s,
        return_rate=10,
    )
    return Admissions(limits, ManualClock())


class Guests:
    """Some that come in the order of their numbers, and stay until they are told to go."""

    def __init__(self, to: Admissions, tasks: asyncio.TaskGroup) -> None:
        self.inside: list[int] = []
        self.entered: list[int] = []
        self.sent_away: dict[int, float] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self._to = to
        self._group = tasks
        self._leave: dict[int, asyncio.Event] = {}

    def come(self, *numbers: int) -> None:
        for number in numbers:
            self._leave[number] = asyncio.Event()
            self.tasks[number] = self._group.create_task(self._visit(number), name="guest")

    def go(self, *numbers: int) -> None:
        for number in numbers or list(self._leave):
            self._leave[number].set()

    async def _visit(self, number: int) -> None:
        try:
            async with self._to.turn():
                self.entered.append(number)
                self.inside.append(number)
                await self._leave[number].wait()
                self.inside.remove(number)
        except ComeLater as exc:
            self.sent_away[number] = exc.after_s


async def test_no_more_than_the_bound_are_inside_and_the_others_follow_in_order() -> None:
    to = door(at_once=2)
    async with asyncio.TaskGroup() as tasks:
        guests = Guests(to, tasks)
        guests.come(*range(6))
        await until(lambda: to.waiting == 4)

        assert [0, 1] == guests.inside

        guests.go(1)
        await until(lambda: 2 in guests.inside)

        assert [0, 2] == guests.inside

        guests.go()

    assert [0, 1, 2, 3, 4, 5] == guests.entered
    assert (0, 0) == (to.at_once, to.waiting)
    assert Counters(begun=6, waited=4, most_at_once=2, most_waiting=4) == to.counters


async def test_who_finds_the_queue_full_is_sent_away_at_a_moment_of_its_own() -> None:
    to = door(at_once=1, waiting=3)
    async with asyncio.TaskGroup() as tasks:
        guests = Guests(to, tasks)
        guests.come(*range(9))
        await until(lambda: len(guests.sent_away) == 5)
        guests.go()

    # Three wait, and ten a second come back: the fifth of these has its moment after 0.8 s.
    assert {4: 0.4, 5: 0.5, 6: 0.6, 7: 0.7, 8: 0.8} == {
        number: round(after_s, 6) for number, after_s in guests.sent_away.items()
    }
    assert 5 == to.counters.turned_away


async def test_nobody_is_sent_away_for_long() -> None:
    to = door(at_once=0, waiting=0)
    told = []
    for _ in range(1000):
        with pytest.raises(ComeLater) as raised:
            async with to.turn():
                pass
        told.append(raised.value.after_s)

    assert max(told) <= AWAY_S
    assert len({round(after_s, 3) for after_s in told}) >= AWAY_S * 10 - 1


async def test_who_waits_too_long_is_sent_away_and_the_next_keeps_its_place() -> None:
    to = door(at_once=1, wait_s=0.05)
    async with asyncio.TaskGroup() as tasks:
        guests = Guests(to, tasks)
        guests.come(0, 1)
        await until(lambda: 1 in guests.sent_away)
        guests.come(2)
        await until(lambda: to.waiting == 1)
        guests.go(0, 2)

    assert [0, 2] == guests.entered
    assert (0, 0) == (to.at_once, to.waiting)


async def test_a_turn_that_came_to_somebody_who_left_goes_to_the_next() -> None:
    to = door(at_once=1)
    async with asyncio.TaskGroup() as tasks:
        guests = Guests(to, tasks)
        guests.come(0, 1, 2, 3)
        await until(lambda: to.waiting == 3)
        guests.tasks[1].cancel()  # before its turn
        guests.go(0)
        while to.waiting > 1:  # noqa: ASYNC110  # one round at a time, to meet that moment
            await asyncio.sleep(0)
        guests.tasks[2].cancel()  # at the moment in which its turn comes
        await until(lambda: 3 in guests.inside)
        guests.go(3)

    assert (0, 0) == (to.at_once, to.waiting)


async def test_an_error_inside_gives_the_turn_back() -> None:
    to = door(at_once=1)
    with pytest.raises(ValueError, match="no"):
        async with to.turn():
            raise ValueError("no")

    assert 0 == to.at_once
