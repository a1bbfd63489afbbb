"""The interpreter between a controller's orders and a DeepFlow agent with all its quirks."""

from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.deepflow.effects import Send, StreamLimits
from farhand.domain.deepflow.outlet import Room
from farhand.domain.deepflow.session import DeepFlowSession
from farhand.domain.ids import AgentId, RunId
from farhand.domain.job import Argv, CommandCall, JobSpec, What
from farhand.domain.limits import MIB
from farhand.domain.messages import (
    Ack,
    CancelRun,
    Commands,
    Heartbeat,
    ListCommands,
    Output,
    RunEnded,
    RunRefused,
    Settled,
    StartRun,
    Stop,
    Welcome,
)
from farhand.domain.run import RunState, Why
from farhand.domain.session import Move
from farhand.gateway.interpreter import Done, Interpreter, Said, Unanswered
from farhand.testing.deepflow import Outcome, Responder, hold
from farhand.testing.deepflow.responder import SENDER

RUNS = [RunId(f"run_01h455vb4pex5vsknk084sn02{c}") for c in "abcdefgh"]
DATE = CommandCall("system_d2e", {})


class Pair:
    """An interpreter and an agent that reads and answers when it is told to."""

    def __init__(self, responder: Responder | None = None, waiting: int = 2) -> None:
        numbers = iter(range(1, 1 << 20))
        self.interpreter = Interpreter(
            DeepFlowSession(
                SENDER,
                Room(),
                numbers=lambda: next(numbers),
                limits=StreamLimits(runs_waiting=waiting),
            )
        )
        self.responder = responder or Responder(behaviour=hold(b"out"))
        self.now = 0.0
        self.said: list[Said] = []

    def take(self, effects: list[Said | Done]) -> None:
        """Carry out what is the agent's; keep what the controller is told."""
        for effect in effects:
            if isinstance(effect, Send):
                self.responder.receive(effect.request)
            elif isinstance(
                effect, Move | RunEnded | RunRefused | Output | Commands | Heartbeat | Unanswered
            ):
                self.said.append(effect)

    def start(self, run: RunId, what: What = DATE, **spec: float) -> None:
        asked = JobSpec(what=what, **spec)  # type: ignore[arg-type]  # of seconds
        self.take(list(self.interpreter.order(StartRun(run=run, spec=asked, grant=MIB), self.now)))

    def answer(self) -> None:
        for response in self.responder.poll_all():
            self.take(list(self.interpreter.hear(response, self.now)))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.take(list(self.interpreter.tick(self.now)))


def test_a_run_begins_prints_and_ends_in_the_native_streams_words() -> None:
    it = Pair()
    it.start(RUNS[0])
    it.answer()
    it.responder.finish()
    it.answer()
    begun, beat, printed, ended = it.said

    assert isinstance(begun, Move)
    assert RunState.RUNNING is begun.to
    assert Heartbeat(seq=1, runs=1) == beat
    assert isinstance(printed, Output)
    assert isinstance(ended, RunEnded)
    assert (b"out", Why.EXIT) == (printed.chunk.data, ended.ending.why)
    assert {RUNS[0]} == it.interpreter.open
    it.take(list(it.interpreter.order(Settled(RUNS[0]), it.now)))
    assert set() == it.interpreter.open


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ("deadline", Move),
        ("cancel", RunEnded),
        ("over", Move),
        ("full", RunRefused),
    ],
)
def test_a_run_that_was_never_sent_is_told_so(ends: str, expected: type) -> None:
    it = Pair(waiting=1 if ends != "full" else 0)
    it.start(RUNS[0])
    it.said.clear()
    it.start(RUNS[1], queue_ttl_s=5)
    match ends:
        case "deadline":
            it.pass_time(6)
        case "cancel":
            it.take(list(it.interpreter.order(CancelRun(RUNS[1], 1.0), it.now)))
        case "over":
            it.take(list(it.interpreter.over()))
    (told,) = [said for said in it.said if getattr(said, "run", None) == RUNS[1]]

    assert isinstance(told, expected)
    match told:
        case Move(to=to):
            assert to in {RunState.EXPIRED, RunState.QUEUED}
        case RunEnded(ending=ending):
            assert Why.CANCELLED is ending.why
        case RunRefused(why=why):
            assert Why.AGENT_FULL is why


def test_what_the_agent_refuses_was_begun_and_ends() -> None:
    it = Pair()
    it.start(RUNS[0], CommandCall("system_x", {}))
    it.answer()
    ended = it.said[-2]

    assert isinstance(ended, RunEnded)
    assert Why.UNKNOWN_COMMAND is ended.ending.why
    assert RunState.FAILED is ended.ending.state


def test_what_no_such_agent_can_do_is_never_sent() -> None:
    it = Pair()
    it.start(RUNS[0], Argv(("uptime",)))
    (refused,) = it.said

    assert isinstance(refused, RunRefused)
    assert Why.UNSUPPORTED is refused.why
    assert [] == it.responder.received


def test_a_run_past_its_limit_is_lost_and_what_cannot_be_cancelled_goes_on() -> None:
    it = Pair()
    it.start(RUNS[0], timeout_s=5)
    it.take(list(it.interpreter.order(CancelRun(RUNS[0], 1.0), it.now)))
    it.pass_time(5)
    lost = it.said[-1]

    assert isinstance(lost, Move)
    assert (RunState.LOST, Why.NO_CANCEL) == (lost.to, lost.why)
    it.take(list(it.interpreter.over()))
    ended = it.said[-1]
    assert isinstance(ended, RunEnded)
    assert Why.NO_ANSWER is ended.ending.why


def test_a_list_that_does_not_come_is_told_so() -> None:
    it = Pair()
    it.take(list(it.interpreter.order(ListCommands(7), it.now)))
    it.pass_time(60)

    assert [7] == [said.request for said in it.said if isinstance(said, Unanswered)]


def test_what_only_a_native_agent_is_told_is_passed_over() -> None:
    it = Pair()
    welcome = Welcome(agent=AgentId("agt_x"), epoch=1, protocol=1, heartbeat_s=1.0)

    assert [] == list(it.interpreter.order(welcome, 0.0))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("start"), st.sampled_from(RUNS)),
            st.tuples(st.just("cancel"), st.sampled_from(RUNS)),
            st.tuples(st.just("stop"), st.sampled_from(RUNS)),
            st.tuples(st.sampled_from(["answer", "finish", "fail", "wait", "ack"]), st.none()),
        ),
        max_size=40,
    )
)
def test_whatever_happens_each_run_gets_one_end_and_nothing_is_left_behind(
    steps: list[tuple[str, RunId | None]],
) -> None:
    it = Pair()
    started: set[RunId] = set()
    stopped: set[RunId] = set()
    seen: deque[Said] = deque()
    for what, run in steps:
        match what, run:
            case "start", str() if run not in started:
                started.add(run)
                it.start(run, timeout_s=3, queue_ttl_s=7)
            case "cancel", str():
                it.take(list(it.interpreter.order(CancelRun(run, 1.0), it.now)))
            case "stop", str():
                stopped.add(run)
                it.take(list(it.interpreter.order(Stop(run), it.now)))
            case "answer", _:
                it.answer()
            case "finish", _:
                it.responder.finish()
            case "fail", _:
                it.responder.finish(Outcome(stderr=b"no", code=1))
            case "wait", _:
                it.pass_time(2)
            case "ack", _:
                for said in list(it.said):
                    if isinstance(said, Output):
                        chunk = said.chunk
                        ack = Ack(chunk.run, chunk.stream, chunk.end, chunk.end + MIB)
                        it.take(list(it.interpreter.order(ack, it.now)))
    it.take(list(it.interpreter.over()))
    seen.extend(it.said)
    ends = Counter(
        said.run
        for said in seen
        if isinstance(said, RunEnded | RunRefused)
        or (isinstance(said, Move) and said.to in {RunState.QUEUED, RunState.EXPIRED})
    )

    assert all(count == 1 for count in ends.values())
    assert started - stopped <= set(ends)
    assert [] == it.responder.orphans
    it.interpreter.machine.close()
    assert 0 == it.interpreter.machine.held
