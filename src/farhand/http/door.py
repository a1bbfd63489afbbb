"""The door itself: who may come in, how many at once, and what is said when something breaks.

Stands before routing, so that an address nobody thought of is closed too. Identity comes from the
bearer token alone; no forwarded header, cookie or host name counts.
"""

import asyncio
import secrets
from dataclasses import dataclass
from email.utils import formatdate
from typing import Annotated, Final

import structlog
from fastapi import Depends
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farhand.controller.enrolment import Enrolment
from farhand.controller.tenants import Tenant, Tenants
from farhand.domain.limits import Limits
from farhand.errors import FarhandError, Overloaded, Unauthenticated
from farhand.http.answer import problem

# Whoever asks whether we live, or which questions there are, needs no token.
OPEN: Final = frozenset({"/healthz", "/readyz", "/api/v1/openapi.json"})

_TOKEN_CHARS: Final = 4096
_SCOPE_KEY: Final = "farhand.caller"

log = structlog.get_logger("farhand.http")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what of the controller is theirs.

    *stopping* is set when the server is about to end: whoever waits should answer now.
    """

    name: str
    tenant: Tenant
    limits: Limits
    stopping: asyncio.Event


async def _caller(request: Request) -> Caller:
    caller: Caller = request.scope[_SCOPE_KEY]
    return caller


Here = Annotated[Caller, Depends(_caller)]


class Door:
    """Lets in whoever has a token, up to `limits.requests` at once."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        tenants: Tenants,
        enrolment: Enrolment,
        limits: Limits,
        stopping: asyncio.Event,
    ) -> None:
        self._app = app
        self._tenants = tenants
        self._enrolment = enrolment
        self._limits = limits
        self._stopping = stopping
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"this door is for HTTP, not for {scope['type']}")
        reply = _Reply(send)
        self._inside += 1
        try:
            await self._enter(scope, receive, reply)
        except FarhandError as error:
            await self._refuse(error, scope, receive, reply)
        except ClientDisconnect:
            log.debug("http.gone", method=scope["method"], path=scope["path"])
        except Exception:  # one broken answer must not stop the server
            incident = secrets.token_hex(8)
            log.exception("http.failed", incident=incident, path=scope["path"])
            told = FarhandError("something broke here; the log has the incident", incident=incident)
            await self._refuse(told, scope, receive, reply)
        finally:
            self._inside -= 1

    async def _enter(self, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        if scope["path"] not in OPEN:
            if self._inside > self._limits.requests:
                raise Overloaded(f"{self._limits.requests} requests are being answered already")
            principal = await self._enrolment.authenticate(_token(scope))
            scope[_SCOPE_KEY] = Caller(
                principal.name, self._tenants.get(principal.org), self._limits, self._stopping
            )
        await self._app(scope, receive, reply)

    async def _refuse(
        self, error: FarhandError, scope: Scope, receive: Receive, reply: "_Reply"
    ) -> None:
        """Answer *error*; if an answer has begun, leave it unfinished, which the client sees."""
        if not reply.begun:
            await problem(error)(scope, receive, reply)


class _Reply:
    """Sends on, says whether an answer has begun, and dates it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            headers["Date"] = formatdate(usegmt=True)
            headers.setdefault("Cache-Control", "no-store")
            headers["X-Content-Type-Options"] = "nosniff"
        await self._send(message)


def _token(scope: Scope) -> str:
    """Return the bearer token; raise Unauthenticated when there is none, or more than one."""
    given: list[bytes] = [value for name, value in scope["headers"] if name == b"authorization"]
    if not given:
        raise Unauthenticated("send Authorization: Bearer TOKEN; the token is in admin.token")
    scheme, _, token = given[0].decode("latin-1").partition(" ")
    token = token.strip()
    if len(given) > 1 or scheme.lower() != "bearer" or not 0 < len(token) <= _TOKEN_CHARS:
        raise Unauthenticated("send one Authorization: Bearer TOKEN")
    return token
