"""Read requests: a body within its bounds, a page, and no query parameter that nobody knows.

What a body means is read in `farhand.api`; here it is only fetched.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Query
from fastapi.dependencies.models import Dependant
from pydantic import TypeAdapter
from starlette.requests import Request

from farhand.api.reading import parsed
from farhand.errors import BodyTooLarge, InvalidBody, InvalidQuery, UnsupportedMediaType
from farhand.http.budget import SHARE
from farhand.http.door import Caller, Here

T = TypeVar("T")

VERSION_ONE: Final = "/api/v1"


def body_of(shape: TypeAdapter[T]) -> Callable[..., Awaitable[T]]:
    """Return a dependency that reads the body as *shape*."""

    async def read(request: Request, here: Here) -> T:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise UnsupportedMediaType
        return parsed(shape, await raw_body(request, here))

    return read


async def raw_body(request: Request, here: Caller) -> bytes:
    """Read the body as it is; raise BodyTooLarge, or InvalidBody when it does not arrive."""
    try:
        async with asyncio.timeout(here.limits.body_s):
            return await _bytes(request, here.limits.body_bytes)
    except TimeoutError as exc:
        msg = f"the body did not arrive within {here.limits.body_s:g} s"
        raise InvalidBody(msg) from exc


async def _bytes(request: Request, most: int) -> bytes:
    """Read the body; stop at the first byte beyond *most*, whatever its length claims to be."""
    claimed = request.headers.get("content-length", "")
    kept, share = bytearray(), request.scope[SHARE]
    if not (claimed.isdigit() and int(claimed) > most):
        async for part in request.stream():
            kept += part
            if len(kept) > most:
                break
            share.cover(len(kept))
        else:
            return bytes(kept)
    raise BodyTooLarge(f"the body has more than {most} bytes", limit=most)


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a list."""

    cursor: str | None
    limit: int


async def _paging(
    cursor: Annotated[
        str | None, Query(max_length=1024, description="`next` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Items at most.")] = 100,
) -> Paging:
    return Paging(cursor, limit)


PageAsked = Annotated[Paging, Depends(_paging)]


async def known_query(request: Request) -> None:
    """Raise InvalidQuery for a parameter that this address does not take: likely a slip."""
    if not request.query_params:
        return
    known = set(_query_names(request.scope["route"].dependant))
    if unknown := [name for name in request.query_params if name not in known]:
        takes = ", ".join(sorted(known)) or "none"
        msg = f"unknown query parameter {', '.join(sorted(unknown))}; this address takes: {takes}"
        raise InvalidQuery(msg)


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (param.alias for param in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _query_names(inner)
