"""The agents' side door: a gRPC listener whose calls become sessions.

Opens and closes; what a stream says is `gateway.stream` and what it means is the controller's.
"""

import asyncio
import resource
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from farhand.controller.enrolment import Enrolment
from farhand.controller.session import Session
from farhand.controller.tenants import Tenants
from farhand.domain.limits import Limits
from farhand.domain.messages import Hello
from farhand.errors import PortInUse
from farhand.gateway.admission import Admissions
from farhand.gateway.deepflow import METHODS as DEEPFLOW_METHODS
from farhand.gateway.deepflow import DeepFlowAgents
from farhand.gateway.stream import AgentStream
from farhand.ports import AgentChannel
from farhand.wire.grpc import Call, Factory, GrpcServer, LinkLimits, Peer
from farhand.wire.native import METHOD

log = structlog.get_logger()

DESCRIPTORS: Final = 1 << 20  # where the system sets no limit
GREETING: Final = 256  # connections from one address that have not yet said who they are


class FrontDoor:
    """Leads an agent to the sessions of its org, when it is its turn."""

    def __init__(self, enrolment: Enrolment, tenants: Tenants, admissions: Admissions) -> None:
        self.admissions = admissions
        self._enrolment = enrolment
        self._tenants = tenants

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for a turn to be let in. Raises ComeLater."""
        return self.admissions.turn()

    async def open(self, hello: Hello, channel: AgentChannel) -> Session:
        """Let the agent in. Raises NotAllowed kinds, InvalidName, StoreUnavailable."""
        org = await self._enrolment.org_of(hello)
        return await self._tenants.get(org).sessions.open(hello, channel)

    async def open_unproved(self, hello: Hello, channel: AgentChannel) -> Session:
        """Let a DeepFlow agent in, which proves nothing. Raises as `open` does."""
        org = await self._enrolment.unproved_org()
        sessions = self._tenants.get(org).sessions
        most = sessions.limits.deepflow_agents
        known = await self._enrolment.admit_unproved(hello.identity, org, sessions.store, most=most)
        return await sessions.open(hello, channel, known)

    async def ended(self, session: Session) -> None:
        """The agent's stream is over."""
        try:
            await session.leave()
        except Exception:  # one agent's end must not end the gateway
            log.exception("session.end_failed", agent=session.agent)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A listening gateway: where it listens, and what there is to count."""

    address: tuple[str, int]
    server: GrpcServer
    admissions: Admissions
    unproved: DeepFlowAgents | None = None


def link_limits(limits: Limits) -> LinkLimits:
    """The link's limits for a controller's.

    A whole fleet may stand behind one address: all that may wait to be let in may come from it. A
    quarter of the descriptors that the process may open is left for the API and the store.
    """
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        descriptors = DESCRIPTORS
    return LinkLimits(
        connections=descriptors - descriptors // 4,
        first_message_deadline_s=limits.first_message_s,
        bytes_before_identity=limits.hello_bytes,
        unidentified_per_address=limits.admissions + limits.admissions_waiting + GREETING,
        message_bytes=limits.message_bytes,
    )


def _only_deepflow(peer: Peer, path: str) -> bool:  # noqa: ARG001  # from wherever it comes
    """What may be called in plaintext at a port that has TLS."""
    return path in DEEPFLOW_METHODS


@asynccontextmanager
async def serving_agents(
    host: str,
    port: int,
    *,
    door: FrontDoor,
    limits: Limits,
    tls: ssl.SSLContext | None = None,
    deepflow: bool = False,
    farewell: Callable[[], None] = lambda: None,
) -> AsyncIterator[Gateway]:
    """Listen for agents; leaving closes the listener and every stream. Raises PortInUse.

    With *deepflow* DeepFlow agents are served too, in plaintext also where others need TLS.
    *farewell* is called in between: whoever is told to come back finds this door closed.
    """
    async with asyncio.TaskGroup() as tasks:

        def spawn(work: Coroutine[None, None, None], name: str) -> None:
            tasks.create_task(work, name=name)

        def stream(call: Call) -> AgentStream:
            return AgentStream(call, door, spawn, limits.outbox_bytes)

        methods: dict[str, Factory] = {METHOD: stream}
        unproved = DeepFlowAgents(door, spawn, limits) if deepflow else None
        if unproved is not None:
            methods |= dict.fromkeys(DEEPFLOW_METHODS, unproved.stream)
        server = GrpcServer(
            methods,
            limits=link_limits(limits),
            tls=tls,
            plaintext=_only_deepflow if deepflow else None,
        )
        try:
            address = await server.listen(host, port)
        except OSError as exc:
            msg = f"agents cannot be served on {host}:{port}: {exc.strerror or exc}"
            raise PortInUse(msg) from exc
        try:
            yield Gateway(address, server, door.admissions, unproved)
        finally:
            draining = tasks.create_task(server.drain(grace_s=limits.stop_s / 2), name="drain")
            await asyncio.sleep(0)  # its first step closes the listener
            farewell()
            await draining
