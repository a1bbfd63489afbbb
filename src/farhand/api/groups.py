"""The JSON of answers in groups: `/jobs/{job}/groups` and its events, and how it is written.

Shapes and writing stand together: nobody else has either. Fields may be added, never changed.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from farhand.api import writing
from farhand.api.shapes import BinaryOutput, JobState, RolloutShape, TextOutput
from farhand.domain.grouping import Cause, Content, Failures, Shown, View
from farhand.domain.job import Job
from farhand.domain.output import StreamName
from farhand.domain.progress import Progress
from farhand.domain.rollout import Rollout
from farhand.domain.run import RunState, Why


class ProgressShape(TypedDict):
    """How far a job is. *done* are at rest, *failed* of them did not succeed; *waiting* have not
    begun. *rate_per_s* of late and *left_s* are null while they cannot be told.
    """

    total: int
    done: int
    failed: int
    running: int
    waiting: int
    rate_per_s: float | None
    left_s: float | None


class TextContent(TextOutput):
    """The beginning of an output that is text; *cut_bytes* were cut out of what is stored."""

    cut_bytes: int


class BinaryContent(BinaryOutput):
    """The beginning of an output that is no text."""

    cut_bytes: int


class ExampleShape(TypedDict):
    """The run whose output stands for its group."""

    run: str
    agent: str


class DiffShape(TypedDict, total=False):
    """How each stream differs from the majority's: lines that begin with `-`, `+`, a blank or `@`.

    A stream that cannot be compared in short is not here; look at its content.
    """

    stdout: list[str]
    stderr: list[str]


class GroupShape(TypedDict):
    """Runs with one answer. *hosts* is folded (`web[1-40,52]`), *hosts_cut* when there are more.

    *stdout* and *stderr* name contents, null when nothing was printed or it is not known whole, or
    when it is *output_pruned*: then it was grouped by its digest, and is not kept any more.
    *partial*: only the beginning was compared. *diff* is null unless it was asked for.
    """

    state: RunState
    why: Why | None
    exit_code: int | None
    signal: int | None
    message: str
    count: int
    hosts: str
    hosts_cut: bool
    example: ExampleShape
    majority: bool
    partial: bool
    stdout: str | None
    stderr: str | None
    output_pruned: bool
    diff: DiffShape | None


class FailuresShape(TypedDict):
    """Runs that failed alike. *last_line* of stderr; null when there were too many to read."""

    state: RunState
    why: Why | None
    exit_code: int | None
    signal: int | None
    last_line: str | None
    count: int
    hosts: str
    hosts_cut: bool


class GroupsShape(TypedDict):
    """The answers of a job: *groups* and *failures*, the largest first, and how many are not shown.

    *rollout* tells how far its waves are, while it is spread and not over.
    *contents* by the names that groups give them. In a stream each is told once: a name that is
    not here was told before.
    """

    job: str
    state: JobState
    progress: ProgressShape
    rollout: RolloutShape | None
    groups: list[GroupShape]
    more_groups: int
    more_runs: int
    failures: list[FailuresShape]
    more_failures: int
    contents: dict[str, TextContent | BinaryContent]


def groups(job: Job, progress: Progress, view: View, rollout: Rollout | None) -> GroupsShape:
    """Write the answers of a job as they are in *view*."""
    return {
        "job": job.id,
        "state": writing.job_state(job),
        "progress": _progress(progress),
        "rollout": None if rollout is None else writing.rollout(rollout),
        "groups": [_group(group) for group in view.groups],
        "more_groups": view.more_groups,
        "more_runs": view.more_runs,
        "failures": [_failures(cluster) for cluster in view.failures],
        "more_failures": view.more_failures,
        "contents": {name: _content(found) for name, found in view.contents.items()},
    }


def _progress(of: Progress) -> ProgressShape:
    return {
        "total": of.total,
        "done": of.done,
        "failed": of.failed,
        "running": of.running,
        "waiting": of.waiting,
        "rate_per_s": None if of.rate_per_s is None else round(of.rate_per_s, 3),
        "left_s": None if of.left_s is None else round(of.left_s, 1),
    }


class _CauseShape(TypedDict):
    state: RunState
    why: Why | None
    exit_code: int | None
    signal: int | None


def _cause(of: Cause) -> _CauseShape:
    return {
        "state": of.state,
        "why": of.why,
        "exit_code": of.exit_code,
        "signal": of.signal,
    }


def _group(of: Shown) -> GroupShape:
    return {
        **_cause(of.answer.cause),
        "message": of.message,
        "count": of.count,
        "hosts": of.hosts,
        "hosts_cut": of.hosts_cut,
        "example": {"run": of.example, "agent": of.agent},
        "majority": of.majority,
        "partial": of.answer.partial,
        "stdout": of.stdout,
        "stderr": of.stderr,
        "output_pruned": of.output_pruned,
        "diff": None if of.diff is None else _diff(of.diff),
    }


def _diff(of: Mapping[StreamName, Sequence[str]]) -> DiffShape:
    written: DiffShape = {}
    for stream, lines in of.items():
        written[stream.value] = list(lines)
    return written


def _failures(of: Failures) -> FailuresShape:
    return {
        **_cause(of.cause),
        "last_line": of.last_line,
        "count": of.count,
        "hosts": of.hosts,
        "hosts_cut": of.hosts_cut,
    }


def _content(of: Content) -> TextContent | BinaryContent:
    shown = {**writing.output(of.head, of.kept), "cut_bytes": of.cut_bytes}
    return cast("TextContent | BinaryContent", shown)
