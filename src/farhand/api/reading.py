"""Read what was asked: bytes of a body into domain values, or an error that says where it is wrong.

Checks shapes only; whether a job can be run is for `domain.job.checked`, which is asked later.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from farhand.api.shapes import (
    AgentEdit,
    AllTargets,
    ArgvJob,
    CommandJob,
    GateAsked,
    JobRequest,
    NamedTargets,
    PreviewTargets,
    RerunRequest,
    ScriptJob,
    SelectedTargets,
)
from farhand.domain.job import (
    AllAgents,
    Argv,
    CommandCall,
    JobSpec,
    Names,
    NamespacesOf,
    Previewed,
    Script,
    Targets,
    What,
    check_target_count,
)
from farhand.domain.limits import Limits
from farhand.domain.selector import Selector
from farhand.domain.spread import Gate, Share, Spread, share, waves
from farhand.errors import BodyTooLarge, InvalidBody, InvalidJob, InvalidSpread

T = TypeVar("T")

JOB_BODY: Final[TypeAdapter[JobRequest]] = TypeAdapter(JobRequest)
RERUN_BODY: Final = TypeAdapter(RerunRequest)
AGENT_BODY: Final[TypeAdapter[AgentEdit]] = TypeAdapter(AgentEdit)

_ERRORS_TOLD: Final = 20
_WORDS: Final = {"extra_forbidden": "unknown field", "missing": "this field is needed"}


def parsed(shape: TypeAdapter[T], raw: bytes) -> T:
    """Return *raw* JSON as *shape*; raise InvalidBody with `errors: [{at, message}]`."""
    try:
        return shape.validate_json(raw)
    except ValidationError as exc:
        errors = _told(exc, tagged=shape is JOB_BODY)
        first = errors[0]
        where = f"{first['at']}: " if first["at"] else ""
        raise InvalidBody(f"{where}{first['message']}", errors=errors) from None


def _told(exc: ValidationError, *, tagged: bool) -> list[dict[str, str]]:
    """Describe what pydantic found, each place once, without the values that were sent."""
    told: dict[str, str] = {}
    for error in exc.errors(include_url=False, include_context=False, include_input=False):
        where, message = list(error["loc"]), error["msg"]
        outside = where[:1] if where[:1] == ["job"] else []  # of a schedule
        where = where[len(outside) :]
        if tagged or outside:  # names of the union's members stand between the names of the fields
            where = where[1:]
            if where[:1] == ["targets"]:
                del where[1:2]
        if where[:1] == ["params"] and len(where) > 2:
            where, message = where[:2], "Input should be a string, a whole number, true or false"
        if where[:1] == ["spread"] and where[-1] in {"int", "str"}:
            where, message = where[:-1], "Input should be a number of hosts, or a percent (10%)"
        message = _WORDS.get(error["type"], message)
        told.setdefault("".join(f"/{part}" for part in (*outside, *where)), message)
    return [{"at": at, "message": message} for at, message in list(told.items())[:_ERRORS_TOLD]]


def digest(asked: JobRequest) -> str:
    """Return what tells one body from another, however its JSON was laid out."""
    plain = asked.model_dump(mode="json", exclude_none=True)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def targets(asked: JobRequest, limits: Limits) -> Targets:
    """Return whom the job is for; raise NoTargets, TooManyTargets or InvalidSelector."""
    match asked.targets:
        case AllTargets():
            return AllAgents()
        case NamedTargets(names=names):
            check_target_count(len(names), limits)
            return Names(tuple(names))
        case SelectedTargets(selector=text):
            return Selector(text)
        case PreviewTargets(preview=preview):
            return Previewed(preview)


def job_spec(asked: JobRequest, limits: Limits) -> JobSpec:
    """Return what to run, the controller's defaults filled in; raise InvalidJob, BodyTooLarge."""
    given = {
        name: value
        for name in ("cwd", "user", "nice", "rlimits", "env", "keep_children", "rerunnable")
        if (value := getattr(asked, name)) is not None
    }
    if asked.namespaces_of is not None:
        entered = asked.namespaces_of
        given["namespaces_of"] = NamespacesOf(entered.pid, tuple(dict.fromkeys(entered.kinds)))
    return JobSpec(
        what=_what(asked),
        stdin=_stdin(asked, limits),
        timeout_s=_or(asked.timeout_s, limits.run_time_s),
        queue_ttl_s=_or(asked.queue_ttl_s, limits.queue_ttl_s),
        output_limit_bytes=_or(asked.output_limit_bytes, limits.output_bytes),
        **given,
    )


def spread(asked: JobRequest, limits: Limits) -> Spread | None:
    """Return how the job is spread, if it is; raise InvalidSpread, InvalidSelector."""
    if (told := asked.spread) is None:
        return None
    return Spread(
        concurrency=_share(told.concurrency, "concurrency"),
        waves=waves([str(size) for size in told.waves or ()]),
        pause_s=told.pause_s or 0.0,
        by_hand=bool(told.by_hand),
        abort_after=_share(told.abort_after, "abort_after"),
        gate=None if told.gate is None else _gate(told.gate, limits),
        retries=told.retries or 0,
        retry_delay_s=told.retry_delay_s or 0.0,
    )


def _share(told: int | str | None, what: str) -> Share | None:
    return None if told is None else share(str(told), what)


def _gate(told: GateAsked, limits: Limits) -> Gate:
    given: dict[str, Any] = {
        name: value for name in ("cwd", "user", "env") if (value := getattr(told, name)) is not None
    }
    spec = JobSpec(
        what=_gate_what(told),
        timeout_s=_or(told.timeout_s, limits.run_time_s),
        queue_ttl_s=_or(told.queue_ttl_s, limits.queue_ttl_s),
        **given,
    )
    return Gate(spec=spec, targets=Selector(told.selector).text)


def _gate_what(told: GateAsked) -> What:
    match told.argv, told.script, told.command:
        case list(argv), None, None:
            return Argv(tuple(argv))
        case None, str(text), None:
            return Script(text)
        case None, None, str(ident):
            return CommandCall(ident, _params(told.params))
        case _:
            msg = "the gate: give exactly one of argv, script, command"
            raise InvalidSpread(msg, at="gate")


def _params(told: Mapping[str, str | int | bool] | None) -> dict[str, str]:
    return {name: _text(value) for name, value in (told or {}).items()}


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _what(asked: JobRequest) -> What:
    match asked:
        case ArgvJob(argv=argv):
            return Argv(tuple(argv))
        case ScriptJob(script=text):
            return Script(text)
        case CommandJob(command=ident, params=params):
            return CommandCall(ident, _params(params))


def _text(value: str | int | bool) -> str:  # noqa: FBT001 - one of the values JSON has
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _stdin(asked: JobRequest, limits: Limits) -> bytes:
    if asked.stdin is not None and asked.stdin_base64 is not None:
        raise InvalidJob("give stdin or stdin_base64, not both")
    if asked.stdin_base64 is None:
        return (asked.stdin or "").encode()
    if len(asked.stdin_base64) > limits.body_bytes:
        raise BodyTooLarge
    try:
        return base64.b64decode(asked.stdin_base64, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidJob("stdin_base64 is not base64 (RFC 4648, padded)") from exc


def agent_edit(asked: AgentEdit) -> Mapping[str, Any]:
    """Return the keyword arguments of `Agents.edit`: a name of null takes a given one back."""
    return {
        "name": asked.name,
        "unname": asked.name is None and "name" in asked.model_fields_set,
        "labels": asked.labels,
        "drained": asked.drained,
    }
