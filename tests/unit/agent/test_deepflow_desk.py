"""What is answered to each request of a DeepFlow server: bytes in, bytes out."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.agent.catalogue import Catalogue
from farhand.agent.deepflow.desk import Asked, Branch, Desk, Host, lsns
from farhand.agent.deepflow.offers import Offers
from farhand.agent.entry import Entry
from farhand.domain.command import Command
from farhand.domain.deepflow.batches import result
from farhand.domain.deepflow.catalogue import OFFERS
from farhand.domain.deepflow.messages import Parameter, Request, Response, Sender
from farhand.domain.job import NamespaceKind, NamespacesOf
from farhand.domain.limits import AGENT_DEFAULTS
from farhand.domain.messages import Namespace
from farhand.domain.output import StreamName
from farhand.domain.run import Why
from farhand.errors import LaunchFailed
from farhand.testing.launcher import FakeLauncher, FakeProcess, Program
from farhand.wire.deepflow import decode_request, encode_request, encode_response
from farhand.wire.gen import agent_pb2 as pb
from tests.until import until

SENDER = Sender("10.0.0.1", "00:00:00:00:00:01", "", "")
H = bytes.fromhex("0a210a0831302e302e302e31121130303a30303a30303a30303a30303a30311a002200")
LIMITS = replace(
    AGENT_DEFAULTS, deepflow_runs=2, deepflow_output_bytes=4096, kill_grace_s=0.05, drain_s=0.05
)
NAMESPACES = (
    Namespace(
        id=4026531840,
        kind=NamespaceKind.NET,
        pid=1,
        owner="root",
        command="/sbin/init",
        processes=90,
    ),
    Namespace(
        id=4026531841,
        kind=NamespaceKind.MNT,
        pid=1,
        owner="root",
        command="/sbin/init",
        processes=91,
    ),
    Namespace(
        id=4026532001, kind=NamespaceKind.NET, pid=77, owner="postgres", command="pg", processes=2
    ),
)
SMALL = b"hello"
LARGE = bytes(range(250)) * 10 + b"x" * 192  # 2692 bytes


def program(
    stdout: bytes = b"", stderr: bytes = b"", code: int = 0, *, dies: bool = False
) -> Program:
    async def run(process: FakeProcess) -> int:
        await process.print(stdout)
        await process.print(stderr, StreamName.STDERR)
        return await die() if dies else code

    async def die() -> int:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return 0

    return run


PROGRAMS: Mapping[str, Program | LaunchFailed] = {
    "date": program(SMALL),
    "large": program(LARGE),
    "fail-3": program(b"out\n", b"err\n", 3),
    "fail-4": program(b"", b"\xff\xfe", 4),
    "noise": program(b"out\n", b"err\n"),
    "killed": program(b"out\n", dies=True),
    "trace": program(b"", b"strace: Process 1 attached\n", dies=True),
    "flood": program(b"y" * 5000),
    "broken": LaunchFailed(Why.SPAWN_FAILED, "no memory"),
    "forbidden": LaunchFailed(Why.NOT_EXECUTABLE, "not executable"),
}
OWN = ("true", "false", "sleep", "gone", *PROGRAMS)


@dataclass
class Stage:
    """A desk, the host behind it, and what was answered."""

    desk: Desk
    host: Host
    launcher: FakeLauncher
    sent: list[bytes] = field(default_factory=list)

    async def reply(self, responses: Iterable[Response]) -> None:
        for response in responses:
            self.sent.append(encode_response(response))

    async def ask(self, request: bytes) -> list[bytes]:
        """What is answered to *request*, and nothing else."""
        before = len(self.sent)
        await self.desk.answer(decode_request(request), self.reply)
        return self.sent[before:]

    async def run(self, ident: str, number: int = 3, **more: Any) -> list[bytes]:
        asked = Request(request_id=number, exec_type=2, ident=ident, **more)
        return await self.ask(encode_request(asked))


def no_namespaces() -> tuple[Namespace, ...]:
    return ()


def unreadable() -> tuple[Namespace, ...]:
    raise PermissionError(13, "Permission denied")


@asynccontextmanager
async def stage(
    namespaces: Callable[[], tuple[Namespace, ...]] = lambda: NAMESPACES,
    *,
    limits: Any = LIMITS,
    more: Mapping[int, Branch] | None = None,
    programs: Mapping[str, LaunchFailed] | None = None,
) -> AsyncIterator[Stage]:
    entries = [Entry(command=Command(ident=name), argv=(name,)) for name in OWN]
    async with FakeLauncher({**PROGRAMS, **(programs or {})}) as launcher:
        host = Host(
            offers=Offers(Catalogue(entries), lambda _: True),
            launcher=launcher,
            namespaces=namespaces,
            env={"PATH": "/bin"},
            limits=limits,
        )
        yield Stage(Desk(SENDER, {**host.branches, **(more or {})}), host, launcher)


def response(number: int, errmsg: str | None = None, **chunk: Any) -> bytes:
    """H with more in it, by stock protobuf: a *chunk* of no fields is one that is there."""
    message = pb.RemoteExecResponse.FromString(H)
    message.request_id = number
    if errmsg is not None:
        message.errmsg = errmsg
    message.command_result.SetInParent()
    for name, value in chunk.items():
        setattr(message.command_result, name, value)
    return message.SerializeToString()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


# --- transcripts --------------------------------------------------------------------------


async def test_a_small_result_is_one_message() -> None:
    async with stage() as s:
        expected = response(
            3,
            errno=0,
            content=b"hello",
            md5="5d41402abc4b2a76b9719d911017c592",
            total_len=5,
            pkt_count=1,
        )

        assert [expected] == await s.ask(bytes.fromhex("080310023a0a73797374656d5f643265"))


async def test_a_list_of_commands_begins_with_deepflows_in_their_order() -> None:
    async with stage() as s:
        [listed] = await s.ask(bytes.fromhex("08021000"))
        message = pb.RemoteExecResponse.FromString(listed)

        assert listed.startswith(H + bytes.fromhex("1002"))
        assert not message.HasField("command_result")
        assert [each.command.ident for each in OFFERS] == [c.ident for c in message.commands[:10]]


async def test_a_list_of_namespaces_has_those_of_the_network() -> None:
    async with stage() as s:
        [listed] = await s.ask(bytes.fromhex("082a1001"))
        expected = pb.RemoteExecResponse.FromString(H)
        expected.request_id = 42
        for each in (NAMESPACES[0], NAMESPACES[2]):
            expected.linux_namespaces.add(
                id=each.id, ns_type="net", user=each.owner, pid=each.pid, cmd=each.command
            )

        assert expected.SerializeToString() == listed


@pytest.mark.parametrize(
    ("namespaces", "told"),
    [
        (no_namespaces, "no namespaces found"),
        (unreadable, "the namespaces cannot be read: Permission denied"),
    ],
)
async def test_no_namespace_is_an_error_without_a_result(
    namespaces: Callable[[], tuple[Namespace, ...]], told: str
) -> None:
    async with stage(namespaces) as s:
        [listed] = await s.ask(bytes.fromhex("082a1001"))
        message = pb.RemoteExecResponse.FromString(listed)

        assert told == message.errmsg
        assert not message.HasField("command_result")


async def test_a_large_result_comes_in_batches_and_their_size_stays() -> None:
    parts = (LARGE[:1024], LARGE[1024:2048], LARGE[2048:])
    whole: dict[str, Any] = {"errno": 0, "total_len": 2692, "pkt_count": 3}
    expected = [
        *(response(3, content=part, **whole) for part in parts[:2]),
        response(3, content=parts[2], md5=md5(LARGE), **whole),
    ]
    async with stage() as s:
        assert expected == await s.run("large", batch_len=10)
        assert expected == await s.run("large")
        assert 1 == len(await s.run("large", batch_len=5000))
        assert 1 == len(await s.run("large"))


async def test_the_size_of_batches_that_another_request_asks_for_does_not_count() -> None:
    async with stage() as s:
        for kind in (0, 1, 3, 99):
            asked = Request(request_id=9, exec_type=kind, batch_len=1024)
            await s.ask(encode_request(asked))

        assert 1 == len(await s.run("large"))


async def test_success_without_output_has_the_md5_that_ends_the_wait() -> None:
    empty = "d41d8cd98f00b204e9800998ecf8427e"
    async with stage() as s:
        expected = response(3, errno=0, content=b"", md5=empty, total_len=0, pkt_count=1)

        assert [expected] == await s.run("true")


async def test_failures_are_told_as_deepflows_agents_tell_them() -> None:
    out: dict[str, Any] = {"content": b"out\n", "md5": md5(b"out\n"), "total_len": 4}
    out["pkt_count"] = 1
    async with stage() as s:
        assert [response(3, "command 'false' failed", errno=1)] == await s.run("false")
        assert [response(3, "err\n", errno=3, **out)] == await s.run("fail-3")
        assert [response(3, "command 'fail-4' failed", errno=4)] == await s.run("fail-4")
        assert [response(3, errno=0, **out)] == await s.run("noise")
        assert [response(3, "command 'killed' failed", errno=0, **out)] == await s.run("killed")
        assert [response(3, "strace: Process 1 attached\n")] == await s.run("trace")


async def test_errors_have_deepflows_words() -> None:
    started = "execute failed: command execution failed with"
    gone = "No such file or directory (os error 2)"
    async with stage() as s:
        for ident, told in (
            ("nothing", "command not found for id nothing"),
            ("gone", f"command 'gone' {started} {gone}"),
            ("broken", f"command 'broken' {started} no memory"),
            ("forbidden", f"command 'forbidden' {started} Permission denied (os error 13)"),
        ):
            assert [response(18, told)] == await s.run(ident, 18)
        missing = Request(request_id=18, exec_type=2)
        told = "command_ident not specified in run command request"
        assert [response(18, told)] == await s.ask(encode_request(missing))


async def test_kinds_that_are_not_offered_are_answered_by_number_or_name() -> None:
    async with stage() as s:
        replay = "unsupported execution type: DryReplayPcap"

        assert [response(42, "unsupported execution type: 99")] == await s.ask(
            encode_request(Request(request_id=42, exec_type=99))
        )
        assert [response(42, replay)] == await s.ask(
            encode_request(Request(request_id=42, exec_type=3))
        )


async def test_a_request_without_a_number_is_answered_without_one() -> None:
    async with stage() as s:
        [listed] = await s.ask(encode_request(Request(exec_type=2, ident="true")))

        assert not pb.RemoteExecResponse.FromString(listed).HasField("request_id")


# --- a new kind is a new branch -----------------------------------------------------------


async def reverse(asked: Asked) -> None:
    """An execution type that DeepFlow does not have: turn a parameter round."""
    text = "".join(reversed(asked.request.params[0].value or ""))
    await asked.reply(result(asked.sender, asked.request.request_id, stdout=text.encode()))


async def test_a_new_execution_type_is_one_branch_and_others_answer_that_they_lack_it() -> None:
    params = (Parameter("text", "abc"),)
    asked = encode_request(Request(request_id=7, exec_type=60, params=params))
    async with stage(more={60: reverse}) as new, stage() as old:
        [answer] = await new.ask(asked)

        assert b"cba" == pb.RemoteExecResponse.FromString(answer).command_result.content
        assert [response(7, "unsupported execution type: 60")] == await old.ask(asked)
        for ident in ("date", "fail-3"):
            assert await old.run(ident) == await new.run(ident)


async def test_a_branch_that_fails_is_answered_all_the_same() -> None:
    async def fail(asked: Asked) -> None:
        raise RuntimeError("a bug")

    async def fail_late(asked: Asked) -> None:
        await reverse(asked)
        raise RuntimeError("a bug")

    params = (Parameter("text", "abc"),)
    async with stage(more={60: fail, 61: fail_late}) as s:
        first = await s.ask(encode_request(Request(request_id=7, exec_type=60)))
        second = await s.ask(encode_request(Request(request_id=8, exec_type=61, params=params)))

        assert [response(7, "transparent")] == first
        assert 1 == len(second)


# --- namespaces ---------------------------------------------------------------------------


async def test_a_run_is_put_into_the_network_namespace_of_the_process() -> None:
    async with stage() as s:
        await s.run("date")
        await s.run("date", linux_ns_pid=os.getpid())
        await s.run("date", linux_ns_pid=77)

        kinds = (NamespaceKind.NET,)
        assert [None, None, NamespacesOf(77, kinds)] == [
            launch.namespaces for launch in s.launcher.launches
        ]


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (FileNotFoundError(2, "x"), "No such file or directory (os error 2)"),
        (ProcessLookupError(3, "x"), "No such file or directory (os error 2)"),
        (PermissionError(13, "x"), "Permission denied (os error 13)"),
        (OSError(24, "x"), "Too many open files"),
        (None, "it may not be entered"),
    ],
)
async def test_a_namespace_that_cannot_be_entered_runs_nothing(
    cause: OSError | None, told: str
) -> None:
    failed = LaunchFailed(Why.NAMESPACES, "it may not be entered")
    failed.__cause__ = cause
    async with stage(programs={"date": failed}) as s:
        [answer] = await s.run("date", linux_ns_pid=77)

        assert response(3, f"open namespace file /proc/77/ns/net failed: {told}") == answer


async def test_lsns_shows_all_kinds_as_a_table() -> None:
    table = (
        "        NS TYPE   NPROCS   PID USER     COMMAND\n"
        "4026531840 net        90     1 root     /sbin/init\n"
        "4026531841 mnt        91     1 root     /sbin/init\n"
        "4026532001 net         2    77 postgres pg\n"
    )
    async with stage() as s:
        [answer] = await s.run("system_l2s")

        assert table == lsns(NAMESPACES)
        assert table.encode() == pb.RemoteExecResponse.FromString(answer).command_result.content


async def test_lsns_needs_the_process_that_is_named_and_a_proc_that_can_be_read() -> None:
    nobody = 2**32 - 1
    async with stage(unreadable) as s:
        [unread] = await s.run("system_l2s")
        [gone] = await s.run("system_l2s", linux_ns_pid=nobody)

        told = f"open namespace file /proc/{nobody}/ns/net failed: "
        assert response(3, "transparent") == unread
        assert response(3, told + "No such file or directory (os error 2)") == gone


# --- bounds -------------------------------------------------------------------------------


async def test_runs_beyond_the_limit_are_answered_at_once() -> None:
    async with stage() as s, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(s.run("sleep")) for _ in range(2)]
        await until(lambda: len(s.launcher.launches) == 2)
        full = "command 'date' execute failed: this agent runs 2 commands at once, which is its "

        assert [response(9, f"{full}limit")] == await s.run("date", 9)
        s.host.stop.set()
        await asyncio.wait(running)
        told = "command 'date' execute failed: the agent is stopping"
        assert [response(9, told)] == await s.run("date", 9)


async def test_a_slot_is_taken_until_the_answer_is_sent() -> None:
    sent = asyncio.Event()

    async def hold(responses: Iterable[Response]) -> None:
        await sent.wait()

    async with stage(limits=replace(LIMITS, deepflow_runs=1)) as s, asyncio.TaskGroup() as tasks:
        first = Request(request_id=1, exec_type=2, ident="true")
        held = tasks.create_task(s.desk.answer(first, hold))
        await until(lambda: s.launcher.launches)
        [refused] = await s.run("true")
        sent.set()
        await held
        [done] = await s.run("true")

        assert "which is its limit" in pb.RemoteExecResponse.FromString(refused).errmsg
        assert not pb.RemoteExecResponse.FromString(done).errmsg


async def test_a_result_that_is_cut_is_an_error_that_says_so() -> None:
    kept = b"y" * 4096
    told = "farhand: stdout is cut after 4096 bytes; 904 are missing"
    async with stage() as s:
        expected = response(
            3, told, errno=0, content=kept, md5=md5(kept), total_len=4096, pkt_count=1
        )

        assert [expected] == await s.run("flood")


async def test_a_run_past_its_time_says_so() -> None:
    async with stage(limits=replace(LIMITS, deepflow_run_s=0.05)) as s:
        told = "farhand: killed after 0.05 s, its time limit"

        assert [response(3, told)] == await s.run("sleep")


# --- anything -----------------------------------------------------------------------------

_TEXT = st.none() | st.text(max_size=8)
_REQUESTS = st.builds(
    Request,
    request_id=st.none() | st.integers(0, 2**64 - 1),
    exec_type=st.sampled_from([0, 1, 2, 2, 2, 2, 3, 4, -1, 2**31 - 1]),
    params=st.lists(
        st.builds(Parameter, st.none() | st.sampled_from(["pid", "timeout", ""]), _TEXT),
        max_size=3,
    ).map(tuple),
    linux_ns_pid=st.none() | st.sampled_from([0, 1, os.getpid(), 2**32 - 1]),
    batch_len=st.none() | st.integers(0, 2**32 - 1),
    ident=_TEXT | st.sampled_from([*OWN, *(each.command.ident or "" for each in OFFERS)]),
)


def completions(answer: Iterable[bytes]) -> int:
    """How often DeepFlow's server takes an answer to a run for complete."""
    messages = [pb.RemoteExecResponse.FromString(each) for each in answer]
    return sum(
        message.command_result.HasField("md5")
        or (message.HasField("errmsg") and not message.command_result.HasField("content"))
        for message in messages
    )


def driven(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@given(st.lists(_REQUESTS, max_size=6))
def test_every_request_is_completed_exactly_once(requests: list[Request]) -> None:
    async def drive() -> None:
        quick = replace(LIMITS, deepflow_run_s=0.001)
        async with stage(limits=quick) as s:
            for request in requests:
                answer = await s.ask(encode_request(request))
                last = pb.RemoteExecResponse.FromString(answer[-1])
                listed = len(last.commands) + len(last.linux_namespaces)
                once = 1 if listed else completions(answer)

                assert 1 == once
                assert all(H[2:] in each for each in answer)
                assert {request.request_id} == {
                    m.request_id if m.HasField("request_id") else None
                    for m in map(pb.RemoteExecResponse.FromString, answer)
                }

    driven(drive())
