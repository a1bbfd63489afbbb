"""Run a job again as it was: wherever it ran, or only where it failed.

Finds out where that is; the new job is made by `controller.jobs`, as any other is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from farhand.controller.jobs import Again, Jobs, Submitted
from farhand.controller.paging import pages
from farhand.controller.targets import FEW_NAMES, Picked
from farhand.domain.agent import Agent
from farhand.domain.ids import AgentId, JobId, is_id
from farhand.domain.job import Names
from farhand.domain.nodeset import fold
from farhand.domain.rollout import Rollout
from farhand.domain.run import Run, RunState
from farhand.errors import AgentsRemoved, NothingToRerun, StillRolling, UnknownJob
from farhand.ports import RunFilter, Store

FAILED: Final = frozenset(
    {RunState.FAILED, RunState.TIMED_OUT, RunState.LOST, RunState.EXPIRED, RunState.REFUSED}
)  # not cancelled: somebody wanted that
_TARGETS_CHARS: Final = 1_000  # of hosts by name; more are counted
_TOLD: Final = 100  # names in an error's details


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which runs to make again: all, or where the last try failed; without agents that are gone."""

    failed_only: bool = False
    skip_removed: bool = False


class Reruns:
    """Jobs of one org that are run again."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs

    async def rerun(self, job: JobId, wish: Wish, *, by: str, key: str | None = None) -> Submitted:
        """Submit what *job* was, on exactly the agents that it ran on, in the same order.

        The same *key* of the same caller is the same job. Raises UnknownJob, StillRolling,
        NothingToRerun, AgentsRemoved that names them, and what `Jobs.submit`
        raises; how many agents there are need not be named, for they are known.
        """
        digest = f"rerun {job} {wish}"
        if key is not None and (known := await self._jobs.known(by, key, digest)) is not None:
            return known
        first = await self._store.job(job) if is_id("job", job) else None
        if first is None:
            raise UnknownJob(f"there is no job {job}")
        if wish.failed_only and first.rolling:
            raise StillRolling(job=job)
        runs = await self._last_tries(job)
        if wish.failed_only:
            runs = [run for run in runs if run.state in FAILED]
        agents = await self._agents(job, runs, wish)
        if not agents:
            told = (
                "on no agent did it fail" if wish.failed_only and not runs else "no agent is left"
            )
            raise NothingToRerun(f"there is nothing of {job} to run again: {told}", job=job)
        rollout = await self._store.document(Rollout, job)
        return await self._jobs.submit(
            first.spec,
            Names(tuple(agent.id for agent in agents)),
            by=by,
            key=key,
            digest=digest,
            spread=rollout.spread.fitted(len(agents)) if rollout is not None else None,
            again=Again(of=job, picked=Picked(agents), targets=_targets(job, agents)),
        )

    async def _last_tries(self, job: JobId) -> list[Run]:
        """The newest run of each agent, in the order in which the job first took them."""
        found: dict[AgentId, Run] = {}
        which = RunFilter(job=job)
        async for page in pages(lambda at: self._store.runs(which, cursor=at, limit=1000)):
            for run in page:
                found[run.agent] = run  # a retry is made after the run that it repeats
        return list(found.values())

    async def _agents(self, job: JobId, runs: Sequence[Run], wish: Wish) -> list[Agent]:
        """The agents of *runs* as they are now; raises AgentsRemoved for those that are gone."""
        if len(runs) > FEW_NAMES:
            there = {agent.id: agent for agent in await self._jobs.agents()}
        else:
            looked = [await self._store.agent(run.agent) for run in runs]
            there = {agent.id: agent for agent in looked if agent is not None}
        gone = [run.agent_name for run in runs if run.agent not in there]
        if gone and not wish.skip_removed:
            told = f"{len(gone)} of its {len(runs)} agents were removed since: {_short(fold(gone))}"
            msg = f"{job} cannot run where it ran: {told}; --skip-removed leaves them out"
            raise AgentsRemoved(msg, names=gone[:_TOLD], removed=len(gone))
        return [there[run.agent] for run in runs if run.agent in there]


def _targets(job: JobId, agents: Sequence[Agent]) -> str:
    """The agents in one line that a person can read."""
    text = fold([agent.name for agent in agents])
    return text if len(text) <= _TARGETS_CHARS else f"{len(agents)} agents of {job}"


def _short(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
