"""What every bus promises: whoever listens is told to look."""

import asyncio
from collections.abc import Callable

import pytest

from farhand.bus.local import LocalBus
from farhand.domain.ids import OrgId
from farhand.ports import Bus, Hint


def hint(name: str = "a", *, kind: str = "job", org: str = "org_1") -> Hint:
    return Hint(OrgId(org), kind, name)


@pytest.fixture(params=[LocalBus])
def bus(request: pytest.FixtureRequest) -> Bus:
    made: Callable[[], Bus] = request.param
    return made()


async def test_who_listens_is_woken(bus: Bus) -> None:
    woken = asyncio.Event()
    bus.subscribe(hint(), woken.set)
    bus.publish(hint())

    assert await asyncio.wait_for(woken.wait(), 5)


async def test_only_equal_hints_wake(bus: Bus) -> None:
    woken: list[str] = []
    last = asyncio.Event()
    bus.subscribe(hint("a"), lambda: woken.append("a"))
    bus.subscribe(hint("z"), last.set)
    for other in (hint("b"), hint(kind="run"), hint(org="org_2"), hint("z")):
        bus.publish(other)
    await asyncio.wait_for(last.wait(), 5)

    assert [] == woken


async def test_all_who_listen_are_woken_though_one_raises(bus: Bus) -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    woken = asyncio.Event()

    def fail() -> None:
        raise ValueError("bad subscriber")

    bus.subscribe(hint(), fail)
    bus.subscribe(hint(), woken.set)
    bus.publish(hint())
    await asyncio.wait_for(woken.wait(), 5)

    assert ["bad subscriber"] == [str(context["exception"]) for context in reported]


async def test_who_has_left_is_not_woken(bus: Bus) -> None:
    woken: list[str] = []
    last = asyncio.Event()
    leave = bus.subscribe(hint(), lambda: woken.append("gone"))
    bus.subscribe(hint(), last.set)
    bus.publish(hint())
    leave()
    leave()  # more than once is no error
    await asyncio.wait_for(last.wait(), 5)

    assert [] == woken


async def test_the_same_function_may_listen_twice(bus: Bus) -> None:
    woken: list[str] = []
    last = asyncio.Event()

    def wake() -> None:
        woken.append("woken")

    leave = bus.subscribe(hint(), wake)
    bus.subscribe(hint(), wake)
    bus.subscribe(hint(), last.set)
    leave()
    bus.publish(hint())
    await asyncio.wait_for(last.wait(), 5)

    assert ["woken"] == woken
