"""The history at the front door: which jobs a search is about, and all of them as one file.

Searches nothing itself; a reader of an export that stops holds some lines, and is let go.
"""

import asyncio
from contextlib import aclosing
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from farhand.api.history import export_end, exported_job, exported_run, moment
from farhand.api.writing import dumped
from farhand.domain.history import JobFilter, JobStanding
from farhand.domain.ids import AgentId, JobId, is_id
from farhand.domain.job import Job
from farhand.errors import InvalidQuery, Unavailable, UnknownJob
from farhand.http.asked import VERSION_ONE, known_query
from farhand.http.door import Caller, Here
from farhand.http.racing import first_of, gone
from farhand.http.stream import CONNECTION, Writer

router = APIRouter(prefix=VERSION_ONE, tags=["jobs"], dependencies=[Depends(known_query)])

_FLUSH_BYTES: Final = 64 * 1024  # of lines that are written together

log = structlog.get_logger("farhand.http")


def times(since: str | None, until: str | None) -> tuple[float | None, float | None]:
    """Read both ends of a time; raise InvalidQuery, also where nothing lies between them."""
    begin, end = moment(since, "since"), moment(until, "until")
    if begin is not None and end is not None and begin >= end:
        raise InvalidQuery("nothing lies between since and until: until must be later")
    return begin, end


async def agent_id(here: Caller, agent: str) -> AgentId:
    """Return the id of *agent*; an id is taken as it is: the runs of a removed agent stay."""
    if is_id("agt", agent):
        return AgentId(agent)
    return (await here.tenant.agents.find(agent)).id


async def _jobs_asked(
    here: Here,
    *,
    by: Annotated[str | None, Query(max_length=1024, description="Only this caller's.")] = None,
    target: Annotated[
        str | None, Query(max_length=1024, description="This stands in what the targets were.")
    ] = None,
    agent: Annotated[
        str | None, Query(description="It has a run on this agent: id or name.")
    ] = None,
    command: Annotated[
        str | None, Query(max_length=1024, description="This stands in the command or script.")
    ] = None,
    state: Annotated[
        JobStanding | None,
        Query(description="`done` is `succeeded`, where every run did, or `failed`."),
    ] = None,
    since: Annotated[str | None, Query(description="Made at this time or later.")] = None,
    until: Annotated[str | None, Query(description="Made before this time.")] = None,
    schedule: Annotated[str | None, Query(description="Made by this schedule: id or name.")] = None,
    rerun_of: Annotated[str | None, Query(description="Repeats this job.")] = None,
) -> JobFilter:
    begin, end = times(since, until)
    if rerun_of is not None and not is_id("job", rerun_of):
        raise UnknownJob(f"there is no job {rerun_of}; look at `farhand jobs`")
    if schedule is not None and not is_id("sch", schedule):  # jobs of a removed one stay
        schedule = (await here.tenant.schedules.find(schedule)).id
    return JobFilter(
        by=by,
        target=target,
        agent=None if agent is None else await agent_id(here, agent),
        command=command,
        standing=state,
        since=begin,
        until=end,
        schedule=schedule,
        rerun_of=None if rerun_of is None else JobId(rerun_of),
    )


JobsAsked = Annotated[JobFilter, Depends(_jobs_asked)]


@router.get(
    "/jobs/export",
    operation_id="exportJobs",
    response_class=Response,
    responses={
        200: {
            "description": "A JSON object a line; the last has the type `end`.",
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        }
    },
)
async def export_jobs(
    here: Here,
    which: JobsAsked,
    output_bytes: Annotated[
        int, Query(ge=0, description="Of each stream of each run, from its beginning.")
    ] = 0,
) -> Response:
    """Send jobs, newest first, and behind each its runs, in one file."""
    if output_bytes > (most := here.limits.export_output_bytes):
        told = f"output_bytes: at most {most} of each stream; /runs/RUN/output has all that is kept"
        raise InvalidQuery(told)
    return Export(here, which, output_bytes)


class Export(Response):
    """The lines of an export. One that is cut lacks its last line, and its reader sees the cut."""

    media_type = "application/x-ndjson"

    def __init__(self, caller: Caller, which: JobFilter, output_bytes: int) -> None:
        super().__init__(headers={"Content-Disposition": 'attachment; filename="jobs.ndjson"'})
        del self.headers["content-length"]
        self._caller = caller
        self._which = which
        self._output_bytes = output_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        out = Writer(self, send)
        with self._caller.tenant.exports.seat():
            ended = "failed"
            try:
                ended = await first_of(
                    copied=self._copy(out),
                    gone=gone(receive),
                    stopping=self._caller.stopping.wait(),
                )
            except Unavailable as exc:
                if not out.begun:
                    raise
                log.warning("export.cut", error=str(exc))
        connection = scope.get("extensions", {}).get(CONNECTION, {}).get("transport")
        if ended in {"failed", "stopping"} and connection is not None:
            connection.abort()
            await asyncio.sleep(0)  # for the server to see it, and not to call it unfinished

    async def _copy(self, out: Writer) -> None:
        lines = bytearray()
        jobs = runs = 0
        reading = self._caller.tenant.exports.read(self._which, self._output_bytes)
        async with aclosing(reading) as found:
            async for told in found:
                match told:
                    case None:
                        await asyncio.sleep(0)
                        continue
                    case Job():
                        jobs += 1
                        lines += dumped(exported_job(told)) + b"\n"
                    case _:
                        runs += 1
                        lines += dumped(exported_run(told.run, told.heads)) + b"\n"
                if len(lines) >= _FLUSH_BYTES:
                    await out.send(bytes(lines))
                    lines.clear()
                    await out.send(b"")  # until they are taken
        await out.send(bytes(lines) + dumped(export_end(jobs, runs)) + b"\n", more=False)
