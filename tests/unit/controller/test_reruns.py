"""A job that is run again: the same on the same agents, or only where it failed."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from farhand.controller.jobs import Submitted
from farhand.controller.reruns import Wish
from farhand.domain.ids import AgentId, JobId
from farhand.domain.job import Argv, JobSpec, Names
from farhand.domain.limits import DEFAULTS
from farhand.domain.messages import FromAgent, RunStarted, StartRun
from farhand.domain.rollout import Rollout
from farhand.domain.run import RunState
from farhand.domain.spread import Spread, waves
from farhand.errors import (
    AgentsRemoved,
    Frozen,
    IdempotencyConflict,
    NothingToRerun,
    StillRolling,
    UnknownJob,
)
from farhand.ports import MoveRun
from farhand.testing import ManualClock, World, ended, settle
from farhand.testing.agent import Behaviour

S = RunState
SPEC = JobSpec(what=Argv(("work",)), stdin=b"\xff read me", env={"SECRET": "1"}, rerunnable=True)
ALL, FAILED = Wish(), Wish(failed_only=True)


def ends(*codes: int) -> Behaviour:
    """What an agent does that exits with each of *codes* in turn, then with 0."""
    left = list(codes)

    def behaviour(order: StartRun) -> Iterable[FromAgent]:
        yield RunStarted(order.run, 4242)
        yield ended(order.run, code=left.pop(0) if left else 0)

    return behaviour


async def rerun(
    world: World, job: JobId, wish: Wish = ALL, *, by: str = "me", key: str | None = None
) -> Submitted:
    submitted = await world.tenant.reruns.rerun(job, wish, by=by, key=key)
    await settle()
    return submitted


async def over(world: World, clock: ManualClock, job: JobId) -> None:
    """Let time pass until nobody waits for the job."""
    while await world.store.waiting(job):
        await clock.advance(1.0)


def agent_id(world: World, name: str) -> AgentId:
    found = world.agent(name).id
    assert found is not None
    return found


def hosts(submitted: Submitted) -> Sequence[str]:
    return [run.agent_name for run in submitted.runs]


async def test_a_job_runs_again_as_it_was_on_the_same_agents_in_the_same_order() -> None:
    async with World.start(agents=["web-1", "web-2", "db-1"]) as world:
        first = await world.submit(SPEC, on=["web-2", "web-1"])
        await world.join("web-3")
        again = await rerun(world, first.job.id, by="you")

        assert ["web-2", "web-1"] == hosts(again)
        assert SPEC == again.job.spec
        assert first.job.id == again.job.rerun_of
        assert ("web-[1-2]", "you") == (again.job.targets, again.job.by)
        assert {S.SUCCEEDED} == {(await world.run(run)).state for run in again.runs}


async def test_only_where_it_failed_means_the_last_try_of_each_agent() -> None:
    clock = ManualClock()
    async with World.start(clock=clock) as world:
        for name, codes in (("ok", (0,)), ("bad", (1, 1)), ("late", (1, 0))):
            await world.join(name, behaviour=ends(*codes))
        names = Names(("ok", "bad", "late"))
        submit = world.tenant.jobs.submit
        first = await submit(SPEC, names, by="me", spread=Spread(retries=1))
        await over(world, clock, first.job.id)
        again = await rerun(world, first.job.id, FAILED)

        assert ["bad"] == hosts(again)


@pytest.mark.parametrize(
    ("state", "again"),
    [
        (S.SUCCEEDED, False),
        (S.CANCELLED, False),
        (S.RUNNING, False),
        (S.FAILED, True),
        (S.TIMED_OUT, True),
        (S.LOST, True),
    ],
)
async def test_a_run_that_somebody_cancelled_or_that_is_under_way_did_not_fail(
    state: RunState, again: bool
) -> None:
    async with World.start() as world:
        await world.join("web-1", behaviour=lambda order: [RunStarted(order.run, 1)])
        first = await world.submit(SPEC)
        (run,) = first.runs
        if state is not S.RUNNING:
            move = MoveRun(run=run.id, expect=frozenset({S.RUNNING}), to=state, at=1.0)
            await world.store.apply([move])
        if again:
            assert ["web-1"] == hosts(await rerun(world, first.job.id, FAILED))
        else:
            with pytest.raises(NothingToRerun):
                await rerun(world, first.job.id, FAILED)


async def test_refused_and_expired_runs_are_made_again() -> None:
    clock = ManualClock()
    async with World.start(agents=["web-1", "web-2"], clock=clock) as world:
        await world.tenant.agents.edit(agent_id(world, "web-1"), by="op", drained=True)
        world.agent("web-2").vanish()
        await settle()
        first = await world.submit(SPEC, on=["web-1", "web-2"])
        await clock.advance(SPEC.queue_ttl_s + 5)
        states = {run.agent_name: (await world.run(run)).state for run in first.runs}
        again = await rerun(world, first.job.id, FAILED)

        assert {"web-1": S.REFUSED, "web-2": S.EXPIRED} == states
        assert ["web-1", "web-2"] == hosts(again)


async def test_agents_that_were_removed_are_named_and_can_be_left_out() -> None:
    async with World.start(agents=["web-1", "web-2", "web-3"]) as world:
        first = await world.submit(SPEC)
        for name in ("web-2", "web-3"):
            await world.tenant.agents.remove(agent_id(world, name), by="op")
        with pytest.raises(AgentsRemoved, match=r"2 of its 3 .* web-\[2-3\]") as caught:
            await rerun(world, first.job.id)
        again = await rerun(world, first.job.id, Wish(skip_removed=True))
        await world.tenant.agents.remove(agent_id(world, "web-1"), by="op")
        with pytest.raises(NothingToRerun):
            await rerun(world, first.job.id, Wish(skip_removed=True))

        assert ["web-2", "web-3"] == caught.value.details["names"]
        assert ["web-1"] == hosts(again)


async def test_an_agent_that_was_renamed_is_the_same_agent() -> None:
    async with World.start(agents=["web-1"]) as world:
        first = await world.submit(SPEC)
        await world.tenant.agents.edit(agent_id(world, "web-1"), by="op", name="front")
        again = await rerun(world, first.job.id)

        assert ["front"] == hosts(again)
        assert "front" == again.job.targets


async def test_the_same_key_is_the_same_job_and_another_wish_is_a_conflict() -> None:
    async with World.start(agents=["web-1"]) as world:
        first = await world.submit(SPEC)
        again = await rerun(world, first.job.id, key="k")
        await world.tenant.agents.remove(agent_id(world, "web-1"), by="op")
        same = await rerun(world, first.job.id, key="k")
        with pytest.raises(IdempotencyConflict):
            await rerun(world, first.job.id, FAILED, key="k")

        assert (again.job.id, True) == (same.job.id, same.repeated)


async def test_so_many_agents_need_not_be_counted_again_but_a_freeze_counts() -> None:
    names = [f"web-{n}" for n in range(4)]
    limits = replace(DEFAULTS, unnamed_targets=3)
    async with World.start(agents=names, limits=limits) as world:
        first = await world.submit(SPEC, on=names)
        again = await rerun(world, first.job.id)
        await world.tenant.jobs.fleet.freeze("stop", by="op")
        with pytest.raises(Frozen):
            await rerun(world, first.job.id)

        assert 4 == len(again.runs)


async def test_a_job_that_was_spread_is_spread_again_in_the_same_waves() -> None:
    clock = ManualClock()
    names = [f"web-{n}" for n in range(4)]
    async with World.start(agents=names, clock=clock) as world:
        spread = Spread(waves=waves(["1", "rest"]), pause_s=60.0)
        jobs = world.tenant.jobs
        first = await jobs.submit(SPEC, Names(tuple(names)), by="me", spread=spread)
        with pytest.raises(StillRolling):
            await rerun(world, first.job.id, FAILED)
        again = await rerun(world, first.job.id)
        rollout = await world.store.document(Rollout, again.job.id)

        assert rollout is not None
        assert ((1, 3), spread) == (rollout.sizes, rollout.spread)
        assert [1, 2, 2, 2] == [run.wave for run in again.runs]


async def test_a_wave_of_more_hosts_than_have_failed_takes_all_of_them() -> None:
    clock = ManualClock()
    async with World.start(clock=clock) as world:
        for name, code in (("web-1", 0), ("web-2", 1), ("web-3", 0)):
            await world.join(name, behaviour=ends(code))
        submit = world.tenant.jobs.submit
        names = Names(("web-1", "web-2", "web-3"))
        first = await submit(SPEC, names, by="me", spread=Spread(waves=waves(["3"])))
        await over(world, clock, first.job.id)
        again = await rerun(world, first.job.id, FAILED)
        rollout = await world.store.document(Rollout, again.job.id)

        assert rollout is not None
        assert (["web-2"], (1,)) == (hosts(again), rollout.sizes)


async def test_a_job_that_is_not_there_cannot_run_again() -> None:
    async with World.start() as world:
        with pytest.raises(UnknownJob):
            await rerun(world, JobId("job_01h455vb4pex5vsknk084sn02q"))


async def test_the_audit_says_which_job_was_run_again() -> None:
    async with World.start(agents=["web-1"]) as world:
        first = await world.submit(SPEC)
        again = await rerun(world, first.job.id)
        records = (await world.store.audit()).items
        record = next(record for record in records if record.subject == again.job.id)

        assert ("job.submitted", first.job.id) == (record.action, record.facts["rerun_of"])
