"""Who would refuse a job: told before it is sent, and never by guessing for who is away."""

from dataclasses import replace

from farhand.controller.refusals import forbidden, refusals
from farhand.domain.agent import Agent
from farhand.domain.command import Command
from farhand.domain.ids import AgentId
from farhand.domain.job import Argv, CommandCall, JobSpec
from farhand.domain.policy import AgentPolicy, Permission
from farhand.domain.run import Why
from farhand.errors import InvalidParameter, UnknownCommand
from farhand.testing import World, settle

ARGV = JobSpec(what=Argv(("uptime",)))
PING = JobSpec(what=CommandCall("ping", {"host": "10.0.0.1"}))
COMMAND = Command(ident="ping", description="", params=())
PONG = replace(COMMAND, ident="pong")


async def agents(world: World) -> list[Agent]:
    return list((await world.store.agents()).items)


async def join(
    world: World, name: str, *commands: Command, capabilities: tuple[str, ...] = ()
) -> AgentId:
    agent = world.new_agent(name)
    agent.commands, agent.capabilities = commands, capabilities
    await agent.connect()
    await settle()
    assert agent.id is not None
    return agent.id


async def test_who_is_drained_or_has_no_such_command_is_told_with_its_reason() -> None:
    async with World.start() as world:
        drained = await join(world, "drained", PONG)
        await world.tenant.agents.edit(drained, by="op", drained=True)
        without = await join(world, "without", PONG)
        wrong = await join(world, "wrong", COMMAND)
        found = await refusals(world.tenant.sessions, PING, await agents(world))

    assert {
        drained: Why.DRAINED,
        without: Why.UNKNOWN_COMMAND,
        wrong: Why.INVALID_PARAMETER,
    } == {agent: refusal.why for agent, refusal in found.of.items()}
    assert isinstance(found.error, UnknownCommand | InvalidParameter)


async def test_who_is_away_is_not_asked_and_decides_for_itself() -> None:
    async with World.start() as world:
        await join(world, "away", PONG)
        world.agent("away").vanish()
        await settle()
        found = await refusals(world.tenant.sessions, PING, await agents(world))

    assert {} == found.of
    assert found.error is None


async def test_a_policy_that_was_told_is_foreseen_and_another_is_not_guessed() -> None:
    async with World.start() as world:
        strict = await join(world, "strict", capabilities=AgentPolicy().told)
        allows = AgentPolicy(frozenset({Permission.ARGV})).told
        await join(world, "open", capabilities=allows)
        await join(world, "silent")
        found = forbidden(ARGV, await agents(world))

    assert {strict} == found.keys()
    assert Why.POLICY is found[strict].why
    assert "--allow argv" in found[strict].message
