"""DeepFlow's answers: its envelope, its statuses, its way to write commands and namespaces.

Decides nothing. Enums are numbers, and what is absent is left out.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from farhand.api.writing import dumped
from farhand.domain.command import Command, OutputFormat, Param, ParamType
from farhand.domain.messages import Namespace
from farhand.errors import BadRequest, FarhandError, NotAllowed, NotFound, Unavailable
from farhand.http.answer import Json, retry_after


class OptStatus(StrEnum):
    """How a request went, in DeepFlow's words; those of them that are said here."""

    SUCCESS = "SUCCESS"
    PARTIAL_RESULT = "PARTIAL_RESULT"
    INVALID_PARAMETERS = "INVALID_PARAMETERS"
    ORG_ID_INVALID = "ORG_ID_INVALID"
    AGENT_UNSUPPORTED = "AGENT_UNSUPPORTED"
    NO_PERMISSIONS = "NO_PERMISSIONS"
    FAIL = "FAIL"
    SERVER_ERROR = "SERVER_ERROR"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"


STATUS: Final[Mapping[OptStatus, int]] = {
    OptStatus.SUCCESS: 200,
    OptStatus.PARTIAL_RESULT: 206,
    OptStatus.INVALID_PARAMETERS: 400,
    OptStatus.ORG_ID_INVALID: 400,
    OptStatus.AGENT_UNSUPPORTED: 400,
    OptStatus.NO_PERMISSIONS: 403,
    OptStatus.FAIL: 500,
    OptStatus.SERVER_ERROR: 500,
    OptStatus.SERVICE_UNAVAILABLE: 503,
}

# The first class that fits counts.
_OF_ERRORS: Final[Mapping[type[FarhandError], OptStatus]] = {
    BadRequest: OptStatus.INVALID_PARAMETERS,
    NotAllowed: OptStatus.NO_PERMISSIONS,
    NotFound: OptStatus.INVALID_PARAMETERS,
    Unavailable: OptStatus.SERVICE_UNAVAILABLE,
    FarhandError: OptStatus.SERVER_ERROR,
}


class Answered(Exception):
    """Ends a request with an envelope that has no data."""

    def __init__(
        self, status: OptStatus, description: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(description)
        self.envelope = envelope(status, description, headers=headers)


def answered(error: FarhandError) -> Answered:
    """Return how DeepFlow's users are told of *error*."""
    status = next(status for kind, status in _OF_ERRORS.items() if isinstance(error, kind))
    return Answered(status, str(error), retry_after(type(error)))


class ParamShape(TypedDict):
    """A parameter; *param_type* is 0 for text and 1 for true or false."""

    name: str
    regex: str
    required: bool
    param_type: Literal[0, 1]
    description: NotRequired[str]


class RemoteCommandShape(TypedDict):
    """A command; *output_format* is 0 for text and 1 for anything else."""

    cmd: str
    output_format: Literal[0, 1]
    ident: str
    params: NotRequired[list[ParamShape]]
    type_name: NotRequired[str]


class LinuxNamespaceShape(TypedDict):
    """A network namespace: its inode, and a process that is in it."""

    id: int
    ns_type: str
    user: str
    pid: int
    cmd: str


class ListedShape(TypedDict):
    """What an agent offers; namespaces only to those who may see them."""

    remote_commands: list[RemoteCommandShape]
    linux_namespaces: list[LinuxNamespaceShape] | None


class Envelope(TypedDict):
    """DeepFlow's answer to anything that does not go well."""

    OPT_STATUS: OptStatus
    DESCRIPTION: str
    DATA: None


class ListedEnvelope(TypedDict):
    """The answer with an agent's commands and namespaces."""

    OPT_STATUS: OptStatus
    DESCRIPTION: str
    DATA: ListedShape


class OutputEnvelope(TypedDict):
    """The answer of a command: *DATA* is what it printed, sealed, in base64."""

    OPT_STATUS: OptStatus
    DESCRIPTION: str
    DATA: str


def envelope(
    status: OptStatus,
    description: str = "",
    data: object = None,
    headers: Mapping[str, str] | None = None,
) -> Json:
    """Write an answer that is known whole."""
    body = {"OPT_STATUS": status, "DESCRIPTION": description, "DATA": data}
    return Json(body, STATUS[status], headers)


def around(status: OptStatus, description: str) -> tuple[bytes, bytes]:
    """Return what stands before and behind the text of DATA, for one that comes in parts."""
    head = dumped({"OPT_STATUS": status, "DESCRIPTION": description, "DATA": ""})
    return head[:-2], head[-2:]


def remote_command(command: Command, name: str) -> RemoteCommandShape:
    """Write a command under the *name* that is shown for it."""
    written: RemoteCommandShape = {
        "cmd": name,
        "output_format": 1 if command.output is OutputFormat.BINARY else 0,
        "ident": command.ident,
    }
    if command.params:
        written["params"] = [_param(param) for param in command.params]
    if command.group:
        written["type_name"] = command.group
    return written


def _param(param: Param) -> ParamShape:
    written: ParamShape = {
        "name": param.name,
        "regex": param.regex,
        "required": param.required,
        "param_type": 1 if param.type is ParamType.BOOL else 0,
    }
    if param.description:
        written["description"] = param.description
    return written


def linux_namespace(namespace: Namespace) -> LinuxNamespaceShape:
    """Write a namespace of the network: no other kind is entered by a pid here."""
    return {
        "id": namespace.id,
        "ns_type": namespace.kind.value,
        "user": namespace.owner,
        "pid": namespace.pid,
        "cmd": namespace.command,
    }
