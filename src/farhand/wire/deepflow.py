"""Turn DeepFlow's messages into domain values and back, for both roles.

Any bytes give a value or a ProtocolError. What is absent stays absent in both directions, and so
does a zero that is present. Deprecated fields are read over and never written. The facts stand in
proto/deepflow/agent.proto.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError

from farhand.domain.deepflow.messages import (
    REQUEST_BYTES,
    RESPONSE_BYTES,
    CommandParam,
    DataChunk,
    LinuxNamespace,
    OutputKind,
    Parameter,
    ParamKind,
    RemoteCommand,
    Request,
    Response,
    Sender,
)
from farhand.errors import ProtocolError
from farhand.wire.gen import agent_pb2 as pb

METHOD: Final = "/agent.Synchronizer/RemoteExecute"
OLD_METHOD: Final = "/trident.Synchronizer/RemoteExecute"  # agents before v7.0; the same messages

_CHUNK: Final = ("errno", "content", "md5", "total_len", "pkt_count")
_NAMESPACE: Final = ("id", "ns_type", "user", "pid", "cmd")
_SENDER: Final = ("ip", "mac", "team_id", "group_id")
_PARAM: Final = ("name", "regex", "required", "description")
_COMMAND: Final = ("cmd", "ident", "type_name")

_Value = TypeVar("_Value")


def encode_request(request: Request) -> bytes:
    """One message of a server; raises ProtocolError for one that no agent would take."""
    message = pb.RemoteExecRequest()
    _copy(request, message, ("request_id", "exec_type", "linux_ns_pid", "batch_len"))
    if request.ident is not None:
        message.command_ident = request.ident
    for param in request.params:
        _copy(param, message.params.add(), ("key", "value"))
    if request.data is not None:
        _write_chunk(request.data, message.command_data)
    return _within(message.SerializeToString(), REQUEST_BYTES, "a request")


def encode_response(response: Response) -> bytes:
    """One message of an agent; raises ProtocolError for one that no server would take."""
    message = pb.RemoteExecResponse()
    _copy(response, message, ("request_id", "errmsg"))
    if response.sender is not None:
        message.agent_id.SetInParent()
        _copy(response.sender, message.agent_id, _SENDER)
    for command in response.commands:
        _write_command(command, message.commands.add())
    for namespace in response.namespaces:
        _copy(namespace, message.linux_namespaces.add(), _NAMESPACE)
    if response.result is not None:
        _write_chunk(response.result, message.command_result)
    return _within(message.SerializeToString(), RESPONSE_BYTES, "a response")


def decode_request(data: bytes) -> Request:
    """What a server said; raises ProtocolError."""
    return _decode(pb.RemoteExecRequest(), data, _read_request)


def decode_response(data: bytes) -> Response:
    """What an agent said; raises ProtocolError."""
    return _decode(pb.RemoteExecResponse(), data, _read_response)


def _decode(message: Any, data: bytes, read: Callable[[Any], _Value]) -> _Value:
    _within(data, RESPONSE_BYTES, "a message")
    try:
        message.ParseFromString(data)
        return read(message)
    except (DecodeError, ValueError) as exc:
        raise ProtocolError(f"a message of the DeepFlow stream cannot be read: {exc}") from exc


def _within(data: bytes, most: int, what: str) -> bytes:
    if len(data) > most:
        raise ProtocolError(f"{what} has {len(data)} bytes; at most {most} are taken")
    return data


# --- writing ------------------------------------------------------------------------------


def _copy(value: object, message: Any, names: tuple[str, ...]) -> None:
    for name in names:
        given = getattr(value, name)
        if given is not None:
            setattr(message, name, given)


def _write_chunk(chunk: DataChunk, message: Any) -> None:
    message.SetInParent()
    _copy(chunk, message, _CHUNK)


def _write_command(command: RemoteCommand, message: Any) -> None:
    _copy(command, message, _COMMAND)
    if command.output is not None:
        message.output_format = command.output.value
    for param in command.params:
        written = message.params.add()
        _copy(param, written, _PARAM)
        if param.kind is not None:
            written.param_type = param.kind.value


# --- reading ------------------------------------------------------------------------------


def _given(message: Any, name: str) -> Any:
    return _checked(message, name) if message.HasField(name) else None


def _all_given(message: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _checked(message, name) for name in names if message.HasField(name)}


def _checked(message: Any, name: str) -> Any:
    """The field's value; a text of proto2 that is not UTF-8 arrives as bytes and is refused."""
    value = getattr(message, name)
    if isinstance(value, bytes) and name != "content":
        raise ValueError(f"{name} is not UTF-8")
    return value


def _read_request(message: Any) -> Request:
    return Request(
        request_id=_given(message, "request_id"),
        exec_type=_given(message, "exec_type"),
        params=tuple(Parameter(**_all_given(p, ("key", "value"))) for p in message.params),
        linux_ns_pid=_given(message, "linux_ns_pid"),
        batch_len=_given(message, "batch_len"),
        ident=_given(message, "command_ident"),
        data=_read_chunk(message, "command_data"),
    )


def _read_response(message: Any) -> Response:
    return Response(
        sender=Sender(**_all_given(message.agent_id, _SENDER))
        if message.HasField("agent_id")
        else None,
        request_id=_given(message, "request_id"),
        errmsg=_given(message, "errmsg"),
        commands=tuple(_read_command(command) for command in message.commands),
        namespaces=tuple(
            LinuxNamespace(**_all_given(n, _NAMESPACE)) for n in message.linux_namespaces
        ),
        result=_read_chunk(message, "command_result"),
    )


def _read_chunk(message: Any, name: str) -> DataChunk | None:
    if not message.HasField(name):
        return None
    return DataChunk(**_all_given(getattr(message, name), _CHUNK))


def _read_command(message: Any) -> RemoteCommand:
    output = _given(message, "output_format")
    return RemoteCommand(
        **_all_given(message, _COMMAND),
        output=None if output is None else OutputKind(output),
        params=tuple(_read_param(param) for param in message.params),
    )


def _read_param(message: Any) -> CommandParam:
    kind = _given(message, "param_type")
    return CommandParam(
        **_all_given(message, _PARAM), kind=None if kind is None else ParamKind(kind)
    )
