"""Which jobs a search is about, and how much of the history one look may cost.

Decides over what a store hands it, in memory and on disk alike; reads nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from farhand.domain.ids import AgentId, JobId
from farhand.domain.job import Job, command_line
from farhand.domain.run import RunState

SCANNED: Final = 2_000  # jobs or runs that one page of a search looks at
SEARCHED_CHARS: Final = 4_096  # of a command
CLOCK_SLACK_S: Final = 3_600.0  # what is listed by time is made in time's order, but for so much


class JobStanding(StrEnum):
    """How a whole job stands, by its runs; one that failed and was made again did fail."""

    RUNNING = "running"  # somebody waits for a run of it
    DONE = "done"
    SUCCEEDED = "succeeded"  # done, and every run of it did
    FAILED = "failed"  # done, and a run of it did not succeed


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What a job is found by; *open* as `Job.open` counts it, *what* is the command's text."""

    by: str
    targets: str
    what: str
    created_at: float
    open: int
    counts: Mapping[RunState, int]
    schedule: str | None = None
    rerun_of: JobId | None = None


def outline_of(job: Job) -> Outline:
    """Return what *job* is found by."""
    return Outline(
        by=job.by,
        targets=job.targets,
        what=command_line(job.spec.what)[:SEARCHED_CHARS],
        created_at=job.created_at,
        open=job.open,
        counts=job.counts,
        schedule=job.schedule,
        rerun_of=job.rerun_of,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs a list is about; None is no condition. Times are wall-clock seconds.

    *by* is the whole name of a caller. *target* stands somewhere in the text of the targets and
    *command* in the command, in letters of either case. *agent* has a run of the job. *since* is
    in, *until* is out.
    """

    by: str | None = None
    target: str | None = None
    command: str | None = None
    agent: AgentId | None = None
    standing: JobStanding | None = None
    since: float | None = None
    until: float | None = None
    schedule: str | None = None
    rerun_of: JobId | None = None

    def takes(self, job: Outline) -> bool:
        """Whether the job is one of these, as far as its outline tells: *agent* is not asked."""
        return (
            (self.by is None or job.by == self.by)
            and (self.schedule is None or job.schedule == self.schedule)
            and (self.rerun_of is None or job.rerun_of == self.rerun_of)
            and within(job.created_at, self.since, self.until)
            and (self.standing is None or _stands(job, self.standing))
            and _contains(job.targets, self.target)
            and _contains(job.what, self.command)
        )


ALL_JOBS: Final = JobFilter()


def within(at: float, since: float | None, until: float | None) -> bool:
    """Whether *at* lies between two times, of which each may be open."""
    return (since is None or at >= since) and (until is None or at < until)


def before_all(at: float, since: float | None) -> bool:
    """Whether nothing older than what was made *at* this time can lie behind *since*.

    A clock that was set back by more than `CLOCK_SLACK_S` proves it wrong: then what it had told
    before lies in the future of what it tells now, and may be left out.
    """
    return since is not None and at < since - CLOCK_SLACK_S


def _contains(text: str, part: str | None) -> bool:
    return part is None or part.casefold() in text.casefold()


def _stands(job: Outline, standing: JobStanding) -> bool:
    match standing:
        case JobStanding.RUNNING:
            return job.open > 0
        case JobStanding.DONE:
            return job.open == 0
        case JobStanding.SUCCEEDED:
            return job.open == 0 and not _unsuccessful(job)
        case JobStanding.FAILED:
            return job.open == 0 and _unsuccessful(job)


def _unsuccessful(job: Outline) -> bool:
    return any(n for state, n in job.counts.items() if state is not RunState.SUCCEEDED)
