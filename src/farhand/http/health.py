"""Whether this process lives, whether it can serve, and what it is.

The first two need no token and say nothing else.
"""

from contextlib import suppress

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from farhand.api.shapes import Health, Version
from farhand.api.writing import dumped
from farhand.controller.enrolment import Enrolment
from farhand.errors import Unauthenticated, Unavailable
from farhand.http.answer import Json
from farhand.http.asked import VERSION_ONE, known_query
from farhand.http.door import Here

_OK: Health = {"status": "ok"}


def open_routes(enrolment: Enrolment) -> APIRouter:
    """Return what a supervisor or a load balancer asks."""
    health = APIRouter(tags=["health"], dependencies=[Depends(known_query)])

    @health.get("/healthz", operation_id="healthz", responses={200: {"model": Health}})
    async def healthz() -> Json:
        """Answer as long as the process lives."""
        return Json(_OK)

    @health.get("/readyz", operation_id="readyz", responses={200: {"model": Health}})
    async def readyz(request: Request) -> Json:
        """Answer 200 when the store answers and no stop is under way."""
        if request.app.state.stopping.is_set():
            raise Unavailable("this controller is stopping")
        with suppress(Unauthenticated):  # that the store knows no such token is an answer
            await enrolment.authenticate("readyz")
        return Json(_OK)

    @health.get("/api/v1/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> Response:
        """Describe the API: the same bytes for everybody, made once."""
        app = request.app
        if (made := getattr(app.state, "described", None)) is None:
            made = app.state.described = dumped(app.openapi())
        return Response(made, media_type="application/json")

    return health


router = APIRouter(prefix=VERSION_ONE, tags=["health"], dependencies=[Depends(known_query)])


@router.get("/version", operation_id="getVersion", responses={200: {"model": Version}})
async def get_version(request: Request, here: Here) -> Json:
    """Tell which version answers, and as whom it knows the caller."""
    answer: Version = {
        "version": request.app.version,
        "api": "v1",
        "caller": here.name,
        "org": here.tenant.org,
    }
    return Json(answer)
