"""One agent's stream: granted, numbered, kept exactly once, asked for again, and compared."""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from farhand.domain.agent import Identity
from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.limits import Limits
from farhand.domain.messages import (
    Ack,
    Commands,
    FromAgent,
    FromController,
    Goodbye,
    Heartbeat,
    HeartbeatReply,
    Held,
    HeldRun,
    HeldState,
    Hello,
    Namespaces,
    Output,
    Parting,
    Resume,
    RunAccepted,
    RunEnded,
    RunRefused,
    RunStarted,
    Settled,
    UnknownFrame,
    Unsupported,
)
from farhand.domain.output import Chunk, StreamEnd, StreamName
from farhand.domain.run import Ending, Run, RunState, Why
from farhand.domain.session import (
    AgentSession,
    Answer,
    Effect,
    Finish,
    Grants,
    Homecoming,
    Keep,
    Move,
    Parted,
    Reconcile,
    Say,
    compare,
)
from farhand.errors import ProtocolError

OUT, ERR = StreamName.STDOUT, StreamName.STDERR
RUN, OTHER, THIRD = (RunId(f"run_01h455vb4pex5vsknk084sn02{last}") for last in "qrs")
LIMITS = Limits(grants_bytes=400, grant_reserve_bytes=10, grant_window_bytes=160)


def a_session(*runs: RunId, grants: Grants | None = None) -> AgentSession:
    session = AgentSession(grants or Grants(LIMITS))
    for run in runs:
        session.begin(run)
    return session


def output(data: bytes, *, at: int = 0, stream: StreamName = OUT, run: RunId = RUN) -> Output:
    return Output(Chunk(run, stream, at, data))


def ended(text: bytes = b"") -> RunEnded:
    digest = sha256(text).hexdigest()
    end = StreamEnd(total=len(text), kept=len(text), sha256_kept=digest, sha256_all=digest)
    return RunEnded(RUN, Ending(why=Why.EXIT, exit_code=0, streams={OUT: end}))


def resume(stdout: int, stderr: int, *, up_to: tuple[int, int]) -> Say:
    return Say(Resume(RUN, {OUT: stdout, ERR: stderr}, dict(zip((OUT, ERR), up_to, strict=True))))


# --- frames that are not output -----------------------------------------------------------


def test_a_heartbeat_is_answered_with_its_number_and_counted() -> None:
    session = a_session()
    beat = Heartbeat(seq=7, load=0.5, spool_free_bytes=9, runs=1)

    assert [Say(HeartbeatReply(7))] == session.handle(beat)
    assert (1, beat) == (session.heartbeats, session.last_heartbeat)


def test_a_second_hello_breaks_the_rules() -> None:
    with pytest.raises(ProtocolError):
        a_session().handle(Hello(protocols=(1,), identity=Identity(name="a", machine_id="m")))


def test_held_runs_are_reconciled_when_the_list_is_closed() -> None:
    session = a_session()
    one, other = (HeldRun(run=run, state=HeldState.RUNNING) for run in (RUN, OTHER))
    assert [] == session.handle(Held((one,), last=False))
    assert not session.reconciled

    assert [Reconcile((one, other))] == session.handle(Held((other,), last=True))


def test_a_list_that_was_closed_takes_no_more() -> None:
    session = a_session()
    session.handle(Held((), last=True))
    assert session.reconciled
    with pytest.raises(ProtocolError):
        session.handle(Held((), last=True))


def test_a_list_without_end_breaks_the_rules() -> None:
    page = Held((HeldRun(run=RUN, state=HeldState.ENDED),) * 50_000, last=False)
    session = a_session()
    session.handle(page)
    session.handle(page)
    with pytest.raises(ProtocolError):
        session.handle(page)


def test_a_frame_that_is_not_known_is_answered_and_an_answer_is_not() -> None:
    assert [Say(Unsupported(99))] == a_session().handle(UnknownFrame(99))
    assert [] == a_session().handle(Unsupported(99))


def test_answers_carry_the_number_of_the_question() -> None:
    for answer in (Commands(3, ()), Namespaces(3, (), "no /proc")):
        assert [Answer(3, answer)] == a_session().handle(answer)


def test_a_goodbye_is_told() -> None:
    goodbye = Goodbye(Parting.STOPPING)

    assert [Parted(goodbye)] == a_session().handle(goodbye)


# --- a run's states -----------------------------------------------------------------------


def test_an_accepted_run_moves_nowhere() -> None:
    assert [] == a_session(RUN).handle(RunAccepted(RUN))


def test_a_started_run_is_running_wherever_contact_to_it_was_lost() -> None:
    came_from = frozenset({RunState.SENT, RunState.LOST})
    moved = a_session(RUN).handle(RunStarted(RUN, 42))

    assert [Move(RUN, came_from, RunState.RUNNING, pid=42)] == moved


def test_a_refused_run_says_why() -> None:
    came_from = frozenset({RunState.SENT, RunState.LOST})
    moved = a_session(RUN).handle(RunRefused(RUN, Why.POLICY, "no"))

    assert [Move(RUN, came_from, RunState.REFUSED, Why.POLICY, "no")] == moved


def test_what_an_agent_says_of_a_run_that_is_not_its_own_moves_nothing() -> None:
    frames: list[FromAgent] = [
        RunStarted(RUN, 42),
        RunRefused(RUN, Why.POLICY, "no"),
        output(b"x"),
        ended(),
        RunAccepted(RUN),
    ]

    assert [[]] * 5 == [a_session(OTHER).handle(frame) for frame in frames]


def test_a_settled_run_is_not_heard_of_again() -> None:
    session = a_session(RUN, OTHER)

    assert [Say(Settled(RUN))] == session.settled(RUN)
    assert [[], []] == [session.handle(ended()), session.handle(output(b"x"))]
    assert [OTHER] == list(session.runs)


def test_a_cancel_is_remembered_until_the_run_is_settled() -> None:
    session = a_session(RUN)
    assert not session.cancel(OTHER)
    assert session.cancel(RUN)
    assert [RUN] == session.cancelling
    session.settled(RUN)

    assert [] == session.cancelling
    assert not session.knows(RUN)


# --- output -------------------------------------------------------------------------------


def test_output_is_kept_and_then_acknowledged_with_more_to_send() -> None:
    session = a_session(RUN)
    assert [Keep(Chunk(RUN, OUT, 0, b"abc"))] == session.handle(output(b"abc"))
    (said,) = session.kept(RUN, OUT, 3)

    assert isinstance(said, Say)
    assert isinstance(said.order, Ack)
    assert (RUN, OUT, 3) == (said.order.run, said.order.stream, said.order.kept)
    assert said.order.up_to >= 3 + LIMITS.grant_reserve_bytes


def test_bytes_that_came_before_are_dropped_however_they_are_cut() -> None:
    session = a_session(RUN)
    session.handle(output(b"abcd"))

    assert [Keep(Chunk(RUN, OUT, 4, b"ef"))] == session.handle(output(b"cdef", at=2))
    assert [Say(Ack(RUN, OUT, 0, 10))] == session.handle(output(b"bcd", at=1))
    assert [Say(Ack(RUN, OUT, 0, 10))] == session.handle(output(b"", at=6))


def test_streams_are_numbered_apart() -> None:
    session = a_session(RUN)
    session.handle(output(b"abcd"))

    assert [Keep(Chunk(RUN, ERR, 0, b"x"))] == session.handle(output(b"x", stream=ERR))


def test_a_gap_is_asked_for_again_once() -> None:
    session = a_session(RUN)
    session.handle(output(b"ab"))

    assert [resume(0, 0, up_to=(10, 10))] == session.handle(output(b"d", at=3))
    assert [] == session.handle(output(b"e", at=4))  # was under way before the agent heard
    assert [Keep(Chunk(RUN, OUT, 0, b"abcde"))] == session.handle(output(b"abcde"))


def test_a_gap_after_the_answer_is_asked_for_again() -> None:
    session = a_session(RUN)
    session.handle(output(b"d", at=3))
    session.handle(output(b"ab"))

    assert [resume(0, 0, up_to=(10, 10))] == session.handle(output(b"d", at=3))


@pytest.mark.parametrize("at", [0, 5, 10, 1 << 62])
def test_sending_beyond_the_grant_breaks_the_rules(at: int) -> None:
    session = a_session(RUN)
    with pytest.raises(ProtocolError):
        session.handle(output(b"x" * 11, at=at))


def test_the_whole_grant_may_be_used() -> None:
    assert [Keep(Chunk(RUN, OUT, 0, b"x" * 10))] == a_session(RUN).handle(output(b"x" * 10))


def test_what_was_not_stored_is_asked_for_again_from_where_the_store_ends() -> None:
    session = a_session(RUN)
    session.handle(output(b"abcd"))
    session.handle(output(b"xy", stream=ERR))

    assert [resume(2, 0, up_to=(12, 10))] == session.keep_failed(RUN, {OUT: 2})
    assert [Keep(Chunk(RUN, OUT, 2, b"cd"))] == session.handle(output(b"abcd"))


def test_what_was_stored_while_it_was_asked_for_again_is_not_kept_again() -> None:
    session = a_session(RUN)
    session.handle(output(b"abcd"))
    session.keep_failed(RUN, {})
    session.kept(RUN, OUT, 4)

    assert [Say(Ack(RUN, OUT, 4, 14))] == [
        replace(said, order=replace(said.order, up_to=14))
        for said in session.handle(output(b"abcd"))
        if isinstance(said, Say) and isinstance(said.order, Ack)
    ]


def test_an_end_is_told_with_digests_of_what_came_whole() -> None:
    session = a_session(RUN)
    session.handle(output(b"abc"))
    (finish,) = session.handle(ended(b"abc"))

    assert isinstance(finish, Finish)
    assert {OUT: sha256(b"abc").hexdigest(), ERR: sha256(b"").hexdigest()} == finish.sha256


def test_a_stream_that_came_in_two_sessions_has_no_digest_here() -> None:
    session = a_session()
    session.begin(RUN, {OUT: 2})
    session.handle(output(b"c", at=2))
    (finish,) = session.handle(ended(b"abc"))

    assert isinstance(finish, Finish)
    assert [ERR] == list(finish.sha256)


def test_an_end_before_all_output_asks_for_what_is_missing() -> None:
    session = a_session(RUN)
    session.handle(output(b"ab"))
    session.kept(RUN, OUT, 2)
    (asked,) = session.handle(ended(b"abc"))

    assert isinstance(asked, Say)
    assert isinstance(asked.order, Resume)
    assert {OUT: 2, ERR: 0} == asked.order.from_offsets
    assert [Keep(Chunk(RUN, OUT, 2, b"c"))] == session.handle(output(b"c", at=2))
    assert isinstance(session.handle(ended(b"abc"))[0], Finish)


def test_a_run_whose_output_is_gone_on_both_sides_fails_and_says_so() -> None:
    session = a_session()
    session.begin(RUN, {OUT: 2})  # the agent was told that more is stored, and forgot it
    session.handle(output(b"f", at=5))
    asked = [session.handle(ended(b"abcdef"))[0] for _ in range(3)]
    (finish,) = session.handle(ended(b"abcdef"))

    assert [resume(2, 0, up_to=(12, 10))] * 3 == asked
    assert isinstance(finish, Finish)
    assert (RunState.FAILED, Why.OUTPUT_CORRUPT) == (finish.ending.state, finish.ending.why)
    assert "the agent does not have 4 bytes of stdout any more" in finish.ending.message
    assert {} == finish.ending.streams


def test_asking_for_what_is_missing_begins_anew_with_every_fresh_byte() -> None:
    session = a_session(RUN)
    for at in range(8):
        session.handle(ended(b"x" * 9))
        assert isinstance(session.handle(ended(b"x" * 9))[0], Say)
        session.handle(output(b"x", at=at))
        session.kept(RUN, OUT, at + 1)


def test_a_store_that_answers_late_finds_nobody() -> None:
    session = a_session()

    assert [[], []] == [session.kept(RUN, OUT, 3), session.keep_failed(RUN, {})]


# --- grants -------------------------------------------------------------------------------


def test_a_stream_that_uses_its_window_gets_a_larger_one_up_to_the_limit() -> None:
    session, at, windows = a_session(RUN), 0, []
    up_to = 10
    for _ in range(6):
        session.handle(output(b"x" * (up_to - at), at=at))
        at = up_to
        (said,) = session.kept(RUN, OUT, at)
        assert isinstance(said, Say)
        assert isinstance(said.order, Ack)
        up_to = said.order.up_to
        windows.append(up_to - at)

    assert [40, 160, 160, 160, 160, 160] == windows


def test_a_stream_that_prints_little_keeps_its_small_window() -> None:
    session = a_session(RUN)
    session.handle(output(b"x"))

    assert [Say(Ack(RUN, OUT, 1, 11))] == session.kept(RUN, OUT, 1)


def test_many_greedy_streams_share_the_pool_and_each_has_its_reserve() -> None:
    grants = Grants(LIMITS)
    sessions = [a_session(RUN, OTHER, THIRD, grants=grants) for _ in range(20)]
    at = {(n, run): 0 for n in range(20) for run in (RUN, OTHER, THIRD)}
    up_to = dict.fromkeys(at, 10)
    for _ in range(5):
        for (n, run), start in list(at.items()):
            sessions[n].handle(output(b"x" * (up_to[n, run] - start), at=start, run=run))
            at[n, run] = up_to[n, run]
            (said,) = sessions[n].kept(run, OUT, at[n, run])
            assert isinstance(said, Say)
            assert isinstance(said.order, Ack)
            up_to[n, run] = said.order.up_to
    granted = [up_to[key] - at[key] for key in at]

    assert min(granted) >= LIMITS.grant_reserve_bytes
    assert sum(granted) <= LIMITS.grants_bytes + len(granted) * LIMITS.grant_reserve_bytes


def test_a_run_that_begins_again_gives_its_old_grants_back() -> None:
    grants = Grants(LIMITS)
    session = a_session(RUN, grants=grants)
    session.handle(output(b"x" * 10))
    session.kept(RUN, OUT, 10)
    assert grants.free < LIMITS.grants_bytes
    session.begin(RUN, {OUT: 10})

    assert LIMITS.grants_bytes == grants.free


def test_the_end_of_a_stream_gives_every_grant_back() -> None:
    grants = Grants(LIMITS)
    session = a_session(RUN, OTHER, grants=grants)
    for run in (RUN, OTHER):
        session.handle(output(b"x" * 10, run=run))
        session.kept(run, OUT, 10)
    session.close()

    assert (LIMITS.grants_bytes, []) == (grants.free, list(session.runs))


# --- anything that can happen to output ---------------------------------------------------

Place = tuple[int, RunId, StreamName]
TEXTS = {
    RUN: {OUT: bytes(range(256)) * 8, ERR: b"warning: " * 50},
    OTHER: {OUT: b"", ERR: bytes(range(255, -1, -1)) * 8},
}


class ModelAgent:
    """An agent that prints fixed texts, sends them in any cuts, and does what it is told."""

    def __init__(self, texts: dict[RunId, dict[StreamName, bytes]]) -> None:
        self.texts = texts
        self.held = set(texts)
        self.sent = {(run, name): 0 for run in texts for name in (OUT, ERR)}
        self.up_to = dict.fromkeys(self.sent, 0)
        self.end_told: set[RunId] = set()

    def obey(self, order: FromController) -> None:
        match order:
            case Ack(run, name, kept, up_to):
                self.sent[run, name] = max(self.sent[run, name], kept)
                self.up_to[run, name] = max(self.up_to[run, name], up_to)
            case Resume(run, offsets, up_to):
                self.end_told.discard(run)
                for name in (OUT, ERR):
                    self.sent[run, name], self.up_to[run, name] = offsets[name], up_to[name]
            case Settled(run):
                self.held.discard(run)

    def say(self, run: RunId, name: StreamName, most: int) -> FromAgent | None:
        at, text = self.sent[run, name], self.texts[run][name]
        data = text[at : min(at + most, self.up_to[run, name])]
        if data:
            self.sent[run, name] = at + len(data)
            return output(data, at=at, stream=name, run=run)
        told = all(self.sent[run, each] == len(self.texts[run][each]) for each in (OUT, ERR))
        if told and run in self.held and run not in self.end_told:
            self.end_told.add(run)
            return replace(ended(), run=run, ending=self.ending(run))
        return None

    def ending(self, run: RunId) -> Ending:
        streams = {
            name: StreamEnd(
                total=len(text),
                kept=len(text),
                sha256_kept=sha256(text).hexdigest(),
                sha256_all=sha256(text).hexdigest(),
            )
            for name, text in self.texts[run].items()
        }
        return Ending(why=Why.EXIT, exit_code=0, streams=streams)


class Conversation:
    """A model agent, the wire both ways, the machine, and a store that may fail to keep."""

    def __init__(self, grants: Grants) -> None:
        self.grants = grants
        self.agent = ModelAgent(TEXTS)
        self.stored = {(run, name): b"" for run in TEXTS for name in (OUT, ERR)}
        self.kept_in_a_row = dict.fromkeys(self.stored, 0)
        self.granted: dict[tuple[RunId, StreamName], int] = {}
        self.acked: dict[tuple[RunId, StreamName], int] = {}
        self.connect()

    def connect(self) -> None:
        """A new stream: what was under way is gone, what is not settled is asked for again."""
        self.up: deque[FromAgent] = deque()
        self.down: deque[FromController] = deque()
        self.work: deque[Keep | Finish] = deque()
        self.session = AgentSession(self.grants)
        self.granted.clear()
        for run in self.agent.held:
            self.agent.up_to.update(dict.fromkeys([(run, OUT), (run, ERR)], 0))
            offsets = self.offsets(run)
            up_to = self.session.begin(run, offsets)
            self.took([Say(Resume(run, offsets, up_to))])

    def offsets(self, run: RunId) -> dict[StreamName, int]:
        return {name: len(self.stored[run, name]) for name in (OUT, ERR)}

    def took(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Keep() | Finish():
                    self.work.append(effect)
                case Say(order):
                    self.note_grant(order)
                    self.down.append(order)
                case _:
                    pytest.fail(f"{effect} has no place here")

    def note_grant(self, order: FromController) -> None:
        match order:
            case Ack(run, name, kept, up_to):
                self.acked[run, name], self.granted[run, name] = kept, up_to
            case Resume(run, kept, up_to):
                for name in (OUT, ERR):
                    self.acked[run, name], self.granted[run, name] = kept[name], up_to[name]
            case Settled(run):
                for name in (OUT, ERR):
                    del self.granted[run, name]
            case _:
                pytest.fail(f"{order} has no place here")

    def agent_speaks(self, run: RunId, name: StreamName, most: int) -> bool:
        frame = self.agent.say(run, name, most)
        if frame is not None:
            self.up.append(frame)
        return frame is not None

    def agent_hears(self) -> bool:
        if self.down:
            self.agent.obey(self.down.popleft())
            return True
        return False

    def controller_hears(self) -> bool:
        if self.up:
            self.took(self.session.handle(self.up.popleft()))
            return True
        return False

    def store_works(self, *, fails: bool = False) -> bool:
        """Carry out the oldest piece of work, or fail to."""
        if not self.work:
            return False
        match self.work.popleft():
            case Keep(chunk):
                text = self.stored[chunk.run, chunk.stream]
                if fails or chunk.offset > len(text):
                    self.took(self.session.keep_failed(chunk.run, self.offsets(chunk.run)))
                else:
                    text += chunk.from_offset(len(text)).data
                    self.stored[chunk.run, chunk.stream] = text
                    self.took(self.session.kept(chunk.run, chunk.stream, len(text)))
            case Finish(run, ending, digests):
                stored = {n: self.stored[run, n] for n in (OUT, ERR)}
                if fails or any(len(stored[n]) < end.kept for n, end in ending.streams.items()):
                    self.took(self.session.keep_failed(run, self.offsets(run)))
                else:
                    for name, digest in digests.items():
                        assert sha256(stored[name]).hexdigest() == digest
                    assert Why.EXIT is ending.why
                    self.took(self.session.settled(run))
        return True

    def come_to_rest(self) -> None:
        """Let everybody do all there is to do."""
        for _ in range(2000):
            moved = [self.agent_speaks(run, name, 64) for run in TEXTS for name in (OUT, ERR)]
            moved += [self.controller_hears(), self.store_works(), self.agent_hears()]
            if not any(moved):
                return
        pytest.fail("it goes on for ever")


class Conversations(RuleBasedStateMachine):
    """Two agents under one pool of grants; nothing is lost, doubled, starved or overdrawn."""

    @initialize()
    def meet(self) -> None:
        self.grants = Grants(LIMITS)
        self.all = [Conversation(self.grants), Conversation(self.grants)]

    which = st.integers(0, 1)
    often = st.integers(1, 8)

    @rule(n=which, often=often, run=st.sampled_from([*TEXTS]), name=st.sampled_from([OUT, ERR]))
    def speak(self, n: int, often: int, run: RunId, name: StreamName) -> None:
        for size in range(1, 1 + often):
            self.all[n].agent_speaks(run, name, 7 * size)

    @rule(n=which, often=often)
    def hear_the_agent(self, n: int, often: int) -> None:
        for _ in range(often):
            self.all[n].controller_hears()

    @rule(n=which, often=often)
    def hear_the_controller(self, n: int, often: int) -> None:
        for _ in range(often):
            self.all[n].agent_hears()

    @rule(n=which, often=often)
    def store(self, n: int, often: int) -> None:
        for _ in range(often):
            self.all[n].store_works()

    @rule(n=which)
    def go_round(self, n: int) -> None:
        for _, run, name in product(range(3), TEXTS, (OUT, ERR)):
            self.all[n].agent_speaks(run, name, 50)
            self.all[n].controller_hears()
            self.all[n].store_works()
            self.all[n].agent_hears()

    @rule(n=which)
    def fail_to_store(self, n: int) -> None:
        """The oldest piece of work fails while more of it waits."""
        for run, name in product(TEXTS, (OUT, ERR)):
            self.all[n].agent_speaks(run, name, 5)
            self.all[n].controller_hears()
        self.all[n].store_works(fails=True)

    @rule(n=which)
    def lose_the_stream(self, n: int) -> None:
        self.all[n].session.close()
        self.all[n].connect()

    @invariant()
    def what_is_stored_is_the_beginning_of_what_was_printed(self) -> None:
        for one in self.all:
            for (run, name), stored in one.stored.items():
                assert TEXTS[run][name].startswith(stored)

    @invariant()
    def no_more_is_granted_than_there_is(self) -> None:
        open_ = [one.granted[at] - one.acked[at] for one in self.all for at in one.granted]
        assert sum(open_) <= LIMITS.grants_bytes + len(open_) * LIMITS.grant_reserve_bytes
        assert all(granted >= LIMITS.grant_reserve_bytes for granted in open_)
        assert 0 <= self.grants.free <= LIMITS.grants_bytes

    def teardown(self) -> None:
        for one in self.all:
            one.come_to_rest()
            assert {(r, n): TEXTS[r][n] for r, n in one.stored} == one.stored
            assert set() == one.agent.held
            assert [] == list(one.session.runs)
        assert LIMITS.grants_bytes == self.grants.free


TestConversations = Conversations.TestCase
TestConversations.settings = settings(max_examples=60, stateful_step_count=40)


# --- coming back --------------------------------------------------------------------------


def a_run(state: RunState, *, started: bool = False) -> Run:
    return Run(
        id=RUN,
        job=JobId("job_01h455vb4pex5vsknk084sn02q"),
        agent=AgentId("agt_01h455vb4pex5vsknk084sn02q"),
        agent_name="web-1",
        state=state,
        created_at=0.0,
        queue_until=300.0,
        timeout_s=600.0,
        started_at=1.0 if started else None,
    )


OPEN = {RunState.SENT, RunState.RUNNING, RunState.LOST}
TOLD_ALL = {HeldState.ENDED, HeldState.REFUSED}


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize("held", HeldState)
def test_a_run_that_both_know_is_resumed_settled_or_stopped(
    held: HeldState, state: RunState
) -> None:
    known = a_run(state)
    if state in OPEN:
        expected = Homecoming(resume=[known])
    elif state.final and held in TOLD_ALL:
        expected = Homecoming(settle=[RUN])
    else:
        expected = Homecoming(stop=[RUN])

    assert expected == compare([HeldRun(run=RUN, state=held)], {RUN: known})


@pytest.mark.parametrize("held", HeldState)
def test_a_run_that_only_the_agent_knows_is_stopped(held: HeldState) -> None:
    assert Homecoming(stop=[RUN]) == compare([HeldRun(run=RUN, state=held)], {})


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("state", RunState)
def test_a_run_that_the_agent_knows_nothing_of_goes_where_it_belongs(
    state: RunState, *, started: bool
) -> None:
    goes = {
        (RunState.SENT, False): (RunState.QUEUED, None),
        (RunState.SENT, True): (RunState.QUEUED, None),
        (RunState.RUNNING, False): (RunState.FAILED, Why.AGENT_RESTARTED),
        (RunState.RUNNING, True): (RunState.FAILED, Why.AGENT_RESTARTED),
        (RunState.LOST, False): (RunState.EXPIRED, Why.CONTACT_LOST),
        (RunState.LOST, True): (RunState.FAILED, Why.AGENT_RESTARTED),
    }
    plan = compare([], {RUN: a_run(state, started=started)})
    expected = [goes[state, started]] if state in OPEN else []

    assert expected == [(move.to, move.why) for move in plan.moves]
    assert Homecoming() == replace(plan, moves=[])


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("state", sorted(OPEN))
def test_where_a_forgotten_run_goes_is_a_step_that_exists(
    state: RunState, *, started: bool
) -> None:
    known = a_run(state, started=started)
    (move,) = compare([], {RUN: known}).moves

    assert frozenset({state}) == move.expect
    assert move.to is known.moved_to(move.to).state


def test_each_run_is_compared_for_itself() -> None:
    running = a_run(RunState.RUNNING)
    sent = replace(a_run(RunState.SENT), id=OTHER)
    held = [HeldRun(run=RUN, state=HeldState.RUNNING), HeldRun(run=THIRD, state=HeldState.ENDED)]
    plan = compare(held, {RUN: running, OTHER: sent})

    assert ([running], [THIRD], [OTHER]) == (plan.resume, plan.stop, [m.run for m in plan.moves])
