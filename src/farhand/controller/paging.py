"""Read a list of the store from its beginning to its end, page after page.

Holds one page at a time; what is done with it is the caller's.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from farhand.ports import Page

T = TypeVar("T")


async def pages(read: Callable[[str | None], Awaitable[Page[T]]]) -> AsyncIterator[Sequence[T]]:
    """Yield the items of each page that *read* returns for a cursor, first None, to the last."""
    cursor: str | None = None
    while True:
        page = await read(cursor)
        yield page.items
        if (cursor := page.next) is None:
            return
