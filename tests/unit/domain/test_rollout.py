"""A rollout step by step, and thousands of drawn ones against what they promise."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from farhand.domain.job import Argv, JobSpec
from farhand.domain.rollout import (
    BEGUN,
    FAILURES,
    Abort,
    Action,
    Ended,
    Facts,
    Finish,
    HoldWhy,
    Phase,
    Release,
    Retry,
    Rollout,
    Standing,
    StartGate,
    Verdict,
    aborted,
    held,
    resumed,
    step,
)
from farhand.domain.run import NEXT, RunState
from farhand.domain.spread import Gate, Share, Spread, share, waves

HELD, QUEUED, RUNNING = RunState.HELD, RunState.QUEUED, RunState.RUNNING
OK, BAD, LATE = RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT
GATE = Gate(spec=JobSpec(what=Argv(("probe",))), targets="probe-1")
NOW = 1000.0


def rollout(spread: Spread | None = None, *, total: int = 10, **fields: object) -> Rollout:
    spread = spread or Spread(waves=waves(["1", "30%"]))
    began = Rollout(id="job_1", spread=spread, sizes=spread.sizes(total), created_at=NOW)
    return replace(began, **fields)  # type: ignore[arg-type]  # the fields of a Rollout


def stand(*waves_: dict[RunState, int], retries: int = 0) -> list[Standing]:
    """How waves stand, from the first; *retries* of the first one."""
    return [
        Standing(wave, counts, retries if wave == 1 else 0)
        for wave, counts in enumerate(waves_, start=1)
    ]


def stepped(
    of: Rollout, standings: Sequence[Standing], **facts: object
) -> tuple[Rollout, tuple[Action, ...]]:
    return step(of, standings, Facts(now=NOW, **facts))  # type: ignore[arg-type]  # of Facts


def test_a_wave_is_released_up_to_the_concurrency() -> None:
    of = rollout(Spread(concurrency=share("30%", "concurrency")))

    same, (action,) = stepped(of, stand({HELD: 9, RUNNING: 1}))

    assert of == same
    assert Release(1, 2) == action


def test_nothing_is_released_while_as_many_run_as_may() -> None:
    of = rollout(Spread(concurrency=Share(hosts=2)))

    assert (of, ()) == stepped(of, stand({HELD: 8, QUEUED: 1, RUNNING: 1}))


def test_a_run_of_an_earlier_wave_that_came_back_counts() -> None:
    of = rollout(Spread(concurrency=Share(hosts=2), waves=waves(["1"])), wave=2)

    _, (action,) = stepped(of, stand({RUNNING: 1}, {HELD: 9}))

    assert Release(2, 1) == action


def test_the_next_wave_waits_until_the_one_before_rests() -> None:
    of = rollout()

    assert (of, ()) == stepped(of, stand({RUNNING: 1}, {HELD: 3}, {HELD: 6}))

    after, _ = stepped(of, stand({OK: 1}, {HELD: 3}, {HELD: 6}))
    after, _ = stepped(after, stand({OK: 1}, {HELD: 3}, {HELD: 6}))

    assert (Phase.ROLLING, 2) == (after.phase, after.wave)


def test_a_pause_lasts_as_long_as_was_asked() -> None:
    of = rollout(Spread(waves=waves(["1"]), pause_s=30.0))
    stands = stand({OK: 1}, {HELD: 9})

    paused, _ = stepped(of, stands)

    assert (Phase.PAUSING, NOW + 30.0) == (paused.phase, paused.until)
    assert (paused, ()) == step(paused, stands, Facts(now=NOW + 29.9))
    assert 2 == step(paused, stands, Facts(now=NOW + 30.0))[0].wave


def test_a_clock_that_was_set_back_makes_no_pause_longer() -> None:
    of = rollout(Spread(waves=waves(["1"]), pause_s=30.0), phase=Phase.PAUSING, until=NOW + 86_400)
    sooner, actions = stepped(of, stand({OK: 1}, {HELD: 9}))

    assert (NOW + 30.0, ()) == (sooner.until, actions)
    assert (sooner, ()) == stepped(sooner, stand({OK: 1}, {HELD: 9}))


def test_a_pause_by_hand_waits_for_somebody() -> None:
    of = rollout(Spread(waves=waves(["1"]), by_hand=True))
    stands = stand({OK: 1}, {HELD: 9})

    paused, _ = stepped(of, stands)

    assert paused.hold is not None
    assert HoldWhy.PAUSE is paused.hold.why
    assert (paused, ()) == step(paused, stands, Facts(now=NOW + 1e6))
    assert 2 == stepped(resumed(paused), stands)[0].wave


@pytest.mark.parametrize("state", [BAD, LATE, RunState.REFUSED, RunState.EXPIRED, RunState.LOST])
def test_a_wave_of_which_nothing_worked_holds_the_next(state: RunState) -> None:
    after, actions = stepped(rollout(), stand({state: 1}, {HELD: 3}, {HELD: 6}))

    assert after.hold is not None
    assert (HoldWhy.NOTHING_WORKED, ()) == (after.hold.why, actions)


def test_a_number_of_failures_aborts() -> None:
    of = rollout(Spread(abort_after=Share(hosts=3)))

    assert of.phase is stepped(of, stand({HELD: 1, BAD: 1, LATE: 1, OK: 1}))[0].phase

    after, _ = stepped(of, stand({HELD: 1, BAD: 2, LATE: 1, OK: 1}))

    assert (Phase.ABORTING, Ended.FAILURES) == (after.phase, after.ended)
    assert "3 of 4 executions failed; it stops at 3, which is 3" == after.message


def test_absent_hosts_neither_fail_nor_dilute_a_percent() -> None:
    of = rollout(Spread(abort_after=share("20%", "abort_after")), total=100)
    absent = {RunState.EXPIRED: 40, RunState.LOST: 20, RunState.REFUSED: 20}

    assert Phase.ROLLING is stepped(of, stand({**absent, OK: 9, BAD: 1, HELD: 10}))[0].phase
    assert Phase.ABORTING is stepped(of, stand({**absent, OK: 8, BAD: 2, HELD: 10}))[0].phase


def test_aborting_cancels_what_waits_and_lets_go_on_what_runs() -> None:
    of = aborted(rollout(), Ended.HAND, "enough", by="ada")

    assert (of, (Abort(),)) == stepped(of, stand({HELD: 3, QUEUED: 1, RUNNING: 1}))
    assert (of, ()) == stepped(of, stand({RunState.CANCELLED: 4, RUNNING: 1}))

    after, actions = stepped(of, stand({RunState.CANCELLED: 4, OK: 1}))

    assert (Phase.DONE, Ended.HAND, "ada") == (after.phase, after.ended, after.by)
    assert (Finish(),) == actions


def test_a_cancelled_job_ends_its_rollout_even_when_it_is_held() -> None:
    of = held(rollout(), HoldWhy.HAND, by="ada", now=NOW)

    after, _ = stepped(of, stand({RunState.CANCELLED: 10}), cancelled=True)

    assert (Phase.ABORTING, Ended.CANCELLED) == (after.phase, after.ended)


def test_the_last_wave_ends_the_rollout() -> None:
    of = rollout(Spread())

    after, actions = stepped(of, stand({OK: 7, BAD: 2, RunState.LOST: 1}))

    assert (Phase.DONE, Ended.COMPLETED, (Finish(),)) == (after.phase, after.ended, actions)
    assert after.due_at is None
    assert (after, ()) == stepped(after, stand({OK: 8, BAD: 2}))


def test_a_hold_that_has_nothing_to_keep_back_does_not_keep_the_job_open() -> None:
    of = held(rollout(Spread()), HoldWhy.HAND, by="ada", now=NOW)

    assert (of, ()) == stepped(of, stand({OK: 9, RUNNING: 1}))
    assert Phase.DONE is stepped(of, stand({OK: 10}))[0].phase


def test_failed_runs_are_made_again_after_the_delay() -> None:
    of = rollout(Spread(retries=1, retry_delay_s=10.0))
    stands = stand({OK: 8, BAD: 1, LATE: 1})

    waiting, _ = stepped(of, stands)

    assert (Phase.RETRYING, NOW + 10.0) == (waiting.phase, waiting.until)
    assert (waiting, ()) == stepped(waiting, stands)

    again, actions = step(waiting, stands, Facts(now=NOW + 10.0))

    assert (Phase.ROLLING, 1, (Retry(1),)) == (again.phase, again.round, actions)
    assert Release(1, 2) == stepped(again, stand({OK: 8, BAD: 2, HELD: 2}, retries=2))[1][0]
    assert Phase.DONE is stepped(again, stand({OK: 9, BAD: 3}, retries=2))[0].phase


def test_lost_and_refused_runs_are_never_made_again() -> None:
    of = rollout(Spread(retries=3))

    assert Phase.DONE is stepped(of, stand({OK: 8, RunState.LOST: 1, RunState.REFUSED: 1}))[0].phase


def gated(gate: str | None = "job_2") -> Rollout:
    return rollout(Spread(waves=waves(["1"]), gate=GATE), phase=Phase.GATING, gate=gate)


AFTER_ONE = stand({OK: 1}, {HELD: 9})


def test_a_gate_is_asked_after_the_pause() -> None:
    of = rollout(Spread(waves=waves(["1"]), gate=GATE), phase=Phase.PAUSING, until=NOW)

    gating, _ = stepped(of, AFTER_ONE)
    same, (action,) = stepped(gating, AFTER_ONE)

    assert (Phase.GATING, gating) == (gating.phase, same)
    assert StartGate("rollout:job_1:gate:1:0") == action


def test_a_gate_that_passed_begins_the_next_wave() -> None:
    assert (gated(), ()) == stepped(gated(), AFTER_ONE)

    after, _ = stepped(gated(), AFTER_ONE, verdict=Verdict.PASSED)

    assert (Phase.ROLLING, 2, None) == (after.phase, after.wave, after.gate)


def test_a_gate_that_failed_aborts() -> None:
    after, _ = stepped(gated(), AFTER_ONE, verdict=Verdict.FAILED, told="no")

    assert (Phase.ABORTING, Ended.GATE, "no") == (after.phase, after.ended, after.message)


def test_a_gate_without_an_answer_holds_and_is_asked_anew() -> None:
    after, _ = stepped(gated(), AFTER_ONE, verdict=Verdict.UNKNOWN, told="nobody was there")

    assert after.hold is not None
    assert HoldWhy.GATE_UNKNOWN is after.hold.why
    assert (after, ()) == stepped(after, AFTER_ONE)
    assert (StartGate("rollout:job_1:gate:1:1"),) == stepped(resumed(after), AFTER_ONE)[1]


def test_aborting_while_the_gate_is_asked_cancels_the_gate() -> None:
    of = aborted(gated(), Ended.HAND, "enough")

    after, actions = stepped(of, stand({OK: 1}, {RunState.CANCELLED: 9}))

    assert (Abort("job_2"),) == actions
    assert after.gate is None


@pytest.mark.parametrize(
    "of",
    [
        rollout(),
        rollout(phase=Phase.RETRYING, until=NOW),
        gated(gate=None),
    ],
)
def test_a_freeze_begins_nothing(of: Rollout) -> None:
    assert (of, ()) == stepped(of, stand({HELD: 1}, {HELD: 9}), frozen=True)


# --- drawn ones ---------------------------------------------------------------------------

ENDS = [OK, OK, OK, BAD, LATE, RunState.LOST, RunState.EXPIRED]
SHARES = st.sampled_from([None, Share(hosts=1), Share(hosts=3), Share(percent=20.0)])


@dataclass
class Host:
    wave: int
    state: RunState = HELD
    retry: bool = False
    retried: bool = False
    was: list[RunState] = field(default_factory=list)


class Machine(RuleBasedStateMachine):
    """A driver that may die before it writes what it decided, and hosts that do as they like."""

    @initialize(
        total=st.integers(1, 12),
        concurrency=SHARES,
        texts=st.lists(st.sampled_from(["1", "10%", "50%"]), max_size=3),
        abort_after=SHARES,
        by_hand=st.booleans(),
        gate=st.booleans(),
        retries=st.integers(0, 2),
        delay=st.sampled_from([0.0, 5.0]),
    )
    def begin(
        self,
        *,
        total: int,
        concurrency: Share | None,
        texts: list[str],
        abort_after: Share | None,
        by_hand: bool,
        gate: bool,
        retries: int,
        delay: float,
    ) -> None:
        self.spread = Spread(
            concurrency=concurrency,
            waves=waves(texts),
            pause_s=delay if texts else 0.0,
            retry_delay_s=delay,
            by_hand=by_hand and bool(texts),
            gate=GATE if gate and texts else None,
            abort_after=abort_after,
            retries=retries,
        )
        self.of = rollout(self.spread, total=total)
        self.hosts = [
            Host(wave) for wave, size in enumerate(self.of.sizes, start=1) for _ in range(size)
        ]
        self.total = total
        self.verdict = Verdict.PENDING
        self.gates: set[str] = set()
        self.clock = NOW
        self.finished = False
        self.healed = False
        self.cancelled = False

    def standings(self) -> list[Standing]:
        found = []
        for wave in {host.wave for host in self.hosts}:
            states = [host.state for host in self.hosts if host.wave == wave]
            counts = {state: states.count(state) for state in states}
            retries = sum(host.retry for host in self.hosts if host.wave == wave)
            found.append(Standing(wave, counts, retries))
        return found

    def begun(self) -> list[Host]:
        return [host for host in self.hosts if host.state in BEGUN]

    def do(self, action: Action) -> None:
        match action:
            case Release(wave, count):
                waiting = [h for h in self.hosts if h.wave == wave and h.state is HELD][:count]
                assert count == len(waiting)
                assert self.of.phase not in {Phase.ABORTING, Phase.DONE}
                assert self.healed or all(h.wave == wave for h in self.begun())
                for host in waiting:
                    host.state = QUEUED
                if self.spread.concurrency is not None:
                    assert len(self.begun()) <= self.spread.concurrency.of(self.total)
            case Retry(wave):
                for host in [h for h in self.hosts if h.wave == wave and h.state in FAILURES]:
                    if not host.retried and not self.cancelled:
                        host.retried = True
                        self.hosts.append(Host(wave, retry=True))
            case StartGate(key):
                self.gates.add(key)
                self.verdict = Verdict.PENDING
                self.of = replace(self.of, gate=f"job_{len(self.gates)}")
            case Abort():
                for host in self.hosts:
                    if host.state in {HELD, QUEUED}:
                        host.state = RunState.CANCELLED
            case Finish():
                self.finished = True

    @rule(dies=st.booleans(), frozen=st.booleans())
    def drive(self, dies: bool, frozen: bool) -> None:
        facts = Facts(
            now=self.clock,
            cancelled=self.cancelled,
            frozen=frozen,
            verdict=self.verdict,
            told="so it is",
        )
        after, actions = step(self.of, self.standings(), facts)
        assert not frozen or not any(isinstance(a, Release | Retry | StartGate) for a in actions)
        for action in actions:
            self.do(action)
        if not dies and not any(isinstance(action, StartGate) for action in actions):
            self.of = after

    @rule(looks=st.integers(2, 5))
    def drive_on(self, looks: int) -> None:
        for _ in range(looks):
            self.drive(dies=False, frozen=False)

    @rule(pick=st.randoms(use_true_random=False))
    def move(self, pick: st.DataObject) -> None:
        moving = [host for host in self.hosts if host.state is not HELD and NEXT[host.state]]
        if moving:
            host = pick.choice(moving)  # type: ignore[attr-defined]  # a random.Random
            to = pick.choice(sorted(NEXT[host.state]))  # type: ignore[attr-defined]
            self.healed |= host.state is RunState.LOST and to is RUNNING
            host.state = to

    @rule(ends=st.lists(st.sampled_from(ENDS), min_size=1, max_size=4))
    def end(self, ends: list[RunState]) -> None:
        for host, to in zip(self.begun(), itertools.cycle(ends), strict=False):
            host.state = to

    @rule(verdict=st.sampled_from(Verdict))
    def answer(self, verdict: Verdict) -> None:
        self.verdict = verdict

    @rule()
    def hold(self) -> None:
        if self.of.phase is not Phase.DONE:
            self.of = held(self.of, HoldWhy.HAND, by="ada", now=self.clock)

    @rule()
    def resume(self) -> None:
        self.of = resumed(self.of)

    @rule(seconds=st.floats(0.0, 20.0))
    def wait(self, seconds: float) -> None:
        self.clock += seconds

    @precondition(lambda self: self.total % 4 == 1)
    @rule()
    def cancel(self) -> None:
        self.cancelled = True
        for host in self.hosts:
            if host.state in {HELD, QUEUED}:
                host.state = RunState.CANCELLED

    @precondition(lambda self: self.total % 4 == 0)
    @rule()
    def abort(self) -> None:
        self.of = aborted(self.of, Ended.HAND, "enough")

    @invariant()
    def no_wave_begins_before_its_turn(self) -> None:
        if hasattr(self, "of"):
            assert all(h.state in {HELD, RunState.CANCELLED} for h in self.later())

    def later(self) -> list[Host]:
        return [host for host in self.hosts if host.wave > self.of.wave]

    @invariant()
    def a_run_is_made_again_no_oftener_than_asked(self) -> None:
        if hasattr(self, "of"):
            again = sum(host.retry for host in self.hosts)
            assert again <= self.total * self.spread.retries

    def teardown(self) -> None:
        """Whatever was drawn: when its runs come to rest and people say yes, it ends."""
        if not hasattr(self, "of"):
            return
        for _ in range(2000):
            if self.of.phase is Phase.DONE:
                break
            for host in self.begun():
                host.state = OK
            self.verdict = Verdict.PASSED
            self.clock += 1.0
            self.of = resumed(self.of)
            self.drive(dies=False, frozen=False)
        assert self.of.phase is Phase.DONE
        assert self.finished
        assert all(host.state is not HELD for host in self.hosts)
        self.a_run_is_made_again_no_oftener_than_asked()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40)
