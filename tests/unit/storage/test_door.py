import asyncio
from collections.abc import Sequence

import pytest

from farhand.domain.limits import MIB
from farhand.errors import Overloaded, StoreUnavailable
from farhand.ports import Change, Done, Outcome, Record
from farhand.storage.door import Door
from farhand.storage.writer import Call
from tests.contract.storing import add, append

Asking = asyncio.Task[Sequence[Outcome]]


class Queue:
    """What a door lets in; `answer` settles the first call that is inside."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.inside: list[Call] = []

    async def ask(self, *changes: Change) -> Asking:
        asked = asyncio.create_task(self.door.pass_in(Call(changes), self.inside.append))
        await asyncio.sleep(0)
        return asked

    def answer(self, error: Exception | None = None) -> None:
        call = self.inside.pop(0)
        call.error = error
        call.outcomes.update((n, Done()) for n in range(len(call.changes)))
        self.door.settled([call], self.inside.append)


def line(n: int) -> Record:
    return Record(at=float(n), by="admin", action="job.add", subject="job")


async def test_a_call_is_answered_with_its_outcomes() -> None:
    queue = Queue(Door())
    asked = await queue.ask(line(1), line(2))
    queue.answer()

    assert [Done(), Done()] == await asked


async def test_a_call_that_failed_raises_at_its_caller() -> None:
    queue = Queue(Door())
    asked = await queue.ask(line(1))
    queue.answer(StoreUnavailable("gone"))

    with pytest.raises(StoreUnavailable, match="gone"):
        await asked


async def test_a_new_job_does_not_wait_outside_it_is_refused() -> None:
    queue = Queue(Door(changes=1))
    first = await queue.ask(add())
    refused = await queue.ask(add(2), line(1))
    waits = await queue.ask(line(2))
    queue.answer()
    behind = await queue.ask(add(3))  # whoever waits was here before
    queue.answer()
    later = await queue.ask(add(4))
    queue.answer()

    assert [Done()] == await first
    with pytest.raises(Overloaded) as caught:
        await refused
    with pytest.raises(Overloaded):
        await behind
    assert "store_queue" == caught.value.details["bound"]
    assert [[Done()]] * 2 == [await waits, await later]
    assert (0, 0, 0) == (queue.door.changes, queue.door.size, queue.door.waiting)


async def test_above_the_bound_calls_wait_outside_in_order() -> None:
    queue = Queue(Door(changes=2))
    asked = [await queue.ask(line(n)) for n in range(4)]
    at_first = [call.changes[0] for call in queue.inside]
    queue.answer()
    late = await queue.ask(line(4))
    seen = []
    while queue.inside:
        seen += [call.changes[0] for call in queue.inside[:1]]
        queue.answer()

    assert [line(0), line(1)] == at_first
    assert [line(1), line(2), line(3), line(4)] == seen
    assert [[Done()]] * 5 == [await each for each in (*asked, late)]


async def test_bytes_have_a_bound_too() -> None:
    queue = Queue(Door(size=1 * MIB))
    asked = [await queue.ask(append(bytes(1 * MIB), offset=n * MIB)) for n in range(2)]
    inside = len(queue.inside)
    queue.answer()
    queue.answer()
    await asyncio.gather(*asked)

    assert 1 == inside


async def test_one_call_may_exceed_the_bound() -> None:
    queue = Queue(Door(changes=2, size=100))
    asked = await queue.ask(*(line(n) for n in range(10)))
    queue.answer()

    assert [Done()] * 10 == await asked


async def test_a_caller_that_leaves_takes_its_call_along() -> None:
    queue = Queue(Door(changes=1))
    asked = [await queue.ask(line(n)) for n in range(3)]
    asked[1].cancel()
    await asyncio.sleep(0)
    queue.answer()
    inside = [call.changes[0] for call in queue.inside]
    queue.answer()

    assert [line(2)] == inside
    assert [Done()] == await asked[2]


async def test_a_caller_that_leaves_while_inside_disturbs_nobody() -> None:
    queue = Queue(Door())
    asked = [await queue.ask(line(n)) for n in range(2)]
    asked[0].cancel()
    await asyncio.sleep(0)
    queue.answer()
    queue.answer()

    assert [Done()] == await asked[1]


async def test_a_door_is_empty_when_the_last_caller_has_its_answer() -> None:
    queue = Queue(Door(changes=1))
    asked = [await queue.ask(line(n)) for n in range(2)]
    emptied = asyncio.create_task(queue.door.emptied())
    await asyncio.sleep(0)
    before = emptied.done()
    queue.answer()
    queue.answer()
    await asyncio.wait_for(emptied, 5)

    assert not before
    assert all(each.done() for each in asked)
