"""The addresses of choosing: saved groups, the freeze, and why an agent was not in a job.

Decides nothing: one call of the controller each. Previews stand with the jobs they are for.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from farhand.api import targets as shapes
from farhand.api.targets import FreezeRequest, FreezeShape, GroupList, GroupRequest, GroupShape
from farhand.controller.explaining import explain
from farhand.domain.ids import JobId, is_id
from farhand.errors import UnknownJob
from farhand.http.answer import Json
from farhand.http.asked import VERSION_ONE, body_of, known_query
from farhand.http.door import Here

router = APIRouter(prefix=VERSION_ONE, tags=["targets"], dependencies=[Depends(known_query)])


@router.get("/groups", operation_id="listGroups", responses={200: {"model": GroupList}})
async def list_groups(here: Here) -> Json:
    """List the saved groups, by name."""
    groups = await here.tenant.jobs.fleet.saved_groups()
    return Json({"items": [shapes.group(one) for one in groups], "next": None})


@router.get("/groups/{group}", operation_id="getGroup", responses={200: {"model": GroupShape}})
async def get_group(here: Here, group: str) -> Json:
    """Tell what a group stands for."""
    return Json(shapes.group(await here.tenant.jobs.fleet.group(group)))


@router.put("/groups/{group}", operation_id="saveGroup", responses={200: {"model": GroupShape}})
async def save_group(
    here: Here, group: str, asked: Annotated[GroupRequest, Depends(body_of(shapes.GROUP_BODY))]
) -> Json:
    """Save a selector under a name, in the place of what had that name."""
    saved = await here.tenant.jobs.fleet.save_group(group, asked.selector, by=here.name)
    return Json(shapes.group(saved))


@router.delete("/groups/{group}", operation_id="removeGroup", status_code=204)
async def remove_group(here: Here, group: str) -> Response:
    """Forget a saved group."""
    await here.tenant.jobs.fleet.drop_group(group, by=here.name)
    return Response(status_code=204)


@router.get("/freeze", operation_id="getFreeze", responses={200: {"model": FreezeShape}})
async def get_freeze(here: Here) -> Json:
    """Tell whether jobs may begin."""
    return Json(shapes.freeze(await here.tenant.jobs.fleet.frozen()))


@router.put("/freeze", operation_id="freeze", responses={200: {"model": FreezeShape}})
async def freeze(
    here: Here, asked: Annotated[FreezeRequest, Depends(body_of(shapes.FREEZE_BODY))]
) -> Json:
    """Let nothing begin; what runs goes on."""
    return Json(shapes.freeze(await here.tenant.jobs.fleet.freeze(asked.reason, by=here.name)))


@router.delete("/freeze", operation_id="unfreeze", status_code=204)
async def unfreeze(here: Here) -> Response:
    """Let jobs begin again; asking again changes nothing."""
    await here.tenant.jobs.fleet.unfreeze(by=here.name)
    return Response(status_code=204)


@router.get(
    "/jobs/{job}/why", operation_id="explainJob", responses={200: {"model": shapes.WhyShape}}
)
async def explain_job(
    here: Here,
    job: str,
    agent: Annotated[str, Query(min_length=1, max_length=256, description="A name or an id.")],
) -> Json:
    """Tell why an agent is in a job, or is not."""
    found = await here.tenant.store.job(JobId(job)) if is_id("job", job) else None
    if found is None:
        raise UnknownJob(f"there is no job {job}; look at `farhand jobs`")
    told = await explain(here.tenant.store, here.tenant.jobs.fleet, found, agent)
    return Json(shapes.why(told.agent, told.verdict.value, told.message, told.run))
