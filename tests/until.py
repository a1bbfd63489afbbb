"""Wait for a condition instead of for a time."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], *, within_s: float = 10.0) -> None:
    """Return as soon as *condition* holds; raises TimeoutError after *within_s* seconds."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # the condition is a fact, not an event
            await asyncio.sleep(0.002)
