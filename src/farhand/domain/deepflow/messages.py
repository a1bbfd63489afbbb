"""What a DeepFlow agent and its server say to each other, as values.

Presence means something in this protocol, so None is "not there" and is never turned into a zero.
The roles are reversed on the wire: the agent opens the call and sends responses, the server sends
requests. `farhand.wire.deepflow` turns both into bytes.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from farhand.domain.limits import MIB

REQUEST_BYTES: Final = MIB - 1  # an agent takes no larger request unless its server raised that
RESPONSE_BYTES: Final = 100 * MIB
BATCH_BYTES: Final = MIB  # until a request says otherwise
BATCH_BYTES_MIN: Final = 1024  # smaller ones are taken as this
HEARTBEAT_S: Final = 30.0


class ExecType(IntEnum):
    """What a request asks for. Other numbers exist and are kept as they are."""

    LIST_COMMAND = 0
    LIST_NAMESPACE = 1
    RUN_COMMAND = 2
    DRY_REPLAY_PCAP = 3


class OutputKind(IntEnum):
    """What a command prints."""

    TEXT = 0
    BINARY = 1


class ParamKind(IntEnum):
    """What a parameter holds; values are texts in either case."""

    TEXT = 0
    BOOLEAN = 1


@dataclass(frozen=True, slots=True)
class Sender:
    """Who an agent says it is. Nothing proves it. Only *ip* and *mac* tell agents apart."""

    ip: str | None = None
    mac: str | None = None
    team_id: str | None = None
    group_id: str | None = None

    @property
    def key(self) -> str:
        """The name of the agent, `IP-MAC`; empty when one of the two is missing."""
        return f"{self.ip}-{self.mac}" if self.ip and self.mac else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandParam:
    """A parameter that a command takes. Without *regex* the default one counts."""

    name: str | None = None
    regex: str | None = None
    required: bool | None = None
    kind: ParamKind | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCommand:
    """An entry of an agent's list. *cmd* is for people; *ident* is what a request names."""

    cmd: str | None = None
    output: OutputKind | None = None
    ident: str | None = None
    params: tuple[CommandParam, ...] = ()
    type_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinuxNamespace:
    """A namespace (agents list those of the network): its inode, and its lowest process."""

    id: int | None = None
    ns_type: str | None = None
    user: str | None = None
    pid: int | None = None
    cmd: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChunk:
    """A batch of what a command printed to stdout; *md5* (of all of it) only in the last.

    A chunk with nothing in it is the whole result of a command that succeeded silently.
    """

    errno: int | None = None
    content: bytes | None = None
    md5: str | None = None
    total_len: int | None = None
    pkt_count: int | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value for a command's parameter."""

    key: str | None = None
    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a server sends. *exec_type* may be a number that `ExecType` does not have."""

    request_id: int | None = None
    exec_type: int | None = None
    params: tuple[Parameter, ...] = ()
    linux_ns_pid: int | None = None
    batch_len: int | None = None
    ident: str | None = None
    data: DataChunk | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What an agent sends. *errmsg* being there means failed; *result* is the command's."""

    sender: Sender | None = None
    request_id: int | None = None
    errmsg: str | None = None
    commands: tuple[RemoteCommand, ...] = ()
    namespaces: tuple[LinuxNamespace, ...] = ()
    result: DataChunk | None = None

    @property
    def empty(self) -> bool:
        """Nothing is answered with it: a heartbeat, or with a request's id an empty list."""
        return (
            self.errmsg is None
            and self.result is None
            and not self.commands
            and not self.namespaces
        )

    @property
    def heartbeat(self) -> bool:
        """It only says that the agent is there, and wants `HEARTBEAT_REPLY`."""
        return self.empty and not self.request_id


HEARTBEAT_REPLY: Final = Request(request_id=0)


def heartbeat(sender: Sender) -> Response:
    """What an agent sends first, and every 30 s."""
    return Response(sender=sender)
