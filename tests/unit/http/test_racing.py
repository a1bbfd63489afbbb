"""The first of several things ends the others."""

import asyncio

import pytest

from farhand.errors import Overloaded
from farhand.http.racing import first_of


async def test_the_first_to_end_is_named_and_the_others_are_ended() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("forever")

    first = await first_of(slow=forever(), quick=asyncio.sleep(0))

    assert "quick" == first
    assert ["forever"] == ended


async def test_what_the_first_raises_is_raised_as_it_is() -> None:
    async def full() -> None:
        raise Overloaded

    with pytest.raises(Overloaded):
        await first_of(full=full(), slow=asyncio.Event().wait())


async def test_a_cancelled_wait_ends_everything() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def forever() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(first_of(one=forever(), other=asyncio.Event().wait()))
    await started.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert ended.is_set()
