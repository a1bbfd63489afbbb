"""The native codec: there and back for every frame, golden bytes, and any bytes at all."""

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.agent import Identity
from farhand.domain.command import Command, OutputFormat, Param, ParamType
from farhand.domain.ids import AgentId, RunId
from farhand.domain.job import (
    Argv,
    CommandCall,
    JobSpec,
    NamespaceKind,
    NamespacesOf,
    Script,
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
from farhand.wire import native
from tests.unit.wire.golden import GOLDEN_AGENT, GOLDEN_CONTROLLER, GOLDEN_WORDS

RUN = RunId("run_01h455vb4pex5vsknk084sn02q")
AGENT = AgentId("agt_01h455vb4pex5vsknk084sn02q")
OUT, ERR = StreamName.STDOUT, StreamName.STDERR

# --- every frame, with any values ---------------------------------------------------------

IDS = st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=25, max_size=25)
RUNS = IDS.map(lambda text: RunId(f"run_0{text}"))
AGENTS = IDS.map(lambda text: AgentId(f"agt_0{text}"))
TEXTS = st.text(max_size=12)
SOME_TEXT = st.text(min_size=1, max_size=12)
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
SECONDS = st.floats(0, allow_nan=False, allow_infinity=False)
MAPS = st.dictionaries(TEXTS, TEXTS, max_size=3)
PAIRS = st.fixed_dictionaries({OUT: U64, ERR: U64})
DIGESTS = st.binary(max_size=32).map(bytes.hex)
CHUNKS = st.builds(Chunk, RUNS, st.sampled_from(StreamName), U64, st.binary(max_size=20))


def tuples(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=3).map(tuple)


IDENTITIES = st.builds(
    Identity,
    **dict.fromkeys(("name", "machine_id", "boot_id", "ip", "mac", "software"), TEXTS),
    labels=MAPS,
    facts=MAPS,
    capabilities=tuples(TEXTS),
    catalogue=TEXTS,
)
ENDS = st.builds(
    StreamEnd,
    total=U64,
    kept=U64,
    cut_at=U64,
    cut_bytes=U64,
    sha256_kept=DIGESTS,
    sha256_all=DIGESTS,
)
ENDINGS = st.builds(
    Ending,
    why=st.sampled_from(Why),
    exit_code=st.none() | st.integers(-(2**31), 2**31 - 1),
    signal=st.none() | U32,
    message=TEXTS,
    duration_s=SECONDS,
    usage=st.builds(Usage, user_s=SECONDS, system_s=SECONDS, max_rss_bytes=U64),
    streams=st.dictionaries(st.sampled_from(StreamName), ENDS),
)
NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1)
PARAMS = st.builds(
    Param,
    name=TEXTS,
    type=st.sampled_from(ParamType),
    required=st.booleans(),
    default=st.none() | TEXTS,
    description=TEXTS,
    choices=tuples(TEXTS),
    minimum=NUMBERS,
    maximum=NUMBERS,
    pattern=st.none() | SOME_TEXT,
)
COMMANDS = st.builds(
    Command,
    ident=TEXTS,
    description=TEXTS,
    params=tuples(PARAMS),
    output=st.sampled_from(OutputFormat),
)
NAMESPACES = st.builds(
    Namespace,
    id=U64,
    kind=st.sampled_from(NamespaceKind),
    pid=U32,
    processes=U32,
    **dict.fromkeys(("owner", "command", "container", "pod"), TEXTS),
)
KINDS = st.lists(st.sampled_from(NamespaceKind), max_size=3).map(tuple)
SPECS = st.builds(
    JobSpec,
    what=st.builds(Argv, tuples(TEXTS))
    | st.builds(Script, TEXTS)
    | st.builds(CommandCall, TEXTS, MAPS),
    stdin=st.binary(max_size=20),
    env=MAPS,
    cwd=st.none() | SOME_TEXT,
    user=st.none() | SOME_TEXT,
    namespaces_of=st.none() | st.builds(NamespacesOf, st.integers(1, 2**22), KINDS),
    timeout_s=SECONDS,
    output_limit_bytes=U64,
    nice=st.none() | st.integers(-20, 19),
    rlimits=st.dictionaries(TEXTS, U64, max_size=2),
    keep_children=st.booleans(),
)
GOODBYES = st.builds(Goodbye, st.sampled_from(Parting), TEXTS, SECONDS, tuples(TEXTS))
HELD_RUNS = st.builds(HeldRun, run=RUNS, state=st.sampled_from(HeldState), next_offsets=PAIRS)

FROM_AGENT: dict[type, st.SearchStrategy[Any]] = {
    Hello: st.builds(
        Hello,
        protocols=tuples(U32),
        identity=IDENTITIES,
        agent=st.none() | AGENTS,
        join_token=TEXTS,
        secret=TEXTS,
    ),
    Held: st.builds(Held, tuples(HELD_RUNS), st.booleans()),
    Heartbeat: st.builds(Heartbeat, seq=U64, load=SECONDS, spool_free_bytes=U64, runs=U32),
    RunAccepted: st.builds(RunAccepted, RUNS),
    RunRefused: st.builds(RunRefused, RUNS, st.sampled_from(Why), TEXTS),
    RunStarted: st.builds(RunStarted, RUNS, U32),
    Output: st.builds(Output, CHUNKS),
    RunEnded: st.builds(RunEnded, RUNS, ENDINGS),
    Commands: st.builds(Commands, U64, tuples(COMMANDS)),
    Namespaces: st.builds(Namespaces, U64, tuples(NAMESPACES), TEXTS),
    Unsupported: st.builds(Unsupported, U32),
    Goodbye: GOODBYES,
}
FROM_CONTROLLER: dict[type, st.SearchStrategy[Any]] = {
    Welcome: st.builds(
        Welcome,
        agent=AGENTS,
        epoch=U64,
        protocol=U32,
        heartbeat_s=SECONDS,
        secret=TEXTS,
        fenced=st.booleans(),
    ),
    Resume: st.builds(Resume, RUNS, PAIRS, PAIRS),
    Settled: st.builds(Settled, RUNS),
    Stop: st.builds(Stop, RUNS),
    HeartbeatReply: st.builds(HeartbeatReply, U64),
    StartRun: st.builds(StartRun, run=RUNS, spec=SPECS, grant=U64),
    Ack: st.builds(Ack, RUNS, st.sampled_from(StreamName), U64, U64),
    CancelRun: st.builds(CancelRun, RUNS, SECONDS),
    ListCommands: st.builds(ListCommands, U64),
    ListNamespaces: st.builds(ListNamespaces, U64),
    Unsupported: st.builds(Unsupported, U32),
    Goodbye: GOODBYES,
}


def test_every_frame_of_each_direction_is_tried() -> None:
    assert {*get_args(FromAgent)} - {UnknownFrame} == FROM_AGENT.keys()
    assert {*get_args(FromController)} - {UnknownFrame} == FROM_CONTROLLER.keys()


@given(st.lists(st.one_of(*FROM_AGENT.values()), max_size=4))
def test_what_an_agent_says_arrives_as_it_was_said(frames: list[FromAgent]) -> None:
    assert frames == native.decode_from_agent(native.encode_from_agent(frames))


@given(st.lists(st.one_of(*FROM_CONTROLLER.values()), max_size=4))
def test_what_a_controller_says_arrives_as_it_was_said(frames: list[FromController]) -> None:
    assert frames == native.decode_from_controller(native.encode_from_controller(frames))


@pytest.mark.parametrize("kind", FROM_AGENT)
def test_each_frame_of_an_agent_survives_with_its_emptiest_values(kind: type) -> None:
    """Presence decides nothing: a frame whose fields are all zero is still that frame."""
    empty = EMPTY.get(kind) or kind(0)

    assert [empty] == native.decode_from_agent(native.encode_from_agent([empty]))


@pytest.mark.parametrize("kind", FROM_CONTROLLER)
def test_each_frame_of_a_controller_survives_with_its_emptiest_values(kind: type) -> None:
    empty = EMPTY.get(kind) or kind(0)

    assert [empty] == native.decode_from_controller(native.encode_from_controller([empty]))


ZERO = {OUT: 0, ERR: 0}
EMPTY: dict[type, Any] = {
    Hello: Hello(protocols=(), identity=Identity(name="", machine_id="")),
    Held: Held((), last=False),
    Heartbeat: Heartbeat(seq=0),
    RunAccepted: RunAccepted(RUN),
    RunRefused: RunRefused(RUN, Why.POLICY, ""),
    RunStarted: RunStarted(RUN, 0),
    Output: Output(Chunk(RUN, OUT, 0, b"")),
    RunEnded: RunEnded(RUN, Ending(why=Why.EXIT)),
    Commands: Commands(0, ()),
    Namespaces: Namespaces(0, ()),
    Goodbye: Goodbye(Parting.STOPPING),
    Welcome: Welcome(agent=AGENT, epoch=0, protocol=0, heartbeat_s=0.0),
    Resume: Resume(RUN, ZERO, ZERO),
    Settled: Settled(RUN),
    Stop: Stop(RUN),
    StartRun: StartRun(run=RUN, spec=JobSpec(what=Argv(()), timeout_s=0.0), grant=0),
    Ack: Ack(RUN, OUT, 0, 0),
    CancelRun: CancelRun(RUN, 0.0),
}


def test_a_message_without_frames_says_nothing() -> None:
    assert b"" == native.encode_from_agent([]) == native.encode_from_controller([])
    assert [] == native.decode_from_agent(b"")


def test_the_queue_ttl_is_the_controllers_and_does_not_cross_the_wire() -> None:
    start = StartRun(run=RUN, spec=JobSpec(what=Script("id"), queue_ttl_s=7.0), grant=1)

    assert native.encode_from_controller([start]) == native.encode_from_controller(
        [replace(start, spec=replace(start.spec, queue_ttl_s=300.0))]
    )


# --- golden bytes -------------------------------------------------------------------------


@pytest.mark.parametrize(("frame", "golden"), GOLDEN_AGENT, ids=lambda one: type(one).__name__)
def test_the_bytes_of_each_frame_of_an_agent_stay_as_they_are(frame: Any, golden: str) -> None:
    assert golden == native.encode_from_agent([frame]).hex()
    assert [frame] == native.decode_from_agent(bytes.fromhex(golden))


@pytest.mark.parametrize(("frame", "golden"), GOLDEN_CONTROLLER, ids=lambda one: type(one).__name__)
def test_the_bytes_of_each_frame_of_a_controller_stay_as_they_are(frame: Any, golden: str) -> None:
    assert golden == native.encode_from_controller([frame]).hex()
    assert [frame] == native.decode_from_controller(bytes.fromhex(golden))


def test_there_are_golden_bytes_for_every_frame() -> None:
    assert FROM_AGENT.keys() == {type(frame) for frame, _ in GOLDEN_AGENT}
    assert FROM_CONTROLLER.keys() == {type(frame) for frame, _ in GOLDEN_CONTROLLER}


@pytest.mark.parametrize("kind", GOLDEN_WORDS, ids=lambda kind: kind.__name__)
def test_every_word_that_was_ever_sent_is_understood(kind: type[StrEnum]) -> None:
    assert set() == set(GOLDEN_WORDS[kind].split()) - {word.value for word in kind}


# --- what is not understood ---------------------------------------------------------------

DECODERS = [native.decode_from_agent, native.decode_from_controller]
Decoder = Callable[[bytes], list[Any]]


def field(number: int, wire_type: int, data: bytes) -> bytes:
    """One protobuf field, written by hand."""
    return varint(number << 3 | wire_type) + (varint(len(data)) if wire_type == 2 else b"") + data


def varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def message(*frames: bytes) -> bytes:
    return b"".join(field(1, 2, frame) for frame in frames)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    "unknown",
    [
        field(13, 2, b"anything"),
        field(13, 0, varint(7)),
        field(13, 1, b"12345678"),
        field(13, 5, b"1234"),
    ],
)
def test_a_frame_of_a_later_version_is_told_by_its_number(decode: Decoder, unknown: bytes) -> None:
    assert [UnknownFrame(13)] == decode(message(unknown))


def test_frames_around_one_that_is_not_known_are_understood() -> None:
    known: list[FromAgent] = [RunAccepted(RUN), RunStarted(RUN, 7)]
    one, other = (native.encode_from_agent([frame]) for frame in known)
    later = message(field(536_870_911, 2, b""))

    assert [known[0], UnknownFrame(536_870_911), known[1]] == native.decode_from_agent(
        one + later + other
    )


def test_a_number_that_is_not_known_is_told_once_however_often_it_comes() -> None:
    frames = message(*[field(20, 0, varint(1)) + field(21, 0, varint(1))] * 1000)

    assert [UnknownFrame(20), UnknownFrame(21)] == native.decode_from_agent(frames)


def test_an_empty_frame_says_nothing() -> None:
    assert [] == native.decode_from_agent(message(b"", b""))


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_frames_or_an_error(decode: Decoder, data: bytes) -> None:
    try:
        assert isinstance(decode(data), list)
    except ProtocolError:
        return


ALL = [(native.decode_from_agent, golden) for _, golden in GOLDEN_AGENT] + [
    (native.decode_from_controller, golden) for _, golden in GOLDEN_CONTROLLER
]


@given(st.data())
def test_bytes_that_were_damaged_are_frames_or_an_error(data: st.DataObject) -> None:
    decode, golden = data.draw(st.sampled_from(ALL))
    damaged = bytearray.fromhex(golden)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        frames = decode(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    except ProtocolError:
        return
    assert all(isinstance(frame, (*FROM_AGENT, *FROM_CONTROLLER, UnknownFrame)) for frame in frames)


@pytest.mark.parametrize("decode_from", [*FROM_AGENT])
def test_a_message_that_was_cut_short_is_an_error(decode_from: type) -> None:
    golden = next(golden for frame, golden in GOLDEN_AGENT if type(frame) is decode_from)
    with pytest.raises(ProtocolError):
        native.decode_from_agent(bytes.fromhex(golden)[:-1])


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (b"xyz_01h455vb4pex5vsknk084sn02q", RUN.encode()),  # no run's id
        (b"agt_01h455vb4pex5vsknk084sn02q", RUN.encode()),
        (b"run_01h455vb4pex5vsknk084sn0\xff\xff", RUN.encode()),  # no UTF-8
    ],
)
def test_an_id_that_is_none_is_an_error(wrong: bytes, right: bytes) -> None:
    frames: list[FromAgent] = [RunAccepted(RUN), RunStarted(RUN, 7), EMPTY[Output], EMPTY[RunEnded]]
    for frame in frames:
        with pytest.raises(ProtocolError):
            native.decode_from_agent(native.encode_from_agent([frame]).replace(right, wrong))


def test_a_word_that_this_version_does_not_know_is_an_error() -> None:
    refused = native.encode_from_agent([RunRefused(RUN, Why.POLICY, "")])
    with pytest.raises(ProtocolError):
        native.decode_from_agent(refused.replace(b"policy", b"police"))


def test_a_stream_that_there_is_not_is_an_error() -> None:
    with pytest.raises(ProtocolError):
        native.decode_from_agent(message(field(7, 2, field(1, 2, RUN.encode()) + b"\x10\x03")))


def test_a_run_without_anything_to_run_is_an_error() -> None:
    with pytest.raises(ProtocolError):
        native.decode_from_controller(message(field(6, 2, field(1, 2, RUN.encode()))))


def test_an_agents_id_that_is_none_is_an_error() -> None:
    hello = native.encode_from_agent([replace(EMPTY[Hello], agent=AGENT)])
    welcome = native.encode_from_controller([EMPTY[Welcome]])
    wrong = AGENT.replace("agt", "run").encode()
    with pytest.raises(ProtocolError):
        native.decode_from_agent(hello.replace(AGENT.encode(), wrong))
    with pytest.raises(ProtocolError):
        native.decode_from_controller(welcome.replace(AGENT.encode(), wrong))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -0.5])
def test_no_peer_can_tell_a_time_that_is_none(value: float) -> None:
    ending = Ending(why=Why.EXIT, duration_s=1.0)
    for frame in (
        Heartbeat(seq=1, load=value),
        RunEnded(RUN, replace(ending, duration_s=value)),
        RunEnded(RUN, replace(ending, usage=Usage(user_s=value))),
        RunEnded(RUN, replace(ending, usage=Usage(system_s=value))),
        Goodbye(Parting.STOPPING, "", value),
    ):
        with pytest.raises(ProtocolError):
            native.decode_from_agent(native.encode_from_agent([frame]))
    for order in (
        replace(EMPTY[Welcome], heartbeat_s=value),
        replace(EMPTY[StartRun], spec=JobSpec(what=Script("id"), timeout_s=value)),
        CancelRun(RUN, value),
    ):
        with pytest.raises(ProtocolError):
            native.decode_from_controller(native.encode_from_controller([order]))
