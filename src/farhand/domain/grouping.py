"""Runs of one job put together by what came of them: equal answers are one group.

Knows digests and last lines, no output: what a group printed is read once by who shows it. Order
does not matter: the same runs make the same groups, however often and in whatever turn they came.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from farhand.domain.ids import RunId
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import Run, RunState, Why

HOSTS_CHARS: Final = 2_000  # of the names of one group, folded
LINE_CHARS: Final = 200  # of a last line

_ANSWERED: Final = frozenset(
    {RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT, RunState.CANCELLED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """How a run came to rest, without what it printed."""

    state: RunState
    why: Why | None = None
    exit_code: int | None = None
    signal: int | None = None

    @property
    def failed(self) -> bool:
        """It did not succeed."""
        return self.state is not RunState.SUCCEEDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one run came to. *stdout*, *stderr*: digests of what it printed, empty for nothing.

    *partial*: only the beginning of what it printed was compared.
    """

    cause: Cause
    stdout: str = ""
    stderr: str = ""
    partial: bool = False


def cause_of(run: Run) -> Cause:
    """How *run* came to rest."""
    return Cause(state=run.state, why=run.why, exit_code=run.exit_code, signal=run.signal)


def printed(run: Run, stream: StreamName) -> StreamEnd | None:
    """The end of a stream that has something to show; None when nothing of it can be told.

    What a run printed that is lost, or has not begun, is not known whole: it has no content here.
    """
    end = run.streams.get(stream) if run.state in _ANSWERED else None
    return end if end is not None and end.total else None


def digest_of(end: StreamEnd | None) -> str | None:
    """The digest of a stream as its agent told it; None when it must be read to be known.

    Streams whose middle was cut are the same only if the whole was the same.
    """
    if end is None:
        return ""
    if not end.sha256_kept:
        return None
    return f"{end.sha256_kept}+{end.sha256_all}" if end.cut_bytes else end.sha256_kept


@dataclass(eq=False, slots=True)
class Group:
    """Runs with one answer. *members* are the names of their hosts, by run."""

    answer: Answer
    members: dict[RunId, str] = field(default_factory=dict)
    changes: int = 0  # of the members, for who keeps what was made of them

    @property
    def example(self) -> RunId:
        """The run whose output stands for all: the first that was made."""
        return min(self.members)

    @property
    def answered(self) -> bool:
        """Its runs were executed, and what they printed is known."""
        return self.answer.cause.state in _ANSWERED


class Grouping:
    """The runs of a job that came to rest, in groups. Holds a name and a place for each run."""

    __slots__ = ("_groups", "_places")

    def __init__(self) -> None:
        self._groups: dict[Answer, Group] = {}
        self._places: dict[RunId, Answer] = {}

    def place(self, run: RunId, host: str, answer: Answer | None) -> None:
        """Put a run where its answer belongs, out of where it was; None is in no group."""
        before = self._places.get(run)
        if answer is not None and before == answer:
            return
        if before is not None:
            left = self._groups[before]
            del left.members[run], self._places[run]
            left.changes += 1
            if not left.members:
                del self._groups[before]
        if answer is not None:
            group = self._groups.setdefault(answer, Group(answer))
            group.members[run] = host
            group.changes += 1
            self._places[run] = answer

    def ordered(self) -> list[Group]:
        """All groups, the largest first; among equals those that succeeded, then by example."""
        return sorted(self._groups.values(), key=_order)


def majority_of(ordered: Iterable[Group]) -> Group | None:
    """The largest group of runs that were executed: what the others are held against."""
    return next((group for group in ordered if group.answered), None)


def _order(group: Group) -> tuple[object, ...]:
    return -len(group.members), *_cause_order(group.answer.cause), group.example


def _cause_order(cause: Cause) -> tuple[object, ...]:
    exit_code = -1 if cause.exit_code is None else cause.exit_code
    return cause.failed, cause.state, cause.why or "", exit_code, cause.signal or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Runs that did not succeed in the same way: one cause and one last line of stderr.

    *last_line* is None where it was not read, and empty where there is none.
    """

    cause: Cause
    last_line: str | None
    members: Mapping[RunId, str]


def clusters(groups: Iterable[Group], last_line: Callable[[Group], str | None]) -> list[Cluster]:
    """Put groups of failures together by cause and last line, the largest first."""
    found: dict[tuple[Cause, str | None], dict[RunId, str]] = {}
    for group in groups:
        if group.answer.cause.failed:
            key = group.answer.cause, last_line(group)
            found.setdefault(key, {}).update(group.members)
    made = [
        Cluster(cause=cause, last_line=line, members=members)
        for (cause, line), members in found.items()
    ]
    return sorted(made, key=lambda c: (-len(c.members), *_cause_order(c.cause), min(c.members)))


def last_line_of(text: str) -> str:
    """The last line that is not blank, cut to what fits a list."""
    line = next((line for line in reversed(text.splitlines()) if line.strip()), "").strip()
    return line if len(line) <= LINE_CHARS else f"{line[: LINE_CHARS - 1]}…"


def hosts_cut(folded: str) -> tuple[str, bool]:
    """Cut a folded set of names to HOSTS_CHARS at a comma outside brackets; whether it was cut."""
    if len(folded) <= HOSTS_CHARS:
        return folded, False
    depth, at = 0, 0
    for place, sign in enumerate(folded[:HOSTS_CHARS]):
        depth += (sign == "[") - (sign == "]")
        if sign == "," and depth == 0:
            at = place
    if at:
        return folded[:at], True
    at = folded.rfind(",", 0, HOSTS_CHARS)  # one long bracket: cut inside, and close it
    return (folded[:at] + "]" if at > 0 else ""), True


# --- What is shown ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The beginning of what one stream printed; *kept* bytes are stored, *cut_bytes* were cut."""

    head: bytes
    kept: int
    cut_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One group as it is shown. *diff* has the streams that differ from the majority's.

    *example* is a run of it, *agent* its host, *message* what the agent said of it.
    *stdout*, *stderr* name contents of the view, or nothing when nothing was printed, or when it is
    *output_pruned*.
    """

    answer: Answer
    count: int
    hosts: str
    hosts_cut: bool
    example: RunId
    agent: str
    message: str
    majority: bool
    stdout: str | None
    stderr: str | None
    output_pruned: bool = False
    diff: Mapping[StreamName, Sequence[str]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """One cluster as it is shown."""

    cause: Cause
    last_line: str | None
    count: int
    hosts: str
    hosts_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The groups of a job at one moment: the first of each kind, and how many there are beside.

    *contents* by the names that groups give them; equal outputs are there once.
    """

    groups: Sequence[Shown] = ()
    more_groups: int = 0
    more_runs: int = 0
    failures: Sequence[Failures] = ()
    more_failures: int = 0
    contents: Mapping[str, Content] = field(default_factory=dict)

    def without(self, known: Iterable[str]) -> "View":
        """The same without contents that somebody has already."""
        had = set(known)
        fresh = {name: found for name, found in self.contents.items() if name not in had}
        return replace(self, contents=fresh)
