"""The addresses of a job's answers in groups: now, and live.

Groups nothing itself: `controller.groups` does.
"""

from contextlib import aclosing
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import Response

from farhand.api import groups as shapes
from farhand.api import writing
from farhand.api.shapes import EndEvent
from farhand.controller.groups import SHOWN, Asked, Sight
from farhand.domain.ids import JobId, is_id
from farhand.domain.job import Job
from farhand.domain.normalise import Normaliser
from farhand.errors import InvalidQuery, UnknownJob
from farhand.http.answer import Json
from farhand.http.asked import VERSION_ONE, known_query
from farhand.http.door import Caller, Here
from farhand.http.stream import LiveStream, Writer, message

router = APIRouter(prefix=VERSION_ONE, tags=["jobs"], dependencies=[Depends(known_query)])

_MOST: Final = 100  # groups in one answer
_END: Final = 1  # the number of the last event; the others have none


async def _asked(
    normalise: Annotated[
        str | None,
        Query(
            max_length=200,
            description=f"Compare without these, comma-separated: {', '.join(Normaliser)}.",
        ),
    ] = None,
    diff: Annotated[bool, Query(description="Tell how each differs from the majority.")] = False,  # noqa: FBT002  # a query parameter
    limit: Annotated[int, Query(ge=1, le=_MOST, description="Groups at most.")] = SHOWN,
) -> Asked:
    names = [name for name in (normalise or "").split(",") if name]
    if unknown := [name for name in names if name not in set(Normaliser)]:
        known = ", ".join(Normaliser)
        raise InvalidQuery(f"normalise: {', '.join(unknown)} is not known; known are {known}")
    return Asked(normalise=frozenset(map(Normaliser, names)), diff=diff, limit=limit)


AskedHere = Annotated[Asked, Depends(_asked)]


async def _found(here: Caller, job: str) -> Job:
    found = await here.tenant.store.job(JobId(job)) if is_id("job", job) else None
    if found is None:
        raise UnknownJob(f"there is no job {job}; look at `farhand jobs`")
    return found


@router.get(
    "/jobs/{job}/groups",
    operation_id="getJobGroups",
    responses={200: {"model": shapes.GroupsShape}},
)
async def get_groups(here: Here, job: str, asked: AskedHere) -> Json:
    """Tell what the runs of a job came to, equal answers once."""
    found = await _found(here, job)
    sight = await here.tenant.groups.look(found.id, asked)
    return Json(shapes.groups(sight.job, sight.progress, sight.view, sight.rollout))


@router.get(
    "/jobs/{job}/groups/events",
    operation_id="followJobGroups",
    response_class=Response,
    responses={
        200: {
            "description": "The groups as they change, each time all of them.",
            "content": {LiveStream.media_type: {}},
        },
        204: {"description": "The job has ended, and you were told so."},
    },
)
async def follow_groups(
    here: Here,
    job: str,
    asked: AskedHere,
    last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, lt=1 << 63)] = None,
) -> Response:
    """Follow the answers of a job live, to its end."""
    found = await _found(here, job)
    if last_event_id == _END and not found.open:
        return Response(status_code=204)
    return GroupStream(here, found.id, asked)


class GroupStream(LiveStream):
    """Shows the groups of *job* as they change: `groups`, then `end`.

    Each content is written once; a reader that is slow is written fewer views.
    """

    def __init__(self, caller: Caller, job: JobId, asked: Asked) -> None:
        super().__init__(caller, job)
        self._asked = asked

    async def copy(self, out: Writer) -> None:
        """Write the views, and the end."""
        told: set[str] = set()
        async with aclosing(self._caller.tenant.groups.watch(self._job, self._asked)) as sights:
            async for sight in sights:
                await out.send(b"")  # when the one before is taken, the next is written
                await out.send(self._message(sight, told))
                told = set(sight.view.contents)
                if sight.over:
                    end: EndEvent = writing.end_event(sight.job)
                    await out.send(message("end", writing.dumped(end), _END))

    def _message(self, sight: Sight, told: set[str]) -> bytes:
        view = sight.view.without(told)
        written = shapes.groups(sight.job, sight.progress, view, sight.rollout)
        return message("groups", writing.dumped(written))
