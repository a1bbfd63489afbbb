"""Bytes of each frame as the versions that are out there send and understand them.

A hex that changes breaks them, and so does a word that goes. New ones are added here.
"""

from enum import StrEnum

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
    Unsupported,
    Welcome,
)
from farhand.domain.output import Chunk, StreamEnd, StreamName
from farhand.domain.run import Ending, Usage, Why

RUN = RunId("run_01h455vb4pex5vsknk084sn02q")
AGENT = AgentId("agt_01h455vb4pex5vsknk084sn02q")
OUT, ERR = StreamName.STDOUT, StreamName.STDERR
SHA = "00ff" * 16
END = StreamEnd(total=9, kept=6, cut_at=3, cut_bytes=2, sha256_kept=SHA, sha256_all=SHA[::-1])

GOLDEN_AGENT: list[tuple[FromAgent, str]] = [
    (
        Hello(
            protocols=(1, 300),
            agent=AGENT,
            join_token="t",
            secret="s",
            identity=Identity(
                name="n",
                machine_id="m",
                boot_id="b",
                ip="i",
                mac="c",
                software="w",
                labels={"l": "1"},
                facts={"f": "2"},
                capabilities=("p", "q"),
                catalogue="g",
            ),
        ),
        (
            "0a580a560a0301ac02121e6167745f3031683435357662347065783576736b6e6b303834736e3032"
            "711a01742201732a016e32016d3a01624201694a01635201775a060a016c12013162060a01661201"
            "326a01706a0171720167"
        ),
    ),
    (
        Held(
            (
                HeldRun(run=RUN, state=HeldState.ACCEPTED, next_offsets={OUT: 1, ERR: 2}),
                HeldRun(run=RUN, state=HeldState.RUNNING, next_offsets={OUT: 3, ERR: 4}),
                HeldRun(run=RUN, state=HeldState.ENDED, next_offsets={OUT: 5, ERR: 6}),
                HeldRun(run=RUN, state=HeldState.REFUSED, next_offsets={OUT: 7, ERR: 8}),
            ),
            last=True,
        ),
        (
            "0aa50112a2010a260a1e72756e5f3031683435357662347065783576736b6e6b303834736e303271"
            "1001180120020a260a1e72756e5f3031683435357662347065783576736b6e6b303834736e303271"
            "1002180320040a260a1e72756e5f3031683435357662347065783576736b6e6b303834736e303271"
            "1003180520060a260a1e72756e5f3031683435357662347065783576736b6e6b303834736e303271"
            "1004180720081001"
        ),
    ),
    (
        Heartbeat(seq=1, load=0.5, spool_free_bytes=2, runs=3),
        "0a111a0f080111000000000000e03f18022003",
    ),
    (
        RunAccepted(RUN),
        "0a2222200a1e72756e5f3031683435357662347065783576736b6e6b303834736e303271",
    ),
    (
        RunRefused(RUN, Why.POLICY, "no"),
        (
            "0a2e2a2c0a1e72756e5f3031683435357662347065783576736b6e6b303834736e3032711206706f"
            "6c6963791a026e6f"
        ),
    ),
    (
        RunStarted(RUN, 7),
        "0a2432220a1e72756e5f3031683435357662347065783576736b6e6b303834736e3032711007",
    ),
    (
        Output(Chunk(RUN, OUT, 1, b"a\xff")),
        (
            "0a2a3a280a1e72756e5f3031683435357662347065783576736b6e6b303834736e30327110011801"
            "220261ff"
        ),
    ),
    (
        Output(Chunk(RUN, ERR, 1, b"a\xff")),
        (
            "0a2a3a280a1e72756e5f3031683435357662347065783576736b6e6b303834736e30327110021801"
            "220261ff"
        ),
    ),
    (
        RunEnded(
            RUN,
            Ending(
                why=Why.SIGNAL,
                exit_code=-1,
                signal=9,
                message="m",
                duration_s=0.5,
                usage=Usage(user_s=0.25, system_s=0.125, max_rss_bytes=4),
                streams={OUT: END, ERR: StreamEnd()},
            ),
        ),
        (
            "0ab00142ad010a1e72756e5f3031683435357662347065783576736b6e6b303834736e3032711206"
            "7369676e616c180120ffffffffffffffffff01280130093a016d41000000000000e03f4900000000"
            "0000d03f51000000000000c03f5804624e08011009180620032802322000ff00ff00ff00ff00ff00"
            "ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff3a20ff00ff00ff00ff00ff00ff00ff00ff00ff"
            "00ff00ff00ff00ff00ff00ff00ff0062020802"
        ),
    ),
    (
        Commands(
            1,
            (
                Command(
                    ident="i",
                    description="d",
                    output=OutputFormat.BINARY,
                    params=(
                        Param(
                            name="n",
                            type=ParamType.CHOICE,
                            required=True,
                            default="x",
                            description="e",
                            choices=("x", "y"),
                            minimum=-1,
                            maximum=1,
                            pattern="p",
                        ),
                    ),
                ),
            ),
        ),
        (
            "0a3c4a3a080112360a01691201641a260a016e120663686f696365180120012a01783201653a0178"
            "3a01794001480150015802620170220662696e617279"
        ),
    ),
    (
        Namespaces(
            1,
            (
                Namespace(
                    id=2,
                    kind=NamespaceKind.NET,
                    pid=3,
                    owner="o",
                    command="c",
                    processes=4,
                    container="k",
                    pod="p",
                ),
            ),
            "e",
        ),
        "0a20521e08011217080212036e6574180322016f2a016330043a016b4201701a0165",
    ),
    (
        Unsupported(13),
        "0a047202080d",
    ),
    (
        Goodbye(Parting.STOPPING, "m", 0.5, ("a:1", "b:2")),
        "0a227a200a0873746f7070696e6712016d19000000000000e03f2203613a312203623a32",
    ),
]
GOLDEN_CONTROLLER: list[tuple[FromController, str]] = [
    (
        Welcome(agent=AGENT, epoch=1, protocol=2, heartbeat_s=0.5, secret="s", fenced=True),
        (
            "0a340a320a1e6167745f3031683435357662347065783576736b6e6b303834736e30327110011802"
            "21000000000000e03f2a01733001"
        ),
    ),
    (
        Resume(RUN, {OUT: 1, ERR: 2}, {OUT: 3, ERR: 4}),
        (
            "0a2a12280a1e72756e5f3031683435357662347065783576736b6e6b303834736e30327110011802"
            "20032804"
        ),
    ),
    (
        Settled(RUN),
        "0a221a200a1e72756e5f3031683435357662347065783576736b6e6b303834736e303271",
    ),
    (
        Stop(RUN),
        "0a2222200a1e72756e5f3031683435357662347065783576736b6e6b303834736e303271",
    ),
    (
        HeartbeatReply(1),
        "0a042a020801",
    ),
    (
        StartRun(
            run=RUN,
            grant=9,
            spec=JobSpec(
                what=Argv(("a", "b")),
                stdin=b"i\xff",
                env={"E": "1"},
                cwd="/c",
                user="u",
                namespaces_of=NamespacesOf(7, (NamespaceKind.NET, NamespaceKind.MNT)),
                timeout_s=0.5,
                output_limit_bytes=8,
                nice=-1,
                rlimits={"nofile": 6},
                keep_children=True,
            ),
        ),
        (
            "0a6b32690a1e72756e5f3031683435357662347065783576736b6e6b303834736e30327112060a01"
            "610a01622a0269ff32060a01451201313a022f634201754a0c080712036e657412036d6e74510000"
            "00000000e03f580860016801720a0a066e6f66696c6510067801800109"
        ),
    ),
    (
        StartRun(
            run=RUN, grant=9, spec=JobSpec(what=Script("s"), timeout_s=0.5, output_limit_bytes=8)
        ),
        (
            "0a3532330a1e72756e5f3031683435357662347065783576736b6e6b303834736e3032711a030a01"
            "7351000000000000e03f5808800109"
        ),
    ),
    (
        StartRun(
            run=RUN,
            grant=9,
            spec=JobSpec(what=CommandCall("i", {"p": "v"}), timeout_s=0.5, output_limit_bytes=8),
        ),
        (
            "0a3d323b0a1e72756e5f3031683435357662347065783576736b6e6b303834736e303271220b0a01"
            "6912060a017012017651000000000000e03f5808800109"
        ),
    ),
    (
        Ack(RUN, OUT, 1, 2),
        ("0a283a260a1e72756e5f3031683435357662347065783576736b6e6b303834736e303271100118012002"),
    ),
    (
        Ack(RUN, ERR, 1, 2),
        ("0a283a260a1e72756e5f3031683435357662347065783576736b6e6b303834736e303271100218012002"),
    ),
    (
        CancelRun(RUN, 0.5),
        (
            "0a2b42290a1e72756e5f3031683435357662347065783576736b6e6b303834736e30327111000000"
            "000000e03f"
        ),
    ),
    (
        ListCommands(1),
        "0a044a020801",
    ),
    (
        ListNamespaces(1),
        "0a0452020801",
    ),
    (
        Unsupported(13),
        "0a047202080d",
    ),
    (
        Goodbye(Parting.FENCED, "m", 0.5, ("a:1",)),
        "0a1b7a190a0666656e63656412016d19000000000000e03f2203613a31",
    ),
]

GOLDEN_WORDS: dict[type[StrEnum], str] = {
    Why: """
        exit signal time_limit cancelled program_not_found not_executable no_such_directory
        spawn_failed agent_restarted agent_stopped output_corrupt no_cancel contact_lost queue_ttl
        policy drained agent_removed agent_full unknown_command invalid_parameter namespaces
        journal_full unsupported
    """,
    Parting: "stopping fenced inactive refused removed protocol overloaded",
    NamespaceKind: "cgroup ipc mnt net pid time user uts",
    ParamType: "text int bool choice host",
    OutputFormat: "text binary",
}
