"""Rollouts driven over fake agents: waves, pauses, gates, holds, aborts and restarts."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pytest

from farhand.controller.jobs import Submitted
from farhand.domain.agent import Agent
from farhand.domain.ids import JobId
from farhand.domain.job import Argv, JobSpec, Names
from farhand.domain.limits import Limits
from farhand.domain.messages import FromAgent, HeldRun, HeldState, RunStarted, StartRun
from farhand.domain.rollout import Ended, HoldWhy, Phase, Rollout
from farhand.domain.run import Run, RunState, Why
from farhand.domain.spread import Gate, Share, Spread, share, waves
from farhand.errors import Frozen, GateCannotRun, InvalidSpread, NotRolling, OverShare, WaveTooLarge
from farhand.ports import RunFilter
from farhand.testing import ManualClock, World
from farhand.testing.agent import ended, hang

S = RunState
HOSTS = [f"web-{n}" for n in range(10)]
SPEC = JobSpec(what=Argv(("work",)))
AGAIN = JobSpec(what=Argv(("work",)), rerunnable=True)
PROBE = JobSpec(what=Argv(("probe",)))


@dataclass
class Crew:
    """What every agent does: `work` waits until it is told to end, `probe` exits with *probe*."""

    world: World
    probe: int | None = 0
    waiting: dict[str, StartRun] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)

    def behave(self, name: str) -> Callable[[StartRun], Iterable[FromAgent]]:
        def behaviour(order: StartRun) -> Iterable[FromAgent]:
            yield RunStarted(order.run, 4242)
            if order.spec.what == PROBE.what:
                if self.probe is not None:
                    yield ended(order.run, code=self.probe)
                return
            self.started.append(name)
            self.waiting[name] = order

        return behaviour

    async def join(self, names: Sequence[str] = HOSTS) -> None:
        for name in names:
            agent = await self.world.join(name)
            agent.behaviour = self.behave(name)

    async def finish(self, *names: str, code: int = 0) -> None:
        """End the work of these hosts, or of all, and let the controller see it."""
        for name in names or list(self.waiting):
            order = self.waiting.pop(name)
            self.world.agent(name).say(ended(order.run, code=code))
        await look(self.world)


async def look(world: World, seconds: float = 1.1) -> None:
    """Let the controller look at what came, while the agents that are there go on beating."""
    assert isinstance(world.clock, ManualClock)
    while seconds > 0:
        await world.clock.advance(min(seconds, 20.0))
        seconds -= 20.0
        for agent in world.agents.values():
            if agent.session is not None:
                agent.beat()


async def submit(
    world: World,
    spread: Spread,
    spec: JobSpec = SPEC,
    *,
    on: Sequence[str] = HOSTS,
    hold: bool = False,
) -> Submitted:
    jobs = world.tenant.jobs
    found = await jobs.submit(spec, Names(tuple(on)), by="ada", spread=spread, hold=hold)
    await look(world)
    return found


async def rollout(world: World, job: JobId) -> Rollout:
    found = await world.store.document(Rollout, job)
    assert found is not None
    return found


async def states(world: World, job: JobId) -> Counter[RunState]:
    return Counter(run.state for run in await runs(world, job))


async def runs(world: World, job: JobId) -> Sequence[Run]:
    return (await world.store.runs(RunFilter(job=job), limit=1000)).items


async def find(world: World, name: str) -> Agent:
    return await world.tenant.agents.find(name)


async def drain(world: World, name: str) -> None:
    await world.tenant.agents.edit((await find(world, name)).id, drained=True, by="ada")


async def test_no_more_run_at_once_than_were_asked_for() -> None:
    async with World.start() as world:
        crew = Crew(world)
        await crew.join()
        job = (await submit(world, Spread(concurrency=Share(hosts=3)))).job

        assert {S.HELD: 7, S.RUNNING: 3} == await states(world, job.id)

        await crew.finish("web-1")

        assert ["web-0", "web-1", "web-2", "web-3"] == crew.started
        while crew.waiting:
            assert len(crew.waiting) <= 3
            await crew.finish()

        found = await world.store.job(job.id)
        events = await world.store.events(job.id, limit=1000)

        assert found is not None
        assert (0, {S.SUCCEEDED: 10}) == (found.open, found.counts)
        assert ["end"] == [event.kind for event in events if event.kind == "end"]
        assert "end" == events[-1].kind
        assert 0 == len(world.tenant.jobs.rollouts)


async def test_waves_follow_each_other_with_a_pause_between() -> None:
    async with World.start() as world:
        crew = Crew(world)
        await crew.join()
        spread = Spread(waves=waves(["1", "30%"]), pause_s=30.0)
        job = (await submit(world, spread)).job

        assert ["web-0"] == crew.started

        await crew.finish()

        assert Phase.PAUSING is (await rollout(world, job.id)).phase
        await look(world, 28.0)
        assert ["web-0"] == crew.started

        await look(world, 4.0)
        assert HOSTS[:4] == crew.started

        await crew.finish()
        await look(world, 32.0)
        await crew.finish()

        assert Ended.COMPLETED is (await rollout(world, job.id)).ended
        assert [1, 2, 2, 2, 3, 3, 3, 3, 3, 3] == [r.wave for r in await runs(world, job.id)]


async def test_a_hold_begins_nothing_until_somebody_resumes() -> None:
    async with World.start() as world:
        crew = Crew(world)
        await crew.join()
        job = (await submit(world, Spread(concurrency=Share(hosts=2)))).job
        rollouts = world.tenant.jobs.rollouts
        await rollouts.hold(job.id, by="ada")
        await crew.finish()
        await look(world, 600.0)
        found = await rollout(world, job.id)

        assert found.hold is not None
        assert (HoldWhy.HAND, "ada") == (found.hold.why, found.hold.by)
        assert {S.SUCCEEDED: 2, S.HELD: 8} == await states(world, job.id)

        await world.tenant.jobs.release(job.id, by="ada")  # says the same
        await look(world)

        assert {S.SUCCEEDED: 2, S.RUNNING: 2, S.HELD: 6} == await states(world, job.id)


async def test_a_spread_job_may_begin_held() -> None:
    async with World.start() as world:
        crew = Crew(world)
        await crew.join()
        job = (await submit(world, Spread(concurrency=Share(hosts=2)), hold=True)).job

        assert {S.HELD: 10} == await states(world, job.id)

        await world.tenant.jobs.rollouts.resume(job.id, by="ada")
        await look(world)

        assert {S.HELD: 8, S.RUNNING: 2} == await states(world, job.id)


async def test_too_many_failures_abort_and_what_runs_goes_on() -> None:
    async with World.start() as world:
        crew = Crew(world)
        await crew.join()
        spread = Spread(concurrency=Share(hosts=6), abort_after=share("25%", "abort_after"))
        job = (await submit(world, spread)).job
        await crew.finish("web-1", code=1)

        assert {S.FAILED: 1, S.RUNNING: 6, S.HELD: 3} == await states(world, job.id)

        await crew.finish("web-2", code=1)

        assert {S.FAILED: 2, S.RUNNING: 5, S.CANCELLED: 3} == await states(world, job.id)
        assert {Why.ABORTED} == {
            run.why for run in await runs(world, job.id) if run.state is S.CANCELLED
        }

        await crew.finish()
        found = await rollout(world, job.id)

        assert (Phase.DONE, Ended.FAILURES) == (found.phase, found.ended)
        assert found.message.startswith("2 of 7 executions failed")


async def test_absent_hosts_do_not_count_as_failures() -> None:
    async with World.start() as world:
        crew = Crew(world)
        await crew.join()
        for name in HOSTS[2:8]:
            world.agent(name).vanish()
        spread = Spread(concurrency=Share(hosts=8), abort_after=share("50%", "abort_after"))
        job = (await submit(world, spread)).job
        await crew.finish()
        await look(world, 310.0)  # the absent ones expire
        await crew.finish()

        assert {S.SUCCEEDED: 4, S.EXPIRED: 6} == await states(world, job.id)
        assert Ended.COMPLETED is (await rollout(world, job.id)).ended


async def test_somebody_aborts_and_nothing_is_sent_any_more() -> None:
    async with World.start() as world:
        crew = Crew(world)
        await crew.join()
        job = (await submit(world, Spread(waves=waves(["2"]), by_hand=True))).job
        await world.tenant.jobs.rollouts.abort(job.id, by="bob")
        await look(world)

        assert {S.RUNNING: 2, S.CANCELLED: 8} == await states(world, job.id)

        await crew.finish()
        found = await rollout(world, job.id)

        assert (Phase.DONE, Ended.HAND, "bob") == (found.phase, found.ended, found.by)
        with pytest.raises(NotRolling):
            await world.tenant.jobs.rollouts.resume(job.id, by="bob")


async def test_cancelling_the_job_ends_its_rollout() -> None:
    async with World.start() as world:
        crew = Crew(world)
        await crew.join()
        job = (await submit(world, Spread(waves=waves(["2"]), by_hand=True))).job
        await crew.finish()
        await world.tenant.jobs.cancel_job(job.id, by="bob")
        await look(world)
        found = await rollout(world, job.id)
        left = await world.store.waiting(job.id)

        assert (Phase.DONE, Ended.CANCELLED, 0) == (found.phase, found.ended, left)


async def test_a_job_that_is_not_spread_cannot_be_held() -> None:
    async with World.start(agents=["web-0"]) as world:
        job = (await world.submit()).job
        with pytest.raises(NotRolling, match="was not spread"):
            await world.tenant.jobs.rollouts.hold(job.id, by="ada")

        assert 0 == len(world.tenant.jobs.rollouts)


async def test_failed_runs_are_made_again_where_the_job_allows_it() -> None:
    async with World.start() as world:
        crew = Crew(world)
        await crew.join(HOSTS[:3])
        spread = Spread(retries=2, retry_delay_s=5.0, concurrency=Share(hosts=2))
        job = (await submit(world, spread, AGAIN, on=HOSTS[:3])).job
        await crew.finish("web-0", code=1)
        await crew.finish("web-1", code=1)
        await crew.finish("web-2")

        assert Phase.RETRYING is (await rollout(world, job.id)).phase

        await look(world, 6.0)
        assert ["web-0", "web-1"] == crew.started[3:]
        await crew.finish("web-0")
        await crew.finish("web-1", code=1)
        await look(world, 6.0)
        await crew.finish("web-1", code=1)
        found = await runs(world, job.id)
        before = {run.id: run for run in found}
        again = [run for run in found if run.retry_of]

        assert {S.SUCCEEDED: 2, S.FAILED: 4} == await states(world, job.id) - Counter()
        assert ["web-0", "web-1", "web-1"] == [run.agent_name for run in again]
        assert all(before[r.retry_of].agent == r.agent for r in again if r.retry_of)
        assert Ended.COMPLETED is (await rollout(world, job.id)).ended


async def test_an_agent_that_is_drained_meanwhile_refuses() -> None:
    async with World.start() as world:
        crew = Crew(world)
        await crew.join(HOSTS[:3])
        job = (await submit(world, Spread(concurrency=Share(hosts=1)), on=HOSTS[:3])).job
        await drain(world, "web-1")
        await crew.finish()
        await crew.finish()

        assert {S.SUCCEEDED: 2, S.REFUSED: 1} == await states(world, job.id)


# --- gates --------------------------------------------------------------------------------


def gated(targets: str = "role=probe") -> Spread:
    return Spread(waves=waves(["1"]), gate=Gate(spec=PROBE, targets=targets))


async def at_the_gate(world: World, crew: Crew) -> JobId:
    await crew.join(HOSTS[:3])
    probe = await world.join("probe-1", labels={"role": "probe"})
    probe.behaviour = crew.behave("probe-1")
    job = (await submit(world, gated(), on=HOSTS[:3])).job
    await crew.finish()
    return job.id


async def test_a_gate_that_passes_opens_the_next_wave() -> None:
    async with World.start() as world:
        crew = Crew(world)
        job = await at_the_gate(world, crew)

        assert (2, HOSTS[:3]) == ((await rollout(world, job)).wave, crew.started)

        await crew.finish()
        gates = [found for found in (await world.store.jobs()).items if found.id != job]

        assert Ended.COMPLETED is (await rollout(world, job)).ended
        assert [("ada", "role=probe")] == [(gate.by, gate.targets) for gate in gates]


async def test_a_gate_that_fails_aborts_the_rest() -> None:
    async with World.start() as world:
        crew = Crew(world, probe=3)
        job = await at_the_gate(world, crew)
        found = await rollout(world, job)

        assert (Phase.DONE, Ended.GATE) == (found.phase, found.ended)
        assert "1 failed" in found.message
        assert {S.SUCCEEDED: 1, S.CANCELLED: 2} == await states(world, job)


async def test_a_gate_that_nobody_answers_holds_and_is_asked_anew() -> None:
    async with World.start() as world:
        crew = Crew(world, probe=None)
        job = await at_the_gate(world, crew)
        assert Phase.GATING is (await rollout(world, job)).phase
        world.agent("probe-1").vanish()  # it never ends what it began: its contact is lost
        await look(world, 200.0)
        found = await rollout(world, job)

        assert found.hold is not None
        assert HoldWhy.GATE_UNKNOWN is found.hold.why

        crew.probe = 0
        await world.agent("probe-1").connect()
        await world.tenant.jobs.rollouts.resume(job, by="ada")
        await look(world)

        assert 2 == (await rollout(world, job)).wave


async def test_a_gate_whose_targets_went_away_holds() -> None:
    async with World.start() as world:
        crew = Crew(world)
        await crew.join(HOSTS[:3])
        await world.join("probe-1", labels={"role": "probe"})
        job = (await submit(world, gated(), on=HOSTS[:3])).job
        await world.tenant.agents.remove((await find(world, "probe-1")).id, by="ada")
        await crew.finish()
        found = await rollout(world, job.id)

        assert found.hold is not None
        assert HoldWhy.GATE_UNKNOWN is found.hold.why
        assert "cannot run" in found.hold.message


# --- a freeze -----------------------------------------------------------------------------


async def test_a_freeze_begins_nothing_until_it_is_lifted() -> None:
    async with World.start() as world:
        crew = Crew(world)
        await crew.join(HOSTS[:4])
        jobs = world.tenant.jobs
        job = (await submit(world, Spread(concurrency=Share(hosts=2)), on=HOSTS[:4])).job
        await jobs.fleet.freeze("an incident", by="ada")
        await crew.finish()
        await look(world, 60.0)

        assert {S.SUCCEEDED: 2, S.HELD: 2} == await states(world, job.id)

        await jobs.fleet.unfreeze(by="ada")
        await look(world, 6.0)

        assert {S.SUCCEEDED: 2, S.RUNNING: 2} == await states(world, job.id)


async def test_a_freeze_asks_no_gate() -> None:
    async with World.start() as world:
        crew = Crew(world)
        await crew.join(HOSTS[:3])
        probe = await world.join("probe-1", labels={"role": "probe"})
        probe.behaviour = crew.behave("probe-1")
        job = (await submit(world, gated(), on=HOSTS[:3])).job
        await world.tenant.jobs.fleet.freeze("an incident", by="ada")
        await crew.finish()
        await look(world, 30.0)

        assert (Phase.GATING, None) == (
            (await rollout(world, job.id)).phase,
            (await rollout(world, job.id)).hold,
        )

        await world.tenant.jobs.fleet.unfreeze(by="ada")
        await look(world, 6.0)

        assert 2 == (await rollout(world, job.id)).wave


async def test_a_held_job_is_not_released_during_a_freeze() -> None:
    async with World.start(agents=HOSTS[:1]) as world:
        jobs = world.tenant.jobs
        job = (await jobs.submit(SPEC, Names(("web-0",)), by="ada", hold=True)).job
        await jobs.fleet.freeze("an incident", by="ada")
        with pytest.raises(Frozen):
            await jobs.release(job.id, by="ada")

        assert {S.HELD: 1} == await states(world, job.id)


# --- what is refused ----------------------------------------------------------------------


async def test_a_gate_that_has_nobody_to_ask_is_refused_at_once() -> None:
    async with World.start(agents=HOSTS[:3]) as world:
        with pytest.raises(GateCannotRun):
            await submit(world, gated("role=nobody"), on=HOSTS[:3])


async def test_a_gate_whose_agents_would_all_refuse_is_refused_at_once() -> None:
    async with World.start(agents=HOSTS[:3]) as world:
        await world.join("probe-1", labels={"role": "probe"})
        await drain(world, "probe-1")
        with pytest.raises(GateCannotRun):
            await submit(world, gated(), on=HOSTS[:3])


async def test_a_wave_that_is_larger_than_the_job_writes_nothing() -> None:
    async with World.start(agents=HOSTS[:3]) as world:
        with pytest.raises(WaveTooLarge):
            await submit(world, Spread(waves=waves(["4"])), on=HOSTS[:3])
        with pytest.raises(InvalidSpread):
            await submit(world, Spread(retries=1), on=HOSTS[:3])

        assert [] == list((await world.store.jobs()).items)


async def test_an_org_has_a_bound_on_its_rollouts() -> None:
    async with World.start(agents=HOSTS[:1], limits=Limits(rollouts=1)) as world:
        world.agent("web-0").behaviour = hang
        await submit(world, Spread(), on=HOSTS[:1])
        with pytest.raises(OverShare) as refused:
            await submit(world, Spread(), on=HOSTS[:1])

        assert "rollouts" == refused.value.details["bound"]


# --- restarts -----------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True])
async def test_a_rollout_goes_on_after_a_restart(held: bool) -> None:
    clock = ManualClock()
    async with World.start(clock) as before:
        crew = Crew(before)
        await crew.join()
        job = (await submit(before, Spread(concurrency=Share(hosts=2), waves=waves(["3"])))).job
        await crew.finish("web-0")
        if held:
            await before.tenant.jobs.rollouts.hold(job.id, by="ada")
    store, control = before.store, before.control
    async with World.start(clock, store=store, control=control) as after:
        await look(after)

        assert 1 == len(after.tenant.jobs.rollouts)

        crew.world = after
        for agent in before.agents.values():
            if agent.name in crew.waiting:
                order = crew.waiting[agent.name]
                agent.held = [HeldRun(run=order.run, state=HeldState.RUNNING)]
            await after.bring(agent).connect()
            agent.held = ()
        if held:
            await look(after, 30.0)
            assert (await rollout(after, job.id)).hold is not None
            await after.tenant.jobs.rollouts.resume(job.id, by="ada")
        for _ in range(100):
            open_ = [r for r in await runs(after, job.id) if r.state in {S.SENT, S.RUNNING}]
            assert len(open_) <= 2
            if not await after.store.waiting(job.id):
                break
            await look(after)
            await crew.finish()

        assert {S.SUCCEEDED: 10} == await states(after, job.id)
        assert sorted(HOSTS) == sorted(crew.started)
