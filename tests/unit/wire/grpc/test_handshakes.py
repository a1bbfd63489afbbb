"""Handshakes in slices: in order, never long at a time, and none stops the others."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

from farhand.wire.grpc.handshakes import SLICE_S, Handshakes
from tests.until import until


class Work:
    """Steps that take time of a clock that only they move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done: list[object] = []

    def time(self) -> float:
        return self.now

    def step(self, name: object, takes_s: float) -> Callable[[], None]:
        def do() -> None:
            self.now += takes_s
            self.done.append(name)

        return do


async def test_between_two_slices_everybody_else_has_a_turn() -> None:
    work, loop = Work(), asyncio.get_running_loop()
    handshakes = Handshakes(loop, work.time)

    def established() -> None:
        work.done.append("turn")
        if handshakes.waiting:
            loop.call_soon(established)

    for number in range(9):
        handshakes.add(work.step(number, SLICE_S / 2))
    loop.call_soon(established)
    await until(lambda: not handshakes.waiting)

    assert list(range(9)) == [name for name in work.done if name != "turn"]
    assert 9 == handshakes.done == handshakes.most_waiting
    turns = [at for at, name in enumerate(work.done) if name == "turn"]
    assert 3 >= max(later - sooner for sooner, later in pairwise(turns))


async def test_one_that_takes_longer_than_a_slice_is_alone_in_it() -> None:
    work, loop = Work(), asyncio.get_running_loop()
    handshakes = Handshakes(loop, work.time)
    handshakes.add(work.step("long", 10 * SLICE_S))
    handshakes.add(work.step("short", 0.0))
    loop.call_soon(work.step("turn", 0.0))
    await until(lambda: not handshakes.waiting)

    assert ["long", "turn", "short"] == work.done


async def test_a_step_that_raises_is_reported_and_the_others_go_on() -> None:
    work, loop = Work(), asyncio.get_running_loop()
    told: list[object] = []
    loop.set_exception_handler(lambda _, context: told.append(context.get("exception")))
    handshakes = Handshakes(loop, work.time)

    def bad() -> None:
        raise ValueError("bad")

    handshakes.add(bad)
    handshakes.add(work.step("good", 0.0))
    await until(lambda: work.done)
    handshakes.add(work.step("later", 0.0))
    await until(lambda: len(work.done) == 2)

    assert [ValueError] == [type(each) for each in told]
    assert ["good", "later"] == work.done
