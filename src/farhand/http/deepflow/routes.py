"""DeepFlow's two addresses: what an agent offers, and running one of it.

Each run is an ordinary job for one agent: stored, bounded, audited and shown like any other. What
is allowed is decided by what the ident resolves to, never by what the caller calls it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from farhand.controller.targets import only
from farhand.domain.agent import Agent
from farhand.domain.job import CommandCall, JobSpec, Names, NamespaceKind, NamespacesOf
from farhand.domain.run import Run
from farhand.errors import (
    AgentGone,
    CannotCancel,
    FarhandError,
    InvalidParameter,
    Unavailable,
    UnknownAgent,
)
from farhand.http.asked import raw_body
from farhand.http.deepflow import FACADE
from farhand.http.deepflow.answers import (
    Answered,
    Envelope,
    ListedEnvelope,
    ListedShape,
    OptStatus,
    OutputEnvelope,
    answered,
    envelope,
    linux_namespace,
    remote_command,
)
from farhand.http.deepflow.asked import RunAsked, run_asked
from farhand.http.deepflow.cipher import Cipher
from farhand.http.deepflow.outcome import AGENT, BINARY, Reply
from farhand.http.deepflow.rights import KINDS, Asker, Front, asker, listed, resolved, shown
from farhand.http.door import Caller, Here
from farhand.http.racing import first_of, gone

NUMBER_LABEL: Final = "deepflow_id"  # the number an agent has in DeepFlow, told by an operator

_Responses = dict[int | str, dict[str, Any]]
_Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _Enveloped(APIRoute):
    """A route whose every error is told in an envelope."""

    def get_route_handler(self) -> _Handler:
        handle = super().get_route_handler()

        async def enveloped(request: Request) -> Response:
            try:
                return await handle(request)
            except Answered as exc:
                told = exc
            except RequestValidationError as exc:
                told = Answered(OptStatus.INVALID_PARAMETERS, str(exc.errors()[0]["msg"]))
            except FarhandError as exc:
                told = answered(exc)
            return told.envelope

        return enveloped


_USER: Final = [
    {
        "name": name,
        "in": "header",
        "required": False,
        "description": about,
        "schema": {"type": "integer", "minimum": least, "default": 1},
    }
    for name, least, about in (
        ("X-User-Id", 0, "Chooses the key; from a trusted front also who is recorded."),
        ("X-Org-Id", 1, "Chooses the key."),
        ("X-User-Type", 0, "From a trusted front: others than 1 and 2 may do less."),
    )
]
_TOLD: Final[_Responses] = {
    400: {"model": Envelope, "description": "It cannot be as it was asked for."},
    403: {"model": Envelope, "description": "This user may not."},
    500: {"model": Envelope, "description": "It came to nothing."},
    503: {"model": Envelope, "description": "Not now."},
}
_RAN: Final[_Responses] = {
    200: {"content": {BINARY: {"schema": {"type": "string", "format": "byte"}}}},
    500: {"model": OutputEnvelope, "description": "It came to nothing."},
    503: {"model": OutputEnvelope, "description": "Not now; the job goes on."},
}
_SEALED: Final = {"type": "string", "contentEncoding": "base64"}
_RUN_BODY: Final = {"required": True, "content": {"text/plain": {"schema": _SEALED}}}


def routes(front: Front) -> APIRouter:
    """Return DeepFlow's addresses; *front* says whose headers about users are believed."""
    api = APIRouter(prefix="/v1/agent", tags=[FACADE], route_class=_Enveloped)

    def who_asks(request: Request, here: Caller) -> Asker:
        peer = request.client.host if request.client is not None else ""
        return asker(request.headers, peer=peer, caller=here.name, front=front)

    @api.get(
        "/{agent}/cmd",
        operation_id="deepflowCommands",
        response_model=ListedEnvelope,
        responses={206: {"model": ListedEnvelope, "description": "Without namespaces."}, **_TOLD},
        openapi_extra={"parameters": _USER},
    )
    async def list_commands(
        request: Request,
        here: Here,
        agent: str,
        kind: Annotated[str, Query(alias="type", description="`profile` or `probe`.")] = "",
    ) -> Response:
        """List what an agent offers, as DeepFlow's server does."""
        who = who_asks(request, here)
        if kind and kind not in KINDS:
            raise Answered(OptStatus.INVALID_PARAMETERS, f"type is one of {', '.join(KINDS)}")
        return await _listed(here, await _find(here, agent), who, kind or None)

    @api.post(
        "/{agent}/cmd/run",
        operation_id="deepflowRun",
        response_model=OutputEnvelope,
        responses={
            206: {"model": OutputEnvelope, "description": "Its output was cut."},
            **_TOLD,
            **_RAN,
        },
        openapi_extra={"parameters": _USER, "requestBody": _RUN_BODY},
    )
    async def run_command(request: Request, here: Here, agent: str) -> Response:
        """Run one of an agent's commands and wait for it, as DeepFlow's server does."""
        who = who_asks(request, here)
        cipher = Cipher(who.user, who.org)
        asked = run_asked(cipher.opened(await raw_body(request, here)))
        found = await _find(here, agent)
        return await _ran(request, Reply(here, cipher, asked), found, who)

    return api


async def _find(here: Caller, agent: str) -> Agent:
    """Return the agent with this name, id, `IP-MAC` or DeepFlow number; raise Answered."""
    number = agent.isascii() and agent.isdecimal()
    try:
        return await here.tenant.agents.find(agent)
    except UnknownAgent as exc:
        if not number:
            told = f"failed to get agent by name(record not found), error: {exc}"
            raise Answered(OptStatus.INVALID_PARAMETERS, told) from exc
    # An agent's own label does not count: it would be its word for whose commands it gets.
    numbered = [
        each
        for each in await here.tenant.jobs.agents()
        if each.given_labels.get(NUMBER_LABEL) == agent
    ]
    if not numbered:
        raise Answered(OptStatus.SERVER_ERROR, "record not found")
    return only(agent, numbered)


def _gone(agent: Agent, exc: AgentGone, otherwise: OptStatus) -> Answered:
    """Return what is said of an agent that is away, or *otherwise* of one that does not answer."""
    if exc.details.get("connected"):
        return Answered(otherwise, str(exc))
    told = f"get agent(name: {agent.name}, key: {agent.ip_mac}) commands forward times > 3"
    return Answered(OptStatus.AGENT_UNSUPPORTED, told)


async def _listed(here: Caller, agent: Agent, who: Asker, kind: str | None) -> Response:
    try:
        commands = await here.tenant.agents.commands(agent.id)
    except AgentGone as exc:
        raise _gone(agent, exc, OptStatus.FAIL) from exc
    written = [remote_command(command, shown(command)) for command in listed(commands, who, kind)]
    data: ListedShape = {"remote_commands": written, "linux_namespaces": None}
    if kind is not None or not who.admin:
        return envelope(OptStatus.SUCCESS, data=data)
    try:
        namespaces = await here.tenant.agents.namespaces(agent.id)
    except Unavailable as exc:
        return envelope(OptStatus.PARTIAL_RESULT, str(exc), data)
    data["linux_namespaces"] = [
        linux_namespace(one) for one in namespaces if one.kind is NamespaceKind.NET
    ]
    return envelope(OptStatus.SUCCESS, data=data)


async def _ran(request: Request, reply: Reply, agent: Agent, who: Asker) -> Response:
    here, asked = reply.here, reply.asked
    loop = asyncio.get_running_loop()
    until = loop.time() + here.limits.deepflow_wait_s
    if not asked.command_ident:
        return reply.unable(AGENT, "command_ident not specified in run command request")
    try:
        commands = await here.tenant.agents.commands(agent.id)
    except AgentGone as exc:
        raise _gone(agent, exc, OptStatus.SERVER_ERROR) from exc
    command = resolved(commands, asked.command_ident)
    if command is None:
        return reply.unable(AGENT, f"command not found for id {asked.command_ident[:256]}")
    if not who.may_run(command):
        told = f"only super admin and admin can operate command({shown(command)})"
        raise Answered(OptStatus.NO_PERMISSIONS, told)
    try:
        values = asked.values(command, empty=agent.identity.deepflow)
        spec = _spec(asked, CommandCall(command.ident, values), here.limits.deepflow_wait_s)
        submitted = await here.tenant.jobs.submit(spec, Names((agent.id,)), by=who.name)
    except InvalidParameter as exc:
        told = f"rejected run command '{asked.label}' with invalid params: {exc}"
        return reply.unable(AGENT, told)
    (run,) = submitted.runs
    first = await _first(request, here, run, until - loop.time())
    now = await here.tenant.store.run(run.id) or run
    waited = first == "late" and not now.state.resting
    if waited:  # nobody would read what it prints from here on
        with suppress(CannotCancel):  # it goes on; what it still prints is kept
            await here.tenant.jobs.cancel_job(run.job, by=who.name)
    return await reply.of_run(agent, now, waited=waited, stopping=first == "stopping")


def _spec(asked: RunAsked, what: CommandCall, within_s: float) -> JobSpec:
    """Return the job: it is not begun and does not run when nobody waits for it any more."""
    entered = asked.linux_ns_pid
    return JobSpec(
        what=what,
        namespaces_of=None if entered is None else NamespacesOf(entered, (NamespaceKind.NET,)),
        timeout_s=within_s,
        queue_ttl_s=within_s,
    )


async def _first(request: Request, here: Caller, run: Run, within_s: float) -> str:
    """Wait for a run; say what came first: `settled`, `late`, `gone` (the caller), `stopping`."""
    settled = False

    async def wait() -> None:
        nonlocal settled
        settled = await here.tenant.followers.settled(run.job, max(0.0, within_s))

    first = await first_of(
        settled=wait(), gone=gone(request.receive), stopping=here.stopping.wait()
    )
    return "late" if first == "settled" and not settled else first
