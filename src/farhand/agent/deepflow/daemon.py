"""One agent on a DeepFlow server: who it says it is, what it offers, and how long it lives.

Reads no environment and no command line, and keeps nothing on the disk: a DeepFlow server asks
for no proof of identity and never asks for a result again.
"""

import asyncio
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from farhand.agent.daemon import local_address
from farhand.agent.deepflow.desk import Host, NamespaceLister
from farhand.agent.deepflow.link import DeepFlowLink
from farhand.agent.deepflow.offers import Catalogue, Offers
from farhand.agent.link import Dial
from farhand.domain.deepflow.messages import HEARTBEAT_S, Sender
from farhand.domain.limits import AGENT_DEFAULTS, AgentLimits
from farhand.ports import Clock, Launcher

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepFlowSetup:
    """Everything such an agent is made of. *team_id* and *group_id* are sent as they are."""

    dial: Dial
    team_id: str = ""
    group_id: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    limits: AgentLimits = AGENT_DEFAULTS
    heartbeat_s: float = HEARTBEAT_S
    launcher: Launcher
    catalogue: Catalogue
    namespaces: NamespaceLister


class DeepFlowAgent:
    """An agent that runs while it is served."""

    def __init__(self, setup: DeepFlowSetup, clock: Clock) -> None:
        self._setup = setup
        self._clock = clock
        self._host = Host(
            offers=Offers(setup.catalogue, self._has),
            launcher=setup.launcher,
            namespaces=setup.namespaces,
            env=setup.env,
            limits=setup.limits,
        )
        self._link = DeepFlowLink(
            setup.dial,
            self.sender,
            self._host.branches,
            clock,
            setup.limits,
            heartbeat_s=setup.heartbeat_s,
        )

    @property
    def connected(self) -> asyncio.Event:
        """Set while a server answers this agent."""
        return self._link.connected

    def sender(self) -> Sender:
        """Who this agent says it is: the interface on the way to the first server."""
        ip, mac = local_address(self._setup.dial.addresses[0])
        return Sender(ip, mac.lower(), self._setup.team_id, self._setup.group_id)

    def stop(self) -> None:
        """Begin a graceful stop: end what runs, tell how it ended, leave."""
        self._host.stop.set()

    async def serve(self) -> None:
        """Stay connected until `stop`, then leave within the budget."""
        limits = self._setup.limits
        async with asyncio.TaskGroup() as tasks:
            link = tasks.create_task(self._link.run(), name="deepflow-link")
            await self._host.stop.wait()
            try:
                async with asyncio.timeout(limits.stop_s + limits.kill_grace_s):
                    while not self._link.idle:
                        await self._clock.sleep(0.02)
            except TimeoutError:
                log.warning("some answers could not be sent")
            await self._link.leave(within_s=1.0)
            link.cancel()

    def _has(self, program: str) -> bool:
        return shutil.which(program, path=self._setup.env.get("PATH")) is not None
