"""The addresses of jobs: ask for one, wait for it, follow it, end it.

Decides nothing about jobs: one call of `controller.jobs` each.
"""

import asyncio
from contextlib import nullcontext, suppress
from typing import Annotated, Final, Literal, cast

from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from farhand.api import reading, writing
from farhand.api import targets as shapes
from farhand.api.shapes import (
    JobAccepted,
    JobBrief,
    JobList,
    JobRequest,
    JobResult,
    JobRolling,
    JobShape,
    RerunRequest,
    RunResult,
)
from farhand.controller.jobs import Submitted
from farhand.controller.reruns import Wish
from farhand.domain.ids import JobId, is_id
from farhand.domain.job import Job
from farhand.domain.output import StreamName
from farhand.domain.rollout import Rollout
from farhand.domain.run import Run
from farhand.errors import InvalidQuery, Overloaded, UnknownJob
from farhand.http.answer import Json
from farhand.http.asked import VERSION_ONE, PageAsked, body_of, known_query
from farhand.http.door import Caller, Here
from farhand.http.history import JobsAsked
from farhand.http.racing import first_of, gone
from farhand.http.stream import EventStream
from farhand.ports import RunFilter

router = APIRouter(prefix=VERSION_ONE, tags=["jobs"], dependencies=[Depends(known_query)])

KeyAsked = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=255, pattern=r"^[!-~]+$"),
]

_RUNS_SHOWN: Final = 100
_JOBS_READ: Final = 25  # at once: each may hold a script and stdin, of which a list shows a line


async def _found(here: Caller, job: str) -> Job:
    found = await here.tenant.store.job(JobId(job)) if is_id("job", job) else None
    if found is None:
        raise UnknownJob(f"there is no job {job}; look at `farhand jobs`")
    return found


@router.post(
    "/jobs",
    operation_id="submitJob",
    status_code=202,
    responses={
        200: {
            "model": JobResult | shapes.PreviewShape,
            "description": "Every run came to rest within `wait_s`; or the `preview`.",
        },
        202: {"model": JobAccepted, "description": "It is kept, and under way."},
    },
)
async def submit_job(
    request: Request,
    here: Here,
    asked: Annotated[JobRequest, Depends(body_of(reading.JOB_BODY))],
    *,
    wait_s: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
    preview: Annotated[
        Literal["", "true", "false"] | None,
        Query(description="Only tell whom it would be for; start nothing."),
    ] = None,
    idempotency_key: KeyAsked = None,
) -> Json:
    """Run something on some agents."""
    if wait_s is not None and wait_s > here.limits.wait_max_s:
        raise InvalidQuery(f"wait_s: at most {here.limits.wait_max_s:g} seconds are waited")
    if preview in {"", "true"}:
        return await _preview(here, asked)
    with here.tenant.followers.seat() if wait_s else nullcontext():
        return await _submit(request, here, asked, wait_s, idempotency_key)


async def _preview(here: Caller, asked: JobRequest) -> Json:
    foreseen = await here.tenant.jobs.preview(
        reading.job_spec(asked, here.limits), reading.targets(asked, here.limits), by=here.name
    )
    picked = foreseen.picked
    refusals = {agent: (it.why.value, it.message) for agent, it in foreseen.refusals.items()}
    return Json(shapes.preview(foreseen.preview, picked.agents, picked.drained, refusals))


async def _submit(
    request: Request, here: Caller, asked: JobRequest, wait_s: float | None, key: str | None
) -> Json:
    submitted = await here.tenant.jobs.submit(
        reading.job_spec(asked, here.limits),
        reading.targets(asked, here.limits),
        by=here.name,
        key=key,
        digest=reading.digest(asked) if key else "",
        expect=asked.expect,
        hold=bool(asked.hold),
        spread=reading.spread(asked, here.limits),
    )
    job = submitted.job
    if wait_s and await _settled(request, here, job.id, wait_s):
        with suppress(Overloaded):  # no room for the results; that the job is taken fits always
            return await _result(here, await _found(here, job.id), _headers(submitted))
    return _accepted(submitted)


def _headers(submitted: Submitted) -> dict[str, str]:
    headers = {"Location": f"{VERSION_ONE}/jobs/{submitted.job.id}"}
    if submitted.repeated:
        headers["Idempotency-Replayed"] = "true"
    return headers


def _accepted(submitted: Submitted) -> Json:
    accepted: JobAccepted = {
        **writing.job_brief(submitted.job),
        "runs": [writing.run_brief(run) for run in submitted.runs],
    }
    return Json(accepted, 202, _headers(submitted))


async def _settled(request: Request, here: Caller, job: JobId, within_s: float) -> bool:
    """Wait for a job to come to rest, but not for a caller who left, nor when we must end."""
    settled = False

    async def wait() -> None:
        nonlocal settled
        settled = await here.tenant.followers.settled(job, within_s)

    await first_of(settled=wait(), gone=gone(request.receive), stopping=here.stopping.wait())
    return settled


async def _result(here: Caller, job: Job, headers: dict[str, str]) -> Json:
    """Answer with all runs of a job and the beginnings of what they printed, within bounds.

    Raises Overloaded.
    """
    runs: list[RunResult] = []
    room, cursor = here.limits.wait_total_bytes, None
    while True:
        page = await here.tenant.store.runs(
            RunFilter(job=job.id), cursor=cursor, limit=here.limits.page_max
        )
        for run in page.items:
            result, room = await _with_output(here, run, room)
            runs.append(result)
            here.share.cover(2 * (here.limits.wait_total_bytes - room))
        if (cursor := page.next) is None:
            whole: JobResult = {**writing.job_brief(job), "runs": runs}
            answer = Json(whole, 200, headers)
            here.share.cover(len(answer.body))
            return answer
        await asyncio.sleep(0)


async def _with_output(here: Caller, run: Run, room: int) -> tuple[RunResult, int]:
    """Return a run with its output, and how many bytes the other runs may still show."""
    store, shown = here.tenant.store, {}
    offsets = await store.offsets(run.id)
    for stream in StreamName:
        stored = offsets.get(stream, 0)
        limit = min(stored, room, here.limits.wait_output_bytes)
        head = await store.output(run.id, stream, offset=0, limit=limit) if limit else b""
        room -= len(head)
        shown[stream.value] = writing.output(head, stored)
    return cast("RunResult", {**writing.run(run), **shown}), room


@router.get("/jobs", operation_id="listJobs", responses={200: {"model": JobList}})
async def list_jobs(here: Here, paging: PageAsked, which: JobsAsked) -> Json:
    """List jobs, newest first: all, or those that a search finds, of which a page may have few."""
    items: list[JobBrief] = []
    cursor = paging.cursor
    while True:
        limit = min(_JOBS_READ, paging.limit - len(items))
        page = await here.tenant.store.jobs(which, cursor=cursor, limit=limit)
        items += map(writing.job_brief, page.items)
        cursor = page.next
        if cursor is None or len(items) == paging.limit or len(page.items) < limit:
            return Json({"items": items, "next": cursor})


@router.get("/jobs/{job}", operation_id="getJob", responses={200: {"model": JobShape}})
async def get_job(here: Here, job: str) -> Json:
    """Tell what was asked, and how the first of its runs stand."""
    found = await _found(here, job)
    page = await here.tenant.store.runs(RunFilter(job=found.id), limit=_RUNS_SHOWN)
    rollout = await here.tenant.store.document(Rollout, found.id)
    return Json(writing.job_whole(found, page.items, page.next, rollout))


@router.post(
    "/jobs/{job}/release",
    operation_id="releaseJob",
    status_code=202,
    responses={202: {"model": JobBrief}},
)
async def release_job(here: Here, job: str) -> Json:
    """Send the runs of a job that was submitted with `hold`; asking again changes nothing."""
    found = await _found(here, job)
    return Json(writing.job_brief(await here.tenant.jobs.release(found.id, by=here.name)), 202)


@router.post(
    "/jobs/{job}/cancel",
    operation_id="cancelJob",
    status_code=202,
    responses={202: {"model": JobBrief}},
)
async def cancel_job(here: Here, job: str) -> Json:
    """Ask for every run of a job to be ended; asking again changes nothing."""
    found = await _found(here, job)
    return Json(writing.job_brief(await here.tenant.jobs.cancel_job(found.id, by=here.name)), 202)


@router.post(
    "/jobs/{job}/rerun",
    operation_id="rerunJob",
    status_code=202,
    responses={202: {"model": JobAccepted, "description": "A new job is kept, and under way."}},
)
async def rerun_job(
    here: Here,
    job: str,
    asked: Annotated[RerunRequest, Depends(body_of(reading.RERUN_BODY))],
    idempotency_key: KeyAsked = None,
) -> Json:
    """Run a job again as it was, on the agents that it ran on or only where it failed."""
    wish = Wish(failed_only=bool(asked.failed_only), skip_removed=bool(asked.skip_removed))
    rerun = here.tenant.reruns.rerun
    return _accepted(await rerun(JobId(job), wish, by=here.name, key=idempotency_key))


async def _rolling(here: Caller, job: JobId, rollout: Rollout) -> Json:
    return Json(writing.job_rolling(await _found(here, job), rollout), 202)


@router.post(
    "/jobs/{job}/hold",
    operation_id="holdJob",
    status_code=202,
    responses={202: {"model": JobRolling}},
)
async def hold_job(here: Here, job: str) -> Json:
    """Begin no further run of a job that is spread; asking again changes nothing."""
    found = (await _found(here, job)).id
    return await _rolling(here, found, await here.tenant.jobs.rollouts.hold(found, by=here.name))


@router.post(
    "/jobs/{job}/resume",
    operation_id="resumeJob",
    status_code=202,
    responses={202: {"model": JobRolling}},
)
async def resume_job(here: Here, job: str) -> Json:
    """Go on with a job that is held; asking again changes nothing."""
    found = (await _found(here, job)).id
    return await _rolling(here, found, await here.tenant.jobs.rollouts.resume(found, by=here.name))


@router.post(
    "/jobs/{job}/abort",
    operation_id="abortJob",
    status_code=202,
    responses={202: {"model": JobRolling}},
)
async def abort_job(here: Here, job: str) -> Json:
    """Begin nothing of a job that is spread any more; what runs goes on."""
    found = (await _found(here, job)).id
    return await _rolling(here, found, await here.tenant.jobs.rollouts.abort(found, by=here.name))


@router.get(
    "/jobs/{job}/events",
    operation_id="followJob",
    response_class=Response,
    responses={
        200: {
            "description": "What happens, as it happens.",
            "content": {EventStream.media_type: {}},
        },
        204: {"description": "The job has ended, and nothing is behind this event."},
    },
)
async def follow_job(
    here: Here,
    job: str,
    after: Annotated[int, Query(ge=0, lt=1 << 63, description="Begin behind this event.")] = 0,
    last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, lt=1 << 63)] = None,
) -> Response:
    """Follow a job live: what its runs print, how they change, and the end."""
    found = await _found(here, job)
    seen = after if last_event_id is None else last_event_id
    if seen and not await here.tenant.store.events(found.id, after=seen - 1, limit=1):
        seen = 0  # the store was restored to a time before this event: all of it is told again
    if not found.open and not await here.tenant.store.events(found.id, after=seen, limit=1):
        return Response(status_code=204)
    return EventStream(here, found.id, after=seen)
