from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HeldState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HELD_STATE_UNSPECIFIED: _ClassVar[HeldState]
    HELD_STATE_ACCEPTED: _ClassVar[HeldState]
    HELD_STATE_RUNNING: _ClassVar[HeldState]
    HELD_STATE_ENDED: _ClassVar[HeldState]
    HELD_STATE_REFUSED: _ClassVar[HeldState]

class Stream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STREAM_UNSPECIFIED: _ClassVar[Stream]
    STREAM_STDOUT: _ClassVar[Stream]
    STREAM_STDERR: _ClassVar[Stream]
HELD_STATE_UNSPECIFIED: HeldState
HELD_STATE_ACCEPTED: HeldState
HELD_STATE_RUNNING: HeldState
HELD_STATE_ENDED: HeldState
HELD_STATE_REFUSED: HeldState
STREAM_UNSPECIFIED: Stream
STREAM_STDOUT: Stream
STREAM_STDERR: Stream

class FromAgent(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[AgentFrame]
    def __init__(self, frames: _Optional[_Iterable[_Union[AgentFrame, _Mapping]]] = ...) -> None: ...

class FromController(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[ControllerFrame]
    def __init__(self, frames: _Optional[_Iterable[_Union[ControllerFrame, _Mapping]]] = ...) -> None: ...

class AgentFrame(_message.Message):
    __slots__ = ("hello", "held", "heartbeat", "run_accepted", "run_refused", "run_started", "output", "run_ended", "commands", "namespaces", "unsupported", "goodbye")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    RUN_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    RUN_REFUSED_FIELD_NUMBER: _ClassVar[int]
    RUN_STARTED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    RUN_ENDED_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    UNSUPPORTED_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    held: Held
    heartbeat: Heartbeat
    run_accepted: RunAccepted
    run_refused: RunRefused
    run_started: RunStarted
    output: Output
    run_ended: RunEnded
    commands: Commands
    namespaces: Namespaces
    unsupported: Unsupported
    goodbye: Goodbye
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., held: _Optional[_Union[Held, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., run_accepted: _Optional[_Union[RunAccepted, _Mapping]] = ..., run_refused: _Optional[_Union[RunRefused, _Mapping]] = ..., run_started: _Optional[_Union[RunStarted, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., run_ended: _Optional[_Union[RunEnded, _Mapping]] = ..., commands: _Optional[_Union[Commands, _Mapping]] = ..., namespaces: _Optional[_Union[Namespaces, _Mapping]] = ..., unsupported: _Optional[_Union[Unsupported, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ...) -> None: ...

class ControllerFrame(_message.Message):
    __slots__ = ("welcome", "resume", "settled", "stop", "heartbeat_reply", "start_run", "ack", "cancel_run", "list_commands", "list_namespaces", "unsupported", "goodbye")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_REPLY_FIELD_NUMBER: _ClassVar[int]
    START_RUN_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    CANCEL_RUN_FIELD_NUMBER: _ClassVar[int]
    LIST_COMMANDS_FIELD_NUMBER: _ClassVar[int]
    LIST_NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    UNSUPPORTED_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    resume: Resume
    settled: Settled
    stop: Stop
    heartbeat_reply: HeartbeatReply
    start_run: StartRun
    ack: Ack
    cancel_run: CancelRun
    list_commands: ListCommands
    list_namespaces: ListNamespaces
    unsupported: Unsupported
    goodbye: Goodbye
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., settled: _Optional[_Union[Settled, _Mapping]] = ..., stop: _Optional[_Union[Stop, _Mapping]] = ..., heartbeat_reply: _Optional[_Union[HeartbeatReply, _Mapping]] = ..., start_run: _Optional[_Union[StartRun, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., cancel_run: _Optional[_Union[CancelRun, _Mapping]] = ..., list_commands: _Optional[_Union[ListCommands, _Mapping]] = ..., list_namespaces: _Optional[_Union[ListNamespaces, _Mapping]] = ..., unsupported: _Optional[_Union[Unsupported, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocols", "agent_id", "join_token", "secret", "name", "machine_id", "boot_id", "ip", "mac", "software", "labels", "facts", "capabilities", "catalogue")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROTOCOLS_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    JOIN_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    IP_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CATALOGUE_FIELD_NUMBER: _ClassVar[int]
    protocols: _containers.RepeatedScalarFieldContainer[int]
    agent_id: str
    join_token: str
    secret: str
    name: str
    machine_id: str
    boot_id: str
    ip: str
    mac: str
    software: str
    labels: _containers.ScalarMap[str, str]
    facts: _containers.ScalarMap[str, str]
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    catalogue: str
    def __init__(self, protocols: _Optional[_Iterable[int]] = ..., agent_id: _Optional[str] = ..., join_token: _Optional[str] = ..., secret: _Optional[str] = ..., name: _Optional[str] = ..., machine_id: _Optional[str] = ..., boot_id: _Optional[str] = ..., ip: _Optional[str] = ..., mac: _Optional[str] = ..., software: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., facts: _Optional[_Mapping[str, str]] = ..., capabilities: _Optional[_Iterable[str]] = ..., catalogue: _Optional[str] = ...) -> None: ...

class HeldRun(_message.Message):
    __slots__ = ("run", "state", "stdout_next", "stderr_next")
    RUN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STDOUT_NEXT_FIELD_NUMBER: _ClassVar[int]
    STDERR_NEXT_FIELD_NUMBER: _ClassVar[int]
    run: str
    state: HeldState
    stdout_next: int
    stderr_next: int
    def __init__(self, run: _Optional[str] = ..., state: _Optional[_Union[HeldState, str]] = ..., stdout_next: _Optional[int] = ..., stderr_next: _Optional[int] = ...) -> None: ...

class Held(_message.Message):
    __slots__ = ("runs", "last")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[HeldRun]
    last: bool
    def __init__(self, runs: _Optional[_Iterable[_Union[HeldRun, _Mapping]]] = ..., last: _Optional[bool] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("seq", "load", "spool_free_bytes", "runs")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    SPOOL_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    seq: int
    load: float
    spool_free_bytes: int
    runs: int
    def __init__(self, seq: _Optional[int] = ..., load: _Optional[float] = ..., spool_free_bytes: _Optional[int] = ..., runs: _Optional[int] = ...) -> None: ...

class RunAccepted(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: str
    def __init__(self, run: _Optional[str] = ...) -> None: ...

class RunRefused(_message.Message):
    __slots__ = ("run", "why", "message")
    RUN_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    run: str
    why: str
    message: str
    def __init__(self, run: _Optional[str] = ..., why: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class RunStarted(_message.Message):
    __slots__ = ("run", "pid")
    RUN_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    run: str
    pid: int
    def __init__(self, run: _Optional[str] = ..., pid: _Optional[int] = ...) -> None: ...

class Output(_message.Message):
    __slots__ = ("run", "stream", "offset", "data")
    RUN_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    run: str
    stream: Stream
    offset: int
    data: bytes
    def __init__(self, run: _Optional[str] = ..., stream: _Optional[_Union[Stream, str]] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class StreamEnd(_message.Message):
    __slots__ = ("stream", "total", "kept", "cut_at", "cut_bytes", "sha256_kept", "sha256_all")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    CUT_AT_FIELD_NUMBER: _ClassVar[int]
    CUT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_KEPT_FIELD_NUMBER: _ClassVar[int]
    SHA256_ALL_FIELD_NUMBER: _ClassVar[int]
    stream: Stream
    total: int
    kept: int
    cut_at: int
    cut_bytes: int
    sha256_kept: bytes
    sha256_all: bytes
    def __init__(self, stream: _Optional[_Union[Stream, str]] = ..., total: _Optional[int] = ..., kept: _Optional[int] = ..., cut_at: _Optional[int] = ..., cut_bytes: _Optional[int] = ..., sha256_kept: _Optional[bytes] = ..., sha256_all: _Optional[bytes] = ...) -> None: ...

class RunEnded(_message.Message):
    __slots__ = ("run", "why", "exited", "exit_code", "signalled", "signal", "message", "duration_s", "user_s", "system_s", "max_rss_bytes", "streams")
    RUN_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    EXITED_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNALLED_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DURATION_S_FIELD_NUMBER: _ClassVar[int]
    USER_S_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_S_FIELD_NUMBER: _ClassVar[int]
    MAX_RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    run: str
    why: str
    exited: bool
    exit_code: int
    signalled: bool
    signal: int
    message: str
    duration_s: float
    user_s: float
    system_s: float
    max_rss_bytes: int
    streams: _containers.RepeatedCompositeFieldContainer[StreamEnd]
    def __init__(self, run: _Optional[str] = ..., why: _Optional[str] = ..., exited: _Optional[bool] = ..., exit_code: _Optional[int] = ..., signalled: _Optional[bool] = ..., signal: _Optional[int] = ..., message: _Optional[str] = ..., duration_s: _Optional[float] = ..., user_s: _Optional[float] = ..., system_s: _Optional[float] = ..., max_rss_bytes: _Optional[int] = ..., streams: _Optional[_Iterable[_Union[StreamEnd, _Mapping]]] = ...) -> None: ...

class Param(_message.Message):
    __slots__ = ("name", "type", "required", "has_default", "default", "description", "choices", "has_minimum", "minimum", "has_maximum", "maximum", "pattern")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    HAS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    HAS_MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    HAS_MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    required: bool
    has_default: bool
    default: str
    description: str
    choices: _containers.RepeatedScalarFieldContainer[str]
    has_minimum: bool
    minimum: int
    has_maximum: bool
    maximum: int
    pattern: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., required: _Optional[bool] = ..., has_default: _Optional[bool] = ..., default: _Optional[str] = ..., description: _Optional[str] = ..., choices: _Optional[_Iterable[str]] = ..., has_minimum: _Optional[bool] = ..., minimum: _Optional[int] = ..., has_maximum: _Optional[bool] = ..., maximum: _Optional[int] = ..., pattern: _Optional[str] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("ident", "description", "params", "output")
    IDENT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ident: str
    description: str
    params: _containers.RepeatedCompositeFieldContainer[Param]
    output: str
    def __init__(self, ident: _Optional[str] = ..., description: _Optional[str] = ..., params: _Optional[_Iterable[_Union[Param, _Mapping]]] = ..., output: _Optional[str] = ...) -> None: ...

class Commands(_message.Message):
    __slots__ = ("request", "commands")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    request: int
    commands: _containers.RepeatedCompositeFieldContainer[Command]
    def __init__(self, request: _Optional[int] = ..., commands: _Optional[_Iterable[_Union[Command, _Mapping]]] = ...) -> None: ...

class Namespace(_message.Message):
    __slots__ = ("id", "kind", "pid", "owner", "command", "processes", "container", "pod")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    id: int
    kind: str
    pid: int
    owner: str
    command: str
    processes: int
    container: str
    pod: str
    def __init__(self, id: _Optional[int] = ..., kind: _Optional[str] = ..., pid: _Optional[int] = ..., owner: _Optional[str] = ..., command: _Optional[str] = ..., processes: _Optional[int] = ..., container: _Optional[str] = ..., pod: _Optional[str] = ...) -> None: ...

class Namespaces(_message.Message):
    __slots__ = ("request", "namespaces", "error")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request: int
    namespaces: _containers.RepeatedCompositeFieldContainer[Namespace]
    error: str
    def __init__(self, request: _Optional[int] = ..., namespaces: _Optional[_Iterable[_Union[Namespace, _Mapping]]] = ..., error: _Optional[str] = ...) -> None: ...

class Unsupported(_message.Message):
    __slots__ = ("frame",)
    FRAME_FIELD_NUMBER: _ClassVar[int]
    frame: int
    def __init__(self, frame: _Optional[int] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("reason", "message", "reconnect_after_s", "where")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    reconnect_after_s: float
    where: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., reconnect_after_s: _Optional[float] = ..., where: _Optional[_Iterable[str]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("agent_id", "epoch", "protocol", "heartbeat_s", "secret", "fenced")
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_S_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    FENCED_FIELD_NUMBER: _ClassVar[int]
    agent_id: str
    epoch: int
    protocol: int
    heartbeat_s: float
    secret: str
    fenced: bool
    def __init__(self, agent_id: _Optional[str] = ..., epoch: _Optional[int] = ..., protocol: _Optional[int] = ..., heartbeat_s: _Optional[float] = ..., secret: _Optional[str] = ..., fenced: _Optional[bool] = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ("run", "stdout_from", "stderr_from", "stdout_up_to", "stderr_up_to")
    RUN_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FROM_FIELD_NUMBER: _ClassVar[int]
    STDERR_FROM_FIELD_NUMBER: _ClassVar[int]
    STDOUT_UP_TO_FIELD_NUMBER: _ClassVar[int]
    STDERR_UP_TO_FIELD_NUMBER: _ClassVar[int]
    run: str
    stdout_from: int
    stderr_from: int
    stdout_up_to: int
    stderr_up_to: int
    def __init__(self, run: _Optional[str] = ..., stdout_from: _Optional[int] = ..., stderr_from: _Optional[int] = ..., stdout_up_to: _Optional[int] = ..., stderr_up_to: _Optional[int] = ...) -> None: ...

class Settled(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: str
    def __init__(self, run: _Optional[str] = ...) -> None: ...

class Stop(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: str
    def __init__(self, run: _Optional[str] = ...) -> None: ...

class HeartbeatReply(_message.Message):
    __slots__ = ("seq",)
    SEQ_FIELD_NUMBER: _ClassVar[int]
    seq: int
    def __init__(self, seq: _Optional[int] = ...) -> None: ...

class Argv(_message.Message):
    __slots__ = ("argv",)
    ARGV_FIELD_NUMBER: _ClassVar[int]
    argv: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, argv: _Optional[_Iterable[str]] = ...) -> None: ...

class Script(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class CommandCall(_message.Message):
    __slots__ = ("ident", "params")
    class ParamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    IDENT_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    ident: str
    params: _containers.ScalarMap[str, str]
    def __init__(self, ident: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ...) -> None: ...

class NamespacesOf(_message.Message):
    __slots__ = ("pid", "kinds")
    PID_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    pid: int
    kinds: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, pid: _Optional[int] = ..., kinds: _Optional[_Iterable[str]] = ...) -> None: ...

class StartRun(_message.Message):
    __slots__ = ("run", "argv", "script", "command", "stdin", "env", "cwd", "user", "namespaces_of", "timeout_s", "output_limit_bytes", "has_nice", "nice", "rlimits", "keep_children", "grant")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class RlimitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    RUN_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    SCRIPT_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    NAMESPACES_OF_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    HAS_NICE_FIELD_NUMBER: _ClassVar[int]
    NICE_FIELD_NUMBER: _ClassVar[int]
    RLIMITS_FIELD_NUMBER: _ClassVar[int]
    KEEP_CHILDREN_FIELD_NUMBER: _ClassVar[int]
    GRANT_FIELD_NUMBER: _ClassVar[int]
    run: str
    argv: Argv
    script: Script
    command: CommandCall
    stdin: bytes
    env: _containers.ScalarMap[str, str]
    cwd: str
    user: str
    namespaces_of: NamespacesOf
    timeout_s: float
    output_limit_bytes: int
    has_nice: bool
    nice: int
    rlimits: _containers.ScalarMap[str, int]
    keep_children: bool
    grant: int
    def __init__(self, run: _Optional[str] = ..., argv: _Optional[_Union[Argv, _Mapping]] = ..., script: _Optional[_Union[Script, _Mapping]] = ..., command: _Optional[_Union[CommandCall, _Mapping]] = ..., stdin: _Optional[bytes] = ..., env: _Optional[_Mapping[str, str]] = ..., cwd: _Optional[str] = ..., user: _Optional[str] = ..., namespaces_of: _Optional[_Union[NamespacesOf, _Mapping]] = ..., timeout_s: _Optional[float] = ..., output_limit_bytes: _Optional[int] = ..., has_nice: _Optional[bool] = ..., nice: _Optional[int] = ..., rlimits: _Optional[_Mapping[str, int]] = ..., keep_children: _Optional[bool] = ..., grant: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("run", "stream", "kept", "up_to")
    RUN_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    UP_TO_FIELD_NUMBER: _ClassVar[int]
    run: str
    stream: Stream
    kept: int
    up_to: int
    def __init__(self, run: _Optional[str] = ..., stream: _Optional[_Union[Stream, str]] = ..., kept: _Optional[int] = ..., up_to: _Optional[int] = ...) -> None: ...

class CancelRun(_message.Message):
    __slots__ = ("run", "grace_s")
    RUN_FIELD_NUMBER: _ClassVar[int]
    GRACE_S_FIELD_NUMBER: _ClassVar[int]
    run: str
    grace_s: float
    def __init__(self, run: _Optional[str] = ..., grace_s: _Optional[float] = ...) -> None: ...

class ListCommands(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: int
    def __init__(self, request: _Optional[int] = ...) -> None: ...

class ListNamespaces(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: int
    def __init__(self, request: _Optional[int] = ...) -> None: ...
