"""The answers of a job in groups, as they are now or as they arrive.

Reads the store and wakes on hints, as followers do; a reader that is slow gets fewer views. What it
costs to look grows with distinct outputs, not with hosts. Knows nothing of HTTP.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from farhand.controller.answers import Answers
from farhand.controller.output import POLL_S
from farhand.controller.paging import pages
from farhand.domain.grouping import (
    Cluster,
    Content,
    Failures,
    Group,
    Grouping,
    Shown,
    View,
    clusters,
    digest_of,
    hosts_cut,
    majority_of,
    printed,
)
from farhand.domain.ids import JobId, OrgId, RunId, is_id
from farhand.domain.job import Job
from farhand.domain.limits import Limits
from farhand.domain.nodeset import fold
from farhand.domain.normalise import Normaliser
from farhand.domain.output import StreamName
from farhand.domain.progress import Pace, Progress, progress
from farhand.domain.rollout import Rollout
from farhand.domain.run import Run, RunState
from farhand.errors import OverShare, UnknownJob
from farhand.ports import Bus, Clock, Hint, RunFilter, Store

SHOWN: Final = 20  # groups, where nobody asks for more or fewer
EVERY_S: Final = 0.2  # between two views at least
REST: Final = 5  # times what a view took: a fifth of one processor at most
CATCH_UP_S: Final = 1.0  # then a view is due, even if more has happened meanwhile
LINES_READ: Final = 1_000  # of stderr, for one view
DIFFS_S: Final = 2.0  # for the diffs of one view; the others are told without

_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How somebody wants to read: outputs compared without *normalise*, *limit* groups in full."""

    normalise: frozenset[Normaliser] = frozenset()
    diff: bool = False
    limit: int = SHOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A job at one moment. When it is *over*, nothing follows; *rollout* while it is rolling."""

    job: Job
    progress: Progress
    view: View
    over: bool
    rollout: Rollout | None = None


class Groups:
    """Everyone who reads jobs of one org in groups: *count* of them now."""

    def __init__(self, org: OrgId, store: Store, bus: Bus, clock: Clock, limits: Limits) -> None:
        self._org = org
        self._store = store
        self._bus = bus
        self._clock = clock
        self._limits = limits
        self.count = 0

    async def look(self, job: JobId, asked: Asked) -> Sight:
        """Return the groups of a job now. Raises UnknownJob, OverShare."""
        with self._seat():
            desk = await self._desk(job, asked)
            return await desk.sight(await self._found(job))

    async def watch(self, job: JobId, asked: Asked) -> AsyncGenerator[Sight, None]:
        """Yield the groups of a job now, and again as they change, until nobody waits for a run.

        The last is over. Raises UnknownJob, OverShare.
        """
        with self._seat():
            wake = asyncio.Event()
            stop = self._bus.subscribe(Hint(self._org, "job", job), wake.set)
            try:
                await self._found(job)
                seen = await self._last_event(job)
                desk = await self._desk(job, asked)
                told_at = -POLL_S
                while True:
                    wake.clear()
                    found = await self._found(job)
                    began = self._clock.now()
                    seen, behind = await desk.catch_up(seen)
                    over = not found.open and not behind
                    if over or desk.changed or began - told_at >= POLL_S:
                        sight = await desk.sight(found, over=over)
                        told_at = self._clock.now()
                        yield sight
                    if over:
                        return
                    await asyncio.sleep(max(EVERY_S, REST * (told_at - began)))
                    if not behind:
                        with suppress(TimeoutError):
                            async with asyncio.timeout(POLL_S):  # hints may be lost
                                await wake.wait()
            finally:
                stop()

    @contextmanager
    def _seat(self) -> Iterator[None]:
        if self.count >= (most := self._limits.groupings):
            msg = f"{most} readers look at groups, which is the org's share; ask again"
            raise OverShare(msg, bound="groupings", limit=most)
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1

    async def _found(self, job: JobId) -> Job:
        found = await self._store.job(job) if is_id("job", job) else None
        if found is None:
            raise UnknownJob(f"there is no job {job}")
        return found

    async def _desk(self, job: JobId, asked: Asked) -> "_Desk":
        """All runs of a job, as they are now."""
        found = await self._found(job)
        desk = _Desk(found, asked, self._store, self._clock, self._limits)
        which = RunFilter(job=job)
        async for page in pages(lambda at: self._store.runs(which, cursor=at, limit=_PAGE)):
            for run in page:
                await desk.take(run)
        return desk

    async def _last_event(self, job: JobId) -> int:
        """The number of the job's newest event, found by halving: they are numbered without holes.

        What a long job printed makes events by the thousand, which nobody wants to read again.
        """
        low, high = 0, 1
        while await self._store.events(job, after=high - 1, limit=1):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            if await self._store.events(job, after=middle - 1, limit=1):
                low = middle
            else:
                high = middle
        return low


class _Desk:
    """What one reader has in front of them: every run's place, and what is shown of it."""

    def __init__(self, job: Job, asked: Asked, store: Store, clock: Clock, limits: Limits) -> None:
        self.changed = True
        self._job = job.id
        self._asked = asked
        self._store = store
        self._clock = clock
        self._answers = Answers(store, limits, asked.normalise, shown=asked.limit)
        self._grouping = Grouping()
        self._pace = Pace(job.created_at)
        self._states: dict[RunId, RunState] = {}
        self._tried_again: set[RunId] = set()  # runs whose agent got another, which counts
        self._cards: dict[RunId, _Card] = {}  # of the groups that are shown, by example
        self._diffs: dict[tuple[RunId, RunId], Mapping[StreamName, Sequence[str]]] = {}

    async def take(self, run: Run) -> None:
        """Put a run where it belongs now."""
        if run.retry_of is not None and run.retry_of not in self._tried_again:
            self._tried_again.add(run.retry_of)
            self._states.pop(run.retry_of, None)
            self._grouping.place(run.retry_of, "", None)
        if run.id in self._tried_again:
            return
        before = self._states.get(run.id)
        self._states[run.id] = run.state
        if before is run.state:
            return
        self.changed = True
        self._grouping.place(run.id, run.agent_name, await self._answers.answer(run))
        if run.state.resting and run.ended_at is not None:
            self._pace.ended(run.ended_at)

    async def catch_up(self, seen: int) -> tuple[int, bool]:
        """Take what happened after event *seen*; return the last one, and whether there is more."""
        until = self._clock.now() + CATCH_UP_S
        while events := await self._store.events(self._job, after=seen, limit=_PAGE):
            for event in events:
                if event.run is not None:
                    await self.take(event.run)
            seen = events[-1].seq
            if self._clock.now() > until:
                return seen, True
        return seen, False

    async def sight(self, job: Job, *, over: bool | None = None) -> Sight:
        """Return what there is to see, as *job* was found."""
        self.changed = False
        view = await self._view()
        ended = not job.open if over is None else over
        rollout = await self._store.document(Rollout, job.id) if job.rolling else None
        done = self._progress(job)
        return Sight(job=job, progress=done, view=view, over=ended, rollout=rollout)

    def _progress(self, job: Job) -> Progress:
        counts = Counter(self._states.values())
        unseen = sum(job.counts.values()) - len(self._states) - len(self._tried_again)
        counts[RunState.QUEUED] += max(0, unseen)
        now = self._clock.wall()
        return progress(counts, self._pace, now)

    async def _view(self) -> View:
        groups = self._grouping.ordered()
        shown, rest = groups[: self._asked.limit], groups[self._asked.limit :]
        majority = majority_of(groups)
        cards = [await self._card(group) for group in shown]
        first = cards[shown.index(majority)] if majority in shown else None
        diffs = await self._differences(cards, first) if self._asked.diff else {}
        self._cards = {card.run.id: card for card in cards}
        self._diffs = {pair: diff for pair, diff in self._diffs.items() if pair[1] in self._cards}
        failures, more_failures = await self._failures(groups)
        return View(
            groups=[card.shown(card is first, diffs.get(card.run.id)) for card in cards],
            more_groups=len(rest),
            more_runs=sum(len(group.members) for group in rest),
            failures=failures,
            more_failures=more_failures,
            contents={name: found for card in cards for name, found in card.contents.values()},
        )

    async def _card(self, group: Group) -> "_Card":
        """What is shown of a group; read anew only if its example is another."""
        example = group.example
        card = self._cards.get(example)
        if card is None or card.group is not group:
            run = await self._store.run(example)
            if run is None:
                raise UnknownJob(f"the job {self._job} was deleted")
            contents = {}
            for stream in StreamName:
                if (found := await self._answers.content(run, stream)) is not None:
                    contents[stream] = _name(run, stream, found), found
            card = _Card(group, run, contents)
        await card.fold()
        return card

    async def _differences(
        self, cards: Sequence["_Card"], first: "_Card | None"
    ) -> Mapping[RunId, Mapping[StreamName, Sequence[str]]]:
        """The diffs of groups to the majority's, by example."""
        if first is None:
            return {}
        until = self._clock.now() + DIFFS_S
        found: dict[RunId, Mapping[StreamName, Sequence[str]]] = {}
        for card in cards:
            if card is first or not card.group.answered:
                continue
            if first.run.output_pruned or card.run.output_pruned:
                continue  # there is nothing to compare
            pair = first.run.id, card.run.id
            if pair not in self._diffs and self._clock.now() < until:
                self._diffs[pair] = await self._difference(first, card)
            if pair in self._diffs:
                found[card.run.id] = self._diffs[pair]
        return found

    async def _difference(
        self, first: "_Card", card: "_Card"
    ) -> Mapping[StreamName, Sequence[str]]:
        found: dict[StreamName, Sequence[str]] = {}
        hosts = first.run.agent_name, card.run.agent_name
        for stream in StreamName:
            (_, before), (_, after) = first.content(stream), card.content(stream)
            lines = await self._answers.diff(before, after, hosts=hosts)
            if lines is not None:
                found[stream] = lines
        return found

    async def _failures(self, groups: Sequence[Group]) -> tuple[Sequence[Failures], int]:
        """The first clusters of failures, and how many there are beside."""
        left = LINES_READ
        for group in groups:
            if left and group.answer.cause.failed and self._answers.line_known(group) is None:
                await self._answers.read_line(group)
                left -= 1
        found = clusters(groups, self._answers.line_known)
        shown = found[: self._asked.limit]
        return [await _told(cluster) for cluster in shown], len(found) - len(shown)


async def _folded(members: Mapping[RunId, str]) -> tuple[str, bool]:
    """The hosts of *members* in short, and whether that was cut; ten thousand take their time."""
    if len(members) == 1:
        return hosts_cut(*members.values())
    return hosts_cut(await asyncio.to_thread(fold, list(members.values())))


async def _told(cluster: Cluster) -> Failures:
    hosts, was_cut = await _folded(cluster.members)
    return Failures(
        cause=cluster.cause,
        last_line=cluster.last_line,
        count=len(cluster.members),
        hosts=hosts,
        hosts_cut=was_cut,
    )


def _name(run: Run, stream: StreamName, content: Content) -> str:
    """What a content is called: the same for the same bytes."""
    digest = digest_of(printed(run, stream)) or f"{run.id}.{stream.value}"
    return f"{digest[:16]}{digest[64:81]}.{content.kept}"


class _Card:
    """One group that is shown: its example, what that printed, and its hosts in short."""

    __slots__ = ("_changes", "_folded", "contents", "group", "run")

    def __init__(
        self, group: Group, run: Run, contents: Mapping[StreamName, tuple[str, Content]]
    ) -> None:
        self.group = group
        self.run = run
        self.contents = contents
        self._changes = -1
        self._folded = "", False

    def content(self, stream: StreamName) -> tuple[str | None, Content | None]:
        """What the example printed there, and its name."""
        return self.contents.get(stream, (None, None))

    async def fold(self) -> None:
        """Write the hosts anew if there are others."""
        if self._changes != self.group.changes:
            self._changes = self.group.changes
            self._folded = await _folded(self.group.members)

    def shown(
        self,
        majority: bool,  # noqa: FBT001  # one of two kinds of group
        diff: Mapping[StreamName, Sequence[str]] | None,
    ) -> Shown:
        """Return it as others see it."""
        hosts, was_cut = self._folded
        return Shown(
            answer=self.group.answer,
            count=len(self.group.members),
            hosts=hosts,
            hosts_cut=was_cut,
            example=self.run.id,
            agent=self.run.agent_name,
            message=self.run.message,
            majority=majority,
            stdout=self.content(StreamName.STDOUT)[0],
            stderr=self.content(StreamName.STDERR)[0],
            output_pruned=self.run.output_pruned,
            diff=diff,
        )
