"""Every statement of an org's database, by name: written with Core, compiled once.

Runs nothing. Compiled for SQLite, with named parameters: `:run` is bound as `{"run": …}`.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    ColumnElement,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import sqlite

from farhand.storage.changes import FINAL, OPEN
from farhand.storage.rows import (
    AGENT_COLUMNS,
    EVENT_COLUMNS,
    JOB_COLUMNS,
    OUTLINE_COLUMNS,
    RECORD_COLUMNS,
    RUN_COLUMNS,
    TALLY_COLUMNS,
)
from farhand.storage.tables import (
    agents,
    audit,
    documents,
    doomed,
    events,
    jobs,
    meta,
    output,
    repeats,
    runs,
)

_SQLITE: Final = sqlite.dialect(paramstyle="named")


def compiled(statement: ClauseElement, columns: Iterable[str] | None = None) -> str:
    """Return the SQL of *statement*; *columns* are those an insert or update gets values for."""
    return str(statement.compile(dialect=_SQLITE, column_keys=columns and list(columns)))


def _columns(table: Table, *names: str) -> list[ColumnElement[object]]:
    return [table.c[name] for name in names]


def _insert(table: Table, *, without: tuple[str, ...] = ()) -> str:
    return compiled(insert(table), [c.name for c in table.c if c.name not in {"n", *without}])


_literal = literal_column
_NONE: ColumnElement[int] = literal_column("0")  # a limit that is bound drags an offset along
_limit: BindParameter[int] = bindparam("limit")

# --- what a change looks at and writes ------------------------------------------------------

META: Final = compiled(select(meta.c.key, meta.c.value))
ADD_META: Final = _insert(meta)

TALLY: Final = compiled(
    select(*_columns(jobs, *TALLY_COLUMNS)).where(jobs.c.id == bindparam("job"))
)
SET_TALLY: Final = compiled(
    update(jobs).where(jobs.c.n == bindparam("job_n")),
    [
        *("cancel_requested", "counts", "open_runs", "last_seq", "rolling"),
        *("output_bytes", "spared"),
    ],
)
ADD_JOB: Final = compiled(
    insert(jobs).returning(jobs.c.n), [c.name for c in jobs.c if c.name != "n"]
)
ADD_RUN: Final = _insert(runs, without=("stdout_kept", "stderr_kept"))
RUNS_ADDED: Final = compiled(select(runs.c.id, runs.c.n).where(runs.c.job_n == bindparam("job_n")))

_RUN_ROW = _columns(runs, *RUN_COLUMNS, "n", "stdout_kept", "stderr_kept")
_RUN_MOVES = (
    *("state", "why", "message", "exit_code", "signal", "pid", "cancel_requested", "queue_until"),
    *("sent_at", "started_at", "ended_at", "duration_s", "usage", "streams"),
    *("stdout_kept", "stderr_kept"),
)
RUN_ROW: Final = compiled(select(*_RUN_ROW).where(runs.c.id == bindparam("run")))
SET_RUN: Final = compiled(update(runs).where(runs.c.n == bindparam("run_n")), _RUN_MOVES)
OWNERS_OF_RUN: Final = compiled(
    select(runs.c.agent_id, runs.c.job_id).where(runs.c.id == bindparam("run"))
)


_IS_OPEN: Final = runs.c.state.in_([_literal(f"'{state}'") for state in sorted(OPEN)])


def _open_runs(condition: ColumnElement[bool]) -> str:
    return compiled(select(*_RUN_ROW).where(condition, _IS_OPEN).order_by(runs.c.n))


COUNT_OPEN_RUNS: Final = compiled(select(func.count()).select_from(runs).where(_IS_OPEN))
OPEN_RUNS_OF_AGENT: Final = _open_runs(runs.c.agent_id == bindparam("owner"))
OPEN_RUNS_OF_JOB: Final = _open_runs(
    runs.c.job_n == select(jobs.c.n).where(jobs.c.id == bindparam("owner")).scalar_subquery()
)

ADD_EVENT: Final = _insert(events)
ADD_OUTPUT: Final = _insert(output)

REPEAT: Final = compiled(
    select(repeats.c.digest, repeats.c.until, jobs.c.id)
    .join(jobs, jobs.c.n == repeats.c.job_n)
    .where(repeats.c.caller == bindparam("caller"), repeats.c.key == bindparam("key"))
)
_repeat = sqlite.insert(repeats)
PUT_REPEAT: Final = compiled(
    _repeat.on_conflict_do_update(
        index_elements=["caller", "key"],
        set_={name: _repeat.excluded[name] for name in ("digest", "until", "job_n")},
    ),
    [c.name for c in repeats.c],
)

EPOCH: Final = compiled(select(agents.c.epoch).where(agents.c.id == bindparam("agent")))
_agent = sqlite.insert(agents)
PUT_AGENT: Final = compiled(
    _agent.on_conflict_do_update(
        index_elements=["id"],
        set_={c.name: _agent.excluded[c.name] for c in agents.c if c.name != "id"},
    ),
    [c.name for c in agents.c],
)
SEE_AGENT: Final = compiled(
    update(agents)
    .where(agents.c.id == bindparam("agent"))
    .values(
        liveness=bindparam("liveness"),
        last_seen_at=func.max(agents.c.last_seen_at, bindparam("at")),
    )
)
DROP_AGENT: Final = compiled(delete(agents).where(agents.c.id == bindparam("agent")))

ADD_RECORD: Final = _insert(audit)

_this_document = and_(documents.c.kind == bindparam("kind"), documents.c.id == bindparam("id"))
DOCUMENT_VERSION: Final = compiled(select(documents.c.version).where(_this_document))
_document = sqlite.insert(documents)
PUT_DOCUMENT: Final = compiled(
    _document.on_conflict_do_update(
        index_elements=["kind", "id"],
        set_={name: _document.excluded[name] for name in ("version", "due_at", "body")},
    ),
    [c.name for c in documents.c],
)
DROP_ROLLOUT: Final = compiled(
    delete(documents).where(
        documents.c.kind == bindparam("kind"),
        documents.c.id == select(jobs.c.id).where(jobs.c.n == bindparam("job_n")).scalar_subquery(),
    )
)
DROP_DOCUMENT: Final = compiled(delete(documents).where(_this_document))

# --- times in the future --------------------------------------------------------------------

_QUEUED_BEHIND = and_(_literal("state = 'queued'"), runs.c.queue_until > bindparam("until"))
CLAMP_AGENTS: Final = compiled(
    update(agents)
    .where(agents.c.last_seen_at > bindparam("at"))
    .values(last_seen_at=bindparam("at"))
)
QUEUED_JOBS: Final = compiled(
    select(jobs.c.n, jobs.c.spec).where(
        jobs.c.n.in_(select(runs.c.job_n).where(_QUEUED_BEHIND).distinct())
    )
)
CLAMP_RUNS: Final = compiled(
    update(runs)
    .where(_QUEUED_BEHIND, runs.c.job_n == bindparam("owner"))
    .values(queue_until=bindparam("until"))
)

# --- pruning --------------------------------------------------------------------------------

OLD_JOBS: Final = compiled(
    select(jobs.c.n, jobs.c.counts)
    .where(_literal("open_runs") == _literal("0"), jobs.c.created_at < bindparam("before"))
    .order_by(jobs.c.created_at, jobs.c.n)
    .limit(_limit)
    .offset(_NONE)
)
LARGE_RUNS_OF_JOB: Final = compiled(
    select(runs.c.id).where(
        runs.c.job_n == bindparam("job_n"),
        or_(
            runs.c.stdout_kept > bindparam("inline_bytes"),
            runs.c.stderr_kept > bindparam("inline_bytes"),
        ),
    )
)
ADD_DOOMED: Final = compiled(insert(doomed).prefix_with("OR IGNORE"), ["run_id"])
ALL_DOOMED: Final = compiled(select(doomed.c.run_id))
FORGET_DOOMED: Final = compiled(delete(doomed).where(doomed.c.run_id == bindparam("run")))
DELETE_JOB: Final = compiled(delete(jobs).where(jobs.c.n == bindparam("job_n")))
_STORED: ColumnElement[bool] = _literal(
    "open_runs = 0 AND output_bytes > 0"
)  # as its index says it
STORED_BYTES: Final = (  # Core cannot name an index, and SQLite takes one that lacks the number
    "SELECT coalesce((SELECT sum(output_bytes) FROM jobs INDEXED BY ix_jobs_output"
    " WHERE open_runs = 0 AND output_bytes > 0), 0)"
    " + coalesce((SELECT sum(output_bytes) FROM jobs INDEXED BY ix_jobs_open"
    " WHERE open_runs > 0), 0)"
)
JOBS_WITH_OUTPUT: Final = compiled(
    select(jobs.c.n, jobs.c.created_at)
    .where(_STORED, _literal("spared") == _literal("0"))
    .order_by(jobs.c.created_at, jobs.c.n)
    .limit(_limit)
    .offset(_NONE)
)
RUNS_WITH_OUTPUT: Final = compiled(
    select(runs.c.n, runs.c.id, runs.c.stdout_kept, runs.c.stderr_kept)
    .where(
        runs.c.job_n == bindparam("job_n"),
        runs.c.state.in_([_literal(f"'{state}'") for state in sorted(FINAL)]),
        or_(_literal("stdout_kept > 0"), _literal("stderr_kept > 0")),
    )
    .order_by(runs.c.n)
    .limit(_limit)
    .offset(_NONE)
)
DELETE_OUTPUT: Final = compiled(delete(output).where(output.c.run_n == bindparam("run")))
NO_OUTPUT: Final = compiled(
    update(runs)
    .where(runs.c.n == bindparam("run"))
    .values(output_pruned=_literal("1"), stdout_kept=_literal("0"), stderr_kept=_literal("0"))
)
LESS_OUTPUT: Final = compiled(
    update(jobs)
    .where(jobs.c.n == bindparam("owner"))
    .values(output_bytes=jobs.c.output_bytes - bindparam("freed"), spared=bindparam("all"))
)
FORGET_REPEATS: Final = compiled(delete(repeats).where(repeats.c.until < bindparam("at")))
FORGET_AUDIT: Final = compiled(delete(audit).where(audit.c.at < bindparam("before")))

# --- what is read ---------------------------------------------------------------------------

_behind: BindParameter[object] = bindparam("place")
_RUN = select(*_columns(runs, *RUN_COLUMNS, "n"))

WAITING: Final = compiled(select(jobs.c.open_runs).where(jobs.c.id == bindparam("job")))
JOB: Final = compiled(select(*_columns(jobs, *JOB_COLUMNS)).where(jobs.c.id == bindparam("job")))
JOBS: Final = compiled(
    select(*_columns(jobs, *JOB_COLUMNS, "n"))
    .where(jobs.c.n < _behind)
    .order_by(jobs.c.n.desc())
    .limit(_limit)
    .offset(_NONE)
)
_OUTLINE = select(jobs.c.n, func.length(jobs.c.stdin), *_columns(jobs, *OUTLINE_COLUMNS))
OUTLINES: Final = compiled(
    _OUTLINE.where(jobs.c.n < _behind).order_by(jobs.c.n.desc()).limit(_limit).offset(_NONE)
)
OUTLINES_OF_SCHEDULE: Final = compiled(
    _OUTLINE.where(
        _literal("schedule IS NOT NULL"),
        jobs.c.schedule == bindparam("schedule"),
        jobs.c.n < _behind,
    )
    .order_by(jobs.c.n.desc())
    .limit(_limit)
    .offset(_NONE)
)
FIRST_RUNS_IN_STATE: Final = compiled(  # each of another job: only retries come again
    select(runs.c.job_n, runs.c.n)
    .where(
        runs.c.agent_id == bindparam("agent"),
        runs.c.state == bindparam("state"),
        runs.c.n < _behind,
        runs.c.retry_of.is_(None),
    )
    .order_by(runs.c.n.desc())
    .limit(_limit)
    .offset(_NONE)
)
OUTLINE: Final = compiled(_OUTLINE.where(jobs.c.n == bindparam("n")))
JOB_NUMBERED: Final = compiled(
    select(*_columns(jobs, *JOB_COLUMNS)).where(jobs.c.n == bindparam("n"))
)
RUN: Final = compiled(_RUN.where(runs.c.id == bindparam("run")))


def _newest(*conditions: ColumnElement[bool]) -> str:
    chosen = _RUN.where(runs.c.n < _behind, *conditions)
    return compiled(chosen.order_by(runs.c.n.desc()).limit(_limit).offset(_NONE))


RUNS: Final = _newest()
RUNS_IN_STATE: Final = _newest(runs.c.state == bindparam("state"))
RUNS_OF_AGENT_IN_STATE: Final = _newest(
    runs.c.agent_id == bindparam("agent"), runs.c.state == bindparam("state")
)
RUNS_OF_JOB: Final = compiled(
    _RUN.where(
        runs.c.job_n == select(jobs.c.n).where(jobs.c.id == bindparam("job")).scalar_subquery(),
        runs.c.n > _behind,
        or_(bindparam("agent").is_(None), runs.c.agent_id == bindparam("agent")),
        or_(bindparam("wave").is_(None), runs.c.wave == bindparam("wave")),
        or_(
            bindparam("states").is_(None),
            runs.c.state.in_(
                select(func.json_each(bindparam("states")).table_valued("value").c.value)
            ),
        ),
    )
    .order_by(runs.c.n)
    .limit(_limit)
    .offset(_NONE)
)
STANDINGS: Final = compiled(
    select(runs.c.wave, runs.c.state, func.count(), func.count(runs.c.retry_of))
    .where(runs.c.job_n == select(jobs.c.n).where(jobs.c.id == bindparam("job")).scalar_subquery())
    .group_by(runs.c.wave, runs.c.state)
    .order_by(runs.c.wave)
)
DUE: Final = compiled(
    _RUN.where(_literal("state = 'queued'"), runs.c.queue_until <= bindparam("now"))
    .order_by(runs.c.queue_until, runs.c.n)
    .limit(_limit)
    .offset(_NONE)
)
SILENT: Final = compiled(
    _RUN.outerjoin(agents, agents.c.id == runs.c.agent_id)
    .where(
        runs.c.state.in_([_literal("'sent'"), _literal("'running'")]),
        or_(
            agents.c.id.is_(None),
            and_(
                agents.c.liveness != _literal("'online'"),
                agents.c.last_seen_at < bindparam("since"),
            ),
        ),
    )
    .order_by(runs.c.n)
    .limit(_limit)
    .offset(_NONE)
)

_AGENT = select(*_columns(agents, *AGENT_COLUMNS))
AGENT: Final = compiled(_AGENT.where(agents.c.id == bindparam("agent")))
AGENTS: Final = compiled(
    _AGENT.where(agents.c.id > _behind).order_by(agents.c.id).limit(_limit).offset(_NONE)
)
AGENTS_NAMED: Final = compiled(
    _AGENT.where(
        or_(
            agents.c.id == bindparam("name"),
            agents.c.name == bindparam("name"),
            and_(agents.c.ip_mac == bindparam("name"), agents.c.ip_mac != _literal("'-'")),
        )
    ).order_by(agents.c.id)
)

EVENTS: Final = compiled(
    select(*_columns(events, *EVENT_COLUMNS))
    .where(
        events.c.job_n == select(jobs.c.n).where(jobs.c.id == bindparam("job")).scalar_subquery(),
        events.c.seq > bindparam("after"),
    )
    .order_by(events.c.seq)
    .limit(_limit)
    .offset(_NONE)
)
KEPT: Final = compiled(
    select(runs.c.n, runs.c.stdout_kept, runs.c.stderr_kept).where(runs.c.id == bindparam("run"))
)
OUTPUT: Final = compiled(
    select(output.c.offset, output.c.data)
    .where(
        output.c.run_n == bindparam("run_n"),
        output.c.stream == bindparam("stream"),
        output.c.offset < bindparam("end"),
        output.c.offset + func.length(output.c.data) > bindparam("begin"),
    )
    .order_by(output.c.offset)
)
AUDIT: Final = compiled(
    select(*_columns(audit, *RECORD_COLUMNS, "n"))
    .where(audit.c.n < _behind)
    .order_by(audit.c.n.desc())
    .limit(_limit)
    .offset(_NONE)
)

_DOCUMENT = select(documents.c.version, documents.c.body, documents.c.id)
DOCUMENT: Final = compiled(_DOCUMENT.where(_this_document))
DOCUMENTS: Final = compiled(
    _DOCUMENT.where(documents.c.kind == bindparam("kind"), documents.c.id > _behind)
    .order_by(documents.c.id)
    .limit(_limit)
    .offset(_NONE)
)
DUE_DOCUMENTS: Final = compiled(
    _DOCUMENT.where(
        documents.c.kind == bindparam("kind"),
        _literal("due_at IS NOT NULL"),
        documents.c.due_at <= bindparam("now"),
    )
    .order_by(documents.c.due_at, documents.c.id)
    .limit(_limit)
    .offset(_NONE)
)
