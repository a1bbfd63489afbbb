"""Every error farhand can tell a person about, sorted by what the caller can do.

Knows no status numbers: each edge (HTTP, gRPC, exit codes) holds the one table it needs.

FarhandError
├── BadRequest             the caller must change the request
│   ├── InvalidBody
│   │   ├── BodyTooLarge
│   │   └── UnsupportedMediaType
│   ├── InvalidQuery       a query parameter or header that is unknown or cannot be
│   ├── MethodNotAllowed
│   ├── InvalidJob         argv, script, stdin, env, cwd or a limit that cannot be
│   ├── InvalidParameter   a command's parameter that does not match
│   ├── InvalidSelector    with the place marked
│   ├── InvalidName
│   ├── InvalidCursor
│   ├── InvalidRange       no byte of the output lies there
│   ├── NoTargets
│   ├── UnknownLabel       a label or fact that no agent has
│   ├── CountUnnamed       so many targets that the job must say how many it expects
│   ├── TooManyTargets
│   ├── AmbiguousName      lists the agents that bear it
│   ├── InvalidSchedule    when a schedule is due, or one of its rules, cannot be
│   │   ├── InvalidCron    with the place marked
│   │   ├── NeverFires
│   │   └── UnknownZone
│   ├── InvalidSpread      waves, concurrency, retries or an abort threshold that cannot be
│   │   ├── WaveTooLarge   a wave of more hosts than the job has
│   │   └── GateCannotRun  there is nobody whom the gate could ask
│   └── ConfigError        a setting, a file or an option of a process
├── NotAllowed             a person must grant something
│   ├── Unauthenticated
│   ├── JoinRefused
│   ├── CloneRefused
│   ├── OwnerGone
│   └── UnsafeBinding
├── NotFound
│   ├── UnknownAgent
│   ├── UnknownGroup
│   ├── UnknownPreview
│   ├── UnknownCommand
│   ├── UnknownJob
│   ├── UnknownRun
│   ├── OutputPruned       what the run printed is not kept any more
│   └── UnknownSchedule
├── Conflict               the world is not as the caller thinks
│   ├── IdempotencyConflict
│   ├── IllegalTransition
│   ├── CountMismatch      not as many targets as the job says
│   ├── Frozen             somebody stopped all jobs
│   ├── CannotCancel       the agent's protocol has no word for it
│   ├── NotRolling         no rollout drives the job (any more)
│   ├── StillRolling       a rollout may yet make its failed runs again
│   ├── NothingToRerun     no run of the job is to be run again
│   ├── AgentsRemoved      a job cannot be run again where it ran
│   ├── ScheduleExists
│   ├── DataDirInUse
│   └── PortInUse
├── Unavailable            try again later
│   ├── AgentGone
│   ├── AgentBusy
│   ├── Overloaded         a bound of the controller
│   ├── OverShare          a bound of whoever asks
│   ├── DataDirUnwritable
│   └── StoreUnavailable
├── ProtocolError          the peer broke the agent stream's rules
├── LaunchFailed           a run's program could not be started; `why` says which way
└── OutputCorrupt          what is kept is not what was printed
"""

from typing import ClassVar


class FarhandError(Exception):
    """Something a person can be told, with a code that never changes.

    *details* are facts for programs (JSON values); they stand beside the message in problem+json.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str | None = None, **details: object) -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n", maxsplit=1)[0])
        self.details = details


class BadRequest(FarhandError):
    """The request cannot be carried out as it is."""

    code = "bad-request"


class InvalidBody(BadRequest):
    """The body is not what this address takes."""

    code = "invalid-body"


class BodyTooLarge(InvalidBody):
    """The body is larger than the controller takes."""

    code = "body-too-large"


class UnsupportedMediaType(InvalidBody):
    """The body must be JSON; send it with Content-Type: application/json."""

    code = "unsupported-media-type"


class InvalidQuery(BadRequest):
    """A query parameter or header is unknown or has a value that cannot be."""

    code = "invalid-query"


class MethodNotAllowed(BadRequest):
    """This address does not take this method."""

    code = "method-not-allowed"


class InvalidJob(BadRequest):
    """The job cannot be run as it is written."""

    code = "invalid-job"


class InvalidParameter(BadRequest):
    """A parameter does not match what the command takes."""

    code = "invalid-parameter"


class InvalidSelector(BadRequest):
    """The selector cannot be read."""

    code = "invalid-selector"


class InvalidName(BadRequest):
    """The name or label cannot be used."""

    code = "invalid-name"


class InvalidCursor(BadRequest):
    """The cursor was not made by this list; start again without one."""

    code = "invalid-cursor"


class InvalidRange(BadRequest):
    """No byte of the output lies in the range asked for."""

    code = "invalid-range"


class NoTargets(BadRequest):
    """No agent matches; look at `farhand agents`."""

    code = "no-targets"


class UnknownLabel(BadRequest):
    """No agent has a label or fact of this name, so that asking for its value is a mistake."""

    code = "unknown-label"


class CountUnnamed(BadRequest):
    """The job has so many targets that it must say itself how many it expects."""

    code = "count-unnamed"


class TooManyTargets(BadRequest):
    """The job names more agents than one job may."""

    code = "too-many-targets"


class AmbiguousName(BadRequest):
    """More than one agent bears this name; use an id."""

    code = "ambiguous-name"


class InvalidSpread(BadRequest):
    """The job cannot be spread over its hosts in this way."""

    code = "invalid-spread"


class WaveTooLarge(InvalidSpread):
    """A wave is of more hosts than the job has; write a smaller number, or a percent."""

    code = "wave-too-large"


class GateCannotRun(InvalidSpread):
    """The job that decides between the waves has no agent that it could run on."""

    code = "gate-cannot-run"


class InvalidSchedule(BadRequest):
    """The schedule cannot be as it is written."""

    code = "invalid-schedule"


class InvalidCron(InvalidSchedule):
    """The cron expression cannot be read."""

    code = "invalid-cron"


class NeverFires(InvalidSchedule):
    """The cron expression is never due."""

    code = "never-fires"


class UnknownZone(InvalidSchedule):
    """There is no time zone of this name; write one as Europe/Berlin or UTC."""

    code = "unknown-zone"


class ConfigError(BadRequest):
    """A setting is unknown or cannot be used."""

    code = "invalid-config"


class NotAllowed(FarhandError):
    """This is not allowed."""

    code = "not-allowed"


class Unauthenticated(NotAllowed):
    """The bearer token is missing or wrong."""

    code = "unauthenticated"


class JoinRefused(NotAllowed):
    """The agent's join token or secret is not one this controller issued."""

    code = "join-refused"


class CloneRefused(NotAllowed):
    """The agent id belongs to another machine; give this host a state directory of its own."""

    code = "clone-refused"


class OwnerGone(NotAllowed):
    """Whoever added the schedule has no token any more; who resumes it takes it over."""

    code = "owner-gone"


class UnsafeBinding(NotAllowed):
    """Binding anything but loopback needs TLS; give --tls-cert and --tls-key, or --insecure."""

    code = "unsafe-binding"


class NotFound(FarhandError):
    """There is no such thing here."""

    code = "not-found"


class UnknownAgent(NotFound):
    """No agent has this name or id; look at `farhand agents`."""

    code = "unknown-agent"


class UnknownGroup(NotFound):
    """No selector is saved under this name; look at `farhand groups`."""

    code = "unknown-group"


class UnknownPreview(NotFound):
    """There is no such preview, or it is too old to bind a job to it."""

    code = "unknown-preview"


class UnknownCommand(NotFound):
    """The agent's catalogue has no such command; look at `farhand commands`."""

    code = "unknown-command"


class UnknownJob(NotFound):
    """There is no such job; look at `farhand jobs`."""

    code = "unknown-job"


class UnknownRun(NotFound):
    """There is no such run; look at `farhand runs`."""

    code = "unknown-run"


class OutputPruned(NotFound):
    """What the run printed was deleted, for it was old or too much was kept; its record stays."""

    code = "output-pruned"


class UnknownSchedule(NotFound):
    """There is no such schedule; look at `farhand schedules list`."""

    code = "unknown-schedule"


class Conflict(FarhandError):
    """The state of things does not allow this."""

    code = "conflict"


class IdempotencyConflict(Conflict):
    """The Idempotency-Key was used for another body; use a new key."""

    code = "idempotency-conflict"


class IllegalTransition(Conflict):
    """The run cannot go from the state it is in to the one asked for."""

    code = "illegal-transition"


class CountMismatch(Conflict):
    """The job has not as many targets as it says it expects."""

    code = "count-mismatch"


class Frozen(Conflict):
    """Somebody stopped all jobs; `farhand unfreeze` lets them begin again."""

    code = "frozen"


class CannotCancel(Conflict):
    """The agent's protocol has no cancel, and the run is with it; wait, or look at its host."""

    code = "cannot-cancel"


class NotRolling(Conflict):
    """The job is not in a rollout that could be held, resumed or aborted; look at it again."""

    code = "not-rolling"


class StillRolling(Conflict):
    """A rollout drives the job and may yet make its failed runs again; wait, or abort it first."""

    code = "still-rolling"


class NothingToRerun(Conflict):
    """No run of the job is one that would be run again; look at its runs."""

    code = "nothing-to-rerun"


class AgentsRemoved(Conflict):
    """Agents that the job ran on were removed since; it can be run again without them."""

    code = "agents-removed"


class ScheduleExists(Conflict):
    """A schedule of this name is there already; remove it first, or choose another name."""

    code = "schedule-exists"


class DataDirInUse(Conflict):
    """Another process uses this directory; stop it or choose another directory."""

    code = "data-dir-in-use"


class PortInUse(Conflict):
    """The address is taken by another process; stop it or choose another port."""

    code = "port-in-use"


class Unavailable(FarhandError):
    """Not now; try again later."""

    code = "unavailable"


class AgentGone(Unavailable):
    """The agent is not connected."""

    code = "agent-gone"


class AgentBusy(Unavailable):
    """The agent takes no more just now; try again in a moment."""

    code = "agent-busy"


class Overloaded(Unavailable):
    """The controller is at a limit of its own; try again in a moment."""

    code = "overloaded"


class OverShare(Unavailable):
    """The org or the caller has its whole share already; try again when some of it is free."""

    code = "over-share"


class DataDirUnwritable(Unavailable):
    """The directory cannot be written; look at its owner, its mode and the free space."""

    code = "data-dir-unwritable"


class StoreUnavailable(Unavailable):
    """The store cannot be read or written just now."""

    code = "store-unavailable"


class ProtocolError(FarhandError):
    """The peer broke the rules of the agent stream."""

    code = "protocol-error"


class LaunchFailed(FarhandError):
    """The program could not be started."""

    code = "launch-failed"

    def __init__(self, why: str, message: str) -> None:
        super().__init__(message)
        self.why = why


class OutputCorrupt(FarhandError):
    """The bytes that are kept do not have the digest that the agent computed."""

    code = "output-corrupt"
