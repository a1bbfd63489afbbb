"""Followers see everything once, in order, and let go at the end."""

import asyncio
from dataclasses import replace

import pytest

from farhand.domain.ids import JobId
from farhand.domain.limits import DEFAULTS
from farhand.errors import OverShare, UnknownJob
from farhand.ports import Event
from farhand.testing import World, ended, hang, output, settle, succeed


async def _events(world: World, job: JobId, after: int = 0) -> list[Event]:
    return [
        event async for page in world.tenant.followers.follow(job, after=after) for event in page
    ]


async def test_a_follower_sees_states_output_and_the_end_in_order() -> None:
    async with World.start(agents=["web-1"], behaviour=succeed(b"hi")) as world:
        submitted = await world.submit()
        events = await _events(world, submitted.job.id)

        assert list(range(1, len(events) + 1)) == [event.seq for event in events]
        assert ["run", "run", "output", "run", "end"] == [event.kind for event in events]


async def test_a_follower_that_comes_back_sees_only_the_rest() -> None:
    async with World.start(agents=["web-1"], behaviour=succeed(b"hi")) as world:
        job = (await world.submit()).job.id
        every = await _events(world, job)

        assert every[2:] == await _events(world, job, after=2)
        assert [] == await _events(world, job, after=every[-1].seq)


async def test_a_follower_is_woken_when_something_is_kept() -> None:
    async with World.start(agents=["web-1"], behaviour=hang) as world:
        (run,) = (await world.submit()).runs
        seen: list[Event] = []

        async def follow() -> None:
            async for page in world.tenant.followers.follow(run.job):
                seen.extend(page)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow())
            await settle()
            before = len(seen)
            world.agent("web-1").say(output(run.id, b"abc"))
            await settle()
            assert ["output"] == [event.kind for event in seen[before:]]
            world.agent("web-1").say(ended(run.id, stdout=b"abc"))

        assert "end" == seen[-1].kind


async def test_too_many_followers_are_refused_and_places_are_given_back() -> None:
    limits = replace(DEFAULTS, followers=1)
    async with World.start(agents=["web-1"], behaviour=hang, limits=limits) as world:
        job = (await world.submit()).job.id
        first = world.tenant.followers.follow(job)
        await anext(first)
        with pytest.raises(OverShare):
            await anext(world.tenant.followers.follow(job))
        await first.aclose()

        assert 0 == world.tenant.followers.count


async def test_settled_tells_whether_every_run_came_to_rest_in_time() -> None:
    async with World.start(agents=["web-1"]) as world:
        done = (await world.submit()).job.id
        world.agent("web-1").behaviour = hang
        hanging = (await world.submit()).job.id

        assert await world.tenant.followers.settled(done, 5.0)
        assert not await world.tenant.followers.settled(hanging, 0.01)


async def test_an_unknown_job_cannot_be_waited_for() -> None:
    async with World.start() as world:
        with pytest.raises(UnknownJob):
            await world.tenant.followers.settled(JobId("job_x"), 1.0)
