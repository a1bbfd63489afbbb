"""The JSON of `/api/v1`: what each address takes and what it answers, field by field.

Only shapes: `reading` turns what was asked into domain values, `writing` turns domain values into
answers. Whoever speaks to farhand may rely on every name here; fields may be added, never changed.

Every address but `/healthz`, `/readyz` and `/api/v1/openapi.json` needs
`Authorization: Bearer TOKEN`. Bodies are `application/json`; times are RFC 3339 in UTC
(`2026-01-31T12:00:00.123Z`) or null; sizes are bytes, `_s` are seconds. An optional field that is
null is as if absent, except in `PATCH`. Unknown fields and unknown query parameters
are errors. Every error is `application/problem+json` (`Problem`) with a stable `code`.
A list is `{"items": [...], "next": CURSOR|null}`, asked with `?limit=` (1 to 1000, default 100) and
`?cursor=`; a page may hold fewer items than asked, only `next: null` says that it was the last.

POST   /jobs?wait_s=          JobRequest → 202 JobAccepted, `Location`. `Idempotency-Key` (1 to 255
                              visible ASCII characters, kept a day per caller) makes a repeated
                              POST the same job, answered with `Idempotency-Replayed: true`.
                              `wait_s` (0 to 300): 200 JobResult when every run came to rest in
                              time, else 202 as without it.
                              `preview=true`: 200 PreviewShape (api.targets), and nothing is started
GET    /jobs?by=&target=&agent=&command=&state=&since=&until=&schedule=&rerun_of=
                              list of JobBrief, newest first; `state` is running, done, succeeded
                              (done, and every run did) or failed; agent and schedule are an id or
                              a name; `since` is in, `until` is out
GET    /jobs/export?…&output_bytes=   the same jobs with their runs, application/x-ndjson
                              (api.history), with at most `output_bytes` of each stream of a run
GET    /jobs/{job}            Job: with the first 100 runs; the others are at /runs?job=&cursor=
                              with `runs_next` as the cursor
GET    /jobs/{job}/events     text/event-stream, from the beginning, or behind `?after=SEQ` or
                              `Last-Event-ID: SEQ` (which wins). `id` counts from 1; `event` and
                              its data: `output` OutputEvent, `run` RunEvent, `end` EndEvent.
                              The stream closes behind the end; 204 when nothing will follow.
                              A comment every 15 s. Output may come in pieces, of which only the
                              last has an `id`: after a reconnect drop bytes below the offset you
                              have. `event: error` with a Problem precedes a forced close
GET    /jobs/{job}/groups?normalise=&diff=&limit=   GroupsShape (api.groups): what the runs came to,
                              equal answers once; `normalise` is comma-separated
GET    /jobs/{job}/groups/events?…   the same live, text/event-stream: `groups` GroupsShape, where
                              `contents` has what was not told before on this connection; at the
                              end `end` EndEvent with `id: 1`; 204 for whoever has seen it
GET    /jobs/{job}/why?agent=   WhyShape (api.targets): why an agent is in the job, or is not
POST   /jobs/{job}/release    202 JobBrief; sends what `hold` held; may be repeated
POST   /jobs/{job}/cancel     202 JobBrief; may be repeated
POST   /jobs/{job}/rerun      RerunRequest → 202 JobAccepted, `Location`, of a new job; takes
                              `Idempotency-Key`; 409 nothing-to-rerun,
                              agents-removed, still-rolling
POST   /jobs/{job}/hold       202 JobRolling; a job that is spread begins no further run;
                              …/resume goes on, …/abort begins nothing any more. May be repeated;
                              409 not-rolling when its rollout is over, or it has none
GET    /runs?job=&agent=&state=&since=&until=
                              list of Run; agent is an id or a name, state may be repeated.
                              Of one job: in the order they were made; else newest first
GET    /runs/{run}            Run
GET    /runs/{run}/output?stream=stdout|stderr   the stored bytes so far, octet-stream; `Range`
                              (206, 416), HEAD; 410 output-pruned. `Farhand-Run-State: STATE`; once
                              the end is known `Farhand-Output-Total: BYTES` (printed), and when
                              the middle was cut `Farhand-Output-Cut: at=OFFSET, bytes=N`
POST   /runs/{run}/cancel     202 Run; may be repeated
GET    /agents?selector=      list of Agent
GET    /agents/{agent}        Agent; {agent} is an id, a name or `IP-MAC`, percent-encoded
PATCH  /agents/{agent}        AgentEdit → 200 Agent
POST   /agents/{agent}/drain  200 Agent, takes no new runs; …/undrain takes them again
DELETE /agents/{agent}        204
GET    /agents/{agent}/commands     list of Command, asked of the agent (503 agent-gone)
GET    /agents/{agent}/namespaces   list of Namespace, asked of the agent (503 agent-gone)
POST   /schedules             ScheduleRequest (api.schedules) → 201 ScheduleShape, `Location`; a
                              JobRequest under `job`, and when it is due
GET    /schedules             list of ScheduleBrief, in the order they were added
GET    /schedules/{schedule}  ScheduleShape with the next five due times; {schedule} is an id or a
                              name
PATCH  /schedules/{schedule}  ScheduleEdit → 200 ScheduleShape
POST   /schedules/{schedule}/pause   200 ScheduleShape; …/resume. May be repeated
DELETE /schedules/{schedule}  204; its jobs stay
GET    /schedules/{schedule}/firings   list of FiringShape, newest first
GET    /groups                list of GroupShape (api.targets), all of them; GET /groups/{group}
PUT    /groups/{group}        GroupRequest → 200 GroupShape; DELETE: 204, 400 while others use it
GET    /freeze                FreezeShape; PUT FreezeRequest → 200 FreezeShape: no job begins (409
                              frozen); DELETE: 204, jobs begin again
GET    /version               Version
GET    /healthz, /readyz      (not below /api/v1) 200 Health; /readyz 503 while it cannot serve
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from farhand.domain.agent import Liveness
from farhand.domain.command import OutputFormat, ParamType
from farhand.domain.job import NamespaceKind
from farhand.domain.rollout import Ended, HoldWhy
from farhand.domain.run import RunState, Why

# --- What is asked ------------------------------------------------------------------------


class Asked(BaseModel):
    """A body, read strictly: no unknown field, no number in quotes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AllTargets(Asked):
    """Every agent that takes runs."""

    all: Literal[True]


class NamedTargets(Asked):
    """Agents by name, id or `IP-MAC`; 1 to 10,000."""

    names: list[str] = Field(examples=[["web-1"]])


class SelectedTargets(Asked):
    """Agents by what they are."""

    selector: str = Field(examples=["web[1-40] & os=linux & !@staging"])


class PreviewTargets(Asked):
    """Exactly the agents of a preview, whatever has changed since."""

    preview: str = Field(examples=["pre_01h455vb4pex5vsknk084sn02q"])


def _one_of(*names: str) -> Discriminator:
    """Choose the shape by the one of *names* that is given."""

    def which(value: Any) -> str | None:
        if isinstance(value, BaseModel):
            given = [name for name in names if name in type(value).model_fields]
        else:
            asked = value if isinstance(value, dict) else {}
            given = [name for name in names if asked.get(name) is not None]
        return given[0] if len(given) == 1 else None

    return Discriminator(
        which,
        custom_error_type="one_of",
        custom_error_message=f"give exactly one of {', '.join(names)}",
    )


TargetsAsked = Annotated[
    Annotated[AllTargets, Tag("all")]
    | Annotated[NamedTargets, Tag("names")]
    | Annotated[SelectedTargets, Tag("selector")]
    | Annotated[PreviewTargets, Tag("preview")],
    _one_of("all", "names", "selector", "preview"),
]


class NamespacesAsked(Asked):
    """The process whose namespaces the run enters, and which of them."""

    pid: int = Field(ge=1)
    kinds: list[Annotated[NamespaceKind, Field(strict=False)]] = Field(min_length=1)


_ShareAsked = Annotated[
    int | str, Field(examples=[50, "10%"], description="A number of hosts, or a percent of all.")
]


class GateAsked(Asked):
    """A job that is run between two waves: one of `argv`, `script`, `command`, on other agents.

    The next wave begins when every run of it succeeded; when one failed, the job is aborted; when
    one has no answer, the job is held.
    """

    selector: str = Field(examples=["role=probe"])
    argv: list[str] | None = None
    script: str | None = None
    command: str | None = None
    params: dict[str, str | int | bool] | None = None
    env: dict[str, str] | None = None
    cwd: str | None = None
    user: str | None = None
    timeout_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    queue_ttl_s: float | None = Field(None, gt=0, allow_inf_nan=False)


class SpreadAsked(Asked):
    """How the job reaches its hosts. Shares are numbers of hosts or percents of all of them."""

    concurrency: _ShareAsked | None = Field(None, description="Runs begun and not over, at most.")
    waves: list[_ShareAsked] | None = Field(
        None, examples=[[1, "10%", "rest"]], description="Sizes; what they leave is the last wave."
    )
    pause_s: float | None = Field(None, ge=0, allow_inf_nan=False, description="Between waves.")
    by_hand: bool | None = Field(None, description="Between waves, somebody must say `resume`.")
    abort_after: _ShareAsked | None = Field(
        None, description="Failed executions, or percent of them, at which nothing more is begun."
    )
    gate: GateAsked | None = None
    retries: int | None = Field(None, ge=0, description="Of each failed run; needs `rerunnable`.")
    retry_delay_s: float | None = Field(None, ge=0, allow_inf_nan=False)


class _JobAsked(Asked):
    """What every job can have beside what to run. Null and absent take the controller's default."""

    targets: TargetsAsked
    stdin: str | None = Field(None, description="Text for the standard input.")
    stdin_base64: str | None = Field(None, description="Bytes for it, instead of `stdin`.")
    env: dict[str, str] | None = Field(None, description="Added to the agent's environment.")
    cwd: str | None = Field(None, description="An absolute path; the agent must allow `cwd`.")
    user: str | None = Field(None, description="Runs as this user; the agent must allow `user`.")
    namespaces_of: NamespacesAsked | None = None
    timeout_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    queue_ttl_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    output_limit_bytes: int | None = Field(None, ge=0, description="Kept of each stream.")
    nice: int | None = Field(None, ge=-20, le=19)
    rlimits: dict[str, int] | None = Field(None, examples=[{"nofile": 1024}])
    keep_children: bool | None = Field(None, description="Leave what the program left behind.")
    hold: bool | None = Field(None, description="Send nothing before the job is released.")
    expect: int | None = Field(
        None, ge=1, description="How many agents it must be for; needed above a bound."
    )
    rerunnable: bool | None = Field(None, description="It may be run again where it failed.")
    spread: SpreadAsked | None = Field(None, description="Not at all hosts at once.")


class ArgvJob(_JobAsked):
    """Run a program with arguments, never through a shell."""

    argv: list[str] = Field(examples=[["uptime"]])


class ScriptJob(_JobAsked):
    """Run a text, by its `#!` line or by /bin/sh."""

    script: str


class CommandJob(_JobAsked):
    """Run a command of the agents' catalogue."""

    command: str
    params: dict[str, str | int | bool] | None = None


JobRequest = Annotated[
    Annotated[ArgvJob, Tag("argv")]
    | Annotated[ScriptJob, Tag("script")]
    | Annotated[CommandJob, Tag("command")],
    _one_of("argv", "script", "command"),
]


class RerunRequest(Asked):
    """Which runs of a job are made again, as a new job. `{}` asks for all of them."""

    failed_only: bool | None = Field(
        None,
        description="Only where the last try failed, timed out, was lost, expired or was refused.",
    )
    skip_removed: bool | None = Field(
        None, description="Leave out agents that were removed since, instead of refusing."
    )


class AgentEdit(Asked):
    """What an operator may change; absent fields stay as they are."""

    name: str | None = Field(None, description="Null gives the agent's own name back.")
    labels: dict[str, str | None] | None = Field(
        None, description="Merged into the given ones; null hides the agent's own."
    )
    drained: bool | None = None


# --- What is answered ---------------------------------------------------------------------

JobState = Literal["running", "done"]
Time = Annotated[str, Field(description="RFC 3339, UTC")]


class AgentRef(TypedDict):
    """Which agent, and what it was called when the run was made."""

    id: str
    name: str


class RunBrief(TypedDict):
    """A run just made."""

    id: str
    agent: AgentRef
    state: RunState
    wave: int


class UsageShape(TypedDict):
    """What a run used on its host."""

    user_s: float
    system_s: float
    max_rss_bytes: int


class StreamShape(TypedDict):
    """One whole stream. *cut_bytes* are missing at offset *cut_at* of the kept bytes."""

    total: int
    kept: int
    cut_at: int
    cut_bytes: int
    sha256_kept: str
    sha256_all: str


class RunShape(TypedDict):
    """One command on one agent. *streams* is filled when the end is known.

    *wave* counts from 1, and is 0 where the job is not spread. *retry_of* is the run before.
    *output_pruned*: what it printed is not kept any more.
    """

    id: str
    job: str
    agent: AgentRef
    state: RunState
    why: Why | None
    message: str
    exit_code: int | None
    signal: int | None
    pid: int | None
    cancel_requested: bool
    created_at: Time
    queue_until: Time
    sent_at: Time | None
    started_at: Time | None
    ended_at: Time | None
    timeout_s: float
    duration_s: float | None
    usage: UsageShape | None
    streams: dict[Literal["stdout", "stderr"], StreamShape]
    wave: int
    retry_of: str | None
    output_pruned: bool


class TextOutput(TypedDict):
    """The beginning of a stream that is valid UTF-8; *stored* bytes are there in all."""

    text: str
    stored: int
    truncated: bool


class BinaryOutput(TypedDict):
    """The beginning of a stream that is no text; *stored* bytes are there in all."""

    base64: str
    stored: int
    truncated: bool


class RunResult(RunShape):
    """A run with what it printed."""

    stdout: TextOutput | BinaryOutput
    stderr: TextOutput | BinaryOutput


class JobBrief(TypedDict):
    """A job in one line: *targets* and *summary* are cut to 200 characters.

    *schedule* is the id of what made it, if nobody did by hand; *rerun_of* the job that it repeats.
    """

    id: str
    state: JobState
    by: str
    created_at: Time
    targets: str
    summary: str
    counts: dict[RunState, int]
    cancel_requested: bool
    schedule: str | None
    rerun_of: str | None


class JobAccepted(JobBrief):
    """A job and all its runs, as they were made."""

    runs: list[RunBrief]


class JobResult(JobBrief):
    """A job whose runs all came to rest, with their output."""

    runs: list[RunResult]


class ArgvShape(TypedDict):
    """A program and its arguments."""

    argv: list[str]


class ScriptShape(TypedDict):
    """A text."""

    script: str


class CommandCallShape(TypedDict):
    """A catalogue command and its values."""

    command: str
    params: dict[str, str]


class NamespacesOfShape(TypedDict):
    """Whose namespaces a run enters."""

    pid: int
    kinds: list[NamespaceKind]


class LimitsShape(TypedDict):
    """What holds for each run of the job."""

    timeout_s: float
    queue_ttl_s: float
    output_limit_bytes: int
    nice: int | None
    rlimits: dict[str, int]


class GateShape(TypedDict):
    """What is asked between two waves, and whom."""

    what: ArgvShape | ScriptShape | CommandCallShape
    selector: str


class SpreadShape(TypedDict):
    """How a job reaches its hosts; shares are written `50` or `10%`."""

    concurrency: str | None
    waves: list[str]
    pause_s: float
    by_hand: bool
    abort_after: str | None
    gate: GateShape | None
    retries: int
    retry_delay_s: float


class HoldShape(TypedDict):
    """Why nothing is begun, since when, and who asked: a caller, or `rollout`."""

    why: HoldWhy
    by: str
    at: Time
    message: str


class RolloutShape(TypedDict):
    """How far a job that is spread has come. *sizes* are those of its waves, *wave* is from 1.

    *until* ends a pause. *gate* is the job that is asked just now. *ended* tells why it is over,
    or is being aborted, *by* whom, and *message* in words.
    """

    phase: Literal["rolling", "retrying", "pausing", "gating", "held", "aborting", "done"]
    wave: int
    sizes: list[int]
    until: Time | None
    gate: str | None
    hold: HoldShape | None
    ended: Ended | None
    by: str
    message: str
    spread: SpreadShape


class JobRolling(JobBrief):
    """A job that is spread, and how far it has come."""

    rollout: RolloutShape


class SpecShape(TypedDict):
    """What is run, and within which limits. *env* has only the names: values may be secrets."""

    what: ArgvShape | ScriptShape | CommandCallShape
    limits: LimitsShape
    env: list[str]
    cwd: str | None
    user: str | None
    namespaces_of: NamespacesOfShape | None
    stdin_bytes: int
    keep_children: bool
    rerunnable: bool


class JobShape(JobBrief, SpecShape):
    """A job as it was asked."""

    rollout: RolloutShape | None
    runs: list[RunShape]
    runs_next: str | None


class OutputEvent(TypedDict):
    """A run printed: base64 *bytes* at *offset* of the stream's kept bytes."""

    run: str
    stream: Literal["stdout", "stderr"]
    offset: int
    bytes: str


class RunEvent(TypedDict):
    """A run changed its state: the run as it was then, its id under *run*."""

    run: str
    agent: AgentRef
    state: RunState
    why: Why | None
    message: str
    exit_code: int | None
    signal: int | None
    pid: int | None
    cancel_requested: bool
    started_at: Time | None
    ended_at: Time | None
    duration_s: float | None
    streams: dict[Literal["stdout", "stderr"], StreamShape]
    wave: int
    retry_of: str | None


class EndEvent(TypedDict):
    """Nobody waits for a run of this job any more."""

    state: JobState
    counts: dict[RunState, int]


class AgentShape(TypedDict):
    """A host. *name* and *labels* are what counts; *own_…* is what the agent tells of itself."""

    id: str
    name: str
    own_name: str
    labels: dict[str, str]
    own_labels: dict[str, str]
    facts: dict[str, str]
    ip: str
    mac: str
    software: str
    capabilities: list[str]
    drained: bool
    liveness: Liveness
    joined_at: Time
    last_seen_at: Time


class ParamShape(TypedDict):
    """A parameter of a command."""

    name: str
    type: ParamType
    required: bool
    default: str | None
    description: str
    choices: list[str]
    minimum: int | None
    maximum: int | None
    pattern: str | None


class CommandShape(TypedDict):
    """A command of an agent's catalogue.

    *label* and *group* are what a DeepFlow agent shows people; empty for others.
    """

    ident: str
    description: str
    params: list[ParamShape]
    output: OutputFormat
    label: str
    group: str


class NamespaceShape(TypedDict):
    """A namespace of a host; *pid* is a process in it, *processes* how many there are."""

    id: int
    kind: NamespaceKind
    pid: int
    owner: str
    command: str
    processes: int
    container: str
    pod: str


class JobList(TypedDict):
    """A page of jobs."""

    items: list[JobBrief]
    next: str | None


class RunList(TypedDict):
    """A page of runs."""

    items: list[RunShape]
    next: str | None


class AgentList(TypedDict):
    """A page of agents."""

    items: list[AgentShape]
    next: str | None


class CommandList(TypedDict):
    """All commands of an agent."""

    items: list[CommandShape]
    next: None


class NamespaceList(TypedDict):
    """All namespaces of a host."""

    items: list[NamespaceShape]
    next: None


class Version(TypedDict):
    """Who answers, and as whom you are known."""

    version: str
    api: Literal["v1"]
    caller: str
    org: str


class Health(TypedDict):
    """It lives, or it can serve."""

    status: Literal["ok"]


class Problem(TypedDict):
    """RFC 9457. Branch on *code*; further members are facts about this one case."""

    type: Annotated[str, Field(examples=["urn:farhand:error:unknown-agent"])]
    title: str
    status: int
    detail: str
    code: str


SUMMARY_CHARS: Final = 200
