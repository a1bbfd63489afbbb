"""Write answers: domain values into the JSON of `shapes`.

Decides nothing and reads nothing; what an answer needs is handed in.
"""

import base64
import codecs
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeVar, overload

from farhand.api.shapes import (
    SUMMARY_CHARS,
    AgentRef,
    AgentShape,
    ArgvShape,
    BinaryOutput,
    CommandCallShape,
    CommandShape,
    EndEvent,
    GateShape,
    JobBrief,
    JobRolling,
    JobShape,
    JobState,
    NamespaceShape,
    RolloutShape,
    RunBrief,
    RunEvent,
    RunShape,
    ScriptShape,
    SpecShape,
    SpreadShape,
    StreamShape,
    TextOutput,
    UsageShape,
)
from farhand.domain.agent import Agent
from farhand.domain.command import Command
from farhand.domain.ids import RunId
from farhand.domain.job import Argv, CommandCall, Job, JobSpec, Script, What, command_line
from farhand.domain.messages import Namespace
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.rollout import Rollout
from farhand.domain.run import Run, Usage
from farhand.domain.spread import Gate, Share, Spread

S = TypeVar("S")
T = TypeVar("T")


def dumped(answer: object) -> bytes:
    """Return JSON in UTF-8; a character that UTF-8 cannot hold becomes a JSON escape."""
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace")


@overload
def time(seconds: float) -> str: ...
@overload
def time(seconds: float | None) -> str | None: ...
def time(seconds: float | None) -> str | None:
    """Write wall-clock seconds as RFC 3339 in UTC."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def page(items: Iterable[T], write: Callable[[T], S], cursor: str | None) -> dict[str, object]:
    """Write a list: its items and the cursor behind them."""
    return {"items": [write(item) for item in items], "next": cursor}


def short(text: str) -> str:
    """Cut *text* to a line that fits a table."""
    line = " ".join(text[: 4 * SUMMARY_CHARS].split())
    return line if len(line) <= SUMMARY_CHARS else f"{line[: SUMMARY_CHARS - 1]}…"


def _what(what: What) -> ArgvShape | ScriptShape | CommandCallShape:
    match what:
        case Argv(argv):
            return {"argv": list(argv)}
        case Script(text):
            return {"script": text}
        case CommandCall(ident, params):
            return {"command": ident, "params": dict(params)}


def job_state(job: Job) -> JobState:
    """Tell whether somebody still waits for a run of *job*."""
    return "running" if job.open else "done"


def job_brief(job: Job) -> JobBrief:
    """Write a job as lists have it."""
    return {
        "id": job.id,
        "state": job_state(job),
        "by": job.by,
        "created_at": time(job.created_at),
        "targets": short(job.targets),
        "summary": short(command_line(job.spec.what)),
        "counts": {state: number for state, number in job.counts.items() if number},
        "cancel_requested": job.cancel_requested,
        "schedule": job.schedule,
        "rerun_of": job.rerun_of,
    }


def _gate(gate: Gate | None) -> GateShape | None:
    return None if gate is None else {"what": _what(gate.spec.what), "selector": gate.targets}


def _share(share: Share | None) -> str | None:
    return None if share is None else str(share)


def spread(of: Spread) -> SpreadShape:
    """Write how a job reaches its hosts."""
    return {
        "concurrency": _share(of.concurrency),
        "waves": [str(size) for size in of.waves],
        "pause_s": of.pause_s,
        "by_hand": of.by_hand,
        "abort_after": _share(of.abort_after),
        "gate": _gate(of.gate),
        "retries": of.retries,
        "retry_delay_s": of.retry_delay_s,
    }


def rollout(of: Rollout) -> RolloutShape:
    """Write how far a job that is spread has come."""
    hold = of.hold
    return {
        "phase": "held" if hold else of.phase.value,
        "wave": of.wave,
        "sizes": list(of.sizes),
        "until": time(of.until),
        "gate": of.gate,
        "hold": None
        if hold is None
        else {"why": hold.why, "by": hold.by, "at": time(hold.at), "message": hold.message},
        "ended": of.ended,
        "by": of.by,
        "message": of.message,
        "spread": spread(of.spread),
    }


def job_rolling(job: Job, of: Rollout) -> JobRolling:
    """Write a job that is spread, in one line, and how far it has come."""
    return {**job_brief(job), "rollout": rollout(of)}


def spec(of: JobSpec) -> SpecShape:
    """Write what is run, and within which limits."""
    entered = of.namespaces_of
    return {
        "what": _what(of.what),
        "limits": {
            "timeout_s": of.timeout_s,
            "queue_ttl_s": of.queue_ttl_s,
            "output_limit_bytes": of.output_limit_bytes,
            "nice": of.nice,
            "rlimits": dict(of.rlimits),
        },
        "env": sorted(of.env),
        "cwd": of.cwd,
        "user": of.user,
        "namespaces_of": (
            None if entered is None else {"pid": entered.pid, "kinds": list(entered.kinds)}
        ),
        "stdin_bytes": len(of.stdin),
        "keep_children": of.keep_children,
        "rerunnable": of.rerunnable,
    }


def job_whole(
    job: Job, runs: Sequence[Run], cursor: str | None, of: Rollout | None = None
) -> JobShape:
    """Write a job as it was asked, with the first of its runs."""
    return {
        **job_brief(job),
        **spec(job.spec),
        "targets": job.targets,
        "rollout": None if of is None else rollout(of),
        "runs": [run(one) for one in runs],
        "runs_next": cursor,
    }


def _ref(of: Run) -> AgentRef:
    return {"id": of.agent, "name": of.agent_name}


def run_brief(of: Run) -> RunBrief:
    """Write a run as a submitted job has it."""
    return {"id": of.id, "agent": _ref(of), "state": of.state, "wave": of.wave}


_Streams = dict[Literal["stdout", "stderr"], StreamShape]


def _streams(ends: Mapping[StreamName, StreamEnd]) -> _Streams:
    written: _Streams = {}
    for name, end in ends.items():
        written[name.value] = {
            "total": end.total,
            "kept": end.kept,
            "cut_at": end.cut_at,
            "cut_bytes": end.cut_bytes,
            "sha256_kept": end.sha256_kept,
            "sha256_all": end.sha256_all,
        }
    return written


def _usage(used: Usage) -> UsageShape:
    return {
        "user_s": used.user_s,
        "system_s": used.system_s,
        "max_rss_bytes": used.max_rss_bytes,
    }


def run(of: Run) -> RunShape:
    """Write a run with all that is known of it."""
    used = of.usage
    return {
        "id": of.id,
        "job": of.job,
        "agent": _ref(of),
        "state": of.state,
        "why": of.why,
        "message": of.message,
        "exit_code": of.exit_code,
        "signal": of.signal,
        "pid": of.pid,
        "cancel_requested": of.cancel_requested,
        "created_at": time(of.created_at),
        "queue_until": time(of.queue_until),
        "sent_at": time(of.sent_at),
        "started_at": time(of.started_at),
        "ended_at": time(of.ended_at),
        "timeout_s": of.timeout_s,
        "duration_s": of.duration_s,
        "usage": None if used is None else _usage(used),
        "streams": _streams(of.streams),
        "wave": of.wave,
        "retry_of": of.retry_of,
        "output_pruned": of.output_pruned,
    }


def output(head: bytes, stored: int) -> TextOutput | BinaryOutput:
    """Write the beginning of a stream of *stored* bytes, as text when it is valid UTF-8."""
    truncated = stored > len(head)
    try:
        # A character that the cut went through is left out; it makes the text no less text.
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=not truncated)
    except UnicodeDecodeError:
        data = base64.b64encode(head).decode()
        return {"base64": data, "stored": stored, "truncated": truncated}
    return {"text": text, "stored": stored, "truncated": truncated}


def output_event(of: RunId, stream: StreamName, offset: int, data: bytes) -> bytes:
    """Write `OutputEvent` as JSON: by hand, since every byte that a run prints passes here."""
    return b'{"run":"%b","stream":"%b","offset":%d,"bytes":"%b"}' % (
        of.encode(),
        stream.value.encode(),
        offset,
        base64.b64encode(data),
    )


def run_event(of: Run) -> RunEvent:
    """Write how a run stood when its state changed."""
    return {
        "run": of.id,
        "agent": _ref(of),
        "state": of.state,
        "why": of.why,
        "message": of.message,
        "exit_code": of.exit_code,
        "signal": of.signal,
        "pid": of.pid,
        "cancel_requested": of.cancel_requested,
        "started_at": time(of.started_at),
        "ended_at": time(of.ended_at),
        "duration_s": of.duration_s,
        "streams": _streams(of.streams),
        "wave": of.wave,
        "retry_of": of.retry_of,
    }


def end_event(job: Job) -> EndEvent:
    """Write how a job ended."""
    brief = job_brief(job)
    return {"state": brief["state"], "counts": brief["counts"]}


def agent(of: Agent) -> AgentShape:
    """Write a host."""
    return {
        "id": of.id,
        "name": of.name,
        "own_name": of.identity.name,
        "labels": dict(of.labels),
        "own_labels": dict(of.identity.labels),
        "facts": dict(of.facts),
        "ip": of.identity.ip,
        "mac": of.identity.mac,
        "software": of.identity.software,
        "capabilities": list(of.identity.capabilities),
        "drained": of.drained,
        "liveness": of.liveness,
        "joined_at": time(of.joined_at),
        "last_seen_at": time(of.last_seen_at),
    }


def command(of: Command) -> CommandShape:
    """Write an entry of a catalogue."""
    return {
        "ident": of.ident,
        "description": of.description,
        "params": [
            {
                "name": param.name,
                "type": param.type,
                "required": param.required,
                "default": param.default,
                "description": param.description,
                "choices": list(param.choices),
                "minimum": param.minimum,
                "maximum": param.maximum,
                "pattern": param.pattern,
            }
            for param in of.params
        ],
        "output": of.output,
        "label": of.label,
        "group": of.group,
    }


def namespace(of: Namespace) -> NamespaceShape:
    """Write a namespace of a host."""
    return {
        "id": of.id,
        "kind": of.kind,
        "pid": of.pid,
        "owner": of.owner,
        "command": of.command,
        "processes": of.processes,
        "container": of.container,
        "pod": of.pod,
    }
