"""The addresses of runs: what became of them, and the bytes they printed.

Sends no byte itself; `download` does.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import Response

from farhand.api import writing
from farhand.api.shapes import RunList, RunShape
from farhand.domain.ids import JobId, RunId, is_id
from farhand.domain.output import StreamName
from farhand.domain.run import Run, RunState
from farhand.errors import OutputPruned, UnknownJob, UnknownRun
from farhand.http.answer import Json
from farhand.http.asked import VERSION_ONE, PageAsked, known_query
from farhand.http.door import Caller, Here
from farhand.http.download import Download
from farhand.http.history import agent_id, times
from farhand.http.ranges import Span, asked_span
from farhand.ports import RunFilter

router = APIRouter(prefix=VERSION_ONE, tags=["runs"], dependencies=[Depends(known_query)])

_BYTES: Final = {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}


async def _found(here: Caller, run: str) -> Run:
    found = await here.tenant.store.run(RunId(run)) if is_id("run", run) else None
    if found is None:
        raise UnknownRun(f"there is no run {run}; look at `farhand runs`")
    return found


@router.get("/runs", operation_id="listRuns", responses={200: {"model": RunList}})
async def list_runs(
    here: Here,
    paging: PageAsked,
    *,
    job: Annotated[str | None, Query(description="Only runs of this job.")] = None,
    agent: Annotated[str | None, Query(description="Only runs of this agent: id or name.")] = None,
    state: Annotated[list[RunState] | None, Query(description="Only runs in these.")] = None,
    since: Annotated[str | None, Query(description="Made at this time or later.")] = None,
    until: Annotated[str | None, Query(description="Made before this time.")] = None,
) -> Json:
    """List runs: of one job in the order they were made, else newest first."""
    if job is not None and not is_id("job", job):
        raise UnknownJob(f"there is no job {job}; look at `farhand jobs`")
    begin, end = times(since, until)
    which = RunFilter(
        job=None if job is None else JobId(job),
        agent=None if agent is None else await agent_id(here, agent),
        states=None if state is None else frozenset(state),
        since=begin,
        until=end,
    )
    page = await here.tenant.store.runs(which, cursor=paging.cursor, limit=paging.limit)
    return Json(writing.page(page.items, writing.run, page.next))


@router.get("/runs/{run}", operation_id="getRun", responses={200: {"model": RunShape}})
async def get_run(here: Here, run: str) -> Json:
    """Tell all that is known of a run."""
    return Json(writing.run(await _found(here, run)))


@router.post(
    "/runs/{run}/cancel",
    operation_id="cancelRun",
    status_code=202,
    responses={202: {"model": RunShape}},
)
async def cancel_run(here: Here, run: str) -> Json:
    """Ask for a run to be ended; asking again changes nothing."""
    found = await _found(here, run)
    cancelled = await here.tenant.jobs.cancel_run(found.id, by=here.name)
    return Json(writing.run(cancelled), 202)


@router.get(
    "/runs/{run}/output",
    operation_id="getRunOutput",
    response_class=Response,
    responses={200: _BYTES, 206: _BYTES},
)
async def get_output(
    here: Here,
    run: str,
    stream: StreamName = StreamName.STDOUT,
    byte_range: Annotated[str | None, Header(alias="Range")] = None,
) -> Response:
    """Send the bytes that are stored of one stream so far, or a range of them."""
    found = await _found(here, run)
    span, headers = await _head(here, found, stream, byte_range)
    return Download(here, found.id, stream, span, headers)


@router.head(
    "/runs/{run}/output",
    operation_id="headRunOutput",
    response_class=Response,
    responses={200: _BYTES, 206: _BYTES},
)
async def head_output(
    here: Here,
    run: str,
    stream: StreamName = StreamName.STDOUT,
    byte_range: Annotated[str | None, Header(alias="Range")] = None,
) -> Response:
    """Tell what GET would send."""
    span, headers = await _head(here, await _found(here, run), stream, byte_range)
    status = 206 if span.part else 200
    return Response(None, status, headers, media_type="application/octet-stream")


async def _head(
    here: Caller, run: Run, stream: StreamName, byte_range: str | None
) -> tuple[Span, dict[str, str]]:
    """Return which bytes are asked for, and the headers that describe them.

    Raises OutputPruned, InvalidRange.
    """
    offsets = await here.tenant.store.offsets(run.id)
    if not run.whole(offsets):
        run = await _found(here, run.id)
    if run.output_pruned:
        told = f"what {run.id} printed is not kept any more; how it ended is at /runs/{run.id}"
        raise OutputPruned(told, run=run.id)
    stored = offsets.get(stream, 0)
    span = asked_span(byte_range, stored)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(span.length),
        "Farhand-Run-State": run.state.value,
    }
    if span.part:
        headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{stored}"
    if (end := run.streams.get(stream)) is not None:
        headers["Farhand-Output-Total"] = str(end.total)
        if end.cut_bytes:
            headers["Farhand-Output-Cut"] = f"at={end.cut_at}, bytes={end.cut_bytes}"
    return span, headers
