"""A controller with DeepFlow's addresses, a fake agent behind it, a client that knows the key."""

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

import httpx
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from fastapi import FastAPI

from farhand.boot.clock import SystemClock
from farhand.domain.command import Command, Param
from farhand.domain.job import NamespaceKind
from farhand.domain.limits import DEFAULTS, Limits
from farhand.domain.messages import Namespace
from farhand.domain.run import Run
from farhand.http.app import build_app
from farhand.http.deepflow.rights import Front
from farhand.ports import RunFilter, Store
from farhand.testing import Behaviour, World, succeed

FRONT = "10.2.0.7"

# Derived once and written down, so that the tests hold the key derivation to something.
KEYS = {
    (1, 1): bytes.fromhex("2bb07d6c065752ba4afcf8595f505652c9c35c5d54044b5a2b13b2779d03dd33"),
    (2, 1): bytes.fromhex("e7a20d1cf86e461c41b5e04cd2c72623313878d1040daecfe4528ec60142c665"),
    (1, 2): bytes.fromhex("1e48ecb5984a31304415b0419ff78cf4e4e0e74f1db24bc75af227cba7a48288"),
}

PS = Command(ident="system_ps_a2f", label="ps", group="system")
DATE = Command(ident="system_d2e", label="date", group="system")
STRACE = Command(
    ident="system_t5t_--s9L_--p13s_$t5t_s4e_-f_-p_$pid",
    label="strace",
    group="system",
    params=(
        Param(
            name="pid", pattern="^[0-9]+$", required=True, description="The PID to run strace on"
        ),
    ),
)
COMMANDS = (PS, DATE, STRACE)
NAMESPACES = (
    Namespace(id=4026531840, kind=NamespaceKind.NET, pid=1, owner="root", command="/sbin/init"),
    Namespace(id=4026531841, kind=NamespaceKind.MNT, pid=1, owner="root", command="/sbin/init"),
)


def sealed(data: bytes, key: bytes = KEYS[1, 1]) -> bytes:
    """What a program would send."""
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    return base64.b64encode(encryptor.update(padder.update(data) + padder.finalize()))


def opened(text: str | bytes, key: bytes = KEYS[1, 1]) -> bytes:
    """What a program would read."""
    unpadder = padding.PKCS7(128).unpadder()
    decryptor = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
    padded = decryptor.update(base64.b64decode(text))
    return unpadder.update(padded) + unpadder.finalize()


@dataclass(slots=True)
class Facade:
    """DeepFlow's addresses in front of a world with the agent `web-1`."""

    world: World
    app: FastAPI
    client: httpx.AsyncClient

    async def list(self, query: str = "", **headers: str) -> httpx.Response:
        """Ask for the commands of `web-1`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.get(f"/v1/agent/web-1/cmd{query}", headers=named)

    async def run(
        self,
        command: Command = DATE,
        *,
        key: bytes = KEYS[1, 1],
        agent: str = "web-1",
        headers: Mapping[str, str] | None = None,
        **body: object,
    ) -> httpx.Response:
        """Run a command."""
        asked = {"cmd": command.label, "command_ident": command.ident, **body}
        return await self.send(sealed(json.dumps(asked).encode(), key), agent, headers)

    async def send(
        self, body: bytes, agent: str = "web-1", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send a body as it is."""
        return await self.client.post(f"/v1/agent/{agent}/cmd/run", content=body, headers=headers)

    async def runs(self) -> Sequence[Run]:
        """Every run there is."""
        return (await self.world.store.runs(RunFilter())).items

    def from_peer(self, host: str) -> "Facade":
        """The same, asked from another address."""
        return replace(self, client=client_of(self.app, self.world, host))


def client_of(app: FastAPI, world: World, host: str = "127.0.0.1") -> httpx.AsyncClient:
    """A client with the admin's token."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=(host, 4711)),
        base_url="http://farhand",
        headers={"Authorization": f"Bearer {world.admin_token}"},
        timeout=30,
    )


def told(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, OPT_STATUS and DESCRIPTION."""
    body: dict[str, Any] = answer.json()
    return answer.status_code, body["OPT_STATUS"], body["DESCRIPTION"]


@asynccontextmanager
async def facade(
    behaviour: Behaviour | None = None,
    *,
    limits: Limits = DEFAULTS,
    store: Store | None = None,
    trusted: str = FRONT,
) -> AsyncIterator[Facade]:
    """Open the façade; *behaviour* says what runs of `web-1` do."""
    async with World.start(
        SystemClock(),
        agents=["web-1"],
        behaviour=behaviour or succeed(b"Thu\n"),
        limits=limits,
        store=store,
    ) as world:
        agent = world.agent("web-1")
        agent.commands, agent.namespaces = COMMANDS, NAMESPACES
        front = Front((ip_network(trusted),))
        app = build_app(world.tenants, world.enrolment, limits, version="1.2.3", deepflow=front)
        async with client_of(app, world) as client:
            yield Facade(world, app, client)
