import asyncio
from collections.abc import Callable

from farhand.bus.local import LocalBus
from farhand.domain.ids import OrgId
from farhand.ports import Hint

HINT = Hint(OrgId("org_1"), "job", "a")


async def turn() -> None:
    await asyncio.sleep(0)


async def test_hints_of_one_turn_are_one_wake_up() -> None:
    bus, woken = LocalBus(), list[int]()
    bus.subscribe(HINT, lambda: woken.append(1))
    for _ in range(100):
        bus.publish(HINT)
    at_once = len(woken)
    await turn()
    bus.publish(HINT)
    await turn()

    assert 0 == at_once
    assert [1, 1] == woken


async def test_a_hint_published_by_a_subscriber_waits_for_the_next_turn() -> None:
    bus, woken = LocalBus(), list[int]()

    def again() -> None:
        woken.append(1)
        bus.publish(HINT)

    bus.subscribe(HINT, again)
    bus.publish(HINT)
    await turn()

    assert [1] == woken


async def test_a_subscriber_may_send_another_away_while_it_is_woken() -> None:
    bus, woken = LocalBus(), list[str]()
    leaving: list[Callable[[], None]] = []

    def send_away() -> None:
        for leave in leaving:
            leave()

    bus.subscribe(HINT, send_away)
    leaving.append(bus.subscribe(HINT, lambda: woken.append("second")))
    bus.publish(HINT)
    await turn()

    assert [] == woken


async def test_nothing_is_kept_of_hints_that_nobody_hears() -> None:
    bus, woken = LocalBus(), list[int]()
    bus.publish(HINT)
    bus.subscribe(HINT, lambda: woken.append(1))
    await turn()

    assert [] == woken
