"""Answers: JSON, and problem+json for every error of the tree.

Holds the one table from errors to HTTP status; shows nobody a stack trace or a token.
"""

import random
from collections.abc import Mapping
from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from farhand.api.writing import dumped
from farhand.errors import (
    AgentBusy,
    AgentGone,
    BadRequest,
    BodyTooLarge,
    Conflict,
    DataDirUnwritable,
    FarhandError,
    InvalidQuery,
    InvalidRange,
    MethodNotAllowed,
    NotAllowed,
    NotFound,
    OutputPruned,
    Overloaded,
    OverShare,
    StoreUnavailable,
    Unauthenticated,
    Unavailable,
    UnsupportedMediaType,
)
from farhand.http.budget import LARGE_BYTES, SHARE
from farhand.http.counts import COUNTS

# The first class that fits counts, so the special stand before the general.
STATUS: Final[Mapping[type[FarhandError], int]] = {
    BodyTooLarge: 413,
    UnsupportedMediaType: 415,
    InvalidRange: 416,
    MethodNotAllowed: 405,
    BadRequest: 400,
    Unauthenticated: 401,
    NotAllowed: 403,
    OutputPruned: 410,
    NotFound: 404,
    Conflict: 409,
    OverShare: 429,
    Unavailable: 503,
    FarhandError: 500,
}

# From how many to how many seconds: drawn, so that those who were refused together come back apart.
# Nobody knows when an agent that is gone returns.
RETRY_S: Final[Mapping[type[Unavailable], tuple[int, int] | None]] = {
    AgentGone: None,
    AgentBusy: (1, 5),
    OverShare: (1, 5),
    Overloaded: (1, 5),
    StoreUnavailable: (1, 5),
    DataDirUnwritable: (5, 15),
    Unavailable: (1, 3),
}


class Json(Response):
    """An answer in JSON, of values that are plain already.

    A large one counts against the memory of all requests until it is taken. Raises Overloaded,
    before anything is sent, where there is no room for it.
    """

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return dumped(content)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = len(self.body)
        if size <= LARGE_BYTES or scope["method"] == "HEAD":
            await super().__call__(scope, receive, send)
            return
        scope[SHARE].cover(size)
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        for at in range(0, size, LARGE_BYTES):  # each when the connection takes it
            piece = bytes(self.body[at : at + LARGE_BYTES])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class ProblemJson(Json):
    """An error as RFC 9457 has it. It is counted when it is sent."""

    media_type = "application/problem+json"

    def __init__(self, code: str, content: object, status: int, headers: dict[str, str]) -> None:
        super().__init__(content, status, headers)
        self._code = code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[COUNTS].refused[self._code] += 1
        await super().__call__(scope, receive, send)


def problem(error: FarhandError) -> ProblemJson:
    """Write *error*: its facts stand beside `type, title, status, detail, code`."""
    status = next(number for kind, number in STATUS.items() if isinstance(error, kind))
    title = (type(error).__doc__ or "").split("\n", maxsplit=1)[0]
    body = {
        **{name: _plain(value) for name, value in error.details.items()},
        "type": f"urn:farhand:error:{error.code}",
        "title": title,
        "status": status,
        "detail": str(error),
        "code": error.code,
    }
    return ProblemJson(error.code, body, status, _headers(status, error))


def _headers(status: int, error: FarhandError) -> dict[str, str]:
    """Return what HTTP wants said beside this status."""
    match status:
        case 401:
            return {"WWW-Authenticate": 'Bearer realm="farhand"'}
        case 405:
            return {"Allow": str(error.details["allow"])}
        case 416:
            return {"Content-Range": f"bytes */{error.details['length']}"}
        case 429 | 503:
            return retry_after(type(error))
        case _:
            return {}


def retry_after(kind: type[FarhandError]) -> dict[str, str]:
    """Return when somebody who met this kind of error may try again, if that can be said."""
    bounds = next((told for known, told in RETRY_S.items() if issubclass(kind, known)), None)
    return {} if bounds is None else {"Retry-After": str(random.randint(*bounds))}  # noqa: S311 - spreads, no secret


def _plain(value: object) -> object:
    """Return what JSON has; anything else in words."""
    match value:
        case str() | int() | float() | None:
            return value
        case Mapping():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(inner) for inner in value]
        case _:
            return str(value)


async def on_error(request: Request, exc: Exception) -> Response:
    """Answer an error of the tree."""
    del request
    assert isinstance(exc, FarhandError)
    return problem(exc)


async def on_invalid(request: Request, exc: Exception) -> Response:
    """Answer a query parameter or header that FastAPI refused."""
    del request
    assert isinstance(exc, RequestValidationError)
    errors = [
        {"at": "/".join(str(part) for part in error["loc"][1:]), "message": error["msg"]}
        for error in exc.errors()
    ]
    told = "; ".join(f"{error['at']}: {error['message']}" for error in errors)
    return problem(InvalidQuery(told, errors=errors))


async def on_http(request: Request, exc: Exception) -> Response:
    """Answer what routing itself found: no such address, or not with this method."""
    assert isinstance(exc, HTTPException)
    path = request.scope["path"]
    match exc.status_code:
        case 404:
            return problem(NotFound(f"there is nothing at {path}; see /api/v1/openapi.json"))
        case 405:
            allowed = ", ".join(_methods(request.app, path))
            msg = f"{path} does not take {request.method}; it takes {allowed}"
            return problem(MethodNotAllowed(msg, allow=allowed))
        case _:
            return problem(FarhandError(exc.detail))


def _methods(app: FastAPI, path: str) -> list[str]:
    """Return every method that is described for the address *path*."""
    described = app.openapi()["paths"].items()
    return sorted(
        method.upper()
        for template, operations in described
        if compile_path(template)[0].match(path)
        for method in operations
    ) or ["GET"]
