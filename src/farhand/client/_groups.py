"""The answers of a job in groups, and how they are followed live across any number of connections.

Does no I/O. Reads tolerantly, as `_shapes` does; a view is always whole, whatever was told before.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from farhand.client._calls import Answer, Call, parsed, path_of, problem_error, refusal
from farhand.client._errors import AnswerLost, UnexpectedAnswer
from farhand.client._resume import Patience
from farhand.client._shapes import Json, Rollout, entries, read_rollout, text
from farhand.client._sse import EventReader, Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is. *done* runs are at rest, *failed* of them did not succeed.

    *rate_per_s* of late and *left_s* are None while they cannot be told.
    """

    total: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0
    rate_per_s: float | None = None
    left_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The beginning of what a group printed: *stored* bytes are kept, *cut_bytes* were cut."""

    data: bytes = b""
    stored: int = 0
    cut_bytes: int = 0
    binary: bool = False

    @property
    def truncated(self) -> bool:
        """More is stored than is here."""
        return self.stored > len(self.data)


NOTHING: Final = Content()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs with one answer: how they ended and what they printed.

    *hosts* is a folded set of names, *hosts_cut* when there are more. *run* and *agent* stand for
    all. *partial*: only the beginning was compared. *diff* tells, for each stream that could be
    compared in short, how it differs from the majority's; None when it was not asked for.
    """

    state: str
    why: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""
    count: int = 0
    hosts: str = ""
    hosts_cut: bool = False
    run: str = ""
    agent: str = ""
    majority: bool = False
    partial: bool = False
    output_pruned: bool = False
    stdout: Content = NOTHING
    stderr: Content = NOTHING
    diff: Mapping[str, Sequence[str]] | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Runs that failed alike, by cause and *last_line* of stderr; None when it was not read."""

    state: str
    why: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    last_line: str | None = None
    count: int = 0
    hosts: str = ""
    hosts_cut: bool = False
    raw: Json = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The answers of a job at one moment, the largest group first.

    *more_groups* with *more_runs*, and *more_failures*, are there beside those that are told.
    """

    job: str
    state: str = "running"
    progress: Progress = field(default_factory=Progress)
    rollout: Rollout | None = None
    groups: tuple[Group, ...] = ()
    more_groups: int = 0
    more_runs: int = 0
    failures: tuple[Failures, ...] = ()
    more_failures: int = 0

    @property
    def done(self) -> bool:
        """Nobody waits for a run of this job any more."""
        return self.state == "done"


class Wanted(NamedTuple):
    """How the answers are wanted: without what differs for no reason, with diffs, how many."""

    normalise: Sequence[str] = ()
    diff: bool = False
    limit: int | None = None

    def path(self, job: str, *more: str) -> str:
        """Return where to ask for them."""
        return path_of(
            *("jobs", job, "groups", *more),
            normalise=",".join(self.normalise) or None,
            diff="true" if self.diff else None,
            limit=self.limit,
        )


# --- Reading ------------------------------------------------------------------------------

_CAUSE: Final = ("why", "exit_code", "signal", "count", "hosts", "hosts_cut")


def _known(found: Json, *names: str) -> dict[str, Any]:
    return {name: found[name] for name in names if found.get(name) is not None}


def read_content(found: object) -> Content:
    """Read the beginning of an output."""
    raw = entries(found)
    known = _known(raw, "stored", "cut_bytes")
    if isinstance(printed := raw.get("base64"), str):
        try:
            data = base64.b64decode(printed, validate=True)
        except binascii.Error as exc:
            raise UnexpectedAnswer("output that is no base64") from exc
        return Content(data=data, binary=True, **known)
    return Content(data=text(raw, "text").encode(), **known)


def _group(found: object, contents: Mapping[str, Content]) -> Group:
    raw = entries(found)
    example = entries(raw.get("example") or {})
    diff = raw.get("diff")
    return Group(
        state=text(raw, "state"),
        run=str(example.get("run") or ""),
        agent=str(example.get("agent") or ""),
        stdout=contents.get(str(raw.get("stdout")), NOTHING),
        stderr=contents.get(str(raw.get("stderr")), NOTHING),
        diff=None if diff is None else entries(diff),
        raw=raw,
        **_known(raw, *_CAUSE, "message", "majority", "partial", "output_pruned"),
    )


def _failures(found: object) -> Failures:
    raw = entries(found)
    return Failures(state=text(raw, "state"), raw=raw, **_known(raw, *_CAUSE, "last_line"))


def read_groups(found: object, contents: Mapping[str, Content]) -> Groups:
    """Read a view; *contents* are those it names."""
    raw = entries(found)
    numbers = ("total", "done", "failed", "running", "waiting", "rate_per_s", "left_s")
    return Groups(
        job=text(raw, "job"),
        progress=Progress(**_known(entries(raw.get("progress") or {}), *numbers)),
        rollout=read_rollout(raw.get("rollout")),
        groups=tuple(_group(group, contents) for group in raw.get("groups") or ()),
        failures=tuple(map(_failures, raw.get("failures") or ())),
        **_known(raw, "state", "more_groups", "more_runs", "more_failures"),
    )


def contents_of(found: object) -> dict[str, Content]:
    """Read the contents that a view brings with it."""
    told = entries(entries(found).get("contents") or {})
    return {name: read_content(content) for name, content in told.items()}


def groups(job: str, wanted: Wanted) -> Call[Groups]:
    """Ask for the answers of a job as they are now."""

    def read(answer: Answer) -> Groups:
        found = parsed(answer)
        return read_groups(found, contents_of(found))

    return Call(method="GET", path=wanted.path(job), read=read)


def _nothing(answer: Answer) -> None:
    del answer


class GroupFollowing:
    """The answers of one job as they change, to its end: a Reading[Groups].

    The last view is told when the job is over. A connection that is cut begins anew with all.
    """

    __slots__ = ("_contents", "_job", "_reader", "_wanted", "over", "patience")

    def __init__(self, job: str, patience: Patience, wanted: Wanted) -> None:
        self.over = False
        self.patience = patience
        self._job = job
        self._wanted = wanted
        self._reader = EventReader()
        self._contents: dict[str, Content] = {}

    def call(self) -> Call[None]:
        """Return the next request."""
        self._reader = EventReader()
        self._contents = {}
        headers = {"Accept": "text/event-stream"}
        path = self._wanted.path(self._job, "events")
        return Call(method="GET", path=path, read=_nothing, headers=headers)

    def answered(self, answer: Answer) -> bool:
        """Whether there is a stream to read now. Raises the error that the answer is."""
        if answer.status >= 400:
            raise refusal(answer)
        kind = answer.headers.get("content-type", "")
        if answer.status != 200 or not kind.startswith("text/event-stream"):
            raise UnexpectedAnswer(
                f"groups came as status {answer.status}, {kind or 'no type'}; "
                "is this a farhand controller?"
            )
        self.patience.connected()
        return True

    def feed(self, received: bytes) -> Sequence[Groups]:
        """Take the next bytes; return the views that they complete."""
        if not received:
            raise AnswerLost("the stream ended early")
        self.patience.heard()
        found: list[Groups] = []
        for sent in self._reader.feed(received):
            view = self._view(sent)
            if view is not None:
                self.patience.progressed()
                found.append(view)
            if self.over:
                break
        return found

    def _view(self, sent: Sent) -> Groups | None:
        try:
            data = entries(json.loads(sent.data))
            match sent.event:
                case "groups":
                    return self._groups(data)
                case "end":
                    self.over = True
                    return None
        except (ValueError, TypeError) as exc:
            raise UnexpectedAnswer(f"an event of kind {sent.event!r} cannot be read") from exc
        if sent.event == "error":
            status = data.get("status")
            raise problem_error(data, status if isinstance(status, int) else 500)
        return None  # a kind that a later version knows

    def _groups(self, data: Json) -> Groups:
        known = {**self._contents, **contents_of(data)}
        named = {group.get(stream) for group in data["groups"] for stream in ("stdout", "stderr")}
        self._contents = {name: known[name] for name in named if name in known}
        return read_groups(data, self._contents)
