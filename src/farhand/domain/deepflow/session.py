"""What one DeepFlow agent's stream means to a controller: responses and orders in, effects out.

Does no I/O and reads no clock: *now* is seconds of any steady clock, the same for all calls. The
agent runs one command at a time and drops the first when a second arrives, so runs wait here in a
lane, and so do lists of namespaces.

How to use it::

    sender = sender_of(first)  # raises ProtocolError: nobody to speak to
    session = DeepFlowSession(sender, room, numbers=lambda: secrets.randbits(63))
    effects = session.receive(first, now)  # and so with each response
    effects = session.run(order, now)  # Started comes when it is really sent
    effects = session.tick(now)  # at `session.due` or soon after

Carry the effects out in their order. A run ends with exactly one of `Ended`, `Refused`, `NotSent`
and `Abandoned`; `Overdue` only ends the waiting, and its result still arrives. `Printed` comes as
far as was granted: tell `stored` and `rewind` as an `Ack` and a `Resume` tell a native agent, and
`forget` when the end is stored. After the stream is over (`over`) finished results stay until they
are forgotten; `close` gives all of them up.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from farhand.domain.deepflow.answer import Answer, Verdict, completes
from farhand.domain.deepflow.effects import (
    DEFAULT_STREAM_LIMITS,
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
    StreamLimits,
    Uncancellable,
)
from farhand.domain.deepflow.messages import (
    HEARTBEAT_REPLY,
    ExecType,
    Request,
    Response,
    Sender,
)
from farhand.domain.deepflow.outlet import Outlet, Room
from farhand.domain.deepflow.texts import brief
from farhand.domain.ids import RunId
from farhand.domain.output import StreamName
from farhand.domain.run import Ending
from farhand.errors import ProtocolError

_SENDERS_TOLD: Final = 16  # other senders that are remembered, and so told only once
_LISTED_MOST: Final = 20_000  # entries of one list; no host has more
_NAME_MOST: Final = 64  # characters of an ip or a mac


def sender_of(first: Response) -> Sender:
    """Who dials, by the first message; raises ProtocolError when it does not say."""
    if first.sender is None or not first.sender.key:
        raise ProtocolError("the first message of a DeepFlow agent must have its ip and its mac")
    for text in (first.sender.ip or "", first.sender.mac or ""):
        if len(text) > _NAME_MOST or not text.isprintable() or " " in text:
            raise ProtocolError("what a DeepFlow agent sends as ip or mac cannot be one")
    return first.sender


class _Run:
    """A run that was sent and not answered in full."""

    __slots__ = ("answer", "order", "overdue", "sent_at")

    def __init__(self, order: Order, now: float) -> None:
        self.order = order
        self.sent_at = now
        self.overdue = False
        self.answer = Answer()

    @property
    def due(self) -> float:
        return self.sent_at + self.order.timeout_s


class _Result:
    """What a run printed and, once that is known, how it ended; until it is stored."""

    __slots__ = ("ended", "outlet", "told")

    def __init__(self, outlet: Outlet) -> None:
        self.outlet = outlet
        self.ended: Ended | Refused | None = None
        self.told = False


class _List:
    """A question for a list."""

    __slots__ = ("kind", "token", "until")

    def __init__(self, token: int, kind: ExecType, until: float) -> None:
        self.token = token
        self.kind = kind
        self.until = until


class DeepFlowSession:
    """The rules of one stream, whose first message told who dials. Not shared between streams."""

    def __init__(
        self,
        sender: Sender,
        room: Room,
        *,
        numbers: Callable[[], int],
        limits: StreamLimits = DEFAULT_STREAM_LIMITS,
    ) -> None:
        """*numbers* makes request ids that nobody can guess, from 1 to 2**64 - 1."""
        self.sender = sender
        self.heartbeats = 0
        self._room = room
        self._numbers = numbers
        self._limits = limits
        self._over = False
        self._held_back = False
        self._others: set[str] = set()
        self._running: dict[int, _Run] = {}  # by request id; at most one
        self._waiting: deque[Order] = deque()
        self._results: dict[RunId, _Result] = {}
        self._lists: dict[int, _List] = {}  # asked, by request id
        self._lists_waiting: deque[_List] = deque()  # for namespaces

    # --- what is to be seen ---------------------------------------------------------------

    @property
    def running(self) -> RunId | None:
        """The run that has the lane, if any, overdue or not."""
        return next((run.order.run for run in self._running.values()), None)

    @property
    def waiting(self) -> int:
        """Runs that wait for the lane."""
        return len(self._waiting)

    @property
    def held(self) -> int:
        """Bytes of output that are not stored yet."""
        return sum(result.outlet.held for result in self._results.values())

    @property
    def due(self) -> float | None:
        """When `tick` has something to do, if ever."""
        times = [order.queue_until for order in self._waiting]
        times += [run.due for run in self._running.values() if not run.overdue]
        times += [asked.until for asked in (*self._lists.values(), *self._lists_waiting)]
        return min(times, default=None)

    # --- orders ---------------------------------------------------------------------------

    def run(self, order: Order, now: float) -> list[Effect]:
        """Start a run as soon as the agent is free."""
        run = order.run
        if (
            run in self._results
            or run == self.running
            or any(order.run == run for order in self._waiting)
        ):
            return []
        if self._over:
            return [_not_sent(run, Cause.STREAM_OVER)]
        if not order.fits:
            return [_not_sent(run, Cause.TOO_LARGE)]
        if self._running and len(self._waiting) >= self._limits.runs_waiting:
            return [_not_sent(run, Cause.LANE_FULL)]
        self._waiting.append(order)
        return self._next_run(now)

    def cancel(self, run: RunId) -> list[Effect]:
        """Take a run back that was not sent; one that was cannot be stopped."""
        if self._withdraw(run):
            return [_not_sent(run, Cause.CANCELLED)]
        return [Uncancellable(run)] if run == self.running else []

    def list_commands(self, token: int, now: float) -> list[Effect]:
        """Ask what the agent offers; it answers also while a command runs."""
        asked = _List(token, ExecType.LIST_COMMAND, now + self._limits.list_s)
        if self._over or len(self._lists) >= self._limits.lists_waiting:
            return [self._unasked(asked)]
        return [self._ask(asked)]

    def list_namespaces(self, token: int, now: float) -> list[Effect]:
        """Ask for the network namespaces of the host, one question at a time."""
        asked = _List(token, ExecType.LIST_NAMESPACE, now + self._limits.list_s)
        if self._over or len(self._lists_waiting) >= self._limits.lists_waiting:
            return [self._unasked(asked)]
        self._lists_waiting.append(asked)
        return self._next_list()

    def stored(self, run: RunId, stream: StreamName, through: int, up_to: int) -> list[Effect]:
        """A stream is stored below *through* and may go on up to *up_to*."""
        result = self._results.get(run)
        if result is None:
            return []
        result.outlet.stored(stream, through, up_to)
        return [*self._hand_out(run), *self._balance()]

    def rewind(
        self, run: RunId, offsets: Mapping[StreamName, int], up_to: Mapping[StreamName, int]
    ) -> list[Effect]:
        """Hand a run's streams out again from *offsets*, and its end behind them."""
        result = self._results.get(run)
        if result is None:
            return []
        result.told = False
        result.outlet.rewind(offsets, up_to)
        return self._hand_out(run)

    def forget(self, run: RunId) -> list[Effect]:
        """The run is settled, or nobody knows it: nothing more is told of it.

        If it has the lane it keeps it, for the agent still works on it.
        """
        self._withdraw(run)
        result = self._results.pop(run, None)
        if result is not None:
            result.outlet.drop()
        return self._balance()

    def over(self) -> list[Effect]:
        """The stream has ended: nothing more is sent or comes. Finished results stay."""
        self._over = True
        effects: list[Effect] = [
            Abandoned(run.order.run)
            for run in self._running.values()
            if run.order.run in self._results
        ]
        effects += [_not_sent(order.run, Cause.STREAM_OVER) for order in self._waiting]
        asked = (*self._lists.values(), *self._lists_waiting)
        effects += [ListFailed(each.token, "the agent's stream has ended") for each in asked]
        for run in self._running.values():
            self.forget(run.order.run)
        for pending in (self._running, self._waiting, self._lists, self._lists_waiting):
            pending.clear()
        return effects

    def close(self) -> None:
        """Give up everything, also results that are not stored."""
        self.over()
        for run in list(self._results):
            self.forget(run)

    # --- time -----------------------------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """What has become due by *now*."""
        effects: list[Effect] = []
        for order in [each for each in self._waiting if each.queue_until <= now]:
            self._waiting.remove(order)
            effects.append(_not_sent(order.run, Cause.DEADLINE))
        for run in self._running.values():
            if run.due <= now and not run.overdue:
                run.overdue = True
                if run.order.run in self._results:
                    effects.append(Overdue(run.order.run))
        late = [request for request, asked in self._lists.items() if asked.until <= now]
        gone = [self._lists.pop(request) for request in late]
        gone += [asked for asked in self._lists_waiting if asked.until <= now]
        self._lists_waiting = deque(each for each in self._lists_waiting if each.until > now)
        effects += [ListFailed(each.token, "the agent did not answer in time") for each in gone]
        return [*effects, *self._next_list()]

    # --- what the agent says --------------------------------------------------------------

    def receive(self, response: Response, now: float) -> list[Effect]:
        """One message. None ends the stream: an answer counts or is ignored."""
        effects = self._look_at_sender(response.sender)
        if response.heartbeat:
            self.heartbeats += 1
            return [*effects, Send(HEARTBEAT_REPLY)]
        request = response.request_id or 0
        if (asked := self._lists.pop(request, None)) is not None:
            effects += [_listed(asked, response), *self._next_list()]
        elif (run := self._running.get(request)) is not None:
            effects += self._on_answer(request, run, response, now)
        else:
            effects.append(Stray(response.request_id))
        return effects

    def _look_at_sender(self, sender: Sender | None) -> list[Effect]:
        key = sender.key if sender else ""
        if sender is None or not key or key == self.sender.key or key in self._others:
            return []
        if len(self._others) >= _SENDERS_TOLD:
            return []
        self._others.add(key)
        return [OtherSender(sender)]

    def _on_answer(self, request: int, run: _Run, response: Response, now: float) -> list[Effect]:
        if response.result is not None:
            run.answer.add(response.result)
            self._print(run, StreamName.STDOUT, response.result.content or b"")
        effects: list[Effect] = []
        if completes(response):
            del self._running[request]
            self._finish(run, response, now)
            effects = self._next_run(now)
        return [*self._hand_out(run.order.run), *effects, *self._balance()]

    def _print(self, run: _Run, stream: StreamName, data: bytes) -> bool:
        result = self._results.get(run.order.run)
        kept = result is None or result.outlet.feed(stream, data)
        if not kept:
            run.answer.lose(len(data))
        return kept

    def _finish(self, run: _Run, last: Response, now: float) -> None:
        verdict = run.answer.verdict(last)
        if verdict.stderr and not self._print(run, StreamName.STDERR, verdict.stderr):
            verdict = run.answer.verdict(last)
        result = self._results.get(run.order.run)
        if result is not None:
            result.outlet.finish()
            result.ended = _end(run, verdict, result.outlet, now)

    # --- lanes ----------------------------------------------------------------------------

    def _next_run(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while self._waiting and not self._running:
            order = self._waiting.popleft()
            if order.queue_until <= now:
                effects.append(_not_sent(order.run, Cause.DEADLINE))
                continue
            request = self._number()
            self._running[request] = _Run(order, now)
            self._results[order.run] = _Result(
                Outlet(
                    order.run,
                    self._room,
                    limit=order.output_bytes,
                    tail=self._limits.tail_bytes,
                    up_to=order.grant,
                )
            )
            batch = self._limits.batch_bytes  # said each time, because the agent keeps it
            effects += [Started(order.run), Send(order.request(request, batch))]
        return effects

    def _withdraw(self, run: RunId) -> bool:
        before = len(self._waiting)
        self._waiting = deque(order for order in self._waiting if order.run != run)
        return len(self._waiting) < before

    def _next_list(self) -> list[Effect]:
        kinds = [asked.kind for asked in self._lists.values()]
        if self._lists_waiting and ExecType.LIST_NAMESPACE not in kinds:
            return [self._ask(self._lists_waiting.popleft())]
        return []

    def _ask(self, asked: _List) -> Effect:
        request = self._number()
        self._lists[request] = asked
        return Send(Request(request_id=request, exec_type=asked.kind))

    def _unasked(self, asked: _List) -> Effect:
        why = "the agent's stream has ended" if self._over else "too many lists are asked for"
        return ListFailed(asked.token, why)

    def _number(self) -> int:
        """A request id that no outstanding request has."""
        while (number := self._numbers()) in self._lists or number in self._running or not number:
            pass
        return number

    # --- output ---------------------------------------------------------------------------

    def _hand_out(self, run: RunId) -> list[Effect]:
        """What of a run may be told now: bytes as far as they are granted, then its end."""
        result = self._results.get(run)
        if result is None:
            return []
        effects: list[Effect] = [Printed(chunk) for chunk in result.outlet.ready()]
        if result.ended is not None and result.outlet.told and not result.told:
            result.told = True
            effects.append(result.ended)
        return effects

    def _balance(self) -> list[Effect]:
        """Say whether the stream is to be read, when that has changed."""
        hold = self._room.full and self.held > self._room.reserve
        if hold == self._held_back or self._over:
            return []
        self._held_back = hold
        return [HoldBack() if hold else ReadOn()]


def _end(run: _Run, verdict: Verdict, outlet: Outlet, now: float) -> Ended | Refused:
    if verdict.refused:
        return Refused(run.order.run, verdict.why, verdict.message)
    ending = Ending(
        why=verdict.why,
        exit_code=verdict.exit_code,
        message=verdict.message,
        duration_s=max(0.0, now - run.sent_at),
        streams=outlet.ends,
    )
    return Ended(run.order.run, ending)


def _listed(asked: _List, response: Response) -> Effect:
    if response.errmsg is not None:
        return ListFailed(asked.token, f"the agent says: {brief(response.errmsg)}")
    if max(len(response.commands), len(response.namespaces)) > _LISTED_MOST:
        return ListFailed(asked.token, f"the agent lists more than {_LISTED_MOST} entries")
    commands = asked.kind is ExecType.LIST_COMMAND
    if not response.empty and not (response.commands if commands else response.namespaces):
        return ListFailed(asked.token, "the agent answered with something that is no such list")
    if commands:
        return CommandsListed(asked.token, response.commands)
    return NamespacesListed(asked.token, response.namespaces)


_NOT_SENT: Final = {
    Cause.LANE_FULL: "too many runs wait for this agent, which runs one at a time",
    Cause.DEADLINE: "the agent, which runs one command at a time, was busy until it was too late",
    Cause.CANCELLED: "it was cancelled before the agent was free",
    Cause.TOO_LARGE: "ident and parameters are more than a DeepFlow agent takes",
    Cause.STREAM_OVER: "the agent's stream ended before the agent was free",
}


def _not_sent(run: RunId, cause: Cause) -> NotSent:
    return NotSent(run, cause, _NOT_SENT[cause])
