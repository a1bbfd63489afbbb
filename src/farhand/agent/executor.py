"""Run what the controller sends, at most once each, and tell it until it is settled.

Knows no connection: `collect` gives the frames that may go out now, `notify` takes whom to
tell that there are some. The journal names a run before its program starts.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, Self

from farhand.agent.attendance import Attendance
from farhand.agent.held import HeldEntry
from farhand.agent.journal import Entry, Journal
from farhand.agent.pastruns import Past
from farhand.agent.spool import Spool
from farhand.agent.spoolfile import SpoolDir, SpoolFile
from farhand.domain.ids import RunId, is_id
from farhand.domain.job import Argv, CommandCall, JobSpec, Script
from farhand.domain.limits import AgentLimits
from farhand.domain.messages import (
    Ack,
    CancelRun,
    FromAgent,
    FromController,
    HeldRun,
    HeldState,
    Output,
    Resume,
    RunAccepted,
    RunRefused,
    RunStarted,
    Settled,
    StartRun,
    Stop,
)
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.policy import AgentPolicy
from farhand.domain.run import Ending, Why
from farhand.errors import (
    DataDirUnwritable,
    FarhandError,
    InvalidParameter,
    LaunchFailed,
    UnknownCommand,
)
from farhand.ports import Clock, Exit, Launch, Launched, Launcher

log = logging.getLogger(__name__)

_TOLD: Final = {
    Why.AGENT_STOPPED: "the agent was stopped while the run was running; it was killed",
}
_TOLD_PAST: Final = {
    Past.SEEN: "this agent has run it already; its end was told to a controller before",
    Past.FORGOTTEN: (
        "it is older than the runs that this agent remembers, "
        "so the agent cannot tell any more whether it has run it already"
    ),
}
_TOLD_RUNNING: Final = (
    "the agent died or was killed while the run was running; what was left of it was killed, "
    "and what it printed last may be missing"
)
_TOLD_STARTING: Final = (
    "the agent died or was killed before it could note that the program had started; "
    "what was left of it was killed"
)
_REFUSED_AT_LAUNCH: Final = frozenset({Why.NAMESPACES})


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A catalogue command with its values filled in: what to start, and its own time limit."""

    argv: tuple[str, ...]
    timeout_s: float | None = None
    env: Mapping[str, str] = field(default_factory=dict)


class Resolver(Protocol):
    """The catalogue, as the executor sees it."""

    def resolve(self, call: CommandCall) -> Resolved:
        """Raise UnknownCommand or InvalidParameter."""
        ...


class Scripts(Protocol):
    """Where a script's text lies while it runs."""

    def put(self, run: RunId, spec: JobSpec) -> tuple[str, ...]:
        """Write the script and return the argv that runs it. Raises LaunchFailed."""
        ...

    def remove(self, run: RunId) -> None: ...


class Executor:
    """All runs of one agent. Use it inside `async with`: leaving kills what still runs."""

    def __init__(
        self,
        *,
        launcher: Launcher,
        catalogue: Resolver,
        policy: AgentPolicy,
        journal: Journal,
        scripts: Scripts,
        spools: SpoolDir,
        clock: Clock,
        limits: AgentLimits,
        env: Mapping[str, str],
        boot_id: str,
    ) -> None:
        self._launcher = launcher
        self._catalogue = catalogue
        self._policy = policy
        self._journal = journal
        self._scripts = scripts
        self._spools = spools
        self._clock = clock
        self._limits = limits
        self._env = env
        self._boot_id = boot_id
        self._on_ready: Callable[[], None] = lambda: None
        self._held: dict[RunId, HeldEntry] = {}
        self._ready: dict[RunId, HeldEntry] = {}  # in the order in which they became ready
        self._tasks = asyncio.TaskGroup()
        self._stopping = False

    async def __aenter__(self) -> Self:
        """Settle with the past first: what an earlier process left running is killed."""
        entries = list(self._journal.entries.values())
        files = self._spools.find(
            {entry.run: "" != entry.boot_id == self._boot_id for entry in entries}
        )
        await self._tasks.__aenter__()
        for entry in entries:
            await self._recover(entry, files.get(entry.run, {}))
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Kill every run and wait until all it started is gone."""
        self.stop()
        for held in self._held.values():
            for spool in held.spools.values():
                spool.hurry()
        await self._tasks.__aexit__(None, None, None)

    @property
    def free_bytes(self) -> int:
        """Bytes of output that can be taken in before programs have to wait."""
        return self._spools.free

    @property
    def running(self) -> int:
        """Runs that have not ended."""
        return sum(held.ending is None and held.refusal is None for held in self._held.values())

    @property
    def settled(self) -> bool:
        """The controller has settled everything this agent ever held."""
        return not self._held

    def notify(self, on_ready: Callable[[], None]) -> None:
        """Call *on_ready* when `collect` has something."""
        self._on_ready = on_ready

    def stop(self) -> None:
        """Take no more runs and end those that run."""
        self._stopping = True
        for held in self._held.values():
            held.ask_to_end(Why.AGENT_STOPPED, self._limits.kill_grace_s)

    def held(self) -> list[HeldRun]:
        """Everything that is not settled; from now on it is muted until the controller asks."""
        self._ready.clear()
        for held in self._held.values():
            held.mute()
        return [held.held() for held in self._held.values()]

    def collect(self, most: int) -> list[FromAgent]:
        """Take frames that may go out now, about *most* bytes of output in all, fairly."""
        frames: list[FromAgent] = []
        size = 0
        while self._ready and size < most:
            run, held = next(iter(self._ready.items()))
            del self._ready[run]
            frame = held.next_frame(min(self._limits.chunk_bytes, most - size))
            if frame is None:
                continue
            self._ready[run] = held  # to the back of the line
            frames.append(frame)
            size += len(frame.chunk.data) + 64 if isinstance(frame, Output) else 64
        return frames

    def handle(self, order: FromController) -> None:
        """Carry out an order about a run."""
        match order:
            case StartRun():
                self._start(order)
            case Ack(run, stream, kept, up_to):
                if held := self._held.get(run):
                    if stream in held.spools:
                        held.spools[stream].acknowledge(kept, up_to)
                    self._wake(held)
            case CancelRun(run, grace_s):
                if held := self._held.get(run):
                    held.ask_to_end(Why.CANCELLED, grace_s)
            case Resume(run):
                if held := self._held.get(run):
                    held.tell_again(order)
                    self._wake(held)
            case Settled(run):
                self._forget(run)
            case Stop(run):
                self._stop_unknown(run)
            case _:
                log.warning("order not understood: %s", type(order).__name__)

    # --- beginning ------------------------------------------------------------------------

    def _start(self, order: StartRun) -> None:
        if order.run in self._held:
            log.warning("%s was sent twice; it is not started again", order.run)
            return
        if not is_id("run", order.run):
            log.warning("%r is not the id of a run; it is not started", order.run)
            return
        past = self._journal.knows(order.run)
        held = self._held[order.run] = HeldEntry(order.run)
        if past is not Past.NEW:
            # Settled before: the controller was put back to an older state than this agent's.
            log.warning("%s is not started: %s", order.run, _TOLD_PAST[past])
            refused = RunRefused(order.run, Why.ALREADY_RUN, _TOLD_PAST[past])
            self._tell_refusal(held, refused)
            return
        held.spec = order.spec
        refusal = self._refusal(order)
        if isinstance(refusal, RunRefused):
            self._refuse(held, refusal.why, refusal.message)
            return
        for name in StreamName:
            file = self._spools.file(order.run, name)
            limit = order.spec.output_limit_bytes
            spool = Spool(order.run, name, limit, self._spools.budget, file)
            spool.up_to = order.grant
            held.spools[name] = spool
        self._tasks.create_task(self._life(held, order.spec, refusal), name=f"run-{order.run}")

    def _refusal(self, order: StartRun) -> RunRefused | Resolved | None:
        """Say why the run may not start here; or what its catalogue command means."""
        if self._stopping:
            return RunRefused(order.run, Why.AGENT_STOPPED, "the agent is stopping")
        if self.running > self._limits.runs:
            told = f"the agent has {self._limits.runs} runs at once, which is its limit"
            return RunRefused(order.run, Why.AGENT_FULL, told)
        if (told_no := self._policy.refusal(order.spec)) is not None:
            return RunRefused(order.run, Why.POLICY, told_no)
        if isinstance(order.spec.what, CommandCall):
            try:
                return self._catalogue.resolve(order.spec.what)
            except UnknownCommand as exc:
                return RunRefused(order.run, Why.UNKNOWN_COMMAND, str(exc))
            except InvalidParameter as exc:
                return RunRefused(order.run, Why.INVALID_PARAMETER, str(exc))
        return None

    def _refuse(self, held: HeldEntry, why: Why, message: str) -> None:
        held.drop()
        held.spools.clear()
        entry = self._entry(held.run, HeldState.REFUSED, why=why, message=message)
        try:
            self._journal.note(entry)
        except DataDirUnwritable as exc:
            log.warning("a refusal could not be journalled: %s", exc)
            self._journal.entries[held.run] = entry
        self._tell_refusal(held, RunRefused(held.run, why, message))

    def _tell_refusal(self, held: HeldEntry, refusal: RunRefused) -> None:
        held.state, held.refusal = HeldState.REFUSED, refusal
        held.untold.append(refusal)
        self._wake(held)

    def _entry(self, run: RunId, state: HeldState, **facts: object) -> Entry:
        boot_id = self._boot_id
        return Entry(run=run, state=state, boot_id=boot_id, **facts)  # type: ignore[arg-type]  # by name

    # --- living ---------------------------------------------------------------------------

    async def _life(self, held: HeldEntry, spec: JobSpec, resolved: Resolved | None) -> None:
        """From the journal to the end of one run."""
        try:
            await self._journal.commit(self._entry(held.run, HeldState.ACCEPTED))
        except DataDirUnwritable as exc:
            self._refuse(held, Why.JOURNAL_FULL, str(exc))
            return
        held.untold.append(RunAccepted(held.run))
        self._wake(held)
        try:
            await self._run(held, spec, resolved)
        finally:
            if isinstance(spec.what, Script):
                self._scripts.remove(held.run)

    async def _run(self, held: HeldEntry, spec: JobSpec, resolved: Resolved | None) -> None:
        try:
            process = await self._launcher.launch(self._launch(held.run, spec, resolved))
        except LaunchFailed as exc:
            if Why(exc.why) in _REFUSED_AT_LAUNCH:
                self._refuse(held, Why(exc.why), str(exc))
            else:
                self._end(held, Ending(why=Why(exc.why), message=str(exc)))
            return
        except Exception:  # one run that cannot be started must not end the others
            log.exception("%s could not be started", held.run)
            told = "the agent failed to start it; its log says more"
            self._end(held, Ending(why=Why.SPAWN_FAILED, message=told))
            return
        try:
            await self._attend(held, spec, process, self._time_limit(spec, resolved))
        except Exception:  # one run that cannot be attended to must not end the others
            log.exception("%s could not be attended to", held.run)
            await self._launcher.sweep(held.run)
            told = "the agent failed while it ran, and killed it; its log says more"
            self._end(held, Ending(why=Why.AGENT_FAILED, message=told))
        finally:
            process.close()

    def _launch(self, run: RunId, spec: JobSpec, resolved: Resolved | None) -> Launch:
        env = {**self._env, **spec.env}
        match spec.what:
            case Argv(argv):
                pass
            case Script():
                argv = self._scripts.put(run, spec)
            case CommandCall() if resolved is not None:
                argv, env = resolved.argv, {**env, **resolved.env}
            case _:
                raise LaunchFailed(Why.UNKNOWN_COMMAND, "a command that was not resolved")
        return Launch(
            run=run,
            argv=argv,
            env=env,
            stdin=spec.stdin,
            cwd=spec.cwd,
            user=spec.user,
            nice=spec.nice,
            rlimits=spec.rlimits,
            namespaces=spec.namespaces_of,
        )

    @staticmethod
    def _time_limit(spec: JobSpec, resolved: Resolved | None) -> float:
        own = resolved.timeout_s if resolved is not None else None
        return spec.timeout_s if own is None else min(spec.timeout_s, own)

    async def _attend(
        self, held: HeldEntry, spec: JobSpec, process: Launched, limit_s: float
    ) -> None:
        """Carry a started run's output and see it to its end."""
        began = self._clock.now()
        held.pid, held.state = process.pid, HeldState.RUNNING
        self._note(self._entry(held.run, HeldState.RUNNING, pid=process.pid))
        held.untold.append(RunStarted(held.run, process.pid))
        self._wake(held)
        attendance = Attendance(held, process, self._limits, lambda: self._wake(held))
        cause, exit_ = await attendance.until_end(limit_s, keep_children=spec.keep_children)
        self._end(held, _ending_of(cause, exit_, self._clock.now() - began))

    # --- ending ---------------------------------------------------------------------------

    def _end(self, held: HeldEntry, ending: Ending) -> None:
        """Tell how it ended. A power cut may cost the end, as it may cost the output before it."""
        streams = {name: spool.finish() for name, spool in held.spools.items()}
        held.ending = replace(ending, streams=streams)
        held.state = HeldState.ENDED
        self._note(self._entry(held.run, HeldState.ENDED, ending=held.ending))
        if held.unknown:
            self._forget(held.run)
        self._wake(held)

    def _note(self, entry: Entry) -> None:
        try:
            self._journal.note(entry)
        except FarhandError as exc:
            log.warning("%s could not be journalled as %s: %s", entry.run, entry.state, exc)

    def _forget(self, run: RunId) -> None:
        held = self._held.pop(run, None)
        self._ready.pop(run, None)
        if run in self._journal.entries:
            try:
                self._journal.settle(run)
            except DataDirUnwritable as exc:
                log.warning("%s could not be journalled as settled: %s", run, exc)
        if held is not None:
            held.drop()

    def _stop_unknown(self, run: RunId) -> None:
        held = self._held.get(run)
        if held is None:
            return
        log.warning("%s is not known to the controller and is stopped", run)
        held.unknown = True
        held.ask_to_end(Why.CANCELLED, 0.0)
        if held.ending is not None or held.refusal is not None:
            self._forget(run)

    def _wake(self, held: HeldEntry) -> None:
        if self._held.get(held.run) is held:
            self._ready[held.run] = held
            self._on_ready()

    async def _recover(self, entry: Entry, files: Mapping[StreamName, SpoolFile]) -> None:
        """A run of an earlier process of this agent: end it, and tell how it ended."""
        held = self._held[entry.run] = HeldEntry(entry.run)
        held.state, held.muted, held.pid = entry.state, True, entry.pid
        self._scripts.remove(entry.run)
        ends: Mapping[StreamName, StreamEnd | None] = dict.fromkeys(StreamName)
        if entry.ending is not None:
            ends = entry.ending.streams
        held.spools = {
            name: Spool.found(entry.run, name, self._spools.budget, files.get(name), end)
            for name, end in ends.items()
        }
        match entry.state:
            case HeldState.REFUSED:
                held.drop()
                held.refusal = RunRefused(entry.run, entry.why or Why.POLICY, entry.message)
            case HeldState.ENDED:
                held.ending = entry.ending
            case HeldState.ACCEPTED | HeldState.RUNNING:
                await self._launcher.sweep(entry.run)
                told = _TOLD_RUNNING if entry.pid else _TOLD_STARTING
                self._end(held, Ending(why=Why.AGENT_RESTARTED, message=told))


def _ending_of(cause: Why | None, exit_: Exit, duration_s: float) -> Ending:
    why = cause or (Why.EXIT if exit_.signal is None else Why.SIGNAL)
    return Ending(
        why=why,
        message=_TOLD.get(why, ""),
        exit_code=exit_.code,
        signal=exit_.signal,
        duration_s=duration_s,
        usage=exit_.usage,
    )
