"""One DeepFlow stream in the native stream's words: orders in, frames and moves out.

Does no I/O and reads no clock. The controller meets an agent with fewer capabilities, and what it
orders of that agent is what this protocol has a word for; the rest is refused here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from farhand.domain.deepflow.abilities import commands_of, namespaces_of, too_large, unsupported
from farhand.domain.deepflow.effects import (
    Abandoned,
    Cause,
    CommandsListed,
    Effect,
    Ended,
    HoldBack,
    ListFailed,
    NamespacesListed,
    NotSent,
    Order,
    OtherSender,
    Overdue,
    Printed,
    ReadOn,
    Refused,
    Send,
    Started,
    Stray,
    Uncancellable,
)
from farhand.domain.deepflow.messages import Response
from farhand.domain.deepflow.session import DeepFlowSession
from farhand.domain.ids import RunId
from farhand.domain.job import CommandCall
from farhand.domain.messages import (
    Ack,
    CancelRun,
    Commands,
    FromAgent,
    FromController,
    Heartbeat,
    ListCommands,
    ListNamespaces,
    Namespaces,
    Output,
    Resume,
    RunEnded,
    RunRefused,
    Settled,
    StartRun,
    Stop,
)
from farhand.domain.run import Ending, RunState, Why
from farhand.domain.session import NO_ANSWER, Move

_SENT: Final = frozenset({RunState.SENT})
_NOT_RUNNING: Final = frozenset({RunState.SENT, RunState.LOST})
_WAITED_FOR: Final = frozenset({RunState.SENT, RunState.RUNNING})
_OVERDUE: Final = (
    "it ran longer than its limit; the agent cannot stop it and runs nothing else meanwhile, "
    "and what it answers is still its end"
)


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The controller's question with this number has no answer."""

    request: int
    why: str


Said = FromAgent | Move | Unanswered
"""What the controller is told."""
Done = Send | HoldBack | ReadOn | Stray | OtherSender
"""What is left to whoever has the stream."""


class Interpreter:
    """Between a controller's session and the machine of one stream."""

    def __init__(self, machine: DeepFlowSession) -> None:
        self.machine = machine
        self.open: set[RunId] = set()
        """Runs that the controller ordered and has not settled."""

    def hear(self, response: Response, now: float) -> Iterator[Said | Done]:
        """What the agent says."""
        yield from self._told(self.machine.receive(response, now))
        if response.heartbeat:
            yield Heartbeat(seq=self.machine.heartbeats, runs=int(self.machine.running is not None))

    def tick(self, now: float) -> Iterator[Said | Done]:
        """What has become due."""
        yield from self._told(self.machine.tick(now))

    def over(self) -> Iterator[Said | Done]:
        """The stream has ended."""
        yield from self._told(self.machine.over())

    def order(self, order: FromController, now: float) -> Iterator[Said | Done]:
        """What the controller says."""
        match order:
            case StartRun():
                yield from self._start(order, now)
            case CancelRun(run):
                yield from self._told(self.machine.cancel(run))
            case Ack(run, stream, kept, up_to):
                yield from self._told(self.machine.stored(run, stream, kept, up_to))
            case Resume(run, offsets, up_to):
                yield from self._told(self.machine.rewind(run, offsets, up_to))
            case Settled(run) | Stop(run):
                self.open.discard(run)
                yield from self._told(self.machine.forget(run))
            case ListCommands(request):
                yield from self._told(self.machine.list_commands(request, now))
            case ListNamespaces(request):
                yield from self._told(self.machine.list_namespaces(request, now))
            case _:  # what only a native agent is told
                return

    def _start(self, order: StartRun, now: float) -> Iterator[Said | Done]:
        spec, what = order.spec, order.spec.what
        self.open.add(order.run)
        if (told := unsupported(spec)) or not isinstance(what, CommandCall):
            yield RunRefused(order.run, Why.UNSUPPORTED, told)
            return
        of = spec.namespaces_of
        asked = Order(
            run=order.run,
            ident=what.ident,
            params=what.params,
            linux_ns_pid=of.pid if of is not None else None,
            queue_until=now + spec.queue_ttl_s,
            timeout_s=spec.timeout_s,
            output_bytes=spec.output_limit_bytes,
            grant=order.grant,
        )
        yield from self._told(self.machine.run(asked, now))

    def _told(self, effects: Iterable[Effect]) -> Iterator[Said | Done]:
        for effect in effects:
            match effect:
                case Started(run):
                    yield Move(run, _NOT_RUNNING, RunState.RUNNING)
                case Printed(chunk):
                    yield Output(chunk)
                case Ended(run, ending):
                    yield RunEnded(run, ending)
                case Refused(run, why, message):  # it was told as running: that cannot be refused
                    yield RunEnded(run, Ending(why=why, message=message))
                case NotSent():
                    yield _not_sent(effect)
                case Overdue(run):
                    yield Move(run, _WAITED_FOR, RunState.LOST, Why.NO_CANCEL, _OVERDUE)
                case Abandoned(run):
                    yield RunEnded(run, Ending(why=Why.NO_ANSWER, message=NO_ANSWER))
                case CommandsListed(token, commands) if too_large(commands):
                    yield Unanswered(token, "the agent's list of commands is too large")
                case CommandsListed(token, commands):
                    yield Commands(token, commands_of(commands))
                case NamespacesListed(token, namespaces):
                    yield Namespaces(token, namespaces_of(namespaces))
                case ListFailed(token, message):
                    yield Unanswered(token, message)
                case Uncancellable():  # whoever asked was told so before
                    pass
                case Send() | HoldBack() | ReadOn() | Stray() | OtherSender():
                    yield effect


def _not_sent(effect: NotSent) -> Said:
    """Where a run goes that the agent never heard of."""
    run, message = effect.run, effect.message
    match effect.cause:
        case Cause.STREAM_OVER:
            return Move(run, _SENT, RunState.QUEUED)
        case Cause.DEADLINE:
            return Move(run, _NOT_RUNNING, RunState.EXPIRED, Why.QUEUE_TTL, message)
        case Cause.CANCELLED:
            return RunEnded(run, Ending(why=Why.CANCELLED, message=message))
        case Cause.LANE_FULL:
            return RunRefused(run, Why.AGENT_FULL, message)
        case Cause.TOO_LARGE:
            return RunRefused(run, Why.UNSUPPORTED, message)
