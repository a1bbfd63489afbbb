"""Turn the native stream's messages into domain values and back.

Alone imports the generated protobuf code. Any bytes give values or a ProtocolError; frames that
this version does not know give an UnknownFrame for each of their numbers. Field meanings:
proto/farhand/v1/link.proto.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from sys import intern
from typing import Any, Final

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from farhand.domain.agent import Identity
from farhand.domain.command import Command, OutputFormat, Param, ParamType
from farhand.domain.ids import AgentId, RunId, is_id
from farhand.domain.job import (
    Argv,
    CommandCall,
    JobSpec,
    NamespaceKind,
    NamespacesOf,
    Script,
    What,
)
from farhand.domain.messages import (
    Ack,
    CancelRun,
    Commands,
    FromAgent,
    FromController,
    Goodbye,
    Heartbeat,
    HeartbeatReply,
    Held,
    HeldRun,
    HeldState,
    Hello,
    ListCommands,
    ListNamespaces,
    Namespace,
    Namespaces,
    Output,
    Parting,
    Resume,
    RunAccepted,
    RunEnded,
    RunRefused,
    RunStarted,
    Settled,
    StartRun,
    Stop,
    UnknownFrame,
    Unsupported,
    Welcome,
)
from farhand.domain.output import Chunk, StreamEnd, StreamName
from farhand.domain.run import Ending, Usage, Why
from farhand.errors import ProtocolError
from farhand.wire.gen import link_pb2 as pb

METHOD: Final = "/farhand.v1.AgentLink/Connect"
PROTOCOLS: Final = (1,)

_STREAMS: Final = {StreamName.STDOUT: pb.STREAM_STDOUT, StreamName.STDERR: pb.STREAM_STDERR}
_STREAM_NAMES: Final = {number: name for name, number in _STREAMS.items()}
_HELD: Final = {
    HeldState.ACCEPTED: pb.HELD_STATE_ACCEPTED,
    HeldState.RUNNING: pb.HELD_STATE_RUNNING,
    HeldState.ENDED: pb.HELD_STATE_ENDED,
    HeldState.REFUSED: pb.HELD_STATE_REFUSED,
}
_HELD_STATES: Final = {number: state for state, number in _HELD.items()}


def encode_from_agent(frames: Iterable[FromAgent]) -> bytes:
    """One message of the agent's direction that holds *frames*, in order."""
    message = pb.FromAgent()
    for frame in frames:
        _AGENT_WRITERS[type(frame)](message.frames.add(), frame)
    return message.SerializeToString()


def encode_from_controller(frames: Iterable[FromController]) -> bytes:
    """One message of the controller's direction that holds *frames*, in order."""
    message = pb.FromController()
    for frame in frames:
        _CONTROLLER_WRITERS[type(frame)](message.frames.add(), frame)
    return message.SerializeToString()


def decode_from_agent(data: bytes) -> list[FromAgent]:
    """The frames of one message from an agent; raises ProtocolError."""
    return _decode(pb.FromAgent(), data, _AGENT_READERS)


def decode_from_controller(data: bytes) -> list[FromController]:
    """The frames of one message from a controller; raises ProtocolError."""
    return _decode(pb.FromController(), data, _CONTROLLER_READERS)


def _decode(message: Any, data: bytes, readers: Mapping[str, Callable[[Any], Any]]) -> list[Any]:
    try:
        message.ParseFromString(data)
        found: list[Any] = []
        unknown: set[int] = set()
        for frame in message.frames:
            kind = frame.WhichOneof("frame")
            if kind is None:
                fields = UnknownFieldSet(frame)
                numbers = {fields[at].field_number for at in range(len(fields))}
                found.extend(UnknownFrame(number) for number in sorted(numbers - unknown))
                unknown |= numbers
            else:
                found.append(readers[kind](getattr(frame, kind)))
    except (DecodeError, ValueError, KeyError) as exc:
        raise ProtocolError(f"a message of the agent stream cannot be read: {exc}") from exc
    return found


def _run(text: str) -> RunId:
    if not is_id("run", text):
        raise ValueError(f"{text[:40]!r} is not a run's id")
    return RunId(text)


def _measured(value: float) -> float:
    """A duration or a load, which no peer may make infinite, negative or no number at all."""
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{value} cannot be measured")
    return value


# --- agent → controller -------------------------------------------------------------------


def _write_hello(frame: Any, hello: Hello) -> None:
    who = hello.identity
    frame.hello.MergeFrom(
        pb.Hello(
            protocols=hello.protocols,
            agent_id=hello.agent or "",
            join_token=hello.join_token,
            secret=hello.secret,
            name=who.name,
            machine_id=who.machine_id,
            boot_id=who.boot_id,
            ip=who.ip,
            mac=who.mac,
            software=who.software,
            labels=who.labels,
            facts=who.facts,
            capabilities=who.capabilities,
            catalogue=who.catalogue,
        )
    )


def _read_hello(hello: pb.Hello) -> Hello:
    if hello.agent_id and not is_id("agt", hello.agent_id):
        raise ValueError("the agent's id is not an id")
    return Hello(
        protocols=tuple(hello.protocols),
        agent=AgentId(hello.agent_id) if hello.agent_id else None,
        join_token=hello.join_token,
        secret=hello.secret,
        identity=Identity(
            name=hello.name,
            machine_id=hello.machine_id,
            boot_id=hello.boot_id,
            ip=hello.ip,
            mac=hello.mac,
            software=hello.software,
            labels=_shared(hello.labels),
            facts=_shared(hello.facts),
            capabilities=tuple(map(intern, hello.capabilities)),
            catalogue=intern(hello.catalogue),
        ),
    )


def _shared(told: Mapping[str, str]) -> dict[str, str]:
    """The agents of a fleet say mostly the same: each word is in memory once."""
    return {intern(key): intern(value) for key, value in told.items()}


def _write_held(frame: Any, held: Held) -> None:
    frame.held.last = held.last
    frame.held.SetInParent()
    for run in held.runs:
        frame.held.runs.add(
            run=run.run,
            state=_HELD[run.state],
            stdout_next=run.next_offsets.get(StreamName.STDOUT, 0),
            stderr_next=run.next_offsets.get(StreamName.STDERR, 0),
        )


def _read_held(held: pb.Held) -> Held:
    return Held(
        tuple(
            HeldRun(
                run=_run(run.run),
                state=_HELD_STATES[run.state],
                next_offsets=_pair(run.stdout_next, run.stderr_next),
            )
            for run in held.runs
        ),
        held.last,
    )


def _pair(stdout: int, stderr: int) -> dict[StreamName, int]:
    return {StreamName.STDOUT: stdout, StreamName.STDERR: stderr}


def _write_heartbeat(frame: Any, beat: Heartbeat) -> None:
    frame.heartbeat.seq = beat.seq
    frame.heartbeat.load = beat.load
    frame.heartbeat.spool_free_bytes = beat.spool_free_bytes
    frame.heartbeat.runs = beat.runs


def _read_heartbeat(beat: pb.Heartbeat) -> Heartbeat:
    return Heartbeat(
        seq=beat.seq,
        load=_measured(beat.load),
        spool_free_bytes=beat.spool_free_bytes,
        runs=beat.runs,
    )


def _write_accepted(frame: Any, accepted: RunAccepted) -> None:
    frame.run_accepted.run = accepted.run


def _write_refused(frame: Any, refused: RunRefused) -> None:
    frame.run_refused.run = refused.run
    frame.run_refused.why = refused.why
    frame.run_refused.message = refused.message


def _write_started(frame: Any, started: RunStarted) -> None:
    frame.run_started.run = started.run
    frame.run_started.pid = started.pid


def _write_output(frame: Any, output: Output) -> None:
    chunk = output.chunk
    frame.output.run = chunk.run
    frame.output.stream = _STREAMS[chunk.stream]
    frame.output.offset = chunk.offset
    frame.output.data = chunk.data


def _read_output(output: pb.Output) -> Output:
    name = _STREAM_NAMES[output.stream]
    return Output(Chunk(_run(output.run), name, output.offset, output.data))


def _write_ended(frame: Any, ended: RunEnded) -> None:
    how, to = ended.ending, frame.run_ended
    to.run, to.why, to.message, to.duration_s = ended.run, how.why, how.message, how.duration_s
    to.exited, to.exit_code = how.exit_code is not None, how.exit_code or 0
    to.signalled, to.signal = how.signal is not None, how.signal or 0
    to.user_s, to.system_s = how.usage.user_s, how.usage.system_s
    to.max_rss_bytes = how.usage.max_rss_bytes
    for name, end in how.streams.items():
        to.streams.add(
            stream=_STREAMS[name],
            total=end.total,
            kept=end.kept,
            cut_at=end.cut_at,
            cut_bytes=end.cut_bytes,
            sha256_kept=bytes.fromhex(end.sha256_kept),
            sha256_all=bytes.fromhex(end.sha256_all),
        )


def _read_ended(ended: pb.RunEnded) -> RunEnded:
    return RunEnded(
        _run(ended.run),
        Ending(
            why=Why(ended.why),
            exit_code=ended.exit_code if ended.exited else None,
            signal=ended.signal if ended.signalled else None,
            message=ended.message,
            duration_s=_measured(ended.duration_s),
            usage=Usage(
                user_s=_measured(ended.user_s),
                system_s=_measured(ended.system_s),
                max_rss_bytes=ended.max_rss_bytes,
            ),
            streams={
                _STREAM_NAMES[end.stream]: StreamEnd(
                    total=end.total,
                    kept=end.kept,
                    cut_at=end.cut_at,
                    cut_bytes=end.cut_bytes,
                    sha256_kept=end.sha256_kept.hex(),
                    sha256_all=end.sha256_all.hex(),
                )
                for end in ended.streams
            },
        ),
    )


def _write_commands(frame: Any, listed: Commands) -> None:
    frame.commands.request = listed.request
    for command in listed.commands:
        to = frame.commands.commands.add(
            ident=command.ident, description=command.description, output=command.output
        )
        for param in command.params:
            to.params.add(
                name=param.name,
                type=param.type,
                required=param.required,
                has_default=param.default is not None,
                default=param.default or "",
                description=param.description,
                choices=param.choices,
                has_minimum=param.minimum is not None,
                minimum=param.minimum or 0,
                has_maximum=param.maximum is not None,
                maximum=param.maximum or 0,
                pattern=param.pattern or "",
            )


def _read_commands(listed: pb.Commands) -> Commands:
    return Commands(
        listed.request,
        tuple(
            Command(
                ident=command.ident,
                description=command.description,
                output=OutputFormat(command.output),
                params=tuple(map(_param, command.params)),
            )
            for command in listed.commands
        ),
    )


def _param(param: pb.Param) -> Param:
    return Param(
        name=param.name,
        type=ParamType(param.type),
        required=param.required,
        default=param.default if param.has_default else None,
        description=param.description,
        choices=tuple(param.choices),
        minimum=param.minimum if param.has_minimum else None,
        maximum=param.maximum if param.has_maximum else None,
        pattern=param.pattern or None,
    )


def _write_namespaces(frame: Any, listed: Namespaces) -> None:
    frame.namespaces.request = listed.request
    frame.namespaces.error = listed.error
    for found in listed.namespaces:
        frame.namespaces.namespaces.add(
            id=found.id,
            kind=found.kind,
            pid=found.pid,
            owner=found.owner,
            command=found.command,
            processes=found.processes,
            container=found.container,
            pod=found.pod,
        )


def _read_namespaces(listed: pb.Namespaces) -> Namespaces:
    return Namespaces(
        listed.request,
        tuple(
            Namespace(
                id=found.id,
                kind=NamespaceKind(found.kind),
                pid=found.pid,
                owner=found.owner,
                command=found.command,
                processes=found.processes,
                container=found.container,
                pod=found.pod,
            )
            for found in listed.namespaces
        ),
        listed.error,
    )


def _write_unsupported(frame: Any, unsupported: Unsupported) -> None:
    frame.unsupported.frame = unsupported.frame


def _write_goodbye(frame: Any, goodbye: Goodbye) -> None:
    frame.goodbye.reason = goodbye.reason
    frame.goodbye.message = goodbye.message
    frame.goodbye.reconnect_after_s = goodbye.reconnect_after_s
    frame.goodbye.where.extend(goodbye.where)


def _read_goodbye(goodbye: pb.Goodbye) -> Goodbye:
    return Goodbye(
        Parting(goodbye.reason),
        goodbye.message,
        _measured(goodbye.reconnect_after_s),
        tuple(goodbye.where),
    )


# --- controller → agent -------------------------------------------------------------------


def _write_welcome(frame: Any, welcome: Welcome) -> None:
    frame.welcome.agent_id = welcome.agent
    frame.welcome.epoch = welcome.epoch
    frame.welcome.protocol = welcome.protocol
    frame.welcome.heartbeat_s = welcome.heartbeat_s
    frame.welcome.secret = welcome.secret
    frame.welcome.fenced = welcome.fenced


def _read_welcome(welcome: pb.Welcome) -> Welcome:
    if not is_id("agt", welcome.agent_id):
        raise ValueError("the agent's id is not an id")
    return Welcome(
        agent=AgentId(welcome.agent_id),
        epoch=welcome.epoch,
        protocol=welcome.protocol,
        heartbeat_s=_measured(welcome.heartbeat_s),
        secret=welcome.secret,
        fenced=welcome.fenced,
    )


def _write_resume(frame: Any, resume: Resume) -> None:
    to = frame.resume
    to.run = resume.run
    to.stdout_from = resume.from_offsets[StreamName.STDOUT]
    to.stderr_from = resume.from_offsets[StreamName.STDERR]
    to.stdout_up_to = resume.up_to[StreamName.STDOUT]
    to.stderr_up_to = resume.up_to[StreamName.STDERR]


def _read_resume(resume: pb.Resume) -> Resume:
    return Resume(
        _run(resume.run),
        _pair(resume.stdout_from, resume.stderr_from),
        _pair(resume.stdout_up_to, resume.stderr_up_to),
    )


def _write_settled(frame: Any, settled: Settled) -> None:
    frame.settled.run = settled.run


def _write_stop(frame: Any, stop: Stop) -> None:
    frame.stop.run = stop.run


def _write_heartbeat_reply(frame: Any, reply: HeartbeatReply) -> None:
    frame.heartbeat_reply.seq = reply.seq
    frame.heartbeat_reply.SetInParent()


def _write_start(frame: Any, start: StartRun) -> None:
    spec, to = start.spec, frame.start_run
    to.run, to.grant = start.run, start.grant
    match spec.what:
        case Argv(argv):
            to.argv.argv.extend(argv)
            to.argv.SetInParent()
        case Script(text):
            to.script.text = text
        case CommandCall(ident, params):
            to.command.ident = ident
            to.command.params.update(params)
    to.stdin, to.cwd, to.user = spec.stdin, spec.cwd or "", spec.user or ""
    to.env.update(spec.env)
    if spec.namespaces_of is not None:
        to.namespaces_of.pid = spec.namespaces_of.pid
        to.namespaces_of.kinds.extend(spec.namespaces_of.kinds)
    to.timeout_s, to.output_limit_bytes = spec.timeout_s, spec.output_limit_bytes
    to.has_nice, to.nice = spec.nice is not None, spec.nice or 0
    to.rlimits.update(spec.rlimits)
    to.keep_children = spec.keep_children


def _read_start(start: pb.StartRun) -> StartRun:
    inside = start.namespaces_of
    return StartRun(
        run=_run(start.run),
        grant=start.grant,
        spec=JobSpec(
            what=_what(start),
            stdin=start.stdin,
            env=dict(start.env),
            cwd=start.cwd or None,
            user=start.user or None,
            namespaces_of=NamespacesOf(inside.pid, tuple(map(NamespaceKind, inside.kinds)))
            if inside.pid
            else None,
            timeout_s=_measured(start.timeout_s),
            output_limit_bytes=start.output_limit_bytes,
            nice=start.nice if start.has_nice else None,
            rlimits=dict(start.rlimits),
            keep_children=start.keep_children,
        ),
    )


def _what(start: pb.StartRun) -> What:
    match start.WhichOneof("what"):
        case "argv":
            return Argv(tuple(start.argv.argv))
        case "script":
            return Script(start.script.text)
        case "command":
            return CommandCall(start.command.ident, dict(start.command.params))
        case _:
            raise ValueError("a run without anything to run")


def _write_ack(frame: Any, ack: Ack) -> None:
    frame.ack.run = ack.run
    frame.ack.stream = _STREAMS[ack.stream]
    frame.ack.kept = ack.kept
    frame.ack.up_to = ack.up_to


def _write_cancel(frame: Any, cancel: CancelRun) -> None:
    frame.cancel_run.run = cancel.run
    frame.cancel_run.grace_s = cancel.grace_s


def _write_list_commands(frame: Any, asked: ListCommands) -> None:
    frame.list_commands.request = asked.request


def _write_list_namespaces(frame: Any, asked: ListNamespaces) -> None:
    frame.list_namespaces.request = asked.request


_AGENT_WRITERS: Final[Mapping[type, Callable[[Any, Any], None]]] = {
    Hello: _write_hello,
    Held: _write_held,
    Heartbeat: _write_heartbeat,
    RunAccepted: _write_accepted,
    RunRefused: _write_refused,
    RunStarted: _write_started,
    Output: _write_output,
    RunEnded: _write_ended,
    Commands: _write_commands,
    Namespaces: _write_namespaces,
    Unsupported: _write_unsupported,
    Goodbye: _write_goodbye,
}
_AGENT_READERS: Final[Mapping[str, Callable[[Any], FromAgent]]] = {
    "hello": _read_hello,
    "held": _read_held,
    "heartbeat": _read_heartbeat,
    "run_accepted": lambda frame: RunAccepted(_run(frame.run)),
    "run_refused": lambda frame: RunRefused(_run(frame.run), Why(frame.why), frame.message),
    "run_started": lambda frame: RunStarted(_run(frame.run), frame.pid),
    "output": _read_output,
    "run_ended": _read_ended,
    "commands": _read_commands,
    "namespaces": _read_namespaces,
    "unsupported": lambda frame: Unsupported(frame.frame),
    "goodbye": _read_goodbye,
}
_CONTROLLER_WRITERS: Final[Mapping[type, Callable[[Any, Any], None]]] = {
    Welcome: _write_welcome,
    Resume: _write_resume,
    Settled: _write_settled,
    Stop: _write_stop,
    HeartbeatReply: _write_heartbeat_reply,
    StartRun: _write_start,
    Ack: _write_ack,
    CancelRun: _write_cancel,
    ListCommands: _write_list_commands,
    ListNamespaces: _write_list_namespaces,
    Unsupported: _write_unsupported,
    Goodbye: _write_goodbye,
}
_CONTROLLER_READERS: Final[Mapping[str, Callable[[Any], FromController]]] = {
    "welcome": _read_welcome,
    "resume": _read_resume,
    "settled": lambda frame: Settled(_run(frame.run)),
    "stop": lambda frame: Stop(_run(frame.run)),
    "heartbeat_reply": lambda frame: HeartbeatReply(frame.seq),
    "start_run": _read_start,
    "ack": lambda frame: Ack(_run(frame.run), _STREAM_NAMES[frame.stream], frame.kept, frame.up_to),
    "cancel_run": lambda frame: CancelRun(_run(frame.run), _measured(frame.grace_s)),
    "list_commands": lambda frame: ListCommands(frame.request),
    "list_namespaces": lambda frame: ListNamespaces(frame.request),
    "unsupported": lambda frame: Unsupported(frame.frame),
    "goodbye": _read_goodbye,
}
