"""The store in memory: complete, and gone with its process.

Holds everything until it is pruned; the real thing for demos and tests, and for nothing else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

from farhand.domain.agent import Agent, Liveness
from farhand.domain.history import ALL_JOBS, SCANNED, JobFilter, before_all, outline_of, within
from farhand.domain.ids import AgentId, JobId, OrgId, RunId
from farhand.domain.job import Job
from farhand.domain.output import StreamName
from farhand.domain.rollout import Rollout, Standing, counted
from farhand.domain.run import Run, RunState
from farhand.ports import (
    Change,
    Credential,
    D,
    Document,
    Event,
    Outcome,
    Page,
    Prune,
    PruneOutput,
    Record,
    Repeat,
    RunFilter,
)
from farhand.storage.changes import OPEN, Tally, carry_out
from farhand.storage.cursors import cursor_of, listing_of, listing_of_jobs, number_of, place_of
from farhand.storage.documents import body_of, document_of

T = TypeVar("T")


@dataclass(slots=True)
class _RunRow:
    number: int  # in the order of making
    run: Run
    output: dict[StreamName, bytearray] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        return sum(map(len, self.output.values()))

    @property
    def prunable(self) -> bool:
        return self.run.state.final and self.kept > 0


@dataclass(slots=True)
class _JobRow:
    number: int
    job: Job
    tally: Tally
    runs: list[RunId]
    events: list[Event] = field(default_factory=list)

    @property
    def prunable(self) -> bool:
        return self.tally.left == 0 and self.tally.output_bytes > 0

    def told(self) -> Job:
        counts = {state: n for state, n in self.tally.counts.items() if n}
        tally = self.tally
        return replace(
            self.job,
            counts=counts,
            cancel_requested=tally.cancel_requested,
            rolling=tally.rolling,
        )


@dataclass(frozen=True, slots=True)
class _DocumentRow:
    version: int
    due_at: float | None
    body: str

    def told(self, kind: type[D]) -> D:
        return document_of(kind, self.version, self.body)


class _Rows:
    """All rows of one org, in the order they were made. A Ledger."""

    def __init__(self) -> None:
        self.made = 0
        self.open = 0  # runs
        self.jobs: dict[JobId, _JobRow] = {}
        self.runs: dict[RunId, _RunRow] = {}
        self.runs_of: dict[AgentId, dict[RunId, None]] = {}
        self.agents: dict[AgentId, Agent] = {}
        self.repeats: dict[tuple[str, str], tuple[Repeat, JobId]] = {}
        self.records: list[Record] = []
        self.documents: dict[tuple[str, str], _DocumentRow] = {}

    def tally(self, job: JobId) -> Tally | None:
        row = self.jobs.get(job)
        return row.tally if row else None

    def put_tally(self, job: JobId, tally: Tally) -> None:
        self.jobs[job].tally = tally

    def add_job(self, job: Job, runs: Sequence[Run], tally: Tally) -> None:
        self.made += 1
        self.jobs[job.id] = _JobRow(self.made, job, tally, [run.id for run in runs])
        for run in runs:
            self.made += 1
            self.runs[run.id] = _RunRow(self.made, run)
            self.runs_of.setdefault(run.agent, {})[run.id] = None
        self.open += tally.open

    def add_runs(self, job: JobId, runs: Sequence[Run]) -> None:
        for run in runs:
            self.made += 1
            self.runs[run.id] = _RunRow(self.made, run)
            self.runs_of.setdefault(run.agent, {})[run.id] = None
            self.jobs[job].runs.append(run.id)
            self.open += run.state in OPEN

    def repeat(self, by: str, key: str) -> tuple[Repeat, JobId] | None:
        return self.repeats.get((by, key))

    def put_repeat(self, repeat: Repeat, job: JobId) -> None:
        self.repeats[repeat.by, repeat.key] = (repeat, job)

    def run(self, run: RunId) -> Run | None:
        row = self.runs.get(run)
        return row.run if row else None

    def put_run(self, run: Run) -> None:
        row = self.runs[run.id]
        self.open += (run.state in OPEN) - (row.run.state in OPEN)
        row.run = run

    def open_runs(self) -> int:
        return self.open

    def open_runs_of(self, agent: AgentId) -> Sequence[Run]:
        return self._open(self.runs_of.get(agent, ()))

    def open_runs_in(self, job: JobId) -> Sequence[Run]:
        return self._open(self.jobs[job].runs)

    def _open(self, ids: Iterable[RunId]) -> Sequence[Run]:
        return [run for run in (self.runs[id_].run for id_ in ids) if run.state in OPEN]

    def kept(self, run: RunId, stream: StreamName) -> int:
        return len(self.runs[run].output.get(stream, b""))

    def keep(self, run: RunId, stream: StreamName, offset: int, data: bytes) -> None:
        del offset  # it is where the stream ends
        self.runs[run].output.setdefault(stream, bytearray()).extend(data)

    def add_event(self, job: JobId, event: Event) -> None:
        self.jobs[job].events.append(event)

    def epoch(self, agent: AgentId) -> int | None:
        found = self.agents.get(agent)
        return found.epoch if found else None

    def agent(self, agent: AgentId) -> Agent | None:
        return self.agents.get(agent)

    def put_agent(self, agent: Agent) -> None:
        self.agents[agent.id] = agent

    def see_agent(self, agent: AgentId, liveness: Liveness, at: float) -> None:
        found = self.agents[agent]
        seen = max(found.last_seen_at, at)
        self.agents[agent] = replace(found, liveness=liveness, last_seen_at=seen)

    def drop_agent(self, agent: AgentId) -> None:
        self.agents.pop(agent, None)

    def add_record(self, record: Record) -> None:
        self.records.append(record)

    def prune(self, prune: Prune) -> int:
        resting = [
            row
            for row in self.jobs.values()
            if row.job.created_at < prune.before and row.tally.left == 0
        ]
        old = sorted(resting, key=lambda row: row.job.created_at)[: prune.limit]
        for row in old:
            del self.jobs[row.job.id]
            self.documents.pop((Rollout.KIND, row.job.id), None)
            for id_ in row.runs:
                self.runs_of[self.runs.pop(id_).run.agent].pop(id_, None)
        self.repeats = {
            key: (repeat, job)
            for key, (repeat, job) in self.repeats.items()
            if repeat.until >= prune.at and job in self.jobs
        }
        self.records = [record for record in self.records if record.at >= prune.audit_before]
        return len(old)

    def prune_output(self, prune: PruneOutput) -> tuple[int, int]:
        stored = sum(row.tally.output_bytes for row in self.jobs.values())
        excess = 0 if prune.most_bytes is None else stored - prune.most_bytes
        runs = size = 0
        resting = (row for row in self.jobs.values() if row.prunable)
        for job in sorted(resting, key=lambda row: (row.job.created_at, row.number)):
            for row in [self.runs[id_] for id_ in job.runs if self.runs[id_].prunable]:
                old = job.job.created_at < prune.before
                if runs == prune.limit or not (old or size < excess):
                    return runs, size
                job.tally.output_bytes -= row.kept
                runs, size = runs + 1, size + row.kept
                row.output.clear()
                row.run = replace(row.run, output_pruned=True)
        return runs, size

    def document_version(self, kind: type[Document], id_: str) -> int:
        row = self.documents.get((kind.KIND, id_))
        return row.version if row else 0

    def put_document(self, document: Document, version: int) -> None:
        row = _DocumentRow(version, document.due_at, body_of(document))
        self.documents[document.KIND, document.id] = row

    def drop_document(self, kind: type[Document], id_: str) -> None:
        del self.documents[kind.KIND, id_]

    def clamp(self, at: float) -> tuple[int, int]:
        ahead = [agent for agent in self.agents.values() if agent.last_seen_at > at]
        for agent in ahead:
            self.put_agent(replace(agent, last_seen_at=at))
        late = 0
        for job in self.jobs.values():
            until = at + job.job.spec.queue_ttl_s
            for run in (self.runs[id_].run for id_ in job.runs):
                if run.state is RunState.QUEUED and run.queue_until > until:
                    self.put_run(replace(run, queue_until=until))
                    late += 1
        return len(ahead), late

    def on(self, job: JobId, agent: AgentId | None) -> bool:
        """Whether *agent*, if it is one, has a run of *job*."""
        runs = (self.runs[id_].run for id_ in self.jobs[job].runs)
        return agent is None or any(run.agent == agent for run in runs)

    def every_run(self) -> Iterator[Run]:
        return (row.run for row in self.runs.values())

    def chosen(self, which: RunFilter) -> Iterator[_RunRow]:
        """The rows of a list: in order within a job, else newest first."""
        if which.job is not None:
            job = self.jobs.get(which.job)
            rows = iter([self.runs[id_] for id_ in job.runs] if job else [])
        elif which.agent is not None:
            rows = (self.runs[id_] for id_ in reversed(self.runs_of.get(which.agent, {})))
        else:
            rows = reversed(self.runs.values())
        return (
            row
            for row in rows
            if which.agent in {None, row.run.agent}
            and (which.job is None or which.wave in {None, row.run.wave})
            and (which.states is None or row.run.state in which.states)
            and within(row.run.created_at, which.since, which.until)
        )


def _page(listing: str, rows: Iterable[tuple[int, T]], limit: int) -> Page[T]:
    """The first *limit* of numbered *rows*, and the cursor behind them if there are more."""
    found = list(islice(rows, limit + 1))
    more = len(found) > limit
    behind = cursor_of(listing, str(found[limit - 1][0])) if more else None
    return Page([item for _, item in found[:limit]], behind)


class MemoryStore:
    """A Store of one org that lives as long as its process."""

    def __init__(self) -> None:
        self._rows = _Rows()

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        return [carry_out(change, self._rows) for change in changes]

    async def job(self, job: JobId) -> Job | None:
        row = self._rows.jobs.get(job)
        return row.told() if row else None

    async def repeat(self, by: str, key: str) -> tuple[Repeat, JobId] | None:
        found = self._rows.repeat(by, key)
        return found if found is not None and found[1] in self._rows.jobs else None

    async def waiting(self, job: JobId) -> int | None:
        row = self._rows.jobs.get(job)
        return row.tally.left if row else None

    async def jobs(
        self, which: JobFilter = ALL_JOBS, *, cursor: str | None = None, limit: int = 100
    ) -> Page[Job]:
        listing = listing_of_jobs(which)
        before = number_of(listing, cursor) if cursor is not None else self._rows.made + 1
        newest = reversed(self._rows.jobs.values())
        rows = ((row.number, row.told()) for row in newest if row.number < before)
        if which == ALL_JOBS:
            return _page(listing, rows, limit)
        return self._search(listing, rows, which, limit)

    def _search(
        self, listing: str, rows: Iterator[tuple[int, Job]], which: JobFilter, limit: int
    ) -> Page[Job]:
        found: list[Job] = []
        for looked, (number, job) in enumerate(rows, start=1):
            if before_all(job.created_at, which.since):
                break
            if which.takes(outline_of(job)) and self._rows.on(job.id, which.agent):
                found.append(job)
            if len(found) == limit or looked == SCANNED:
                more = next(rows, None) is not None
                return Page(found, cursor_of(listing, str(number)) if more else None)
        return Page(found)

    async def run(self, run: RunId) -> Run | None:
        return self._rows.run(run)

    async def runs(
        self, which: RunFilter, *, cursor: str | None = None, limit: int = 100
    ) -> Page[Run]:
        listing = listing_of(which)
        place = number_of(listing, cursor) if cursor is not None else None
        found = (
            (row.number, row.run)
            for row in self._rows.chosen(which)
            if place is None or (row.number < place if which.job is None else row.number > place)
        )
        return _page(listing, found, limit)

    async def standings(self, job: JobId) -> Sequence[Standing]:
        row = self._rows.jobs.get(job)
        runs = [self._rows.runs[id_].run for id_ in row.runs] if row else []
        return counted((run.wave, run.state, 1, run.retry_of is not None) for run in runs)

    async def agent(self, agent: AgentId) -> Agent | None:
        return self._rows.agents.get(agent)

    async def agents(self, *, cursor: str | None = None, limit: int = 100) -> Page[Agent]:
        after = place_of("agents", cursor) if cursor is not None else ""
        ids = [id_ for id_ in sorted(self._rows.agents) if id_ > after]
        behind = cursor_of("agents", ids[limit - 1]) if len(ids) > limit else None
        return Page([self._rows.agents[id_] for id_ in ids[:limit]], behind)

    async def agents_named(self, name: str) -> Sequence[Agent]:
        agents = self._rows.agents
        return [
            agents[id_]
            for id_ in sorted(agents)
            if name in {agents[id_].name, id_} or (name == agents[id_].ip_mac and name != "-")
        ]

    async def events(self, job: JobId, *, after: int = 0, limit: int = 100) -> Sequence[Event]:
        row = self._rows.jobs.get(job)
        start = max(0, after)
        return row.events[start : start + limit] if row else []

    async def offsets(self, run: RunId) -> Mapping[StreamName, int]:
        row = self._rows.runs.get(run)
        return {name: len(row.output.get(name, b"")) if row else 0 for name in StreamName}

    async def output(self, run: RunId, stream: StreamName, *, offset: int, limit: int) -> bytes:
        row = self._rows.runs.get(run)
        kept = row.output.get(stream, b"") if row else b""
        return bytes(kept[offset : offset + limit])

    async def due(self, now: float, *, limit: int = 500) -> Sequence[Run]:
        late = [
            run
            for run in self._rows.every_run()
            if run.state is RunState.QUEUED and run.queue_until <= now
        ]
        return sorted(late, key=lambda run: run.queue_until)[:limit]

    async def silent(self, since: float, *, limit: int = 500) -> Sequence[Run]:
        found = (run for run in self._rows.every_run() if self._is_silent(run, since))
        return list(islice(found, limit))

    def _is_silent(self, run: Run, since: float) -> bool:
        if run.state not in {RunState.SENT, RunState.RUNNING}:
            return False
        agent = self._rows.agents.get(run.agent)
        return agent is None or (
            agent.liveness is not Liveness.ONLINE and agent.last_seen_at < since
        )

    async def audit(self, *, cursor: str | None = None, limit: int = 100) -> Page[Record]:
        records = self._rows.records
        before = number_of("audit", cursor) if cursor is not None else len(records)
        rows = ((n, records[n]) for n in range(before - 1, -1, -1))
        return _page("audit", rows, limit)

    async def document(self, kind: type[D], id_: str) -> D | None:
        row = self._rows.documents.get((kind.KIND, id_))
        return row.told(kind) if row else None

    async def documents(
        self, kind: type[D], *, cursor: str | None = None, limit: int = 100
    ) -> Page[D]:
        after = "" if cursor is None else place_of(kind.KIND, cursor)
        rows = self._rows.documents
        ids = sorted(id_ for of, id_ in rows if of == kind.KIND and id_ > after)
        behind = cursor_of(kind.KIND, ids[limit - 1]) if len(ids) > limit else None
        return Page([rows[kind.KIND, id_].told(kind) for id_ in ids[:limit]], behind)

    async def documents_due(self, kind: type[D], now: float, *, limit: int = 100) -> Sequence[D]:
        due = [
            (row.due_at, id_, row)
            for (of, id_), row in self._rows.documents.items()
            if of == kind.KIND and row.due_at is not None and row.due_at <= now
        ]
        return [row.told(kind) for _, _, row in sorted(due, key=lambda it: it[:2])[:limit]]


class MemoryControl:
    """A Control that lives as long as its process."""

    def __init__(self) -> None:
        self._credentials: dict[str, Credential] = {}
        self._orgs: dict[str, OrgId] = {}

    async def credential(self, token_hash: str) -> Credential | None:
        return self._credentials.get(token_hash)

    async def add_credential(self, credential: Credential) -> None:
        self._credentials[credential.hash] = credential

    async def has_credential(self, org: OrgId, *, kind: str, subject: str) -> bool:
        wanted = (org, kind, subject)
        return any(
            (found.org, found.kind, found.subject) == wanted for found in self._credentials.values()
        )

    async def remove_credentials(self, org: OrgId, *, kind: str, subject: str) -> None:
        self._credentials = {
            hash_: found
            for hash_, found in self._credentials.items()
            if (found.org, found.kind, found.subject) != (org, kind, subject)
        }

    async def org_named(self, name: str) -> OrgId | None:
        return self._orgs.get(name)

    async def add_org(self, org: OrgId, name: str, at: float) -> None:
        del at  # nobody asks for it here
        self._orgs.setdefault(name, org)
