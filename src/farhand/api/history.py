"""The JSON of the history: what is asked of it, and the lines of an export.

An export is `application/x-ndjson`, a JSON object a line, each with its `type`: a `job`, then its
runs, each a `run`, then the next job; a last line `end` says that it is whole.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, NotRequired, cast

from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from farhand.api import writing
from farhand.api.shapes import BinaryOutput, JobBrief, RunShape, SpecShape, TextOutput
from farhand.domain.job import Job
from farhand.domain.output import StreamName
from farhand.domain.run import Run
from farhand.errors import InvalidQuery


class ExportedJob(JobBrief, SpecShape):
    """A job as it was asked; its *targets* are whole."""

    type: Literal["job"]


class ExportedRun(RunShape):
    """A run of the job before it; with the beginning of what it printed, if that was asked for."""

    type: Literal["run"]
    stdout: NotRequired[TextOutput | BinaryOutput]
    stderr: NotRequired[TextOutput | BinaryOutput]


class ExportEnd(TypedDict):
    """Nothing is missing: so many jobs and runs were told."""

    type: Literal["end"]
    jobs: int
    runs: int


def moment(text: str | None, name: str) -> float | None:
    """Read a time of RFC 3339 as wall-clock seconds; raise InvalidQuery, which names *name*."""
    if text is None:
        return None
    hint = "write it as 2026-01-31T12:00:00Z"
    try:
        written = datetime.fromisoformat(text)
        if written.tzinfo is None:
            raise InvalidQuery(f"{name}: {text[:64]!r} has no offset from UTC; {hint}")
        return written.astimezone(UTC).timestamp()
    except (ValueError, OverflowError) as exc:
        plus = "; in an address + is written %2B" if " " in text else ""
        raise InvalidQuery(f"{name}: {text[:64]!r} is no time; {hint}{plus}") from exc


def exported_job(job: Job) -> ExportedJob:
    """Write a job of an export."""
    written = {**writing.job_brief(job), **writing.spec(job.spec), "targets": job.targets}
    return cast("ExportedJob", {"type": "job", **written})


def exported_run(run: Run, heads: Mapping[StreamName, tuple[bytes, int]]) -> ExportedRun:
    """Write a run of an export; *heads* are the beginnings of streams, and how much is kept."""
    shown = {stream.value: writing.output(head, kept) for stream, (head, kept) in heads.items()}
    return cast("ExportedRun", {"type": "run", **writing.run(run), **shown})


def export_end(jobs: int, runs: int) -> ExportEnd:
    """Write the end of an export."""
    return {"type": "end", "jobs": jobs, "runs": runs}
