"""The JSON of choosing: previews, saved groups, the freeze, and why an agent was not in a job.

Shapes and their writing stand together: nobody else has either. Fields may be added, never changed.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from farhand.api import writing
from farhand.api.shapes import Asked, RunBrief, Time
from farhand.domain.agent import Agent, Liveness
from farhand.domain.ids import AgentId
from farhand.domain.nodeset import fold
from farhand.domain.run import Run
from farhand.domain.targets import Freeze, Preview, SavedGroup

HOSTS_CHARS: Final = 16_384  # of folded names; a note tells that there are more

# --- What is asked ------------------------------------------------------------------------


class GroupRequest(Asked):
    """What a saved group stands for."""

    selector: str = Field(examples=["role=web & !@staging"])


class FreezeRequest(Asked):
    """Why nothing may begin."""

    reason: str = Field(min_length=1, max_length=1000, examples=["incident 4711"])


GROUP_BODY: Final[TypeAdapter[GroupRequest]] = TypeAdapter(GroupRequest)
FREEZE_BODY: Final[TypeAdapter[FreezeRequest]] = TypeAdapter(FreezeRequest)

# --- What is answered ---------------------------------------------------------------------


class HostsShape(TypedDict):
    """How many agents, and their names as sets (`web[1-40,52]`), cut when they are too many."""

    count: int
    hosts: str


class RefusingShape(HostsShape):
    """Agents that would refuse for the same reason; *message* is what the first would say."""

    why: str
    message: str


class PreviewShape(HostsShape):
    """Whom a job would be for. `{"targets": {"preview": PREVIEW}}` binds a job to exactly those.

    *away* are not connected and would be waited for, *refusing* would run nothing, *drained* match
    and were passed over. *until* then the preview can be used.
    """

    preview: str
    targets: str
    away: HostsShape
    drained: HostsShape
    refusing: list[RefusingShape]
    until: Time


class GroupShape(TypedDict):
    """A saved group: `@name` stands for its selector. *at* is its last change."""

    name: str
    selector: str
    by: str
    at: Time


class GroupList(TypedDict):
    """All saved groups, by name."""

    items: list[GroupShape]
    next: str | None


class FreezeShape(TypedDict):
    """Whether jobs may begin; when they may not, who said so, why and when."""

    frozen: bool
    reason: str | None
    by: str | None
    at: Time | None


class WhyShape(TypedDict):
    """Why an agent is in a job or not: a *verdict* for programs, a *message* for people.

    `in_job` (then *run* is its newest run), `joined_later`, `drained`, `not_named`, `not_matched`,
    `matches_now`.
    """

    agent: str
    verdict: str
    message: str
    run: RunBrief | None


def _hosts(agents: Iterable[Agent]) -> HostsShape:
    names = [agent.name for agent in agents]
    folded = fold(sorted(names))
    cut = folded if len(folded) <= HOSTS_CHARS else f"{folded[:HOSTS_CHARS]}…"
    return {"count": len(names), "hosts": cut}


def preview(
    found: Preview,
    agents: Iterable[Agent],
    drained: Iterable[Agent],
    refusals: Mapping[AgentId, tuple[str, str]],
) -> PreviewShape:
    """Write a preview; *refusals* tell why and how an agent, by its id, would refuse."""
    chosen = list(agents)
    by_reason: dict[str, list[Agent]] = {}
    for agent in chosen:
        if agent.id in refusals:
            by_reason.setdefault(refusals[agent.id][0], []).append(agent)
    return {
        "preview": found.id,
        "targets": found.targets,
        **_hosts(chosen),
        "away": _hosts(agent for agent in chosen if agent.liveness is not Liveness.ONLINE),
        "drained": _hosts(drained),
        "refusing": [
            {"why": why, "message": refusals[some[0].id][1], **_hosts(some)}
            for why, some in sorted(by_reason.items())
        ],
        "until": writing.time(found.until),
    }


def group(found: SavedGroup) -> GroupShape:
    """Write a saved group."""
    return {
        "name": found.id,
        "selector": found.selector,
        "by": found.by,
        "at": writing.time(found.at),
    }


def freeze(found: Freeze | None) -> FreezeShape:
    """Write whether jobs may begin."""
    return {
        "frozen": found is not None,
        "reason": found.reason if found else None,
        "by": found.by if found else None,
        "at": writing.time(found.at) if found else None,
    }


def why(agent: str, verdict: str, message: str, run: Run | None) -> WhyShape:
    """Write why an agent is in a job or not."""
    return {
        "agent": agent,
        "verdict": verdict,
        "message": message,
        "run": None if run is None else writing.run_brief(run),
    }
