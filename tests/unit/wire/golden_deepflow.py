"""DeepFlow's messages as its agents and servers were seen to send them, byte by byte.

A hex that changes here breaks every agent that is out there. Beside each stands what it means.
"""

from farhand.domain.deepflow.messages import (
    CommandParam,
    DataChunk,
    ExecType,
    LinuxNamespace,
    OutputKind,
    Parameter,
    ParamKind,
    RemoteCommand,
    Request,
    Response,
    Sender,
)

SENDER = Sender("10.0.0.1", "00:00:00:00:00:01", team_id="", group_id="")
SENDER_HEX = "0a210a0831302e302e302e31121130303a30303a30303a30303a30303a30311a002200"
PRINTED = bytes(range(256)) * 10 + b"deepflow" * 16 + b"last"  # 2692 bytes
PRINTED_MD5 = "19dbc2a7b4e5b86015c3b346db7bc043"
HELLO_MD5 = "5d41402abc4b2a76b9719d911017c592"
NOTHING_MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def says(
    request_id: int | None = None,
    result: DataChunk | None = None,
    *,
    errmsg: str | None = None,
    commands: tuple[RemoteCommand, ...] = (),
    namespaces: tuple[LinuxNamespace, ...] = (),
) -> Response:
    """A response of the agent that all of these come from."""
    return Response(
        sender=SENDER,
        request_id=request_id,
        errmsg=errmsg,
        commands=commands,
        namespaces=namespaces,
        result=result,
    )


REQUESTS: dict[str, tuple[Request, str]] = {
    "the answer to a heartbeat": (Request(request_id=0), "0800"),
    "list the commands": (Request(request_id=2, exec_type=ExecType.LIST_COMMAND), "08021000"),
    "list the namespaces": (Request(request_id=42, exec_type=ExecType.LIST_NAMESPACE), "082a1001"),
    "run date": (
        Request(request_id=3, exec_type=ExecType.RUN_COMMAND, ident="system_d2e"),
        "080310023a0a73797374656d5f643265",
    ),
    "run with parameters, elsewhere, in small batches": (
        Request(
            request_id=18,
            exec_type=ExecType.RUN_COMMAND,
            ident="kubernetes_k5l_-n_$ns_d6e_pod_$pod",
            params=(Parameter("ns", "kube-system"), Parameter("pod", "")),
            linux_ns_pid=1,
            batch_len=10,
        ),
        (
            "0812100222110a026e73120b6b7562652d73797374656d22070a03706f641200"
            "2801300a3a226b756265726e657465735f6b356c5f2d6e5f246e735f6436655f"
            "706f645f24706f64"
        ),
    ),
    "an execution type that nobody knows": (Request(request_id=42, exec_type=99), "082a1063"),
    "replay packets": (
        Request(
            request_id=7,
            exec_type=ExecType.DRY_REPLAY_PCAP,
            data=DataChunk(content=b"\xd4\xc3\xb2\xa1", md5="00" * 16),
        ),
        (
            "0807100352281204d4c3b2a11a20303030303030303030303030303030303030"
            "3030303030303030303030303030"
        ),
    ),
    "no execution type": (Request(request_id=5), "0805"),
}

RESPONSES: dict[str, tuple[Response, str]] = {
    "a heartbeat": (says(), SENDER_HEX),
    "success without output": (says(6, DataChunk()), f"{SENDER_HEX}10063200"),
    "success without output, with a mark of its end": (
        says(6, DataChunk(errno=0, content=b"", md5=NOTHING_MD5, total_len=0, pkt_count=1)),
        (
            f"{SENDER_HEX}1006322a080012001a2064343164386364393866303062323034653938303039"
            "3938656366383432376520002801"
        ),
    ),
    "the list of commands": (
        says(
            42,
            commands=(
                RemoteCommand(
                    cmd="ps", output=OutputKind.TEXT, ident="system_ps_a2f", type_name="system"
                ),
                RemoteCommand(
                    cmd="strace",
                    output=OutputKind.TEXT,
                    ident="system_t5t_--s9L_--p13s_$t5t_s4e_-f_-p_$pid",
                    params=(
                        CommandParam(
                            name="timeout",
                            regex="^[0-9]+s$",
                            required=True,
                            kind=ParamKind.TEXT,
                            description="The period to run strace",
                        ),
                        CommandParam(
                            name="pid",
                            regex="^[0-9]+$",
                            required=True,
                            kind=ParamKind.TEXT,
                            description="The PID to run strace on",
                        ),
                    ),
                    type_name="system",
                ),
            ),
        ),
        (
            f"{SENDER_HEX}102a221d120270732000320d73797374656d5f70735f61326642067379737465"
            "6d22a20112067374726163652000322b73797374656d5f7435745f2d2d73394c"
            "5f2d2d703133735f247435745f7334655f2d665f2d705f247069643a320a0774"
            "696d656f757412095e5b302d395d2b7324180120002a1854686520706572696f"
            "6420746f2072756e207374726163653a2d0a0370696412085e5b302d395d2b24"
            "180120002a185468652050494420746f2072756e20737472616365206f6e4206"
            "73797374656d"
        ),
    ),
    "the list of namespaces": (
        says(
            42,
            namespaces=(
                LinuxNamespace(id=4026531840, ns_type="net", user="root", pid=1, cmd="/sbin/init"),
                LinuxNamespace(id=4026532281, ns_type="net", user="root", pid=77, cmd=""),
            ),
        ),
        (
            f"{SENDER_HEX}102a2a1f08808080800f12036e65741a04726f6f7420012a0a2f7362696e2f69"
            "6e69742a1508b98380800f12036e65741a04726f6f74204d2a00"
        ),
    ),
    "no namespaces": (says(42), f"{SENDER_HEX}102a"),
    "namespaces that cannot be listed": (
        says(42, errmsg="Permission denied (os error 13)"),
        f"{SENDER_HEX}102a1a1f5065726d697373696f6e2064656e69656420286f73206572726f7220313329",
    ),
    "a small output": (
        says(2, DataChunk(errno=0, content=b"hello", md5=HELLO_MD5, total_len=5, pkt_count=1)),
        (
            f"{SENDER_HEX}1002322f0800120568656c6c6f1a203564343134303261626334623261373662"
            "39373139643931313031376335393220052801"
        ),
    ),
    "the first of three batches": (
        says(3, DataChunk(errno=0, content=PRINTED[:1024], total_len=2692, pkt_count=3)),
        f"{SENDER_HEX}1003328a080800128008{PRINTED[:1024].hex()}2084152803",
    ),
    "the second of three batches": (
        says(3, DataChunk(errno=0, content=PRINTED[1024:2048], total_len=2692, pkt_count=3)),
        f"{SENDER_HEX}1003328a080800128008{PRINTED[1024:2048].hex()}2084152803",
    ),
    "the last of three batches": (
        says(
            3,
            DataChunk(
                errno=0, content=PRINTED[2048:], md5=PRINTED_MD5, total_len=2692, pkt_count=3
            ),
        ),
        f"{SENDER_HEX}100332b0050800128405{PRINTED[2048:].hex()}1a2031396462633261376234653562383630313563336233343664623762633034332084152803",
    ),
    "exit 1 without a word": (
        says(4, DataChunk(errno=1), errmsg="command 'false' failed"),
        f"{SENDER_HEX}10041a16636f6d6d616e64202766616c736527206661696c656432020801",
    ),
    "exit 3 with output and an error": (
        says(
            18,
            DataChunk(
                errno=3,
                content=b"out\n",
                md5="fb7792b6596fd12502dd132c0aba0568",
                total_len=4,
                pkt_count=1,
            ),
            errmsg="err\n",
        ),
        (
            f"{SENDER_HEX}10121a046572720a322e080312046f75740a1a20666237373932623635393666"
            "643132353032646431333263306162613035363820042801"
        ),
    ),
    "exit 4 with an error that is no text": (
        says(18, DataChunk(errno=4), errmsg="command 'odd' failed"),
        f"{SENDER_HEX}10121a14636f6d6d616e6420276f646427206661696c656432020804",
    ),
    "killed after output": (
        says(
            18,
            DataChunk(
                errno=0,
                content=b"out\n",
                md5="fb7792b6596fd12502dd132c0aba0568",
                total_len=4,
                pkt_count=1,
            ),
            errmsg="command 'sh /tmp/kill9.sh' failed",
        ),
        (
            f"{SENDER_HEX}10121a21636f6d6d616e6420277368202f746d702f6b696c6c392e7368272066"
            "61696c6564322e080012046f75740a1a20666237373932623635393666643132"
            "353032646431333263306162613035363820042801"
        ),
    ),
    "a trace": (
        says(19, DataChunk(), errmsg="strace: Process 4242 attached\nread(0, "),
        (
            f"{SENDER_HEX}10131a267374726163653a2050726f6365737320343234322061747461636865"
            "640a7265616428302c203200"
        ),
    ),
    "no such command": (
        says(20, DataChunk(), errmsg="command not found for id nope"),
        f"{SENDER_HEX}10141a1d636f6d6d616e64206e6f7420666f756e6420666f72206964206e6f70653200",
    ),
    "no command named": (
        says(20, DataChunk(), errmsg="command_ident not specified in run command request"),
        (
            f"{SENDER_HEX}10141a32636f6d6d616e645f6964656e74206e6f742073706563696669656420"
            "696e2072756e20636f6d6d616e6420726571756573743200"
        ),
    ),
    "a parameter that is not there": (
        says(
            20,
            DataChunk(),
            errmsg="rejected run command 'date $pid' with invalid params: param `pid` not found",
        ),
        (
            f"{SENDER_HEX}10141a4b72656a65637465642072756e20636f6d6d616e642027646174652024"
            "70696427207769746820696e76616c696420706172616d733a20706172616d20"
            "6070696460206e6f7420666f756e643200"
        ),
    ),
    "a parameter that does not match": (
        says(
            20,
            DataChunk(),
            errmsg="rejected run command 'date $pid' with invalid params: param `pid` is invalid",
        ),
        (
            f"{SENDER_HEX}10141a4c72656a65637465642072756e20636f6d6d616e642027646174652024"
            "70696427207769746820696e76616c696420706172616d733a20706172616d20"
            "607069646020697320696e76616c69643200"
        ),
    ),
    "a process that is gone": (
        says(
            20,
            DataChunk(),
            errmsg="open namespace file /proc/99/ns/net failed: "
            "No such file or directory (os error 2)",
        ),
        (
            f"{SENDER_HEX}10141a526f70656e206e616d6573706163652066696c65202f70726f632f3939"
            "2f6e732f6e6574206661696c65643a204e6f20737563682066696c65206f7220"
            "6469726563746f727920286f73206572726f722032293200"
        ),
    ),
    "a program that is not there": (
        says(
            20,
            DataChunk(),
            errmsg="command 'netstat -tunp' execute failed: "
            "command execution failed with No such file or directory (os error 2)",
        ),
        (
            f"{SENDER_HEX}10141a6c636f6d6d616e6420276e657473746174202d74756e70272065786563"
            "757465206661696c65643a20636f6d6d616e6420657865637574696f6e206661"
            "696c65642077697468204e6f20737563682066696c65206f7220646972656374"
            "6f727920286f73206572726f722032293200"
        ),
    ),
    "a system call that failed": (
        says(20, DataChunk(), errmsg="transparent"),
        f"{SENDER_HEX}10141a0b7472616e73706172656e743200",
    ),
    "an execution type that the agent does not know": (
        says(42, DataChunk(), errmsg="unsupported execution type: 99"),
        f"{SENDER_HEX}102a1a1e756e737570706f7274656420657865637574696f6e20747970653a2039393200",
    ),
    "an execution type that the agent was built without": (
        says(42, DataChunk(), errmsg="unsupported execution type: DryReplayPcap"),
        (
            f"{SENDER_HEX}102a1a29756e737570706f7274656420657865637574696f6e20747970653a20"
            "4472795265706c6179506361703200"
        ),
    ),
    "packets replayed": (
        says(7, DataChunk(content=b"\x00\x00\x00\x01x")),
        f"{SENDER_HEX}1007320712050000000178",
    ),
}
