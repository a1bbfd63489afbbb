"""The loop with time of its own: the same steps each time, and processes that can be killed."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from farhand.testing import Life, LoopClock, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


def test_time_moves_only_when_it_is_told_to(loop: VirtualLoop) -> None:
    woken: list[float] = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append(loop.time())

    life = Life(loop)
    for seconds in (90_000.0, 2.0, 1.0):
        life.start(sleeper(seconds), name="sleeper")
    loop.run_for()
    assert [] == woken

    loop.run_for(1.5)
    assert [1.0] == woken
    assert 1.5 == loop.time()

    loop.run_for(100_000.0)
    assert [1.0, 2.0, 90_000.0] == woken


def test_timeouts_are_of_this_time(loop: VirtualLoop) -> None:
    async def wait() -> str:
        try:
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        except TimeoutError:
            return "late"
        return ""

    task = Life(loop).create_task(wait(), name="wait")
    loop.run_for(59)
    assert not task.done()

    loop.run_for(1)
    assert "late" == task.result()


def test_the_clock_jumps_on_the_wall_alone(loop: VirtualLoop) -> None:
    clock = LoopClock(loop, wall=1000.0)
    loop.run_for(5)
    clock.jump(-100)

    assert (5.0, 905.0) == (clock.now(), clock.wall())


def test_nothing_of_a_killed_process_runs(loop: VirtualLoop) -> None:
    said: list[str] = []

    async def child() -> None:
        try:
            await asyncio.sleep(1)  # is over when it is dead
            said.append("child")
        finally:
            said.append("finally")

    async def parent() -> None:
        asyncio.get_running_loop().call_later(1, said.append, "timer")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(child())

    doomed, other = Life(loop), Life(loop)
    doomed.start(parent(), name="parent")
    other.start(child(), name="other")
    loop.run_for(0.5)
    doomed.kill()
    loop.run_for(10)
    assert ["child", "finally"] == said
    assert doomed.call(said.append, "called") is None

    doomed.bury()
    loop.run_for()
    assert sorted(["child", "finally", "finally", "timer"]) == sorted(said)
    assert set() == doomed.tasks | other.tasks


def test_a_slow_disk_holds_its_process_alone(loop: VirtualLoop) -> None:
    done: list[str] = []

    async def write(what: str, pool: ThreadPoolExecutor) -> None:
        await asyncio.get_running_loop().run_in_executor(pool, done.append, what)
        done.append(f"after {what}")

    slow, quick = Life(loop), Life(loop)
    with ThreadPoolExecutor(1) as pool:
        slow.slow_down()
        slow.start(write("a", pool), name="a")
        quick.start(write("b", pool), name="b")
        loop.run_for()
        assert ["b", "after b"] == done

        slow.speed_up()
        loop.run_for()
        assert ["b", "after b", "a", "after a"] == done


def test_what_a_thread_raises_is_the_callers(loop: VirtualLoop) -> None:
    def fail() -> None:
        raise OSError("full")

    async def call() -> str:
        try:
            await asyncio.to_thread(fail)
        except OSError as exc:
            return str(exc)
        return ""

    task = Life(loop).create_task(call(), name="call")
    loop.run_for()

    assert "full" == task.result()


def test_turns_go_on_without_time(loop: VirtualLoop) -> None:
    rounds: list[float] = []

    async def count() -> None:
        while True:
            rounds.append(loop.time())
            await asyncio.sleep(0)

    task = Life(loop).create_task(count(), name="count")
    loop.turn(3)
    assert [0.0] * 3 == rounds

    task.cancel()
    loop.turn(1)
    assert task.done()
