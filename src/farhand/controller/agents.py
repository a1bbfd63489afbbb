"""What people do with agents: find, rename, label, drain, remove, and ask them questions."""

from collections.abc import Mapping, Sequence

from farhand.controller.sessions import Sessions
from farhand.controller.targets import only
from farhand.domain.agent import Agent
from farhand.domain.command import Command
from farhand.domain.ids import AgentId, check_name
from farhand.domain.messages import Namespace
from farhand.errors import InvalidName, UnknownAgent
from farhand.ports import EditAgent, Lost, Record

MAX_LABEL = 256


class Agents:
    """The agents of one org, as an operator sees them."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._store = sessions.store

    async def find(self, name_or_id: str) -> Agent:
        """One agent by name, id or `IP-MAC`. Raises UnknownAgent, AmbiguousName."""
        return only(name_or_id, await self._store.agents_named(name_or_id))

    async def edit(
        self,
        agent: AgentId,
        *,
        by: str,
        name: str | None = None,
        unname: bool = False,
        labels: Mapping[str, str | None] | None = None,
        drained: bool | None = None,
    ) -> Agent:
        """Change what an operator may change; None leaves it. Raises InvalidName, UnknownAgent."""
        if name is not None:
            check_name(name)
        for key, value in (labels or {}).items():
            _check_label(key, value)
        change = EditAgent(agent=agent, name=name, unname=unname, labels=labels, drained=drained)
        said = {"name": name, "labels": dict(labels) if labels else None, "drained": drained}
        facts = {key: value for key, value in said.items() if value is not None}
        at = self._sessions.clock.wall()
        record = Record(at=at, by=by, action="agent.edited", subject=agent, facts=facts)
        outcomes = await self._store.apply([change, record])
        found = await self._store.agent(agent)
        if isinstance(outcomes[0], Lost) or found is None:
            raise UnknownAgent(f"there is no agent {agent}")
        return found

    async def remove(self, agent: AgentId, *, by: str) -> None:
        """Forget an agent and its secret; its runs and their output stay."""
        await self._sessions.forget(agent)
        at = self._sessions.clock.wall()
        await self._store.apply([Record(at=at, by=by, action="agent.removed", subject=agent)])

    async def commands(self, agent: AgentId) -> Sequence[Command]:
        """The agent's catalogue. Raises AgentGone."""
        return await self._sessions.commands(agent)

    async def namespaces(self, agent: AgentId) -> Sequence[Namespace]:
        """The namespaces of the agent's host. Raises AgentGone."""
        return await self._sessions.namespaces(agent)


def _check_label(key: str, value: str | None) -> None:
    bad_key = not key or len(key) > MAX_LABEL or any(c in key for c in "=!<>&|(),'\" \t\n\0")
    if bad_key or (value is not None and (len(value) > MAX_LABEL or "\0" in value)):
        msg = f"the label {key!r} cannot be used: no spaces, quotes or =!<>&|(), in its key, "
        raise InvalidName(msg + f"and at most {MAX_LABEL} characters each")
