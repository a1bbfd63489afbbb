"""The addresses of agents: who is there, what they can, and what an operator says of them.

Asks an agent nothing itself; `controller.agents` does.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from farhand.api import reading, writing
from farhand.api.shapes import AgentEdit, AgentList, AgentShape, CommandList, NamespaceList
from farhand.domain.agent import Agent
from farhand.domain.selector import Selector
from farhand.http.answer import Json
from farhand.http.asked import VERSION_ONE, PageAsked, body_of, known_query
from farhand.http.door import Caller, Here

router = APIRouter(prefix=VERSION_ONE, tags=["agents"], dependencies=[Depends(known_query)])


@router.get("/agents", operation_id="listAgents", responses={200: {"model": AgentList}})
async def list_agents(
    here: Here,
    paging: PageAsked,
    selector: Annotated[
        str | None, Query(max_length=16_384, description="Such as `role=web & os=linux`.")
    ] = None,
) -> Json:
    """List agents by the time they joined."""
    if selector is None:
        page = await here.tenant.store.agents(cursor=paging.cursor, limit=paging.limit)
        return Json(writing.page(page.items, writing.agent, page.next))
    choice, cursor = await here.tenant.jobs.fleet.choice(Selector(selector)), paging.cursor
    while True:  # past pages without a match; the next page begins where this one was read to
        page = await here.tenant.store.agents(cursor=cursor, limit=paging.limit)
        found = [agent for agent in page.items if choice.matches(agent.terms())]
        if found or page.next is None:
            return Json(writing.page(found, writing.agent, page.next))
        cursor = page.next


@router.get("/agents/{agent}", operation_id="getAgent", responses={200: {"model": AgentShape}})
async def get_agent(here: Here, agent: str) -> Json:
    """Tell what is known of an agent."""
    return Json(writing.agent(await here.tenant.agents.find(agent)))


@router.patch("/agents/{agent}", operation_id="editAgent", responses={200: {"model": AgentShape}})
async def edit_agent(
    here: Here, agent: str, asked: Annotated[AgentEdit, Depends(body_of(reading.AGENT_BODY))]
) -> Json:
    """Rename, relabel or drain an agent."""
    changes = reading.agent_edit(asked)
    found = await here.tenant.agents.find(agent)
    edited = await here.tenant.agents.edit(found.id, by=here.name, **changes)
    return Json(writing.agent(edited))


@router.delete("/agents/{agent}", operation_id="removeAgent", status_code=204)
async def remove_agent(here: Here, agent: str) -> Response:
    """Forget an agent: its secret is worth nothing any more; its runs stay."""
    found = await here.tenant.agents.find(agent)
    await here.tenant.agents.remove(found.id, by=here.name)
    return Response(status_code=204)


@router.post(
    "/agents/{agent}/drain", operation_id="drainAgent", responses={200: {"model": AgentShape}}
)
async def drain_agent(here: Here, agent: str) -> Json:
    """Give an agent no new runs."""
    return Json(writing.agent(await _drained(here, agent, drained=True)))


@router.post(
    "/agents/{agent}/undrain", operation_id="undrainAgent", responses={200: {"model": AgentShape}}
)
async def undrain_agent(here: Here, agent: str) -> Json:
    """Give an agent runs again."""
    return Json(writing.agent(await _drained(here, agent, drained=False)))


async def _drained(here: Caller, agent: str, *, drained: bool) -> Agent:
    found = await here.tenant.agents.find(agent)
    return await here.tenant.agents.edit(found.id, by=here.name, drained=drained)


@router.get(
    "/agents/{agent}/commands",
    operation_id="listCommands",
    responses={200: {"model": CommandList}},
)
async def list_commands(here: Here, agent: str) -> Json:
    """Ask an agent for its catalogue."""
    found = await here.tenant.agents.find(agent)
    commands = await here.tenant.agents.commands(found.id)
    return Json(writing.page(commands, writing.command, None))


@router.get(
    "/agents/{agent}/namespaces",
    operation_id="listNamespaces",
    responses={200: {"model": NamespaceList}},
)
async def list_namespaces(here: Here, agent: str) -> Json:
    """Ask an agent for the Linux namespaces of its host."""
    found = await here.tenant.agents.find(agent)
    namespaces = await here.tenant.agents.namespaces(found.id)
    return Json(writing.page(namespaces, writing.namespace, None))
