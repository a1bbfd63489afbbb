"""Whether this process lives, whether it can serve, and what it is.

The first two need no token and say nothing else.
"""

from contextlib import suppress

from fastapi import APIRouter
from starlette.requests import Request

from farhand.api.shapes import Health, Version
from farhand.controller.enrolment import Enrolment
from farhand.errors import Unauthenticated, Unavailable
from farhand.http.answer import Json
from farhand.http.door import Here

_OK: Health = {"status": "ok"}


def open_routes(enrolment: Enrolment) -> APIRouter:
    """Return what a supervisor or a load balancer asks."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", operation_id="healthz", responses={200: {"model": Health}})
    async def healthz() -> Json:
        """Answer as long as the process lives."""
        return Json(_OK)

    @router.get("/readyz", operation_id="readyz", responses={200: {"model": Health}})
    async def readyz(request: Request) -> Json:
        """Answer 200 when the store answers and no stop is under way."""
        if request.app.state.stopping.is_set():
            raise Unavailable("this controller is stopping")
        with suppress(Unauthenticated):  # that the store knows no such token is an answer
            await enrolment.authenticate("readyz")
        return Json(_OK)

    return router


def version_routes(version: str) -> APIRouter:
    """Return what a client asks first."""
    router = APIRouter(tags=["health"])

    @router.get("/version", operation_id="getVersion", responses={200: {"model": Version}})
    async def get_version(here: Here) -> Json:
        """Tell which version answers, and as whom it knows the caller."""
        answer: Version = {
            "version": version,
            "api": "v1",
            "caller": here.name,
            "org": here.tenant.org,
        }
        return Json(answer)

    return router
