"""An agent as the controller knows it: identity, name, labels, facts, liveness."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from farhand.domain.ids import AgentId

DEEPFLOW: Final = "deepflow:"  # begins the machine id of a DeepFlow agent, and of no other


class Liveness(StrEnum):
    """What is believed of an agent's stream.

    `suspect` had a stream that ended without a goodbye; its lease decides.
    """

    ONLINE = "online"
    SUSPECT = "suspect"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What an agent tells of itself at each connection. Claims, but for the credential."""

    name: str
    machine_id: str
    boot_id: str = ""
    ip: str = ""
    mac: str = ""
    software: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    catalogue: str = ""  # digest of its commands; the same digest, the same commands

    @property
    def deepflow(self) -> bool:
        """It speaks DeepFlow's protocol: it proves nothing, keeps nothing and cancels nothing."""
        return self.machine_id.startswith(DEEPFLOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """The daemon on a host, and the host. Times are wall-clock seconds of the controller.

    *given_name* and *given_labels* are an operator's and win over what the agent tells
    (a given label of None hides the agent's own). *drained* takes no new runs.
    """

    id: AgentId
    identity: Identity
    given_name: str | None = None
    given_labels: Mapping[str, str | None] = field(default_factory=dict)
    drained: bool = False
    liveness: Liveness = Liveness.OFFLINE
    epoch: int = 0
    controller: str = ""
    joined_at: float = 0.0
    last_seen_at: float = 0.0

    @property
    def name(self) -> str:
        """What people call it."""
        return self.given_name or self.identity.name

    @property
    def ip_mac(self) -> str:
        """The name an estate without names would use: `IP-MAC`."""
        return f"{self.identity.ip}-{self.identity.mac}"

    @property
    def labels(self) -> Mapping[str, str]:
        """The agent's labels under the operator's."""
        merged = {**self.identity.labels, **self.given_labels}
        return {key: value for key, value in merged.items() if value is not None}

    @property
    def facts(self) -> Mapping[str, str]:
        """What the agent tells of its host: os, arch, kernel and more."""
        return self.identity.facts

    def terms(self) -> Mapping[str, str]:
        """What a selector can ask for: labels over facts over its version and address.

        Name, id, `IP-MAC`, liveness and `drained` (true or false) are nobody's to pose as.
        """
        return {
            "version": self.identity.software.rpartition("/")[2],
            "ip": self.identity.ip,
            **self.facts,
            **self.labels,
            "name": self.name,
            "id": self.id,
            "ip_mac": self.ip_mac,
            "liveness": self.liveness.value,
            "drained": "true" if self.drained else "false",
        }
