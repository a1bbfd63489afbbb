"""One timer of the loop for any number of deadlines, on a loop whose time is turned by hand."""

from collections.abc import Callable
from math import inf
from typing import Any

from farhand.wire.grpc import TimerWheel


class Planned:
    def __init__(self, loop: "HandTurned", when: float, callback: Callable[[], Any]) -> None:
        self.loop = loop
        self.when = when
        self.callback = callback

    def cancel(self) -> None:
        if self in self.loop.planned:
            self.loop.planned.remove(self)


class HandTurned:
    """A loop that has timers and nothing else."""

    def __init__(self) -> None:
        self.now = 100.0
        self.planned: list[Planned] = []
        self.set = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], Any], /) -> Planned:
        self.set += 1
        self.planned.append(Planned(self, when, callback))
        return self.planned[-1]

    def turn(self, to: float) -> None:
        """Let time pass smoothly."""
        while due := [planned for planned in self.planned if planned.when <= to]:
            first = min(due, key=lambda planned: planned.when)
            self.now = max(self.now, first.when)
            self.planned.remove(first)
            first.callback()
        self.now = to

    def stall(self, to: float) -> None:
        """Let time pass without looking, as a blocked loop does, and look once."""
        self.now = to
        self.turn(to)


class Item:
    def __init__(self, wheel: TimerWheel, *, again_s: float = inf) -> None:
        self.timer_slot: int | None = None
        self.wheel = wheel
        self.again_s = again_s
        self.looks: list[float] = []

    def on_time(self, now: float) -> None:
        self.looks.append(now)
        self.wheel.schedule(self, now + self.again_s)


def test_each_is_looked_at_when_it_is_due_or_a_grain_later() -> None:
    loop = HandTurned()
    wheel = TimerWheel(loop)
    late, early = Item(wheel), Item(wheel)
    wheel.schedule(late, 103.0)
    wheel.schedule(early, 101.0)
    loop.turn(100.99)
    nothing = early.looks + late.looks
    loop.turn(110.0)

    assert [] == nothing
    assert [True, True] == [
        due <= item.looks[0] <= due + 0.1 for item, due in ((early, 101.0), (late, 103.0))
    ]
    assert [1, 1] == [len(early.looks), len(late.looks)]


def test_an_earlier_deadline_moves_the_look_and_a_later_one_does_not() -> None:
    loop = HandTurned()
    wheel = TimerWheel(loop)
    item = Item(wheel)
    for due in (160.0, 101.0, 130.0, inf):
        wheel.schedule(item, due)
    loop.turn(200.0)

    assert 1 == len(item.looks)
    assert 101.0 <= item.looks[0] <= 101.1


def test_what_is_scheduled_again_is_looked_at_again() -> None:
    loop = HandTurned()
    wheel = TimerWheel(loop)
    item = Item(wheel, again_s=10.0)
    wheel.schedule(item, 100.0)
    loop.turn(125.0)

    assert 3 == len(item.looks)
    wheel.close()
    assert [] == loop.planned
    assert item.timer_slot is None


def test_what_is_cancelled_is_not_looked_at() -> None:
    loop = HandTurned()
    wheel = TimerWheel(loop)
    cancelled, kept = Item(wheel), Item(wheel)
    for item in (cancelled, kept):
        wheel.schedule(item, 101.0)
    wheel.cancel(cancelled)
    loop.turn(102.0)

    assert [0, 1] == [len(cancelled.looks), len(kept.looks)]


def test_what_another_cancels_in_the_same_moment_is_not_looked_at() -> None:
    loop = HandTurned()
    wheel = TimerWheel(loop)
    cancelled = Item(wheel)

    class Canceller(Item):
        def on_time(self, now: float) -> None:
            super().on_time(now)
            wheel.cancel(cancelled)

    for item in (Canceller(wheel), cancelled):
        wheel.schedule(item, 101.0)
    loop.turn(110.0)

    assert [] == cancelled.looks
    assert cancelled.timer_slot is None


def test_a_thousand_items_share_few_timers() -> None:
    loop = HandTurned()
    wheel = TimerWheel(loop)
    items = [Item(wheel) for _ in range(1000)]
    for number, item in enumerate(items):
        wheel.schedule(item, 110.0 + number / 1000)
    pending = len(loop.planned)
    loop.turn(112.0)

    assert 1 == pending
    assert {1} == {len(item.looks) for item in items}
    assert loop.set <= 25


def test_a_loop_that_was_late_gives_one_more_round() -> None:
    loop = HandTurned()
    wheel = TimerWheel(loop)
    item = Item(wheel)
    wheel.schedule(item, 101.0)
    loop.stall(105.0)
    at_once = list(item.looks)
    loop.turn(105.1)

    assert [] == at_once
    assert 1 == len(item.looks)
