"""Which agents are known to refuse a job before it is sent to them, and why.

Asks agents for their catalogues, all at once and for a bounded time; who is away or does not
answer decides for itself when the run arrives.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from farhand.controller import patterns
from farhand.controller.sessions import Sessions
from farhand.domain.agent import Agent
from farhand.domain.deepflow.abilities import unsupported
from farhand.domain.ids import AgentId
from farhand.domain.job import CommandCall, JobSpec, What
from farhand.domain.policy import AgentPolicy
from farhand.domain.run import Why
from farhand.errors import FarhandError, InvalidParameter, Unavailable, UnknownCommand

ASKED_AT_ONCE: Final = 64  # agents
ASKED_S: Final = 3.0  # all of them together


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one agent would not run it."""

    why: Why
    message: str


@dataclass(frozen=True, slots=True)
class Refusals:
    """Who refuses. *error* is the first complaint about the call itself, in order of agents."""

    of: Mapping[AgentId, Refusal]
    error: FarhandError | None = None


async def refusals(sessions: Sessions, spec: JobSpec, agents: Sequence[Agent]) -> Refusals:
    """Find out which of *agents* refuse *spec*."""
    of: dict[AgentId, Refusal] = {}
    asked: list[Agent] = []
    for agent in agents:
        if agent.drained:
            told = f"{agent.name} is drained; `farhand agents undrain {agent.name}`"
            of[agent.id] = Refusal(Why.DRAINED, told)
        elif agent.identity.deepflow and (told := unsupported(spec)):
            of[agent.id] = Refusal(Why.UNSUPPORTED, told)
        elif isinstance(spec.what, CommandCall):
            asked.append(agent)
    wrong = await _checked(sessions, spec.what, asked)
    for agent, error in wrong:
        unknown = isinstance(error, UnknownCommand)
        why = Why.UNKNOWN_COMMAND if unknown else Why.INVALID_PARAMETER
        of[agent.id] = Refusal(why, str(error))
    return Refusals(of, wrong[0][1] if wrong else None)


def forbidden(spec: JobSpec, agents: Sequence[Agent]) -> Mapping[AgentId, Refusal]:
    """Which of *agents* told, when they came, that their policy does not allow *spec*.

    For previews: it may have changed since, and the agent has the last word.
    """
    found: dict[AgentId, Refusal] = {}
    for agent in agents:
        policy = AgentPolicy.told_by(agent.identity.capabilities)
        if policy is not None and (told := policy.refusal(spec)) is not None:
            found[agent.id] = Refusal(Why.POLICY, told)
    return found


async def _checked(
    sessions: Sessions, what: What, agents: Sequence[Agent]
) -> list[tuple[Agent, UnknownCommand | InvalidParameter]]:
    """Check a call against every catalogue, and return what is wrong, in order."""
    if not isinstance(what, CommandCall):
        return []
    found: dict[AgentId, UnknownCommand | InvalidParameter] = {}
    waiting = iter(agents)

    async def check() -> None:
        for agent in waiting:
            try:
                await _check_command(sessions, what, agent)
            except (UnknownCommand, InvalidParameter) as exc:
                found[agent.id] = exc

    with suppress(TimeoutError):
        async with asyncio.timeout(ASKED_S), asyncio.TaskGroup() as tasks:
            for number in range(min(ASKED_AT_ONCE, len(agents))):
                tasks.create_task(check(), name=f"catalogues-{number}")
    return [(agent, found[agent.id]) for agent in agents if agent.id in found]


async def _check_command(sessions: Sessions, call: CommandCall, agent: Agent) -> None:
    """Check a call against the agent's catalogue; one that is away decides for itself."""
    try:
        commands = await sessions.commands(agent.id)
    except Unavailable:  # gone, busy or silent
        return
    command = next((known for known in commands if known.ident == call.ident), None)
    if command is None:
        msg = f"{agent.name} has no command {call.ident!r}; `farhand commands {agent.name}`"
        raise UnknownCommand(msg, command=call.ident)
    command.checked(call.params, patterns=False)
    if agent.identity.deepflow:  # a native agent checks its patterns itself
        patterns.check(command, call.params)
