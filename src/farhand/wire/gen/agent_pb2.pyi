from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OutputFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TEXT: _ClassVar[OutputFormat]
    BINARY: _ClassVar[OutputFormat]

class CommandType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LINUX: _ClassVar[CommandType]
    KUBERNETES: _ClassVar[CommandType]

class ParamType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PF_TEXT: _ClassVar[ParamType]
    PF_BOOLEAN: _ClassVar[ParamType]

class ExecutionType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIST_COMMAND: _ClassVar[ExecutionType]
    LIST_NAMESPACE: _ClassVar[ExecutionType]
    RUN_COMMAND: _ClassVar[ExecutionType]
    DRY_REPLAY_PCAP: _ClassVar[ExecutionType]
TEXT: OutputFormat
BINARY: OutputFormat
LINUX: CommandType
KUBERNETES: CommandType
PF_TEXT: ParamType
PF_BOOLEAN: ParamType
LIST_COMMAND: ExecutionType
LIST_NAMESPACE: ExecutionType
RUN_COMMAND: ExecutionType
DRY_REPLAY_PCAP: ExecutionType

class AgentId(_message.Message):
    __slots__ = ("ip", "mac", "team_id", "group_id")
    IP_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    TEAM_ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    ip: str
    mac: str
    team_id: str
    group_id: str
    def __init__(self, ip: _Optional[str] = ..., mac: _Optional[str] = ..., team_id: _Optional[str] = ..., group_id: _Optional[str] = ...) -> None: ...

class CommandParam(_message.Message):
    __slots__ = ("name", "regex", "required", "param_type", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REGEX_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    PARAM_TYPE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    regex: str
    required: bool
    param_type: ParamType
    description: str
    def __init__(self, name: _Optional[str] = ..., regex: _Optional[str] = ..., required: _Optional[bool] = ..., param_type: _Optional[_Union[ParamType, str]] = ..., description: _Optional[str] = ...) -> None: ...

class RemoteCommand(_message.Message):
    __slots__ = ("id", "cmd", "param_names", "output_format", "cmd_type", "ident", "params", "type_name")
    ID_FIELD_NUMBER: _ClassVar[int]
    CMD_FIELD_NUMBER: _ClassVar[int]
    PARAM_NAMES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FORMAT_FIELD_NUMBER: _ClassVar[int]
    CMD_TYPE_FIELD_NUMBER: _ClassVar[int]
    IDENT_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    TYPE_NAME_FIELD_NUMBER: _ClassVar[int]
    id: int
    cmd: str
    param_names: _containers.RepeatedScalarFieldContainer[str]
    output_format: OutputFormat
    cmd_type: CommandType
    ident: str
    params: _containers.RepeatedCompositeFieldContainer[CommandParam]
    type_name: str
    def __init__(self, id: _Optional[int] = ..., cmd: _Optional[str] = ..., param_names: _Optional[_Iterable[str]] = ..., output_format: _Optional[_Union[OutputFormat, str]] = ..., cmd_type: _Optional[_Union[CommandType, str]] = ..., ident: _Optional[str] = ..., params: _Optional[_Iterable[_Union[CommandParam, _Mapping]]] = ..., type_name: _Optional[str] = ...) -> None: ...

class LinuxNamespace(_message.Message):
    __slots__ = ("id", "ns_type", "user", "pid", "cmd")
    ID_FIELD_NUMBER: _ClassVar[int]
    NS_TYPE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    CMD_FIELD_NUMBER: _ClassVar[int]
    id: int
    ns_type: str
    user: str
    pid: int
    cmd: str
    def __init__(self, id: _Optional[int] = ..., ns_type: _Optional[str] = ..., user: _Optional[str] = ..., pid: _Optional[int] = ..., cmd: _Optional[str] = ...) -> None: ...

class DataChunk(_message.Message):
    __slots__ = ("errno", "content", "md5", "total_len", "pkt_count")
    ERRNO_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MD5_FIELD_NUMBER: _ClassVar[int]
    TOTAL_LEN_FIELD_NUMBER: _ClassVar[int]
    PKT_COUNT_FIELD_NUMBER: _ClassVar[int]
    errno: int
    content: bytes
    md5: str
    total_len: int
    pkt_count: int
    def __init__(self, errno: _Optional[int] = ..., content: _Optional[bytes] = ..., md5: _Optional[str] = ..., total_len: _Optional[int] = ..., pkt_count: _Optional[int] = ...) -> None: ...

class Parameter(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class RemoteExecRequest(_message.Message):
    __slots__ = ("request_id", "exec_type", "command_id", "params", "linux_ns_pid", "batch_len", "command_ident", "command_data")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_TYPE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    LINUX_NS_PID_FIELD_NUMBER: _ClassVar[int]
    BATCH_LEN_FIELD_NUMBER: _ClassVar[int]
    COMMAND_IDENT_FIELD_NUMBER: _ClassVar[int]
    COMMAND_DATA_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    exec_type: int
    command_id: int
    params: _containers.RepeatedCompositeFieldContainer[Parameter]
    linux_ns_pid: int
    batch_len: int
    command_ident: str
    command_data: DataChunk
    def __init__(self, request_id: _Optional[int] = ..., exec_type: _Optional[int] = ..., command_id: _Optional[int] = ..., params: _Optional[_Iterable[_Union[Parameter, _Mapping]]] = ..., linux_ns_pid: _Optional[int] = ..., batch_len: _Optional[int] = ..., command_ident: _Optional[str] = ..., command_data: _Optional[_Union[DataChunk, _Mapping]] = ...) -> None: ...

class RemoteExecResponse(_message.Message):
    __slots__ = ("agent_id", "request_id", "errmsg", "commands", "linux_namespaces", "command_result")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ERRMSG_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    LINUX_NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    COMMAND_RESULT_FIELD_NUMBER: _ClassVar[int]
    agent_id: AgentId
    request_id: int
    errmsg: str
    commands: _containers.RepeatedCompositeFieldContainer[RemoteCommand]
    linux_namespaces: _containers.RepeatedCompositeFieldContainer[LinuxNamespace]
    command_result: DataChunk
    def __init__(self, agent_id: _Optional[_Union[AgentId, _Mapping]] = ..., request_id: _Optional[int] = ..., errmsg: _Optional[str] = ..., commands: _Optional[_Iterable[_Union[RemoteCommand, _Mapping]]] = ..., linux_namespaces: _Optional[_Iterable[_Union[LinuxNamespace, _Mapping]]] = ..., command_result: _Optional[_Union[DataChunk, _Mapping]] = ...) -> None: ...
