"""What an operator does with agents."""

import pytest

from farhand.domain.ids import AgentId
from farhand.domain.job import NamespaceKind
from farhand.domain.messages import Namespace, Parting
from farhand.domain.run import RunState
from farhand.errors import AgentGone, InvalidName, JoinRefused, UnknownAgent
from farhand.testing import FakeAgent, World, hang, settle


def _id(agent: FakeAgent) -> AgentId:
    assert agent.id is not None
    return agent.id


async def test_a_given_name_wins_and_survives_a_reconnect() -> None:
    async with World.start(agents=["web-1"]) as world:
        agent = world.agent("web-1")
        await world.tenant.agents.edit(_id(agent), by="me", name="front")
        agent.leave()
        await settle()
        await agent.connect()

        assert _id(agent) == (await world.tenant.agents.find("front")).id


async def test_a_name_can_be_given_back() -> None:
    async with World.start(agents=["web-1"]) as world:
        agent = _id(world.agent("web-1"))
        await world.tenant.agents.edit(agent, by="me", name="front")
        found = await world.tenant.agents.edit(agent, by="me", unname=True)

        assert "web-1" == found.name


async def test_given_labels_cover_the_agents_own() -> None:
    async with World.start() as world:
        agent = await world.join("web-1", labels={"role": "web", "env": "prod"})
        labels = {"role": "db", "env": None}
        found = await world.tenant.agents.edit(_id(agent), by="me", labels=labels)

        assert {"role": "db"} == found.labels


@pytest.mark.parametrize("name", ["", "-x", "a b", "x" * 200, "agt_01h455vb4pex5vsknk084sn02q"])
async def test_a_bad_name_is_refused(name: str) -> None:
    async with World.start(agents=["web-1"]) as world:
        with pytest.raises(InvalidName):
            await world.tenant.agents.edit(_id(world.agent("web-1")), by="me", name=name)


async def test_a_bad_label_is_refused() -> None:
    async with World.start(agents=["web-1"]) as world:
        with pytest.raises(InvalidName):
            await world.tenant.agents.edit(_id(world.agent("web-1")), by="me", labels={"a b": "c"})


async def test_an_unknown_agent_cannot_be_edited() -> None:
    async with World.start() as world:
        with pytest.raises(UnknownAgent):
            await world.tenant.agents.edit(AgentId("agt_x"), by="me", drained=True)


async def test_a_removed_agent_is_let_go_and_its_secret_counts_no_more() -> None:
    async with World.start(agents=["web-1"], behaviour=hang) as world:
        agent = world.agent("web-1")
        (run,) = (await world.submit()).runs
        await world.tenant.agents.remove(_id(agent), by="me")
        await settle()
        assert agent.goodbye is not None
        assert Parting.REMOVED is agent.goodbye.reason
        assert RunState.LOST is (await world.run(run)).state

        with pytest.raises(JoinRefused):
            await agent.connect()


async def test_namespaces_are_asked_of_the_agent() -> None:
    async with World.start(agents=["web-1"]) as world:
        agent = world.agent("web-1")
        agent.namespaces = (Namespace(id=1, kind=NamespaceKind.NET, pid=1),)

        assert list(agent.namespaces) == list(await world.tenant.agents.namespaces(_id(agent)))


async def test_an_agent_that_is_away_cannot_be_asked() -> None:
    async with World.start(agents=["web-1"]) as world:
        agent = world.agent("web-1")
        agent.leave()
        await settle()

        with pytest.raises(AgentGone):
            await world.tenant.agents.namespaces(_id(agent))
