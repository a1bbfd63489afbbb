"""Domain values to rows and back: which column is which field, and what a row's JSON holds.

Nothing outside storage/ sees a row. What JSON does not name has its default, so that a field can
be added without a migration.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_core import to_json

from farhand.domain.agent import Agent, Identity, Liveness
from farhand.domain.history import SEARCHED_CHARS, Outline
from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.job import (
    Argv,
    CommandCall,
    Job,
    JobSpec,
    NamespaceKind,
    NamespacesOf,
    Script,
    command_line,
)
from farhand.domain.limits import DEFAULTS
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import Run, RunState, Usage, Why
from farhand.ports import Event, Record
from farhand.storage.changes import Tally

Row = Sequence[Any]
Values = dict[str, Any]


def _dumps(told: object) -> str:
    return to_json(told).decode()


# --- runs ---------------------------------------------------------------------------------

RUN_COLUMNS: Final = (
    *("id", "job_id", "agent_id", "agent_name", "state", "why", "message", "exit_code"),
    *("signal", "pid", "cancel_requested", "created_at", "queue_until", "timeout_s"),
    *("sent_at", "started_at", "ended_at", "duration_s", "usage", "streams", "wave", "retry_of"),
    "output_pruned",
)


def run_values(run: Run) -> Values:
    """The columns of a run that are fields of it."""
    return {
        "id": run.id,
        "job_id": run.job,
        "agent_id": run.agent,
        "agent_name": run.agent_name,
        "state": run.state.value,
        "why": None if run.why is None else run.why.value,
        "message": run.message,
        "exit_code": run.exit_code,
        "signal": run.signal,
        "pid": run.pid,
        "cancel_requested": run.cancel_requested,
        "created_at": run.created_at,
        "queue_until": run.queue_until,
        "timeout_s": run.timeout_s,
        "sent_at": run.sent_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "duration_s": run.duration_s,
        "usage": None if run.usage is None else _dumps(_usage_told(run.usage)),
        "streams": _dumps(_streams_told(run.streams)) if run.streams else None,
        "wave": run.wave,
        "retry_of": run.retry_of,
        "output_pruned": run.output_pruned,
    }


def run_of(row: Row) -> Run:
    """A run from the values of RUN_COLUMNS; more columns may follow them."""
    usage, streams = row[18], row[19]
    return Run(
        id=row[0],
        job=row[1],
        agent=row[2],
        agent_name=row[3],
        state=RunState(row[4]),
        why=None if row[5] is None else Why(row[5]),
        message=row[6],
        exit_code=row[7],
        signal=row[8],
        pid=row[9],
        cancel_requested=bool(row[10]),
        created_at=row[11],
        queue_until=row[12],
        timeout_s=row[13],
        sent_at=row[14],
        started_at=row[15],
        ended_at=row[16],
        duration_s=row[17],
        usage=None if usage is None else Usage(**json.loads(usage)),
        streams={} if streams is None else _streams_of(json.loads(streams)),
        wave=row[20] or 0,  # an event of an older version does not tell it
        retry_of=row[21],
        output_pruned=bool(row[22]),
    )


def _usage_told(usage: Usage) -> Values:
    return {
        "user_s": usage.user_s,
        "system_s": usage.system_s,
        "max_rss_bytes": usage.max_rss_bytes,
    }


def _streams_told(streams: Mapping[StreamName, StreamEnd]) -> Values:
    return {
        name.value: {
            "total": end.total,
            "kept": end.kept,
            "cut_at": end.cut_at,
            "cut_bytes": end.cut_bytes,
            "sha256_kept": end.sha256_kept,
            "sha256_all": end.sha256_all,
        }
        for name, end in streams.items()
    }


def _streams_of(told: Mapping[str, Mapping[str, Any]]) -> dict[StreamName, StreamEnd]:
    return {StreamName(name): StreamEnd(**end) for name, end in told.items()}


def run_text(run: Run) -> str:
    """The run as it is now, for an event."""
    told = run_values(run).items()
    return _dumps({name: value for name, value in told if value is not None and value is not False})


def _run_of_text(text: str) -> Run:
    told = json.loads(text)
    return run_of([told.get(name) for name in RUN_COLUMNS])


# --- events -------------------------------------------------------------------------------

EVENT_COLUMNS: Final = ("seq", "kind", "at", "run_id", "run", "stream", "offset", "length")


def event_values(job_n: int, event: Event) -> Values:
    """The columns of an event."""
    return {
        "job_n": job_n,
        "seq": event.seq,
        "kind": event.kind,
        "at": event.at,
        "run_id": event.run_id,
        "run": None if event.run is None else run_text(event.run),
        "stream": None if event.stream is None else event.stream.value,
        "offset": event.offset,
        "length": event.length,
    }


def event_of(row: Row) -> Event:
    """An event from the values of EVENT_COLUMNS."""
    seq, kind, at, run_id, run, stream, offset, length = row
    return Event(
        seq=seq,
        kind=kind,
        at=at,
        run_id=None if run_id is None else RunId(run_id),
        run=None if run is None else _run_of_text(run),
        stream=None if stream is None else StreamName(stream),
        offset=offset,
        length=length,
    )


# --- jobs ---------------------------------------------------------------------------------

JOB_COLUMNS: Final = (
    *("id", "spec", "stdin", "targets", "caller", "created_at", "cancel_requested", "counts"),
    *("rolling", "rerun_of", "schedule"),
)
TALLY_COLUMNS: Final = (
    *("n", "counts", "last_seq", "cancel_requested", "rolling", "output_bytes", "spared"),
)
OUTLINE_COLUMNS: Final = (
    *("caller", "targets", "what", "created_at", "open_runs", "counts", "schedule", "rerun_of"),
)


def job_values(job: Job, tally: Tally) -> Values:
    """The columns of a new job."""
    return {
        "id": job.id,
        "spec": _dumps(_spec_told(job.spec)),
        "stdin": job.spec.stdin,
        "targets": job.targets,
        "caller": job.by,
        "created_at": job.created_at,
        "rerun_of": job.rerun_of,
        "schedule": job.schedule,
        "what": command_line(job.spec.what)[:SEARCHED_CHARS],
        **tally_values(tally),
    }


def tally_values(tally: Tally) -> Values:
    """The columns of a job that move."""
    return {
        "cancel_requested": tally.cancel_requested,
        "counts": _dumps({state.value: n for state, n in tally.counts.items() if n}),
        "open_runs": tally.left,
        "last_seq": tally.seq,
        "rolling": tally.rolling,
        "output_bytes": tally.output_bytes,
        "spared": tally.spared,
    }


def job_of(row: Row) -> Job:
    """A job from the values of JOB_COLUMNS; more columns may follow them."""
    return Job(
        id=JobId(row[0]),
        spec=_spec_of(json.loads(row[1]), row[2]),
        targets=row[3],
        by=row[4],
        created_at=row[5],
        cancel_requested=bool(row[6]),
        counts=counts_of(row[7]),
        rolling=bool(row[8]),
        rerun_of=row[9],
        schedule=row[10],
    )


def tally_of(row: Row) -> Tally:
    """A job's tally from the values of TALLY_COLUMNS."""
    return Tally(
        counts_of(row[1]),
        seq=row[2],
        cancel_requested=bool(row[3]),
        rolling=bool(row[4]),
        output_bytes=row[5],
        spared=bool(row[6]),
    )


def outline_of_row(row: Row, *, counted: bool = True) -> Outline:
    """What a job is found by, from the values of OUTLINE_COLUMNS; counts if they are *counted*."""
    return Outline(
        by=row[0],
        targets=row[1],
        what=row[2] or "",
        created_at=row[3],
        open=row[4],
        counts=counts_of(row[5]) if counted else {},
        schedule=row[6],
        rerun_of=row[7],
    )


def queue_ttl_of(spec: str) -> float:
    """The queue TTL in a job's column `spec`, without reading the rest of the job."""
    return float(json.loads(spec).get("queue_ttl_s", DEFAULTS.queue_ttl_s))


def counts_of(text: str) -> dict[RunState, int]:
    """How many runs are in each state, from the column `counts`."""
    return {RunState(state): n for state, n in json.loads(text).items()}


def _spec_told(spec: JobSpec) -> Values:
    match spec.what:
        case Argv(argv):
            what: Values = {"argv": argv}
        case Script(text):
            what = {"script": text}
        case CommandCall(ident, params):
            what = {"command": ident, "params": dict(params)}
    entered = spec.namespaces_of
    return {
        "what": what,
        "env": dict(spec.env),
        "cwd": spec.cwd,
        "user": spec.user,
        "namespaces_of": entered and {"pid": entered.pid, "kinds": entered.kinds},
        "timeout_s": spec.timeout_s,
        "queue_ttl_s": spec.queue_ttl_s,
        "output_limit_bytes": spec.output_limit_bytes,
        "nice": spec.nice,
        "rlimits": dict(spec.rlimits),
        "keep_children": spec.keep_children,
        "rerunnable": spec.rerunnable,
    }


def _spec_of(told: Values, stdin: bytes) -> JobSpec:
    match told.pop("what"):
        case {"argv": argv}:
            what: Argv | Script | CommandCall = Argv(tuple(argv))
        case {"script": text}:
            what = Script(text)
        case {"command": ident, "params": params}:
            what = CommandCall(ident, params)
        case other:
            raise ValueError(f"a job's spec says {other!r}")
    entered = told.pop("namespaces_of", None)
    kinds = tuple(NamespaceKind(kind) for kind in entered["kinds"]) if entered else ()
    namespaces_of = NamespacesOf(entered["pid"], kinds) if entered else None
    return JobSpec(what=what, stdin=stdin, namespaces_of=namespaces_of, **told)


# --- agents -------------------------------------------------------------------------------

AGENT_COLUMNS: Final = (
    *("id", "identity", "given_name", "given_labels", "drained", "liveness", "epoch"),
    *("controller", "joined_at", "last_seen_at"),
)


def agent_values(agent: Agent) -> Values:
    """The columns of an agent."""
    return {
        "id": agent.id,
        "name": agent.name,
        "ip_mac": agent.ip_mac,
        "identity": _dumps(_identity_told(agent.identity)),
        "given_name": agent.given_name,
        "given_labels": _dumps(dict(agent.given_labels)),
        "drained": agent.drained,
        "liveness": agent.liveness.value,
        "epoch": agent.epoch,
        "controller": agent.controller,
        "joined_at": agent.joined_at,
        "last_seen_at": agent.last_seen_at,
    }


def agent_of(row: Row) -> Agent:
    """An agent from the values of AGENT_COLUMNS."""
    identity = json.loads(row[1])
    identity["capabilities"] = tuple(identity["capabilities"])
    return Agent(
        id=AgentId(row[0]),
        identity=Identity(**identity),
        given_name=row[2],
        given_labels=json.loads(row[3]),
        drained=bool(row[4]),
        liveness=Liveness(row[5]),
        epoch=row[6],
        controller=row[7],
        joined_at=row[8],
        last_seen_at=row[9],
    )


def _identity_told(identity: Identity) -> Values:
    return {
        "name": identity.name,
        "machine_id": identity.machine_id,
        "boot_id": identity.boot_id,
        "ip": identity.ip,
        "mac": identity.mac,
        "software": identity.software,
        "labels": dict(identity.labels),
        "facts": dict(identity.facts),
        "capabilities": identity.capabilities,
        "catalogue": identity.catalogue,
    }


# --- audit --------------------------------------------------------------------------------

RECORD_COLUMNS: Final = ("at", "caller", "action", "subject", "facts")


def record_values(record: Record) -> Values:
    """The columns of a line of the audit."""
    return {
        "at": record.at,
        "caller": record.by,
        "action": record.action,
        "subject": record.subject,
        "facts": _dumps(dict(record.facts)),
    }


def record_of(row: Row) -> Record:
    """A line of the audit from the values of RECORD_COLUMNS; more columns may follow them."""
    at, by, action, subject, facts = row[:5]
    return Record(at=at, by=by, action=action, subject=subject, facts=json.loads(facts))
