"""The rows of one SQLite transaction: looked up once, changed in memory, written together.

Begins and ends no transaction. After a rollback a ledger is thrown away.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from farhand.domain.agent import Agent, Liveness
from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.job import Job
from farhand.domain.output import StreamName
from farhand.domain.rollout import Rollout
from farhand.domain.run import Run, RunState
from farhand.ports import Document, Event, Prune, PruneOutput, Record, Repeat
from farhand.storage import statements as sql
from farhand.storage.changes import OPEN, Tally
from farhand.storage.documents import body_of
from farhand.storage.files import OutputFiles
from farhand.storage.known import JobRow, Known, RunRow
from farhand.storage.rows import (
    RUN_COLUMNS,
    Row,
    Values,
    agent_of,
    agent_values,
    counts_of,
    event_values,
    job_values,
    queue_ttl_of,
    record_values,
    run_of,
    run_values,
    tally_of,
    tally_values,
)

_PRUNED_RUNS: Final = 5_000  # of all the jobs of one Prune, when it is more than one job
_JOBS: Final = 100  # read at once when output is pruned


@dataclass(slots=True)
class _Piece:
    """Bytes for one row of output."""

    offset: int
    parts: list[bytes]


class SqlLedger:
    """A Ledger over one transaction. `flush` writes what was put; nothing is read back.

    The first *inline_bytes* of a stream become rows; *files* take the rest at once, for they are
    synced before the commit. *doomed* are the runs whose files go after it. *known* rows are not
    read again.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        files: OutputFiles,
        inline_bytes: int,
        known: Known,
    ) -> None:
        self.doomed: list[str] = []
        self.kept_bytes = 0
        self.moved: Counter[RunState] = Counter()
        self._db = connection
        self._files = files
        self._inline_bytes = inline_bytes
        self._known = known
        self._jobs = known.jobs
        self._moved_jobs: dict[JobId, JobRow] = {}
        self._runs = known.runs
        self._moved_runs: dict[RunId, RunRow] = {}
        self._agents: dict[AgentId, Agent] = {}
        self._moved_agents: dict[AgentId, Agent] = {}
        self._seen: list[Values] = []  # agents
        self._epochs = known.epochs
        self._events: list[Values] = []
        self._pieces: dict[tuple[int, StreamName], _Piece] = {}
        self._records: list[Values] = []
        self._open: int | None = None  # runs of the org, once somebody asked

    def flush(self) -> None:
        """Write all that was put, so that statements see it."""
        write = self._db.executemany
        if self._moved_runs:
            write(sql.SET_RUN, [_run_values(row) for row in self._moved_runs.values()])
            self._moved_runs.clear()
        if self._moved_jobs:
            rows = self._moved_jobs.values()
            write(sql.SET_TALLY, [{"job_n": row.n, **tally_values(row.tally)} for row in rows])
            self._moved_jobs.clear()
        self._flush_seen()
        if self._moved_agents:
            write(sql.PUT_AGENT, [agent_values(agent) for agent in self._moved_agents.values()])
            self._moved_agents.clear()
        if self._events:
            write(sql.ADD_EVENT, self._events)
            self._events.clear()
        if self._pieces:
            write(sql.ADD_OUTPUT, [_piece_values(*item) for item in self._pieces.items()])
            self._pieces.clear()
        if self._records:
            write(sql.ADD_RECORD, self._records)
            self._records.clear()

    def _one(self, statement: str, values: Values) -> Row | None:
        rows = self._db.execute(statement, values).fetchall()
        return rows[0] if rows else None

    # --- jobs

    def _job_row(self, job: JobId) -> JobRow | None:
        row = self._jobs.get(job)
        if row is None:
            found = self._one(sql.TALLY, {"job": job})
            if found is None:
                return None
            row = self._jobs[job] = JobRow(found[0], tally_of(found))
            if row.tally.left == 0:
                self._known.ending.add(job)
        return row

    def tally(self, job: JobId) -> Tally | None:
        row = self._job_row(job)
        return row.tally if row else None

    def put_tally(self, job: JobId, tally: Tally) -> None:
        row = self._jobs[job]
        row.tally = tally
        if tally.left == 0:
            self._known.ending.add(job)
        self._moved_jobs[job] = row

    def add_job(self, job: Job, runs: Sequence[Run], tally: Tally) -> None:
        ((n,),) = self._db.execute(sql.ADD_JOB, job_values(job, tally)).fetchall()
        self._jobs[job.id] = JobRow(n, tally)
        self._db.executemany(sql.ADD_RUN, ({"job_n": n, **run_values(run)} for run in runs))
        found = self._db.execute(sql.RUNS_ADDED, {"job_n": n}).fetchall()
        numbers: dict[RunId, int] = dict(found)
        for run in runs:
            self._runs[run.id] = RunRow(numbers[run.id], run, dict.fromkeys(StreamName, 0))
        self.moved.update(tally.counts)
        if self._open is not None:
            self._open += tally.open

    def add_runs(self, job: JobId, runs: Sequence[Run]) -> None:
        n = self._jobs[job].n
        self._db.executemany(sql.ADD_RUN, ({"job_n": n, **run_values(run)} for run in runs))
        self.moved.update(run.state for run in runs)
        if self._open is not None:
            self._open += sum(run.state in OPEN for run in runs)

    def repeat(self, by: str, key: str) -> tuple[Repeat, JobId] | None:
        found = self._one(sql.REPEAT, {"caller": by, "key": key})
        if found is None:
            return None
        digest, until, job = found
        return Repeat(by=by, key=key, digest=digest, until=until), JobId(job)

    def put_repeat(self, repeat: Repeat, job: JobId) -> None:
        values = {"caller": repeat.by, "key": repeat.key, "digest": repeat.digest}
        n = self._jobs[job].n
        self._db.execute(sql.PUT_REPEAT, {**values, "until": repeat.until, "job_n": n})

    def add_event(self, job: JobId, event: Event) -> None:
        self._events.append(event_values(self._jobs[job].n, event))

    # --- runs

    def _run_row(self, run: RunId) -> RunRow | None:
        row = self._runs.get(run)
        if row is None:
            found = self._one(sql.RUN_ROW, {"run": run})
            if found is None:
                return None
            row = self._runs[run] = _run_row(found)
            if row.run.state.final:
                self._known.ending.add(run)
        return row

    def run(self, run: RunId) -> Run | None:
        row = self._run_row(run)
        return row.run if row else None

    def put_run(self, run: Run) -> None:
        row = self._runs[run.id]
        if run.state is not row.run.state:
            self.moved[run.state] += 1
        if self._open is not None:
            self._open += (run.state in OPEN) - (row.run.state in OPEN)
        row.run = run
        if run.state.final:
            self._known.ending.add(run.id)
        self._moved_runs[run.id] = row

    def open_runs(self) -> int:
        if self._open is None:  # counted once a transaction
            self.flush()
            ((self._open,),) = self._db.execute(sql.COUNT_OPEN_RUNS).fetchall()
        return self._open

    def open_runs_of(self, agent: AgentId) -> Sequence[Run]:
        return self._open_runs(sql.OPEN_RUNS_OF_AGENT, agent)

    def open_runs_in(self, job: JobId) -> Sequence[Run]:
        return self._open_runs(sql.OPEN_RUNS_OF_JOB, job)

    def _open_runs(self, statement: str, owner: str) -> Sequence[Run]:
        self.flush()
        rows = [_run_row(row) for row in self._db.execute(statement, {"owner": owner}).fetchall()]
        self._runs.update((row.run.id, row) for row in rows)
        return [row.run for row in rows]

    def kept(self, run: RunId, stream: StreamName) -> int:
        row = self._run_row(run)
        return row.kept[stream] if row else 0

    def keep(self, run: RunId, stream: StreamName, offset: int, data: bytes) -> None:
        row = self._runs[run]
        inline = data[: max(0, self._inline_bytes - offset)]
        if inline:
            piece = self._pieces.setdefault((row.n, stream), _Piece(offset, []))
            piece.parts.append(inline)
        if len(inline) < len(data):
            rest = memoryview(data)[len(inline) :]
            self._files.write(run, stream, offset + len(inline) - self._inline_bytes, rest)
        row.kept[stream] = offset + len(data)
        self.kept_bytes += len(data)
        if self._known.stored_bytes is not None:
            self._known.stored_bytes += len(data)
        self._moved_runs[run] = row

    # --- agents

    def epoch(self, agent: AgentId) -> int | None:
        if agent not in self._epochs:
            found = self._one(sql.EPOCH, {"agent": agent})
            self._epochs[agent] = found[0] if found else None
        return self._epochs[agent]

    def agent(self, agent: AgentId) -> Agent | None:
        if agent not in self._agents:
            self._flush_seen()
            found = self._one(sql.AGENT, {"agent": agent})
            if found is None:
                return None
            self._agents[agent] = agent_of(found)
        return self._agents[agent]

    def put_agent(self, agent: Agent) -> None:
        self._agents[agent.id] = self._moved_agents[agent.id] = agent
        self._epochs[agent.id] = agent.epoch

    def see_agent(self, agent: AgentId, liveness: Liveness, at: float) -> None:
        """Of an agent that nobody looked at neither facts nor labels are read and written again."""
        if (found := self._agents.get(agent)) is not None:
            seen = max(found.last_seen_at, at)
            self.put_agent(replace(found, liveness=liveness, last_seen_at=seen))
        else:
            self._seen.append({"agent": agent, "liveness": liveness.value, "at": at})

    def _flush_seen(self) -> None:
        if self._seen:
            self._db.executemany(sql.SEE_AGENT, self._seen)
            self._seen.clear()

    def drop_agent(self, agent: AgentId) -> None:
        self._db.execute(sql.DROP_AGENT, {"agent": agent})
        self._agents.pop(agent, None)
        self._moved_agents.pop(agent, None)
        self._epochs[agent] = None

    # --- documents

    def document_version(self, kind: type[Document], id_: str) -> int:
        found = self._one(sql.DOCUMENT_VERSION, {"kind": kind.KIND, "id": id_})
        return int(found[0]) if found else 0

    def put_document(self, document: Document, version: int) -> None:
        values = {"kind": document.KIND, "id": document.id, "version": version}
        values |= {"due_at": document.due_at, "body": body_of(document)}
        self._db.execute(sql.PUT_DOCUMENT, values)

    def drop_document(self, kind: type[Document], id_: str) -> None:
        self._db.execute(sql.DROP_DOCUMENT, {"kind": kind.KIND, "id": id_})

    # --- the rest

    def add_record(self, record: Record) -> None:
        self._records.append(record_values(record))

    def prune(self, prune: Prune) -> int:
        self.flush()
        old = self._db.execute(
            sql.OLD_JOBS, {"before": prune.before, "limit": prune.limit}
        ).fetchall()
        jobs = runs = 0
        for n, counts in old:
            runs += sum(counts_of(counts).values())
            if jobs and runs > _PRUNED_RUNS:
                break  # the next Prune takes it
            self._doom_files(n)
            self._db.execute(sql.DROP_ROLLOUT, {"job_n": n, "kind": Rollout.KIND})
            self._db.execute(sql.DELETE_JOB, {"job_n": n})
            jobs += 1
        self._db.execute(sql.FORGET_REPEATS, {"at": prune.at})
        self._db.execute(sql.FORGET_AUDIT, {"before": prune.audit_before})
        self._known.forget()
        return jobs

    def stored_bytes(self) -> int:
        """How many bytes of output are kept of all runs together."""
        if self._known.stored_bytes is None:
            self.flush()
            ((self._known.stored_bytes,),) = self._db.execute(sql.STORED_BYTES).fetchall()
        return self._known.stored_bytes

    def prune_output(self, prune: PruneOutput) -> tuple[int, int]:
        self.flush()
        stored = self.stored_bytes()
        excess = 0 if prune.most_bytes is None else stored - prune.most_bytes
        runs = size = 0
        for n, made in self._jobs_with_output():
            old, room = made < prune.before, prune.limit - runs
            if room == 0 or not (old or size < excess):
                break
            found = self._db.execute(sql.RUNS_WITH_OUTPUT, {"job_n": n, "limit": room}).fetchall()
            taken = found if old else _enough(found, excess - size)
            freed = self._delete_output(taken)
            values = {"owner": n, "freed": freed, "all": len(taken) == len(found) < room}
            self._db.execute(sql.LESS_OUTPUT, values)
            runs, size = runs + len(taken), size + freed
        self._known.forget()
        self._known.stored_bytes = stored - size
        return runs, size

    def _jobs_with_output(self) -> Iterator[tuple[int, float]]:
        """The number and the time of each resting job that may have output to delete, oldest first.

        Each must be spared, or without output, before the last of a bite is left behind.
        """
        while rows := self._db.execute(sql.JOBS_WITH_OUTPUT, {"limit": _JOBS}).fetchall():
            yield from rows

    def _delete_output(self, rows: Sequence[Row]) -> int:
        """Delete the output of some runs; return how many bytes it was."""
        numbers = [{"run": n} for n, _, _, _ in rows]
        self._db.executemany(sql.DELETE_OUTPUT, numbers)
        self._db.executemany(sql.NO_OUTPUT, numbers)
        self._doom(run for _, run, *kept in rows if max(kept) > self._inline_bytes)
        return sum(stdout + stderr for _, _, stdout, stderr in rows)

    def clamp(self, at: float) -> tuple[int, int]:
        self.flush()
        agents = self._db.execute(sql.CLAMP_AGENTS, {"at": at}).rowcount
        late = 0
        for n, spec in self._db.execute(sql.QUEUED_JOBS, {"until": at}).fetchall():
            values = {"owner": n, "until": at + queue_ttl_of(spec)}
            late += self._db.execute(sql.CLAMP_RUNS, values).rowcount
        self._agents.clear()
        self._known.forget()
        return agents, late

    def _doom_files(self, job_n: int) -> None:
        values = {"job_n": job_n, "inline_bytes": self._inline_bytes}
        self._doom(run for (run,) in self._db.execute(sql.LARGE_RUNS_OF_JOB, values).fetchall())

    def _doom(self, runs: Iterable[str]) -> None:
        """Have the files of these runs deleted behind the commit."""
        found = list(runs)
        self._db.executemany(sql.ADD_DOOMED, [{"run_id": run} for run in found])
        self.doomed.extend(found)


def _enough(rows: Sequence[Row], wanted: int) -> Sequence[Row]:
    """As many rows of RUNS_WITH_OUTPUT, from the first on, as free *wanted* bytes."""
    for place, (_, _, stdout, stderr) in enumerate(rows):
        if wanted <= 0:
            return rows[:place]
        wanted -= stdout + stderr
    return rows


def _run_row(row: Row) -> RunRow:
    n, stdout, stderr = row[len(RUN_COLUMNS) :]
    return RunRow(n, run_of(row), {StreamName.STDOUT: stdout, StreamName.STDERR: stderr})


def _run_values(row: RunRow) -> Values:
    kept = {f"{stream.value}_kept": length for stream, length in row.kept.items()}
    return {**run_values(row.run), **kept, "run_n": row.n}


def _piece_values(where: tuple[int, StreamName], piece: _Piece) -> Values:
    run_n, stream = where
    data = b"".join(piece.parts)
    return {"run_n": run_n, "stream": stream.value, "offset": piece.offset, "data": data}
