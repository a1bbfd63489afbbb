"""The addresses of schedules: add, look, change, pause, resume, remove, and what came of them.

Decides nothing about schedules: one call of `controller.schedules` each.
"""

from itertools import islice
from typing import Annotated, Final

from fastapi import APIRouter, Depends
from starlette.responses import Response

from farhand.api import reading
from farhand.api import schedules as shapes
from farhand.api.schedules import ScheduleEdit, ScheduleList, ScheduleRequest, ScheduleShape
from farhand.controller.schedules import Rules
from farhand.domain.schedule import Schedule, ScheduleState, after
from farhand.errors import InvalidCursor, InvalidSchedule, UnknownZone
from farhand.http.answer import Json
from farhand.http.asked import VERSION_ONE, PageAsked, body_of, known_query
from farhand.http.door import Here

router = APIRouter(prefix=VERSION_ONE, tags=["schedules"], dependencies=[Depends(known_query)])

_NEXT: Final = 5  # due times that are told ahead
_READ: Final = 25  # at once: each may hold a script and stdin, of which a list shows a line


def _whole(schedule: Schedule, status: int = 200) -> Json:
    following: list[float] = []
    if schedule.state is ScheduleState.ACTIVE and schedule.next_at is not None:
        try:
            behind = islice(after(schedule.timing, schedule.next_at), _NEXT - 1)
            following = [schedule.next_at, *behind]
        except UnknownZone:  # this host's tables have lost it; the schedule will say so
            following = []
    location = f"{VERSION_ONE}/schedules/{schedule.id}"
    headers = {"Location": location} if status == 201 else {}
    return Json(shapes.whole(schedule, following), status, headers)


def _rules(asked: ScheduleRequest | ScheduleEdit) -> Rules:
    return Rules(overlap=asked.overlap, missed=asked.missed, grace_s=asked.grace_s)


@router.post(
    "/schedules",
    operation_id="addSchedule",
    status_code=201,
    responses={201: {"model": ScheduleShape}},
)
async def add_schedule(
    here: Here, asked: Annotated[ScheduleRequest, Depends(body_of(shapes.SCHEDULE_BODY))]
) -> Json:
    """Run a job at a time, or again and again."""
    if asked.job.hold:
        raise InvalidSchedule("a scheduled job cannot be held: nobody would be there to release it")
    schedule = await here.tenant.schedules.add(
        asked.name,
        reading.job_spec(asked.job, here.limits),
        reading.targets(asked.job, here.limits),
        shapes.timing(asked),
        by=here.name,
        spread=reading.spread(asked.job, here.limits),
        expect=asked.job.expect,
        rules=_rules(asked),
    )
    return _whole(schedule, 201)


@router.get("/schedules", operation_id="listSchedules", responses={200: {"model": ScheduleList}})
async def list_schedules(here: Here, paging: PageAsked) -> Json:
    """List schedules, in the order they were added."""
    items: list[shapes.ScheduleBrief] = []
    cursor = paging.cursor
    while True:
        limit = min(_READ, paging.limit - len(items))
        page = await here.tenant.store.documents(Schedule, cursor=cursor, limit=limit)
        items += map(shapes.brief, page.items)
        cursor = page.next
        if cursor is None or len(items) == paging.limit:
            return Json({"items": items, "next": cursor})


@router.get(
    "/schedules/{schedule}",
    operation_id="getSchedule",
    responses={200: {"model": ScheduleShape}},
)
async def get_schedule(here: Here, schedule: str) -> Json:
    """Tell what was asked, and when it is due next."""
    return _whole(await here.tenant.schedules.find(schedule))


@router.patch(
    "/schedules/{schedule}",
    operation_id="editSchedule",
    responses={200: {"model": ScheduleShape}},
)
async def edit_schedule(
    here: Here,
    schedule: str,
    asked: Annotated[ScheduleEdit, Depends(body_of(shapes.SCHEDULE_EDIT_BODY))],
) -> Json:
    """Change when a schedule is due, or its rules."""
    found = await here.tenant.schedules.find(schedule)
    edited = await here.tenant.schedules.edit(
        found.id,
        by=here.name,
        timing=shapes.new_timing(asked, found.timing),
        rules=_rules(asked),
    )
    return _whole(edited)


@router.delete("/schedules/{schedule}", operation_id="removeSchedule", status_code=204)
async def remove_schedule(here: Here, schedule: str) -> Response:
    """Forget a schedule and its history; its jobs stay."""
    found = await here.tenant.schedules.find(schedule)
    await here.tenant.schedules.remove(found.id, by=here.name)
    return Response(status_code=204)


@router.post(
    "/schedules/{schedule}/pause",
    operation_id="pauseSchedule",
    responses={200: {"model": ScheduleShape}},
)
async def pause_schedule(here: Here, schedule: str) -> Json:
    """Let a schedule not be due; asking again changes nothing."""
    found = await here.tenant.schedules.find(schedule)
    return _whole(await here.tenant.schedules.pause(found.id, by=here.name))


@router.post(
    "/schedules/{schedule}/resume",
    operation_id="resumeSchedule",
    responses={200: {"model": ScheduleShape}},
)
async def resume_schedule(here: Here, schedule: str) -> Json:
    """Let a paused schedule be due again; asking again changes nothing."""
    found = await here.tenant.schedules.find(schedule)
    return _whole(await here.tenant.schedules.resume(found.id, by=here.name))


@router.get(
    "/schedules/{schedule}/firings",
    operation_id="listFirings",
    responses={200: {"model": shapes.FiringList}},
)
async def list_firings(here: Here, schedule: str, paging: PageAsked) -> Json:
    """Tell what came of a schedule's due times, newest first."""
    before = None
    if paging.cursor is not None:
        if not paging.cursor.isascii() or not paging.cursor.isdecimal():
            raise InvalidCursor
        before = int(paging.cursor[:18])
    found = await here.tenant.schedules.find(schedule)
    page = await here.tenant.schedules.firings(found, before=before, limit=paging.limit)
    return Json({"items": [shapes.firing(one) for one in page.items], "next": page.next})
