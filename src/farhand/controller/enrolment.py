"""Say who a caller or an agent is, from what it proves and nothing else.

Only hashes of tokens are known here. A join token buys an agent its own secret; the same agent
id from another machine is a clone and is refused. DeepFlow agents alone prove nothing: whoever
lets them in (`admit_unproved`) was told to by an operator.
"""

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from farhand.controller.ids import new_agent, new_org, new_token, token_hash
from farhand.controller.paging import pages
from farhand.domain.agent import Agent, Identity
from farhand.domain.ids import AgentId, OrgId, check_name
from farhand.domain.messages import Hello
from farhand.errors import CloneRefused, InvalidName, JoinRefused, Unauthenticated
from farhand.ports import (
    Clock,
    Control,
    Credential,
    Done,
    JoinAgent,
    Record,
    RemoveAgent,
    Store,
)

log = structlog.get_logger()

DEFAULT_ORG: Final = "default"
MAX_LABELS: Final = 64

_AGENT: Final = "agent"
_JOINING: Final = "joining"
_SECRETS: Final = (_AGENT, _JOINING)
_JOIN: Final = ("join",)


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller of the API: the org it acts in, and its name for the audit."""

    org: OrgId
    name: str


@dataclass(frozen=True, slots=True)
class Admission:
    """An agent that proved who it is.

    *secret* is set at its first joining only, and *unconfirmed* is what is kept of it until the
    agent has shown that it heard it.
    """

    org: OrgId
    agent: AgentId
    secret: str = ""
    unconfirmed: Credential | None = None


class Enrolment:
    """The doorkeeper for people and agents."""

    def __init__(self, control: Control, clock: Clock) -> None:
        self._control = control
        self._clock = clock
        self._unproved: int | None = None  # agents that prove nothing, once they were counted
        self._joining = asyncio.Lock()  # of those: two streams must not make two of one

    async def authenticate(self, token: str) -> Principal:
        """Who presents this API token; raises Unauthenticated."""
        found = await self._control.credential(token_hash(token)) if token else None
        if found is None or found.kind != "api":
            raise Unauthenticated
        return Principal(found.org, found.subject)

    async def knows(self, org: OrgId, name: str) -> bool:
        """Whether a caller of this name still has a token for the org."""
        return await self._control.has_credential(org, kind="api", subject=name)

    async def org_of(self, hello: Hello) -> OrgId:
        """The org whose credential an agent presents; raises JoinRefused."""
        found = await self._credential(hello)
        return found.org

    async def admit(self, hello: Hello, store: Store) -> Admission:
        """Who this agent is, joining it when it presents a join token.

        Raises JoinRefused, CloneRefused, InvalidName.
        """
        check_name(hello.identity.name)
        if hello.identity.deepflow:
            raise JoinRefused("this machine id is kept for agents that speak DeepFlow's protocol")
        labels = hello.identity.labels
        if len(labels) > MAX_LABELS or any(not key or len(key) > 128 for key in labels):
            msg = (
                f"an agent has at most {MAX_LABELS} labels, each with a key of 1 to 128 characters"
            )
            raise InvalidName(msg)
        found = await self._credential(hello)
        if found.kind in _SECRETS:
            return await self._known(hello, found, store)
        return await self._join(hello, found, store)

    async def _credential(self, hello: Hello) -> Credential:
        token = hello.secret or hello.join_token
        found = await self._control.credential(token_hash(token)) if token else None
        wanted = _SECRETS if hello.secret else _JOIN
        if found is None or found.kind not in wanted:
            told = {
                _SECRETS: "this agent's secret is not known here (was the agent removed?); "
                "remove its state directory to join anew",
                _JOIN: "the join token is not one of this controller's; "
                "give --join-token-file the contents of its join.token",
            }
            raise JoinRefused(told[wanted])
        return found

    async def _known(self, hello: Hello, found: Credential, store: Store) -> Admission:
        if hello.agent is None or found.subject != hello.agent:
            raise JoinRefused("the secret belongs to another agent")
        agent = await store.agent(hello.agent)
        if agent is None:
            raise JoinRefused("this agent was removed; remove its state directory to join anew")
        if agent.identity.machine_id != hello.identity.machine_id:
            log.warning("agent.clone", agent=agent.id, machine=hello.identity.machine_id)
            raise CloneRefused(
                f"{agent.id} belongs to another machine; "
                "remove this host's state directory, and it joins as an agent of its own"
            )
        if found.kind == _JOINING:
            await self.confirm(found)
        return Admission(found.org, agent.id)

    async def _join(self, hello: Hello, found: Credential, store: Store) -> Admission:
        for older in await store.agents_named(hello.identity.name):
            if older.identity.machine_id == hello.identity.machine_id:
                await self.forget_stranger(found.org, older, store)
        agent, secret, now = new_agent(), new_token("agent"), self._clock.wall()
        await store.apply(
            [
                JoinAgent(agent=Agent(id=agent, identity=hello.identity, joined_at=now)),
                Record(
                    at=now,
                    by=found.subject,
                    action="agent.joined",
                    subject=agent,
                    facts={"name": hello.identity.name, "ip": hello.identity.ip},
                ),
            ]
        )
        unconfirmed = Credential(
            hash=token_hash(secret), kind=_JOINING, org=found.org, subject=agent, created_at=now
        )
        await self._control.add_credential(unconfirmed)
        return Admission(found.org, agent, secret, unconfirmed)

    async def unproved_org(self) -> OrgId:
        """The org of agents that prove nothing; raises JoinRefused."""
        org = await self._control.org_named(DEFAULT_ORG)
        if org is None:
            raise JoinRefused(f"there is no org {DEFAULT_ORG!r} to take this agent in")
        return org

    async def admit_unproved(
        self, identity: Identity, org: OrgId, store: Store, *, most: int
    ) -> Admission:
        """Take a DeepFlow agent at its word: the same `IP-MAC` is the same agent for ever.

        An agent that has proved itself is another one, whatever its address. *most* such agents
        are known at a time. Raises JoinRefused, InvalidName.
        """
        check_name(identity.name)
        if not identity.deepflow:
            raise JoinRefused("only agents that speak DeepFlow's protocol need no credential")
        async with self._joining:
            for agent in await store.agents_named(identity.name):
                if agent.identity.machine_id == identity.machine_id:
                    return Admission(org, agent.id)
            return await self._join_unproved(identity, org, store, most)

    async def _join_unproved(
        self, identity: Identity, org: OrgId, store: Store, most: int
    ) -> Admission:
        if self._unproved is None or self._unproved >= most:  # some may have been removed
            read = pages(lambda cursor: store.agents(cursor=cursor, limit=1000))
            self._unproved = sum([a.identity.deepflow async for page in read for a in page])
        if self._unproved >= most:
            msg = f"{most} DeepFlow agents are known, which is the limit; remove some"
            raise JoinRefused(msg, limit=most)
        agent, now = new_agent(), self._clock.wall()
        joined = Agent(id=agent, identity=identity, joined_at=now)
        facts = {"name": identity.name, "ip": identity.ip, "proved": False}
        record = Record(at=now, by="deepflow", action="agent.joined", subject=agent, facts=facts)
        await store.apply([JoinAgent(agent=joined), record])
        self._unproved += 1
        return Admission(org, agent)

    async def confirm(self, unconfirmed: Credential) -> None:
        """The agent has heard its secret: it spoke behind its Welcome, or came back with it."""
        await self._control.add_credential(replace(unconfirmed, kind=_AGENT))

    async def forget_stranger(self, org: OrgId, agent: Agent, store: Store) -> None:
        """Remove an agent if it never confirmed its secret: it may never have heard it."""
        if agent.identity.deepflow:  # it has no secret that it could confirm
            return
        if await self._control.has_credential(org, kind=_AGENT, subject=agent.id):
            return
        remove = RemoveAgent(agent=agent.id, at=self._clock.wall(), epoch=agent.epoch)
        (outcome,) = await store.apply([remove])
        if outcome == Done():
            await self.revoke(org, agent.id)
            log.info("agent.forgotten", agent=agent.id, name=agent.name)

    async def revoke(self, org: OrgId, agent: AgentId) -> None:
        """The agent's secret counts no more."""
        for kind in _SECRETS:
            await self._control.remove_credentials(org, kind=kind, subject=agent)

    async def begin(self, directory: Path) -> OrgId:
        """At the first start, make the default org and its two tokens in *directory*.

        A token file that was deleted, or holds a token of another controller's, is made again,
        and the token before it counts no more.
        """
        org = await self._control.org_named(DEFAULT_ORG)
        if org is None:
            org = new_org()
            await self._control.add_org(org, DEFAULT_ORG, self._clock.wall())
        for kind, subject in (("api", "admin"), ("join", "join")):
            path = directory / f"{'admin' if kind == 'api' else 'join'}.token"
            if await self._known_token(path):
                continue
            await self._control.remove_credentials(org, kind=kind, subject=subject)
            token = new_token(kind)
            await self._control.add_credential(
                Credential(
                    hash=token_hash(token),
                    kind=kind,
                    org=org,
                    subject=subject,
                    created_at=self._clock.wall(),
                )
            )
            _write_secret(path, token)
            log.info("token.made", kind=kind, file=str(path))
        return org

    async def _known_token(self, path: Path) -> bool:
        token = _read_secret(path)
        return token is not None and await self._control.credential(token_hash(token)) is not None


def _read_secret(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None


def _write_secret(path: Path, token: str) -> None:
    """Write a token that only its owner may read; the mode is right from the first byte on."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600, exist_ok=False)
    with fresh.open("w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
