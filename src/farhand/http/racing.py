"""Wait for the first of several things: the answer, the caller's leaving, the server's end.

Starts nothing that outlives the wait.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive


async def first_of(**things: Coroutine[Any, Any, object]) -> str:
    """Run *things* until one has ended, end the others, and return the name of the first.

    Raises what the first one raised.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(thing, name=name) for name, thing in things.items()]
            done, rest = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return next(task.get_name() for task in running if task in done)


async def gone(receive: Receive) -> None:
    """Return when the caller has left. The body must have been read, or not be wanted."""
    while (await receive())["type"] != "http.disconnect":
        pass
