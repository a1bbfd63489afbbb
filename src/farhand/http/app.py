"""Put the front door together: one function builds the whole API.

Opens nothing and starts nothing; `serving_http` does.
"""

import asyncio
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from farhand.controller.enrolment import Enrolment
from farhand.controller.tenants import Tenants
from farhand.domain.limits import Limits
from farhand.errors import FarhandError
from farhand.http import agents, groups, health, history, jobs, metrics, runs, schedules, targets
from farhand.http.answer import on_error, on_http, on_invalid
from farhand.http.budget import Budget, Pieces
from farhand.http.counts import Counts
from farhand.http.deepflow.rights import Front
from farhand.http.door import Door
from farhand.http.lag import Lag
from farhand.http.metrics import Elsewhere, Sources
from farhand.http.openapi import described


class _Api(FastAPI):
    """FastAPI with our own description of the API."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = described(self.routes, self.version)
        return self.openapi_schema


def build_app(
    tenants: Tenants,
    enrolment: Enrolment,
    limits: Limits,
    *,
    version: str,
    deepflow: Front | None = None,
    elsewhere: Elsewhere | None = None,
) -> FastAPI:
    """Return the API; `state.stopping` is the event that makes whoever waits answer now.

    With *deepflow* it has DeepFlow's addresses too. *elsewhere* has numbers for `/metrics`.
    """
    stopping, counts = asyncio.Event(), Counts()
    budget, pieces = Budget(limits.requests_bytes), Pieces(limits.readers_bytes)
    app = _Api(
        title="farhand",
        version=version,
        openapi_url=None,  # health.open_routes has it
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.stopping = stopping
    app.state.sources = Sources(
        version=version,
        limits=limits,
        counts=counts,
        budget=budget,
        pieces=pieces,
        lag=Lag(),
        elsewhere=elsewhere or Elsewhere(),
    )
    app.add_middleware(
        Door,
        tenants=tenants,
        enrolment=enrolment,
        limits=limits,
        stopping=stopping,
        counts=counts,
        budget=budget,
        pieces=pieces,
    )
    app.add_exception_handler(FarhandError, on_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    for routes in (
        health.open_routes(enrolment).routes,
        health.router.routes,
        metrics.router.routes,
        history.router.routes,
        jobs.router.routes,
        groups.router.routes,
        runs.router.routes,
        agents.router.routes,
        schedules.router.routes,
        targets.router.routes,
    ):
        app.router.routes.extend(routes)
    if deepflow is not None:
        from farhand.http.deepflow.routes import routes as facade  # noqa: PLC0415  # few need AES

        app.router.routes.extend(facade(deepflow).routes)
    return app
