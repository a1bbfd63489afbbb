"""Searching what was run before, and taking it along: which jobs, and an export line by line.

Does no I/O. An export that was cut begins again by hand: part of it would look like all of it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypedDict

from farhand.client._calls import ANSWER_BYTES, PAGE, Answer, Call, path_of, refusal, sending
from farhand.client._errors import AnswerLost, UnexpectedAnswer
from farhand.client._resume import Patience
from farhand.client._shapes import Job, Json, Page, Run, entries, page_of, read_job, read_run

_KIND: Final = "application/x-ndjson"


class JobSearch(TypedDict, total=False):
    """Which jobs; absent or None is no condition.

    *by* is the name of a caller. *target* stands in what the targets were, *command* in the command
    or script. *agent* (id or name) has a run of the job. *state* is `running`, `done`, `succeeded`
    (done, and every run did) or `failed`. Made at *since* or later, before *until*: a datetime
    without a zone is this machine's. *schedule* (id or name) made it, it repeats *rerun_of*.
    """

    by: str | None
    target: str | None
    agent: str | None
    command: str | None
    state: str | None
    since: datetime | None
    until: datetime | None
    schedule: str | None
    rerun_of: str | None


def _asked(which: JobSearch) -> dict[str, str]:
    given: Mapping[str, Any] = which
    return {name: _text(value) for name, value in given.items() if value is not None}


def _text(value: str | datetime) -> str:
    return value if isinstance(value, str) else moment(value)


def moment(when: datetime) -> str:
    """Write a time as the API takes it."""
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def jobs(cursor: str | None, which: JobSearch, limit: int = PAGE) -> Call[Page[Job]]:
    """Ask for a page of jobs, newest first."""
    path = path_of("jobs", **_asked(which), cursor=cursor, limit=limit)
    return sending("GET", path, page_of(read_job))


class RunSearch(TypedDict, total=False):
    """Which runs; absent or None is no condition. *agent* is an id or a name; times as JobSearch's.

    Those of one *job* are told in the order they were made, any others newest first.
    """

    job: str | None
    agent: str | None
    state: Sequence[str]
    since: datetime | None
    until: datetime | None


def runs(cursor: str | None, which: RunSearch, limit: int = PAGE) -> Call[Page[Run]]:
    """Ask for a page of runs."""
    path = path_of(
        "runs",
        job=which.get("job"),
        agent=which.get("agent"),
        state=which.get("state", ()),
        since=_time(which.get("since")),
        until=_time(which.get("until")),
        cursor=cursor,
        limit=limit,
    )
    return sending("GET", path, page_of(read_run))


def _time(when: datetime | None) -> str | None:
    return None if when is None else moment(when)


class Exporting:
    """The lines of an export, each a JSON object: a Reading[Json]. The last, `end`, is not told."""

    __slots__ = ("_line", "_path", "_told", "over", "patience")

    def __init__(self, which: JobSearch, output_bytes: int, patience: Patience) -> None:
        self.over = False
        self.patience = patience
        self._path = path_of("jobs", "export", **_asked(which), output_bytes=output_bytes or None)
        self._line = bytearray()
        self._told = 0

    def call(self) -> Call[None]:
        """Return the request; raise when some of the answer was told already."""
        if self._told:
            raise self._cut()
        self._line.clear()
        return Call(method="GET", path=self._path, read=_nothing, headers={"Accept": _KIND})

    def answered(self, answer: Answer) -> bool:
        """Whether there is a file to read now. Raises the error that the answer is."""
        if answer.status >= 400:
            raise refusal(answer)
        kind = answer.headers.get("content-type", "")
        if answer.status != 200 or not kind.startswith(_KIND):
            raise UnexpectedAnswer(
                f"an export came as status {answer.status}, {kind or 'no type'}; "
                "is this a farhand controller?"
            )
        self.patience.connected()
        return True

    def feed(self, received: bytes) -> Sequence[Json]:
        """Take the next bytes; return the lines that are whole now."""
        if not received:
            raise self._cut() if self._told else AnswerLost("the export ended early")
        self.patience.heard()
        self._line += received
        if len(self._line) > ANSWER_BYTES:
            raise UnexpectedAnswer("a line of the export has no end")
        *whole, rest = self._line.split(b"\n")
        self._line = bytearray(rest)
        found: list[Json] = []
        for line in whole:
            told = self._read(bytes(line))
            if told.get("type") == "end":
                self.over = True
                break
            found.append(told)
        self._told += len(found)
        return found

    def _read(self, line: bytes) -> Json:
        try:
            return entries(json.loads(line))
        except ValueError as exc:
            raise UnexpectedAnswer("a line of the export is not JSON") from exc

    def _cut(self) -> UnexpectedAnswer:
        return UnexpectedAnswer(
            f"the export was cut after {self._told} lines: they are not all",
            code="export-cut",
            hint="export it again, or less of it: --since, --until",
        )


def _nothing(answer: Answer) -> None:
    del answer
