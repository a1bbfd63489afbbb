"""Each thing that can be asked of the controller, as a value: what to send, how to read the answer.

Does no I/O: the blocking and the asynchronous client send the same calls, each in its own way.
"""

import base64
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypedDict, TypeVar
from urllib.parse import quote, urlencode

from farhand.client._errors import BadRequest, FarhandApiError, UnexpectedAnswer, error_for
from farhand.client._shapes import (
    Agent,
    Command,
    Job,
    Namespace,
    Page,
    Run,
    Version,
    entries,
    page_of,
    read_agent,
    read_command,
    read_job,
    read_namespace,
    read_run,
    read_version,
)

T = TypeVar("T")

ANSWER_BYTES: Final = 64 * 1024 * 1024  # the largest answer that is read into memory
PAGE: Final = 1_000
API: Final = "/api/v1"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: *headers* have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request. *repeatable*: sent twice, it does no more than once. *patient*: worth waiting
    for a controller that is away or busy.

    *read* turns an answer below 400 into a value; `answered` does the same for any answer.
    """

    method: str
    path: str
    read: Callable[[Answer], T]
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    patient: bool = True

    def answered(self, answer: Answer) -> T:
        """Return what the answer says; raise the FarhandApiError that it stands for."""
        if answer.status >= 400:
            raise refusal(answer)
        if not 200 <= answer.status < 300:
            raise UnexpectedAnswer(
                f"{self.path} answered with status {answer.status}; is this a farhand controller?"
            )
        return self.read(answer)


class SpreadOptions(TypedDict, total=False):
    """How a job reaches its hosts. A share is a number of hosts (50) or a percent (`10%`).

    *concurrency* bounds the runs under way. *waves* are sizes, such as `[1, "10%", "rest"]`;
    between two of them *pause_s* seconds pass, or with *by_hand* somebody says `resume_job`, and
    the *gate* is asked: a job as JSON, with a `selector` of its own. *abort_after* failed
    executions nothing more begins. *retries* needs a job that is *rerunnable*.
    """

    concurrency: int | str
    waves: Sequence[int | str]
    pause_s: float
    by_hand: bool
    abort_after: int | str
    gate: Mapping[str, Any]
    retries: int
    retry_delay_s: float


class JobOptions(TypedDict, total=False):
    """What a job can have beside its argv; absent or None takes the controller's default.

    What to run: *argv* as the argument, or *script* (text), or *command* (ident) with *params*.
    Where: *names* (names, ids or `IP-MAC`), or *selector*, or *all_agents*, or the *preview* that
    it is bound to; *expect* says how many that must be. *stdin* bytes;
    *namespaces_of* is (pid, kinds); *output_limit_bytes* of each stream; times in seconds. With
    *hold* nothing is sent before `release_job`. *spread* says how it reaches its hosts, and
    *rerunnable* that it may be run again where it failed.
    """

    script: str | None
    command: str | None
    params: Mapping[str, str | int | bool] | None
    names: str | Sequence[str] | None
    selector: str | None
    all_agents: bool
    preview: str | None
    expect: int | None
    stdin: bytes | None
    env: Mapping[str, str] | None
    cwd: str | None
    user: str | None
    namespaces_of: tuple[int, Sequence[str]] | None
    timeout_s: float | None
    queue_ttl_s: float | None
    output_limit_bytes: int | None
    nice: int | None
    rlimits: Mapping[str, int] | None
    keep_children: bool | None
    hold: bool | None
    spread: SpreadOptions | None
    rerunnable: bool | None
    idempotency_key: str | None


_PLAIN: Final = (
    *("script", "command", "params", "env", "cwd", "user", "timeout_s", "queue_ttl_s"),
    *("output_limit_bytes", "nice", "rlimits", "keep_children", "hold", "spread", "rerunnable"),
    "expect",
)


def job_body(argv: Sequence[str] | None, options: JobOptions) -> dict[str, Any]:
    """Return the JSON of a job; raise TypeError for an argv that is one string."""
    if isinstance(argv, str):
        raise TypeError("argv is a list of strings, not one string; nothing is split by a shell")
    given: Mapping[str, Any] = options
    body: dict[str, Any] = {name: given[name] for name in _PLAIN if given.get(name) is not None}
    targets: dict[str, Any] = {}
    names = options.get("names")
    if names is not None:
        targets["names"] = [names] if isinstance(names, str) else list(names)
    if (selector := options.get("selector")) is not None:
        targets["selector"] = selector
    if options.get("all_agents"):
        targets["all"] = True
    if (preview := options.get("preview")) is not None:
        targets["preview"] = preview
    body["targets"] = targets
    if argv is not None:
        body["argv"] = list(argv)
    if stdin := options.get("stdin"):
        body["stdin_base64"] = base64.b64encode(stdin).decode("ascii")
    if (namespaces_of := options.get("namespaces_of")) is not None:
        pid, kinds = namespaces_of
        body["namespaces_of"] = {"pid": pid, "kinds": list(kinds)}
    return body


# --- Answers ------------------------------------------------------------------------------


def parsed(answer: Answer) -> Any:
    """Return the answer's JSON; raise UnexpectedAnswer when it is none."""
    try:
        return json.loads(answer.body)
    except ValueError as exc:
        raise UnexpectedAnswer(
            f"the answer (status {answer.status}) is not JSON; is this a farhand controller?"
        ) from exc


def _as(read: Callable[[object], T]) -> Callable[[Answer], T]:
    return lambda answer: read(parsed(answer))


def nothing(answer: Answer) -> None:
    """Read an answer that has none."""
    del answer


def refusal(answer: Answer) -> FarhandApiError:
    """Return the error that an answer of 400 or more is; foreign ones keep their status."""
    try:
        problem = entries(parsed(answer))
    except UnexpectedAnswer:
        problem = {}
    return problem_error(problem, answer.status, answer.headers.get("retry-after", ""))


def problem_error(
    problem: Mapping[str, Any], status: int, retry_after: str = ""
) -> FarhandApiError:
    """Return the error that a problem+json object is."""
    detail = problem.get("detail") or problem.get("title") or f"the answer has status {status}"
    known = ("type", "title", "status", "detail", "code", "instance")
    return error_for(status)(
        str(detail),
        status=status,
        code=str(problem.get("code") or f"http-{status}"),
        details={name: value for name, value in problem.items() if name not in known},
        retry_after_s=float(retry_after) if retry_after.isdecimal() else None,
    )


# --- Calls --------------------------------------------------------------------------------


def path_of(*parts: str, **query: str | int | Sequence[str] | None) -> str:
    """Return the path below the base URL, each part quoted; None and empty lists leave no trace."""
    given = {name: value for name, value in query.items() if value is not None}
    asked = urlencode(given, doseq=True)
    path = "/".join((API, *(quote(part, safe="") for part in parts)))
    return f"{path}?{asked}" if asked else path


def _json(value: object) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as exc:
        raise BadRequest(
            "an argument is not valid UTF-8; put such bytes into --stdin or a file",
            status=400,
            code="invalid-body",
        ) from exc


def sending(
    method: str,
    path: str,
    read: Callable[[object], T],
    body: object = None,
    *,
    repeatable: bool = True,
    headers: Mapping[str, str] | None = None,
) -> Call[T]:
    """Return a call that sends *body* as JSON, and whose answer is JSON that *read* reads."""
    sent = None if body is None else _json(body)
    kind = {} if body is None else {"Content-Type": "application/json"}
    return Call(
        method=method,
        path=path,
        read=_as(read),
        body=sent,
        headers={**kind, **(headers or {})},
        repeatable=repeatable,
    )


def submit(argv: Sequence[str] | None, options: JobOptions) -> Call[Job]:
    """Ask for a job. With its key it may be sent again, and is still one job."""
    key = options.get("idempotency_key") or os.urandom(18).hex()
    headers = {"Idempotency-Key": key}
    return sending("POST", path_of("jobs"), read_job, job_body(argv, options), headers=headers)


def rerun_job(job: str, failed_only: bool, skip_removed: bool, key: str | None) -> Call[Job]:  # noqa: FBT001
    """Ask for a job again. With its key it may be sent again, and is still one new job."""
    body = {"failed_only": failed_only, "skip_removed": skip_removed}
    headers = {"Idempotency-Key": key or os.urandom(18).hex()}
    return sending("POST", path_of("jobs", job, "rerun"), read_job, body, headers=headers)


def get_job(job: str) -> Call[Job]:
    """Ask for one job."""
    return sending("GET", path_of("jobs", job), read_job)


def release_job(job: str) -> Call[Job]:
    """Ask that the runs of a held job be sent."""
    return sending("POST", path_of("jobs", job, "release"), read_job)


def cancel_job(job: str) -> Call[Job]:
    """Ask that every run of a job that is not over be ended."""
    return sending("POST", path_of("jobs", job, "cancel"), read_job)


def hold_job(job: str) -> Call[Job]:
    """Ask that no further run of a job that is spread begin."""
    return sending("POST", path_of("jobs", job, "hold"), read_job)


def resume_job(job: str) -> Call[Job]:
    """Ask that a job that is held go on."""
    return sending("POST", path_of("jobs", job, "resume"), read_job)


def abort_job(job: str) -> Call[Job]:
    """Ask that nothing more of a job that is spread begin."""
    return sending("POST", path_of("jobs", job, "abort"), read_job)


def get_run(run: str) -> Call[Run]:
    """Ask for one run."""
    return sending("GET", path_of("runs", run), read_run)


def cancel_run(run: str) -> Call[Run]:
    """Ask that a run be ended."""
    return sending("POST", path_of("runs", run, "cancel"), read_run)


def get_agent(agent: str) -> Call[Agent]:
    """Ask for one agent by name, id or `IP-MAC`."""
    return sending("GET", path_of("agents", agent), read_agent)


def agents(
    cursor: str | None, limit: int = PAGE, *, selector: str | None = None
) -> Call[Page[Agent]]:
    """Ask for a page of agents."""
    path = path_of("agents", selector=selector, cursor=cursor, limit=limit)
    return sending("GET", path, page_of(read_agent))


def rename(agent: str, name: str | None) -> Call[Agent]:
    """Give an agent a name; None gives its own back."""
    return sending("PATCH", path_of("agents", agent), read_agent, {"name": name})


def relabel(agent: str, labels: Mapping[str, str | None]) -> Call[Agent]:
    """Merge *labels* into the given ones; None hides the agent's own."""
    return sending("PATCH", path_of("agents", agent), read_agent, {"labels": dict(labels)})


def drain(agent: str) -> Call[Agent]:
    """Give an agent no new runs."""
    return sending("POST", path_of("agents", agent, "drain"), read_agent)


def undrain(agent: str) -> Call[Agent]:
    """Give an agent runs again."""
    return sending("POST", path_of("agents", agent, "undrain"), read_agent)


def remove(agent: str) -> Call[None]:
    """Forget an agent. A second time is an error, so it is never sent again unasked."""
    path = path_of("agents", agent)
    return Call(method="DELETE", path=path, read=nothing, repeatable=False)


def commands(agent: str) -> Call[Page[Command]]:
    """Ask an agent for its catalogue."""
    return sending("GET", path_of("agents", agent, "commands"), page_of(read_command))


def namespaces(agent: str) -> Call[Page[Namespace]]:
    """Ask an agent for the namespaces of its host."""
    return sending("GET", path_of("agents", agent, "namespaces"), page_of(read_namespace))


def version() -> Call[Version]:
    """Ask who answers."""
    return sending("GET", path_of("version"), read_version)


def health() -> Call[str]:
    """Ask whether the controller can serve; Unavailable while it cannot. Needs no token."""
    return Call(
        method="GET",
        path="/readyz",
        read=lambda got: str(entries(parsed(got)).get("status")),
        patient=False,
    )
