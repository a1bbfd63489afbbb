"""The door itself: who may come in, how many at once, and what is said when something breaks.

Stands before routing, so that an address nobody thought of is closed too. Identity comes from the
bearer token alone; no forwarded header, cookie or host name counts.
"""

import asyncio
import secrets
from collections import Counter
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
from farhand.domain.ids import OrgId
from farhand.domain.limits import Limits
from farhand.errors import FarhandError, Overloaded, OverShare, Unauthenticated
from farhand.http.answer import problem
from farhand.http.budget import SHARE, Budget, Pieces, Share
from farhand.http.counts import COUNTS, Counts

# Whoever asks whether we live, or which questions there are, needs no token.
OPEN: Final = frozenset({"/healthz", "/readyz", "/api/v1/openapi.json"})

_TOKEN_CHARS: Final = 4096
_SCOPE_KEY: Final = "farhand.caller"

log = structlog.get_logger("farhand.http")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what of the controller is theirs.

    *stopping* is set when the server is about to end: whoever waits should answer now. *share* is
    what this request holds in memory, *pieces* are the output on its way to all readers.
    """

    name: str
    tenant: Tenant
    limits: Limits
    stopping: asyncio.Event
    share: Share
    pieces: Pieces


async def _caller(request: Request) -> Caller:
    caller: Caller = request.scope[_SCOPE_KEY]
    return caller


Here = Annotated[Caller, Depends(_caller)]


class Door:
    """Lets in whoever has a token, up to `limits.requests` at once and a share for each caller."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        tenants: Tenants,
        enrolment: Enrolment,
        limits: Limits,
        stopping: asyncio.Event,
        counts: Counts,
        budget: Budget,
        pieces: Pieces,
    ) -> None:
        self._app = app
        self._tenants = tenants
        self._enrolment = enrolment
        self._limits = limits
        self._stopping = stopping
        self._counts = counts
        self._budget = budget
        self._pieces = pieces
        self._inside: Counter[tuple[OrgId, str]] = Counter()  # of each caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"this door is for HTTP, not for {scope['type']}")
        reply = _Reply(send, self._counts)
        share = Share(self._budget)
        scope[COUNTS], scope[SHARE] = self._counts, share
        self._counts.requests += 1
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
            share.close()
            self._counts.requests -= 1

    async def _enter(self, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        if scope["path"] in OPEN:
            await self._app(scope, receive, reply)
            return
        if self._counts.requests > (most := self._limits.requests):
            msg = f"{most} requests are being answered already"
            raise Overloaded(msg, bound="requests", limit=most)
        principal = await self._enrolment.authenticate(_token(scope))
        caller = principal.org, principal.name
        if self._inside[caller] >= (most := self._limits.requests_per_caller):
            msg = f"{most} requests of {principal.name} are being answered already"
            raise OverShare(msg, bound="requests_per_caller", limit=most)
        scope[_SCOPE_KEY] = Caller(
            principal.name,
            self._tenants.get(principal.org),
            self._limits,
            self._stopping,
            scope[SHARE],
            self._pieces,
        )
        self._inside[caller] += 1
        try:
            await self._app(scope, receive, reply)
        finally:
            self._inside[caller] -= 1
            if not self._inside[caller]:
                del self._inside[caller]

    async def _refuse(
        self, error: FarhandError, scope: Scope, receive: Receive, reply: "_Reply"
    ) -> None:
        """Answer *error*; if an answer has begun, leave it unfinished, which the client sees."""
        if not reply.begun:
            await problem(error)(scope, receive, reply)


class _Reply:
    """Sends on, says whether an answer has begun, counts it and dates it."""

    def __init__(self, send: Send, counts: Counts) -> None:
        self._send = send
        self._counts = counts
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self._counts.answers[message["status"]] += 1
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
