"""The controller's side of a DeepFlow stream against an agent with all its quirks, in any order.

Whatever happens, the agent never loses a run to the next one, every run has one end, and that end
is what the command did.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from farhand.domain.deepflow.effects import (
    Abandoned,
    CommandsListed,
    Effect,
    Ended,
    HoldBack,
    ListFailed,
    NamespacesListed,
    NotSent,
    Order,
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
from farhand.domain.deepflow.messages import ExecType
from farhand.domain.deepflow.outlet import Room
from farhand.domain.deepflow.session import DeepFlowSession, sender_of
from farhand.domain.ids import RunId
from farhand.domain.output import StreamName
from farhand.domain.run import Why
from farhand.testing.deepflow import Outcome, Responder
from farhand.wire.deepflow import (
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)

OUTCOMES = st.builds(
    Outcome,
    stdout=st.sampled_from([b"", b"hello", bytes(1024), b"x" * 2500, b"y" * 4096]),
    stderr=st.sampled_from([b"", b"err\n", b"\xff\xfe", b"strace: Process 1 attached\n"]),
    code=st.sampled_from([0, 0, 1, 137, None]),
    held=st.booleans(),
)
IDENTS = st.sampled_from(["system_d2e", "system_d2e", "nope"])
SECONDS = st.sampled_from([1.0, 5.0, 30.0])


@dataclass
class Expected:
    """A run, what its command does, and what was told of it."""

    order: Order
    outcome: Outcome
    ends: list[Effect] = field(default_factory=list)
    got: dict[StreamName, bytearray] = field(
        default_factory=lambda: {name: bytearray() for name in StreamName}
    )
    up_to: dict[StreamName, int] = field(default_factory=dict)
    overdue: int = 0
    forgotten: bool = False
    sent: bool = False


class Conversation(RuleBasedStateMachine):
    """Both sides of one stream after the other; every message passes through the codec."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.room = Room(most=6000, reserve=1024)
        self.runs: dict[RunId, Expected] = {}
        self.script: deque[Outcome] = deque()
        self.ids = iter(range(7, 1 << 30, 13))
        self.tokens: dict[int, int] = {}
        self.held_back = False

    @initialize(namespaces=st.booleans())
    def dial(self, *, namespaces: bool) -> None:
        self.script.clear()
        self.agent = Responder(behaviour=lambda _: self.script.popleft())
        if not namespaces:
            self.agent.namespaces = ()
        first = self.agent.poll()
        assert first is not None
        self.session = DeepFlowSession(
            sender_of(first),
            self.room,
            numbers=lambda: next(self.ids),
            limits=StreamLimits(runs_waiting=3, lists_waiting=2, batch_bytes=1024),
        )
        self.held_back = False
        self.carry_out(self.session.receive(first, self.now))

    # --- effects --------------------------------------------------------------------------

    def carry_out(self, effects: list[Effect]) -> None:
        starting: RunId | None = None
        for effect in effects:
            match effect:
                case Started(run):
                    starting = run
                case Send(request):
                    if request.exec_type == ExecType.RUN_COMMAND:
                        assert starting is not None
                        self.runs[starting].sent = True
                        if self.runs[starting].order.ident != "nope":
                            self.script.append(self.runs[starting].outcome)
                    self.agent.receive(decode_request(encode_request(request)))
                case Printed(chunk):
                    self.take(self.runs[chunk.run], chunk.stream, chunk.offset, chunk.data)
                case Ended(run) | Refused(run) | NotSent(run) | Abandoned(run):
                    self.runs[run].ends.append(effect)
                case Overdue(run):
                    self.runs[run].overdue += 1
                case CommandsListed(token) | NamespacesListed(token) | ListFailed(token):
                    self.tokens[token] += 1
                case HoldBack() | ReadOn():
                    assert self.held_back is isinstance(effect, ReadOn)
                    self.held_back = isinstance(effect, HoldBack)
                case Uncancellable(run):
                    assert self.runs[run].sent
                case Stray():
                    pass  # a list that came too late
                case _:
                    raise AssertionError(effect)

    def take(self, run: Expected, stream: StreamName, offset: int, data: bytes) -> None:
        got = run.got[stream]
        assert not run.forgotten
        assert offset <= len(got)
        assert offset + len(data) <= run.up_to.get(stream, run.order.grant)
        got[offset : offset + len(data)] = data

    # --- what a controller does -----------------------------------------------------------

    @rule(
        outcome=OUTCOMES,
        ident=IDENTS,
        wait=SECONDS,
        limit=SECONDS,
        grant=st.sampled_from([0, 3, 1500, 1 << 20]),
    )
    def submit(self, outcome: Outcome, ident: str, wait: float, limit: float, grant: int) -> None:
        run = RunId(f"run_{len(self.runs)}")
        order = Order(
            run=run,
            ident=ident,
            queue_until=self.now + wait,
            timeout_s=limit,
            output_bytes=1 << 20,
            grant=grant,
        )
        self.runs[run] = Expected(order, outcome)
        self.carry_out(self.session.run(order, self.now))

    def choose(self, data: Any) -> Expected:
        return self.runs[data.draw(st.sampled_from(sorted(self.runs)))]

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        self.carry_out(self.session.cancel(self.choose(data).order.run))

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), more=st.sampled_from([0, 100, 1 << 20]))
    def store(self, data: Any, more: int) -> None:
        self.acknowledge(self.choose(data), more)

    def acknowledge(self, run: Expected, more: int) -> None:
        for stream, got in run.got.items():
            before = run.up_to.get(stream, run.order.grant)
            run.up_to[stream] = max(before, len(got) + more)
            self.carry_out(self.session.stored(run.order.run, stream, len(got), run.up_to[stream]))

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def forget_what_has_ended(self, data: Any) -> None:
        run = self.choose(data)
        if run.ends:
            run.forgotten = True
            self.carry_out(self.session.forget(run.order.run))

    @rule(commands=st.booleans())
    def ask(self, *, commands: bool) -> None:
        token = len(self.tokens)
        self.tokens[token] = 0
        ask = self.session.list_commands if commands else self.session.list_namespaces
        self.carry_out(ask(token, self.now))

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.carry_out(self.session.tick(self.now))
        assert self.session.due is None or self.session.due > self.now

    # --- what an agent does ---------------------------------------------------------------

    @rule(most=st.integers(1, 4))
    def speak(self, most: int) -> None:
        for _ in range(most):
            response = None if self.held_back else self.agent.poll()
            if response is None:
                return
            heard = decode_response(encode_response(response))
            self.carry_out(self.session.receive(heard, self.now))

    @rule()
    def finish(self) -> None:
        self.agent.finish()

    @rule()
    def beat(self) -> None:
        self.agent.beat()

    @rule()
    def lose_the_stream(self) -> None:
        self.carry_out(self.session.over())
        self.settle()
        self.session.close()
        self.dial(namespaces=True)

    # --- what holds -----------------------------------------------------------------------

    @invariant()
    def the_agent_loses_nothing(self) -> None:
        assert [] == [request for request in self.agent.orphans if request.exec_type == 2]

    @invariant()
    def the_room_counts_what_is_held(self) -> None:
        assert self.session.held == self.room.used

    @invariant()
    def no_run_ends_twice(self) -> None:
        assert [] == [run for run in self.runs.values() if len(run.ends) > 1 or run.overdue > 1]

    def settle(self) -> None:
        """Store all that is still held."""
        for run in self.runs.values():
            for _ in range(3):
                self.acknowledge(run, 1 << 20)

    def teardown(self) -> None:
        if not hasattr(self, "session"):
            return
        for _ in range(60):
            self.agent.finish()
            self.speak(4)
            self.settle()
            self.wait(1.0)
        assert self.session.running is None
        assert 0 == self.session.waiting
        assert 0 == self.room.used
        assert {1} >= set(self.tokens.values())
        for run in self.runs.values():
            self.check(run)

    def check(self, run: Expected) -> None:
        stdout, stderr = (bytes(run.got[name]) for name in StreamName)
        (end,) = run.ends
        match end:
            case Ended(ending=ending):
                assert run.outcome.stdout == stdout
                assert ending.streams[StreamName.STDOUT].total == len(stdout)
                if run.outcome.code is None:
                    assert (Why.SIGNAL, None) == (ending.why, ending.exit_code)
                else:
                    assert (Why.EXIT, run.outcome.code) == (ending.why, ending.exit_code)
                told = run.outcome.code != 0 and run.outcome.stderr != b"\xff\xfe"
                assert (run.outcome.stderr if told else b"") == stderr
            case Refused(why=why):
                assert ("nope", Why.UNKNOWN_COMMAND) == (run.order.ident, why)
            case NotSent():
                assert not run.sent
                assert (b"", b"") == (stdout, stderr)
            case Abandoned():
                assert run.sent


Conversation.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestConversation = Conversation.TestCase
