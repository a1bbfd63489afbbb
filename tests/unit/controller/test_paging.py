"""Lists are read to their end."""

from farhand.controller.paging import pages
from farhand.ports import Page


async def test_every_page_is_read_once_and_in_order() -> None:
    stored = {None: Page([1, 2], "a"), "a": Page([3], "b"), "b": Page([4])}
    asked: list[str | None] = []

    async def read(cursor: str | None) -> Page[int]:
        asked.append(cursor)
        return stored[cursor]

    assert [[1, 2], [3], [4]] == [list(items) async for items in pages(read)]
    assert [None, "a", "b"] == asked
