"""Why a host was not in a job: also when it was renamed, removed, or nobody kept the reason."""

import pytest

from farhand.controller.explaining import Verdict, explain
from farhand.domain.job import Argv, Job, JobSpec, Names, Previewed
from farhand.domain.selector import Selector
from farhand.errors import UnknownAgent
from farhand.testing import ManualClock, World


async def verdict(world: World, job: Job, name: str) -> Verdict:
    fleet = world.tenant.jobs.fleet
    return (await explain(world.store, fleet, job, name)).verdict


async def test_a_host_that_was_renamed_or_removed_since_is_in_the_job_by_both_names() -> None:
    async with World.start(agents=["web-1", "web-2"]) as world:
        job = (await world.submit()).job
        first, second = world.agent("web-1").id, world.agent("web-2").id
        assert first is not None
        assert second is not None
        await world.tenant.agents.edit(first, by="op", name="front")
        await world.tenant.agents.remove(second, by="op")

        assert {Verdict.IN_JOB} == {
            await verdict(world, job, name) for name in ("front", "web-1", first, "web-2", second)
        }


async def test_a_host_that_joined_later_and_one_that_nobody_knows_are_told_apart() -> None:
    clock = ManualClock()
    async with World.start(agents=["web-1"], clock=clock) as world:
        job = (await world.submit()).job
        clock.jump(60.0)
        await world.join("web-2")
        with pytest.raises(UnknownAgent, match="'web-3'"):
            await verdict(world, job, "web-3")

        assert Verdict.JOINED_LATER is await verdict(world, job, "web-2")


async def test_groups_are_read_as_they_were_when_the_job_was_made() -> None:
    async with World.start() as world:
        await world.join("web-1", labels={"role": "web"})
        await world.join("db-1", labels={"role": "db"})
        fleet = world.tenant.jobs.fleet
        await fleet.save_group("front", "role=web", by="op")
        job = (await world.submit(on=Selector("@front"))).job
        await fleet.save_group("front", "role=db", by="op")

        assert Verdict.NOT_MATCHED is await verdict(world, job, "db-1")


async def test_a_job_that_was_bound_to_a_preview_names_it() -> None:
    async with World.start(agents=["web-1", "web-2"]) as world:
        spec = JobSpec(what=Argv(("true",)))
        foreseen = await world.tenant.jobs.preview(spec, Names(("web-1",)), by="me")
        job = (await world.submit(on=Previewed(foreseen.preview.id))).job

        assert Verdict.NOT_NAMED is await verdict(world, job, "web-2")
