"""Both clients behind one blocking face, so that one suite holds for both."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from farhand.client import AsyncClient, Client

Kind = Literal["blocking", "asynchronous"]


class Face:
    """Calls either client; awaits what is to be awaited, lists what is to be iterated."""

    def __init__(self, client: Client | AsyncClient, runner: asyncio.Runner | None) -> None:
        self.client = client
        self._runner = runner

    def do(self, verb: str, *args: Any, **options: Any) -> Any:
        return self.of(self.client, verb, *args, **options)

    def of(self, owner: object, verb: str, *args: Any, **options: Any) -> Any:
        return self.settled(getattr(owner, verb)(*args, **options))

    def settled(self, found: Any) -> Any:
        if self._runner is not None and inspect.isawaitable(found):
            return self._runner.run(_awaited(found))
        if self._runner is not None and hasattr(found, "__anext__"):
            return self._runner.run(_listed(found))
        return list(found) if hasattr(found, "__next__") else found


async def _awaited(found: Any) -> Any:
    return await found


async def _listed(found: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in found]


@contextmanager
def facing(kind: Kind, url: str, token: str = "secret", **options: Any) -> Iterator[Face]:
    """A client of that kind, closed at the end."""
    if kind == "blocking":
        with Client(url, token, **options) as client:
            yield Face(client, None)
        return
    with asyncio.Runner() as runner:

        async def opened() -> AsyncClient:
            return AsyncClient(url, token, **options)

        ours = runner.run(opened())
        try:
            yield Face(ours, runner)
        finally:
            runner.run(ours.aclose())
