"""Whom a job is for: names, sets, selectors, saved groups and previews, resolved into agents.

Sends nothing and makes no job.
"""

import asyncio
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from farhand.controller.ids import new_preview
from farhand.controller.paging import pages
from farhand.domain.agent import Agent
from farhand.domain.ids import AgentId, JobId, check_name
from farhand.domain.job import (
    AllAgents,
    Names,
    Previewed,
    Targets,
    check_target_count,
    targets_text,
)
from farhand.domain.limits import Limits
from farhand.domain.nodeset import fold
from farhand.domain.selector import Choice, Selector
from farhand.domain.targets import FREEZE, Chosen, Freeze, Preview, SavedGroup
from farhand.errors import (
    AmbiguousName,
    Conflict,
    CountMismatch,
    CountUnnamed,
    Frozen,
    InvalidSelector,
    NoTargets,
    OverShare,
    UnknownAgent,
    UnknownGroup,
    UnknownLabel,
    UnknownPreview,
)
from farhand.ports import Change, Clock, Done, Drop, Lost, Put, Record, Store

FEW_NAMES: Final = 20  # up to here each is looked up; above, all agents are read once
_AT_ONCE: Final = 200  # agents that are asked before others have their turn
_TOLD: Final = 100  # names in an error's details
DRAINED_KEPT: Final = 1_000  # kept with a job


@dataclass(frozen=True, slots=True)
class Picked:
    """Agents for a job, in order; those passed over because they are drained; groups as they were.

    Agents that are named stay, drained or not: they refuse, and that is told.
    """

    agents: Sequence[Agent]
    drained: Sequence[Agent] = ()
    groups: Mapping[str, str] = field(default_factory=dict)

    def kept(self, job: JobId, targets: Targets, until: float) -> tuple[Chosen, ...]:
        """What is kept with the job, so that it can be explained *until* then; often nothing."""
        chosen = Chosen(
            id=job,
            drained=tuple(agent.id for agent in self.drained[:DRAINED_KEPT]),
            groups=self.groups,
            preview=targets.preview if isinstance(targets, Previewed) else "",
            named=isinstance(targets, Names),
            until=until,
        )
        few = isinstance(targets, Names) and len(targets.names) == 1  # its text says it all
        return () if few or chosen == Chosen(id=job, until=until) else (chosen,)


class Fleet:
    """The agents of one org, and how jobs choose among them."""

    def __init__(self, store: Store, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits

    async def agents(self) -> list[Agent]:
        """Every agent of the org."""
        read = pages(lambda cursor: self._store.agents(cursor=cursor, limit=1000))
        return [agent async for page in read for agent in page]

    # --- choosing -------------------------------------------------------------------------

    async def pick(self, targets: Targets) -> Picked:
        """Return whom a job is for.

        Raises NoTargets, TooManyTargets, UnknownAgent, AmbiguousName, InvalidSelector (a group
        that is not there), UnknownLabel, UnknownPreview.
        """
        match targets:
            case AllAgents():
                picked = _undrained(await self.agents())
                if not picked.agents:
                    raise NoTargets("there is no agent that takes runs; `farhand agents` lists all")
                return picked
            case Names(names):
                if not names:
                    raise NoTargets("the list of names is empty")
                check_target_count(len(names), self._limits)
                return Picked(await self._named(names))
            case Previewed(preview):
                return Picked(await self._previewed(preview))
            case Selector():
                return await self._selected(targets)

    async def _selected(self, selector: Selector) -> Picked:
        groups = await self._groups_of(selector)
        choice = selector.bound(groups)
        agents = await self.agents()
        if not agents:
            raise NoTargets("there is no agent at all; enrol one: `farhand agent --help`")
        _check_known(choice, agents)
        found: list[Agent] = []
        for at in range(0, len(agents), _AT_ONCE):  # a long selector must not hold up the others
            some = agents[at : at + _AT_ONCE]
            found += [agent for agent in some if choice.matches(agent.terms())]
            await asyncio.sleep(0)
        picked = _undrained(found)
        if not picked.agents:
            told = f"no agent matches {selector.text!r}; `farhand agents` shows their labels"
            if picked.drained:
                told = f"every agent that matches {selector.text!r} is drained"
            raise NoTargets(told, selector=selector.text)
        used = {name: groups[name].text for name in choice.groups}
        return Picked(picked.agents, picked.drained, used)

    async def _named(self, names: Sequence[str]) -> list[Agent]:
        found: dict[str, Agent] = {}
        if len(names) <= FEW_NAMES:
            known = {name: list(await self._store.agents_named(name)) for name in names}
        else:
            known = {}
            for agent in await self.agents():
                for name in {agent.id, agent.name, agent.ip_mac}:
                    known.setdefault(name, []).append(agent)
        unknown = [name for name in names if not known.get(name)]
        if unknown:
            raise _unknown(unknown, [agent.name for agent in await self.agents()])
        for name in names:
            agent = only(name, known[name])
            found[agent.id] = agent
        return list(found.values())

    async def choice(self, selector: Selector) -> Choice:
        """Put saved groups in their places. Raises InvalidSelector for one that is not there."""
        return selector.bound(await self._groups_of(selector))

    # --- previews -------------------------------------------------------------------------

    async def keep(self, targets: Targets, agents: Sequence[Agent], *, by: str) -> Preview:
        """Keep whom a job would run on, for a job that is bound to exactly those."""
        now = self._clock.wall()
        preview = Preview(
            id=new_preview(),
            targets=targets_text(targets),
            agents=tuple(agent.id for agent in agents),
            by=by,
            made_at=now,
            until=now + self._limits.preview_s,
        )
        kept = await self._store.documents(Preview, limit=self._limits.previews)
        room = self._limits.previews - 1
        oldest = kept.items[: max(0, len(kept.items) - room)]  # their ids are in order of time
        await self._store.apply([*(Drop(Preview, old.id) for old in oldest), Put(preview)])
        return preview

    async def _previewed(self, id_: str) -> list[Agent]:
        preview = await self._store.document(Preview, id_)
        if preview is None or preview.until <= self._clock.wall():
            told = f"there is no preview {id_} (any more); make a new one with --preview"
            raise UnknownPreview(told, preview=id_)
        known = {agent.id: agent for agent in await self.agents()}
        gone = [agent for agent in preview.agents if agent not in known]
        if gone:
            told = f"{len(gone)} agents of the preview were removed since: {', '.join(gone[:10])}"
            raise UnknownAgent(f"{told}; make a new preview", names=gone[:_TOLD])
        return [known[AgentId(agent)] for agent in preview.agents]

    # --- groups ---------------------------------------------------------------------------

    async def saved_groups(self) -> list[SavedGroup]:
        """Every saved group, by name."""
        read = pages(lambda cursor: self._store.documents(SavedGroup, cursor=cursor, limit=1000))
        return [group async for page in read for group in page]

    async def groups(self) -> dict[str, Selector]:
        """What each saved group stands for."""
        return {group.id: Selector(group.selector) for group in await self.saved_groups()}

    async def _groups_of(self, selector: Selector) -> dict[str, Selector]:
        """The groups that stand in a selector, and in those; who is not there is not told here."""
        found: dict[str, Selector] = {}
        wanted = selector.groups
        while wanted:
            inner: set[str] = set()
            for name in wanted:
                if (group := await self._store.document(SavedGroup, name)) is not None:
                    found[name] = Selector(group.selector)
                    inner |= found[name].groups
            wanted = frozenset(inner - found.keys())
        return found

    async def group(self, name: str) -> SavedGroup:
        """One saved group; raises UnknownGroup."""
        found = await self._store.document(SavedGroup, name)
        if found is None:
            raise UnknownGroup(f"there is no group @{name}; `farhand groups` lists them")
        return found

    async def save_group(self, name: str, selector: str, *, by: str) -> SavedGroup:
        """Save a selector under a name, in the place of what had that name.

        Raises InvalidName, InvalidSelector (also for groups within it that are not there, or that
        would stand within themselves), OverShare, Conflict when somebody else was faster.
        """
        check_name(name)
        groups = await self.groups()
        if name not in groups and len(groups) >= (most := self._limits.groups):
            raise OverShare(f"{most} groups are saved, which is the org's share", limit=most)
        groups[name] = Selector(selector)
        for each in groups.values():
            each.bound(groups)
        before = await self._store.document(SavedGroup, name)
        now = self._clock.wall()
        version = before.version if before else 0
        group = SavedGroup(id=name, selector=selector, by=by, at=now, version=version)
        facts = {"selector": selector}
        record = Record(at=now, by=by, action="group.saved", subject=name, facts=facts)
        written = (await self._store.apply([Put(group)]))[0]
        if isinstance(written, Lost):
            raise Conflict(f"somebody else changed the group @{name} just now; look at it again")
        await self._store.apply([record])
        return await self.group(name)

    async def drop_group(self, name: str, *, by: str) -> None:
        """Forget a saved group; raises UnknownGroup, and InvalidSelector while others use it."""
        await self.group(name)
        groups = await self.groups()
        del groups[name]
        for other, selector in groups.items():
            try:
                selector.bound(groups)
            except InvalidSelector as exc:
                raise InvalidSelector(f"the group @{other} uses @{name}; change it first") from exc
        record = Record(at=self._clock.wall(), by=by, action="group.dropped", subject=name)
        await self._store.apply([Drop(SavedGroup, name), record])

    # --- the switch -----------------------------------------------------------------------

    async def frozen(self) -> Freeze | None:
        """Who froze the org, and why; None while jobs may begin."""
        return await self._store.document(Freeze, FREEZE)

    async def check_thawed(self) -> None:
        """Raise Frozen while nothing may begin."""
        if (freeze := await self.frozen()) is not None:
            told = f"{freeze.by} froze all jobs: {freeze.reason}; `farhand unfreeze` lifts it"
            raise Frozen(told, by=freeze.by, reason=freeze.reason)

    async def freeze(self, reason: str, *, by: str) -> Freeze:
        """Let nothing begin; what runs goes on. Freezing again changes the reason."""
        now = self._clock.wall()
        before = await self.frozen()
        change = Freeze(reason=reason, by=by, at=now, version=before.version if before else 0)
        facts = {"reason": reason}
        record = Record(at=now, by=by, action="org.frozen", subject=FREEZE, facts=facts)
        await self._store.apply([Put(change), record])
        return await self.frozen() or change

    async def unfreeze(self, *, by: str) -> bool:
        """Let jobs begin again; return whether they could not."""
        record = Record(at=self._clock.wall(), by=by, action="org.unfrozen", subject=FREEZE)
        changes: list[Change] = [Drop(Freeze, FREEZE)]
        if await self.frozen() is not None:
            changes.append(record)
        return (await self._store.apply(changes))[0] == Done()


def check_count(count: int, expect: int | None, limits: Limits) -> None:
    """Raise CountMismatch when a job has not as many targets as it says.

    Raises CountUnnamed above the bound if it says nothing.
    """
    if expect is not None and expect != count:
        told = f"the job has {count} targets, not {expect}; nothing was started"
        raise CountMismatch(told, count=count, expect=expect)
    if expect is None and count > (most := limits.unnamed_targets):
        told = (
            f"the job has {count} targets; above {most} it must say so itself: "
            f"--expect {count}, after a look at --preview"
        )
        raise CountUnnamed(told, count=count, limit=most)


def only(name: str, agents: Sequence[Agent]) -> Agent:
    """The one agent with this name; raises UnknownAgent, or AmbiguousName that lists them."""
    if not agents:
        raise UnknownAgent(f"no agent is called {name!r}; `farhand agents` lists all", names=[name])
    if len(agents) > 1:
        listed = ", ".join(f"{agent.id} ({agent.liveness.value})" for agent in agents)
        msg = f"{len(agents)} agents are called {name!r}: {listed}; use an id"
        raise AmbiguousName(msg, name=name, agents=[agent.id for agent in agents])
    return agents[0]


def near(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` for what looks like *word*, or an empty text."""
    close = difflib.get_close_matches(word, sorted(set(known)), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _undrained(agents: Iterable[Agent]) -> Picked:
    taken: list[Agent] = []
    drained: list[Agent] = []
    for agent in agents:
        (drained if agent.drained else taken).append(agent)
    return Picked(taken, drained)


def _check_known(choice: Choice, agents: Sequence[Agent]) -> None:
    """Refuse names and labels that nobody has: an exclusion with a typo would exclude nobody."""
    terms = [agent.terms() for agent in agents]
    called = {own[key] for own in terms for key in ("name", "id", "ip_mac")}
    unknown = [name for name in choice.names if name not in called]
    if unknown:
        raise _unknown(unknown, called)
    keys = {key for own in terms for key in own}
    for key in choice.keys:
        if key not in keys:
            told = f"no agent has a label or fact {key!r}{near(key, keys)}"
            raise UnknownLabel(f"{told}; `{key}=*` asks whether it is there", label=key)


def _unknown(names: Sequence[str], known: Iterable[str]) -> UnknownAgent:
    told = f"no agent is called {_short(fold(names))}"
    hint = near(names[0], known) if len(names) == 1 else ""
    return UnknownAgent(told + (hint or "; `farhand agents` lists all"), names=list(names[:_TOLD]))


def _short(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
