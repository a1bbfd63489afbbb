"""Whom a job is for: groups, previews, counts and the freeze, in an org of fake agents."""

import asyncio
from dataclasses import replace

import pytest

from farhand.controller import refusals
from farhand.controller.targets import check_count, only
from farhand.domain.agent import Agent, Identity
from farhand.domain.ids import AgentId
from farhand.domain.job import AllAgents, Argv, CommandCall, JobSpec, Names, Previewed, Targets
from farhand.domain.limits import DEFAULTS
from farhand.domain.run import RunState
from farhand.domain.selector import Selector
from farhand.domain.targets import SavedGroup
from farhand.errors import (
    AmbiguousName,
    Conflict,
    CountMismatch,
    CountUnnamed,
    FarhandError,
    Frozen,
    InvalidName,
    InvalidSelector,
    NoTargets,
    OverShare,
    UnknownAgent,
    UnknownGroup,
    UnknownLabel,
    UnknownPreview,
)
from farhand.ports import Put
from farhand.testing import ManualClock, World, hang, settle

SPEC = JobSpec(what=Argv(("uptime",)))


async def fleet(world: World) -> None:
    """web1 to web4, of which the even ones are canaries, and db1."""
    for number in range(1, 5):
        role = {"role": "web", "canary": "yes" if number % 2 == 0 else "no"}
        await world.join(f"web{number}", labels=role)
    await world.join("db1", labels={"role": "db"})


async def picked(world: World, targets: Targets | str) -> list[str]:
    chosen = Selector(targets) if isinstance(targets, str) else targets
    found = await world.tenant.jobs.fleet.pick(chosen)
    return [agent.name for agent in found.agents]


# --- choosing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web[1-3]", ["web1", "web2", "web3"]),
        ("web* & !web[2,4]", ["web1", "web3"]),
        ("role=web & canary=yes | db1", ["web2", "web4", "db1"]),
        ("liveness=online & role!=web", ["db1"]),
        ("web1 & role=db | web2", ["web2"]),
        ("nothing=* | web4", ["web4"]),
    ],
)
async def test_a_selector_chooses_among_all_agents(text: str, expected: list[str]) -> None:
    async with World.start() as world:
        await fleet(world)

        assert expected == await picked(world, text)


@pytest.mark.parametrize(
    ("text", "refused", "told"),
    [
        ("web[1-9]", UnknownAgent, r"no agent is called web\[5-9\]"),
        ("wbe1", UnknownAgent, "did you mean web1"),
        ("role=web & !wbe1", UnknownAgent, "wbe1"),  # it would exclude nobody
        ("rloe=web", UnknownLabel, "did you mean role"),
        ("!rloe=web", UnknownLabel, "'rloe'"),
        ("rloe!=web", UnknownLabel, "'rloe'"),
        ("rloe>=1", UnknownLabel, "'rloe'"),
        ("@wbe", InvalidSelector, "no group @wbe"),
        ("role=cache", NoTargets, "no agent matches 'role=cache'"),
        ("x*", NoTargets, "no agent matches"),
    ],
)
async def test_what_nobody_has_is_a_mistake_and_says_so(
    text: str, refused: type[FarhandError], told: str
) -> None:
    async with World.start() as world:
        await fleet(world)
        with pytest.raises(refused, match=told):
            await picked(world, text)


async def test_without_any_agent_no_word_is_a_mistake() -> None:
    async with World.start() as world:
        with pytest.raises(NoTargets, match="no agent at all"):
            await picked(world, "role=web")


async def test_a_selector_passes_over_the_drained_and_a_name_does_not() -> None:
    async with World.start() as world:
        await fleet(world)
        for name in ("web1", "db1"):
            agent = world.agent(name)
            assert agent.id is not None
            await world.tenant.agents.edit(agent.id, by="op", drained=True)

        assert ["web2", "web3", "web4"] == await picked(world, "role=web")
        assert ["web2", "web3", "web4"] == await picked(world, AllAgents())
        assert ["web1"] == await picked(world, Names(("web1",)))
        with pytest.raises(NoTargets, match="every agent that matches 'role=db' is drained"):
            await picked(world, "role=db")


async def test_more_names_than_are_looked_up_are_found_as_well() -> None:
    async with World.start() as world:
        for number in range(30):
            await world.join(f"n{number}")
        names = tuple(f"n{number}" for number in reversed(range(30)))

        assert list(names) == await picked(world, Names(names))
        with pytest.raises(UnknownAgent, match="m3"):
            await picked(world, Names((*names, "m3")))


def test_a_name_that_two_bear_is_told_with_their_ids() -> None:
    twins = [
        Agent(id=AgentId(f"agt_{n}"), identity=Identity(name="twin", machine_id=str(n)))
        for n in (1, 2)
    ]
    with pytest.raises(AmbiguousName, match=r"agt_1 .*agt_2"):
        only("twin", twins)
    with pytest.raises(UnknownAgent):
        only("twin", [])


# --- saved groups -------------------------------------------------------------------------


async def test_groups_stand_within_groups_and_follow_their_changes() -> None:
    async with World.start() as world:
        await fleet(world)
        groups = world.tenant.jobs.fleet
        await groups.save_group("web", "role=web", by="op")
        await groups.save_group("canary", "@web & canary=yes", by="op")

        assert ["web2", "web4"] == await picked(world, "@canary")
        assert ["web1", "web3", "db1"] == await picked(world, "!@canary")

        await groups.save_group("web", "web[1-2]", by="op")

        assert ["web2"] == await picked(world, "@canary")


@pytest.mark.parametrize(
    ("name", "selector", "refused"),
    [
        ("a b", "role=web", InvalidName),
        ("", "role=web", InvalidName),
        ("x", "role=", InvalidSelector),
        ("x", "@gone", InvalidSelector),
        ("x", "@x", InvalidSelector),
        ("web", "!@canary", InvalidSelector),  # which is itself within it
    ],
)
async def test_a_group_that_cannot_be_is_refused_when_it_is_saved(
    name: str, selector: str, refused: type[FarhandError]
) -> None:
    async with World.start() as world:
        groups = world.tenant.jobs.fleet
        await groups.save_group("web", "role=web", by="op")
        await groups.save_group("canary", "@web & canary=yes", by="op")
        with pytest.raises(refused):
            await groups.save_group(name, selector, by="op")

        assert ["canary", "web"] == [group.id for group in await groups.saved_groups()]


async def test_a_group_that_another_uses_stays() -> None:
    async with World.start() as world:
        groups = world.tenant.jobs.fleet
        await groups.save_group("web", "role=web", by="op")
        await groups.save_group("canary", "@web & canary=yes", by="op")
        with pytest.raises(InvalidSelector, match="@canary uses @web"):
            await groups.drop_group("web", by="op")
        await groups.drop_group("canary", by="op")
        await groups.drop_group("web", by="op")

        assert [] == await groups.saved_groups()
        with pytest.raises(UnknownGroup):
            await groups.drop_group("web", by="op")


async def test_groups_have_a_bound() -> None:
    async with World.start(limits=replace(DEFAULTS, groups=2)) as world:
        groups = world.tenant.jobs.fleet
        for name in ("a", "b"):
            await groups.save_group(name, "role=web", by="op")
        with pytest.raises(OverShare):
            await groups.save_group("c", "role=web", by="op")

        assert "role=db" == (await groups.save_group("b", "role=db", by="op")).selector


async def test_of_two_who_save_one_group_at_once_the_slower_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World.start() as world:
        groups = world.tenant.jobs.fleet
        store = world.store
        found = store.document

        async def overtaken(kind: type[SavedGroup], id_: str) -> SavedGroup | None:
            before = await found(kind, id_)
            monkeypatch.undo()
            await store.apply([Put(SavedGroup(id="web", selector="role=db", by="other", at=1.0))])
            return before

        monkeypatch.setattr(store, "document", overtaken)
        with pytest.raises(Conflict, match="somebody else changed the group @web"):
            await groups.save_group("web", "role=web", by="op")

        assert "other" == (await groups.group("web")).by


# --- previews -----------------------------------------------------------------------------


async def test_a_job_that_is_bound_to_a_preview_runs_on_exactly_those() -> None:
    async with World.start() as world:
        await fleet(world)
        foreseen = await world.tenant.jobs.preview(SPEC, Selector("role=web"), by="op")
        await world.join("web5", labels={"role": "web"})
        agent = world.agent("web1").id
        assert agent is not None
        await world.tenant.agents.edit(agent, by="op", labels={"role": "db"})
        submitted = await world.submit(SPEC, on=Previewed(foreseen.preview.id))

        assert ["web1", "web2", "web3", "web4"] == [run.agent_name for run in submitted.runs]
        assert 4 == len(foreseen.picked.agents)


async def test_a_preview_starts_nothing_and_its_time_ends() -> None:
    clock = ManualClock()
    async with World.start(clock) as world:
        await fleet(world)
        foreseen = await world.tenant.jobs.preview(SPEC, AllAgents(), by="op")

        assert [] == list((await world.store.jobs()).items)

        await clock.advance(DEFAULTS.preview_s)
        with pytest.raises(UnknownPreview):
            await world.submit(SPEC, on=Previewed(foreseen.preview.id))
        with pytest.raises(UnknownPreview):
            await world.submit(SPEC, on=Previewed("pre_nothing"))


async def test_a_preview_whose_agents_were_removed_is_refused_with_their_ids() -> None:
    async with World.start() as world:
        await fleet(world)
        foreseen = await world.tenant.jobs.preview(SPEC, Selector("web*"), by="op")
        gone = world.agent("web2").id
        assert gone is not None
        await world.tenant.agents.remove(gone, by="op")
        with pytest.raises(UnknownAgent, match="1 agent"):
            await world.submit(SPEC, on=Previewed(foreseen.preview.id))


async def test_of_previews_the_oldest_is_forgotten_first() -> None:
    async with World.start(limits=replace(DEFAULTS, previews=2)) as world:
        await fleet(world)
        made = [await world.tenant.jobs.preview(SPEC, AllAgents(), by="op") for _ in range(3)]
        with pytest.raises(UnknownPreview):
            await picked(world, Previewed(made[0].preview.id))

        assert 5 == len(await picked(world, Previewed(made[1].preview.id)))
        assert 5 == len(await picked(world, Previewed(made[2].preview.id)))


# --- counts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "expect", "refused"),
    [
        (412, 412, None),
        (412, 411, CountMismatch),
        (412, 413, CountMismatch),
        (3, None, None),
        (3, 3, None),
        (3, 4, CountMismatch),
        (100, None, None),
        (101, None, CountUnnamed),
        (101, 101, None),
    ],
)
def test_a_job_on_many_says_how_many(
    count: int, expect: int | None, refused: type[FarhandError] | None
) -> None:
    limits = replace(DEFAULTS, unnamed_targets=100)
    if refused is None:
        check_count(count, expect, limits)
        return
    with pytest.raises(refused) as error:
        check_count(count, expect, limits)

    assert count == error.value.details["count"]


async def test_a_job_says_how_many_unless_its_targets_do() -> None:
    async with World.start(limits=replace(DEFAULTS, unnamed_targets=3)) as world:
        await fleet(world)
        jobs = world.tenant.jobs
        webs = Names(tuple(f"web{number}" for number in range(1, 5)))
        foreseen = await jobs.preview(SPEC, AllAgents(), by="op")
        bound = Previewed(foreseen.preview.id)
        wrong: list[tuple[type[FarhandError], Targets, int | None]] = [
            (CountUnnamed, AllAgents(), None),
            (CountUnnamed, Selector("web*"), None),
            (CountMismatch, AllAgents(), 4),
            (CountMismatch, webs, 5),
            (CountMismatch, bound, 4),
        ]
        for error, targets, expect in wrong:
            with pytest.raises(error):
                await jobs.submit(SPEC, targets, by="op", expect=expect)
        asked: list[tuple[Targets, int | None]] = [
            (AllAgents(), 5),
            (webs, None),
            (webs, 4),
            (bound, None),
        ]
        taken = [await jobs.submit(SPEC, on, by="op", expect=expect) for on, expect in asked]

        assert [5, 4, 4, 5] == [len(one.runs) for one in taken]


# --- the freeze ---------------------------------------------------------------------------


async def test_while_it_is_frozen_nothing_begins_and_what_runs_goes_on() -> None:
    async with World.start(agents=("a", "b"), behaviour=hang) as world:
        jobs = world.tenant.jobs
        running = await world.submit(SPEC, on="a")
        held = await jobs.submit(SPEC, Names(("b",)), by="op", hold=True)
        await jobs.fleet.freeze("incident 4711", by="eve")
        with pytest.raises(Frozen, match="eve froze all jobs: incident 4711"):
            await world.submit(SPEC, on="a")
        with pytest.raises(Frozen):
            await jobs.release(held.job.id, by="op")
        await jobs.cancel_job(running.job.id, by="op")
        await settle()

        assert RunState.RUNNING is (await world.run(running.runs[0])).state
        assert (await world.run(running.runs[0])).cancel_requested
        assert RunState.HELD is (await world.run(held.runs[0])).state


async def test_a_freeze_counts_while_agents_are_asked_for_their_catalogues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusals, "ASKED_S", 0.1)
    async with World.start(agents=("a",)) as world:
        world.agent("a").mute = True
        spec = JobSpec(what=CommandCall("ping", {}))
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(refused(world, spec), name="asked")
            await settle()
            await world.tenant.jobs.fleet.freeze("now", by="eve")

        assert isinstance(asked.result(), Frozen)
        assert [] == list((await world.store.jobs()).items)


async def refused(world: World, spec: JobSpec) -> FarhandError:
    with pytest.raises(FarhandError) as error:
        await world.tenant.jobs.submit(spec, Names(("a",)), by="op")
    return error.value


async def test_a_freeze_is_kept_until_somebody_lifts_it() -> None:
    async with World.start(agents=("a",)) as world:
        switch = world.tenant.jobs.fleet
        await switch.freeze("first", by="eve")
        await switch.freeze("second", by="bob")
        async with World.start(store=world.store, control=world.control) as again:
            found = await again.tenant.jobs.fleet.frozen()

            assert found is not None
            assert ("second", "bob") == (found.reason, found.by)

        assert await switch.unfreeze(by="eve")
        assert not await switch.unfreeze(by="eve")
        assert ["a"] == [run.agent_name for run in (await world.submit(SPEC, on="a")).runs]
        actions = [record.action for record in (await world.store.audit()).items]
        assert ["org.unfrozen", "org.frozen", "org.frozen"] == [
            action for action in actions if action.startswith("org.")
        ]


async def test_a_repeated_job_is_answered_while_frozen() -> None:
    async with World.start(agents=("a",)) as world:
        jobs = world.tenant.jobs
        first = await jobs.submit(SPEC, Names(("a",)), by="op", key="k", digest="d")
        await jobs.fleet.freeze("no", by="eve")
        again = await jobs.submit(SPEC, Names(("a",)), by="op", key="k", digest="d")

        assert again.repeated
        assert first.job.id == again.job.id
