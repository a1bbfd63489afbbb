"""Why an agent was not in a job: what is known of then, and what the selector says of now.

Only reads. What has changed since is told as that, never guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from farhand.controller.paging import pages
from farhand.controller.targets import DRAINED_KEPT, Fleet, near, only
from farhand.domain.agent import Agent
from farhand.domain.grammar import Called
from farhand.domain.job import Job
from farhand.domain.run import Run
from farhand.domain.selector import Selector
from farhand.domain.targets import Chosen, Preview
from farhand.errors import InvalidSelector, UnknownAgent
from farhand.ports import RunFilter, Store

_ALL: Final = "*"  # the text of targets that are all agents


class Verdict(StrEnum):
    """Why an agent is in a job, or is not."""

    IN_JOB = "in_job"
    JOINED_LATER = "joined_later"
    DRAINED = "drained"
    NOT_NAMED = "not_named"
    NOT_MATCHED = "not_matched"
    MATCHES_NOW = "matches_now"


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdict, as a person would say it; with the newest run when there is one."""

    verdict: Verdict
    message: str
    agent: str
    run: Run | None = None


async def explain(store: Store, fleet: Fleet, job: Job, name: str) -> Explanation:
    """Tell why the agent of this name or id is in *job* or not.

    Raises UnknownAgent, and AmbiguousName when several agents out of the job bear the name.
    """
    agents = await store.agents_named(name)
    run = await _run_of(store, job, name, agents)
    if run is not None:
        told = f"{run.agent_name} is in the job: {run.id} is {run.state.value}"
        return Explanation(Verdict.IN_JOB, told, run.agent_name, run)
    if not agents:
        told = f"no agent is called {name!r} now, and none with this name was in the job"
        known = [agent.name for agent in await fleet.agents()]
        raise UnknownAgent(told + near(name, known), names=[name])
    agent = only(name, agents)
    verdict, message = await _absence(store, job, agent)
    drained = verdict is not Verdict.DRAINED and agent.drained
    also = "; besides, it is drained now" if drained else ""
    return Explanation(verdict, f"{agent.name} {message}{also}", agent.name)


async def _run_of(store: Store, job: Job, name: str, agents: Sequence[Agent]) -> Run | None:
    """The newest run of the job on such an agent, which may have been removed or renamed since."""
    for agent in agents:
        if (found := await _last(store, RunFilter(job=job.id, agent=agent.id), None)) is not None:
            return found
    return await _last(store, RunFilter(job=job.id), name)


async def _last(store: Store, which: RunFilter, name: str | None) -> Run | None:
    found: Run | None = None
    read = pages(lambda cursor: store.runs(which, cursor=cursor, limit=1000))
    async for page in read:
        for run in page:
            if name is None or name in {run.agent_name, run.agent}:
                found = run
    return found


async def _absence(store: Store, job: Job, agent: Agent) -> tuple[Verdict, str]:
    chosen = await store.document(Chosen, job.id) or Chosen(id=job.id)
    if agent.joined_at > job.created_at:
        return Verdict.JOINED_LATER, "joined after the job was made"
    if agent.id in chosen.drained:
        return Verdict.DRAINED, "was drained when the job was made"
    if chosen.preview:
        preview = await store.document(Preview, chosen.preview)
        asked = f" of {preview.targets!r}" if preview else ""
        told = f"was not in the preview {chosen.preview}{asked} that the job was bound to"
        return Verdict.NOT_NAMED, told
    if chosen.named:
        return Verdict.NOT_NAMED, f"was not named: the job was for {_short(job.targets)}"
    if job.targets == _ALL:
        return Verdict.MATCHES_NOW, "took no runs when the job was made"
    return _unmatched(job, agent, chosen)


def _unmatched(job: Job, agent: Agent, chosen: Chosen) -> tuple[Verdict, str]:
    groups = {name: Selector(text) for name, text in chosen.groups.items()}
    try:
        choice = Selector(job.targets).bound(groups)
    except InvalidSelector:  # an earlier version read it, by other rules
        told = f"was not chosen by {_short(job.targets)}, which this version cannot read any more"
        return Verdict.NOT_MATCHED, told
    refusal = choice.refusal(agent.terms())
    if refusal and isinstance(choice.tree, Called):
        return Verdict.NOT_NAMED, f"was not named: the job was for {_short(job.targets)}"
    if refusal:
        told = f"does not match {_short(job.targets)}, as it is now: {_short(refusal)}"
        return Verdict.NOT_MATCHED, told
    told = "matches now, but did not when the job was made: its labels or facts have changed since"
    if len(chosen.drained) >= DRAINED_KEPT:  # more were, and are not known one by one
        told = f"{told}, or it was drained"
    return Verdict.MATCHES_NOW, told


def _short(text: str, most: int = 500) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
