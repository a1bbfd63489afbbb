"""DeepFlow agents at a real controller: what a run means there, and what users are told."""

import asyncio
import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from farhand.domain.deepflow.catalogue import OFFERS, offer
from farhand.domain.deepflow.messages import (
    CommandParam,
    DataChunk,
    LinuxNamespace,
    Parameter,
    ParamKind,
    Response,
)
from farhand.domain.limits import DEFAULTS, MIB
from farhand.domain.output import StreamName
from farhand.domain.run import RunState, Why
from farhand.errors import AgentGone, CannotCancel, InvalidParameter, UnknownCommand
from farhand.testing.deepflow import FakeDeepFlowAgent, Outcome, Responder, hold, print_out
from farhand.testing.deepflow.responder import INIT, SENDER
from farhand.wire.deepflow import OLD_METHOD
from tests.integration.deepflow.estate import DATE, NAME, STRACE, Estate, estate, eventually


async def asked(agent: FakeDeepFlowAgent, count: int = 1) -> int:
    """The number of the latest request, once the agent was asked *count* things to run."""
    await agent.until(lambda: len(runs(agent)) >= count)
    return runs(agent)[-1]


def runs(agent: FakeDeepFlowAgent) -> list[int]:
    """The numbers of the runs that the agent was asked for."""
    return [it.request_id or 0 for it in agent.ordered if it.exec_type == 2]


# --- how runs end -------------------------------------------------------------------------


async def test_a_command_runs_and_its_output_is_kept(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(behaviour=print_out(b"hello\n"))):
        agent = await it.online()
        run = await it.final(await it.submit())

        assert NAME == agent.name
        assert (RunState.SUCCEEDED, Why.EXIT, 0) == (run.state, run.why, run.exit_code)
        assert b"hello\n" == await it.output(run)


async def test_success_without_output_is_success(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent():
        await it.online()
        run = await it.final(await it.submit())

        assert (RunState.SUCCEEDED, b"") == (run.state, await it.output(run))


@pytest.mark.parametrize(
    ("outcome", "why", "code", "printed"),
    [
        (Outcome(stdout=b"out", stderr=b"err", code=3), Why.EXIT, 3, (b"out", b"err")),
        (Outcome(stderr=b"err", code=1), Why.EXIT, 1, (b"", b"err")),
        (Outcome(code=1), Why.EXIT, 1, (b"", b"")),
        (Outcome(stdout=b"out", code=None), Why.SIGNAL, None, (b"out", b"")),
        (Outcome(stderr=b"strace: 7\n", code=None), Why.SIGNAL, None, (b"", b"strace: 7\n")),
        (
            Outcome(not_started="No such file or directory (os error 2)"),
            Why.PROGRAM_NOT_FOUND,
            None,
            (b"", b""),
        ),
        (Outcome(trouble="transparent"), Why.AGENT_FAILED, None, (b"", b"")),
    ],
)
async def test_a_failure_says_what_happened(
    tmp_path: Path, outcome: Outcome, why: Why, code: int | None, printed: tuple[bytes, bytes]
) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(behaviour=lambda _: outcome)):
        await it.online()
        run = await it.final(await it.submit())

        assert (RunState.FAILED, why, code) == (run.state, run.why, run.exit_code)
        assert printed == (await it.output(run), await it.output(run, "stderr"))


async def test_parameters_and_the_network_namespace_reach_the_command(tmp_path: Path) -> None:
    words: list[list[str]] = []

    def behave(argv: list[str]) -> Outcome:
        words.append(argv)
        return Outcome(stderr=b"trace", code=None)

    async with estate(tmp_path) as it, it.agent(Responder(behaviour=behave)) as agent:
        await it.online()
        body = {
            "targets": {"names": [NAME]},
            "command": STRACE,
            "params": {"timeout": "1s", "pid": "7"},
            "namespaces_of": {"pid": 1, "kinds": ["net"]},
        }
        answer = (await it.client.post("/api/v1/jobs?wait_s=20", json=body)).json()

        assert {"failed": 1} == answer["counts"]
        assert "trace" == answer["runs"][0]["stderr"]["text"]
        assert ["timeout", "--signal=KILL", "--preserve-status", "1s"] == words[0][:4]
        assert [1] == [each.linux_ns_pid for each in agent.ordered if each.exec_type == 2]


async def test_what_the_agent_refuses_is_told_with_its_own_words(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent() as agent:
        await it.online()
        agent.responder.pids = frozenset()
        body = {
            "targets": {"names": [NAME]},
            "command": DATE,
            "namespaces_of": {"pid": 77, "kinds": ["net"]},
        }
        (run,) = (await it.client.post("/api/v1/jobs?wait_s=20", json=body)).json()["runs"]

        assert ("failed", "namespaces") == (run["state"], run["why"])
        assert "open namespace file /proc/77/ns/net failed" in run["message"]


async def test_an_answer_with_another_md5_is_an_error_and_what_came_is_kept(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(behaviour=hold())) as agent:
        await it.online()
        run = await it.submit()
        chunk = DataChunk(errno=0, content=b"hello", md5="0" * 32, total_len=5, pkt_count=1)
        agent.say(Response(sender=SENDER, request_id=await asked(agent), result=chunk))
        ended = await it.final(run)

        assert (RunState.FAILED, Why.OUTPUT_CORRUPT) == (ended.state, ended.why)
        assert b"hello" == await it.output(run)


async def test_much_output_comes_whole_and_memory_does_not_grow_with_it(tmp_path: Path) -> None:
    process = psutil.Process()
    large = os.urandom(MIB) * 72
    digest = hashlib.sha256(large).hexdigest()
    limits = replace(DEFAULTS, deepflow_results_bytes=8 * MIB)
    responder = Responder(behaviour=print_out(large))
    async with estate(tmp_path, limits) as it, it.agent(responder):
        await it.online()
        run, room, before = await it.submit(timeout_s=60.0), it.room(), process.memory_info().rss
        used: list[int] = []
        async with asyncio.timeout(60):
            while not (await it.run(run)).state.final:
                used.append(room.used)
                await asyncio.sleep(0.005)
        ended = await it.run(run)

        assert RunState.SUCCEEDED is ended.state
        assert digest == ended.streams[StreamName.STDOUT].sha256_kept
        assert len(large) == (await it.tenant.store.offsets(run.id))[StreamName.STDOUT]
        assert max(used) < 8 * MIB + MIB
        assert 0 == room.used
        # The fake agent holds its answer once more, cut in batches that wait to be sent.
        assert process.memory_info().rss - before < 200 * MIB


# --- one at a time ------------------------------------------------------------------------


async def test_runs_go_to_an_agent_one_after_the_other(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(behaviour=hold(b"done"))) as agent:
        await it.online()
        first, second = await it.submit(), await it.submit()
        await it.in_state(first, RunState.RUNNING)
        waiting = await it.in_state(second, RunState.SENT)

        assert waiting.started_at is None
        assert 1 == len(runs(agent))
        for run in (first, second):
            await it.in_state(run, RunState.RUNNING)
            agent.finish()

            assert RunState.SUCCEEDED is (await it.final(run)).state
        assert [] == agent.responder.orphans


async def test_a_run_waits_for_its_turn_no_longer_than_its_queue_ttl(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(behaviour=hold())) as agent:
        await it.online()
        first = await it.submit()
        await it.in_state(first, RunState.RUNNING)
        second = await it.final(await it.submit(queue_ttl_s=0.2))

        assert (RunState.EXPIRED, Why.QUEUE_TTL) == (second.state, second.why)
        assert "busy" in second.message
        assert 1 == len(runs(agent))


async def test_more_runs_than_may_wait_are_refused(tmp_path: Path) -> None:
    limits = replace(DEFAULTS, deepflow_runs_waiting=1)
    async with estate(tmp_path, limits) as it, it.agent(Responder(behaviour=hold())):
        await it.online()
        await it.in_state(await it.submit(), RunState.RUNNING)
        await it.in_state(await it.submit(), RunState.SENT)
        third = await it.final(await it.submit())

        assert (RunState.REFUSED, Why.AGENT_FULL) == (third.state, third.why)


async def test_a_late_answer_ends_a_run_that_was_lost(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(behaviour=hold(b"late"))) as agent:
        await it.online()
        run, other = await it.submit(timeout_s=0.1), await it.submit()
        lost = await it.in_state(run, RunState.LOST)

        assert Why.NO_CANCEL is lost.why
        assert 1 == len(runs(agent))  # the lane stays taken
        agent.finish()
        ended = await it.final(run)

        assert (RunState.SUCCEEDED, Why.EXIT, "") == (ended.state, ended.why, ended.message)
        assert b"late" == await it.output(run)
        await it.in_state(other, RunState.RUNNING)


async def test_cancelling_what_runs_is_refused_and_what_waits_is_not(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent(Responder(behaviour=hold(b"on"))) as agent:
        await it.online()
        running, waiting = await it.submit(), await it.submit()
        await it.in_state(running, RunState.RUNNING)
        answers = [
            await it.client.post(f"/api/v1/runs/{running.id}/cancel"),
            await it.client.post(f"/api/v1/jobs/{running.job}/cancel"),
        ]

        assert [(409, "cannot-cancel")] * 2 == [(a.status_code, a.json()["code"]) for a in answers]
        assert not (await it.run(running)).cancel_requested
        with pytest.raises(CannotCancel):
            await it.tenant.jobs.cancel_run(running.id, by="test")
        await it.tenant.jobs.cancel_run(waiting.id, by="test")

        assert RunState.CANCELLED is (await it.final(waiting)).state
        agent.finish()
        assert RunState.SUCCEEDED is (await it.final(running)).state
        assert 1 == len(runs(agent))


# --- what it offers -----------------------------------------------------------------------


async def test_commands_and_namespaces_are_listed_and_commands_once_for_each_stream(
    tmp_path: Path,
) -> None:
    async with estate(tmp_path) as it, it.agent() as agent:
        await it.online()
        commands = [
            (await it.client.get(f"/api/v1/agents/{NAME}/commands")).json()["items"]
            for _ in range(3)
        ][-1]
        namespaces = (await it.client.get(f"/api/v1/agents/{NAME}/namespaces")).json()["items"]

        assert [offer.command.ident for offer in OFFERS] == [each["ident"] for each in commands]
        assert ("strace", "system") in {(each["label"], each["group"]) for each in commands}
        assert [(INIT.id, "net", 1)] == [(n["id"], n["kind"], n["pid"]) for n in namespaces]
        assert [0, 1] == [each.exec_type for each in agent.ordered]


async def test_no_namespaces_are_an_empty_list_and_an_error_is_told(tmp_path: Path) -> None:
    nothing: tuple[LinuxNamespace, ...] = ()
    async with estate(tmp_path) as it, it.agent(Responder(namespaces=nothing)) as agent:
        known = await it.online()

        assert [] == list(await it.tenant.agents.namespaces(known.id))
        agent.responder.namespaces = "Permission denied (os error 13)"
        with pytest.raises(AgentGone, match="Permission denied"):
            await it.tenant.agents.namespaces(known.id)


async def test_a_call_that_its_catalogue_does_not_take_is_never_sent(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent() as agent:
        await it.online()
        with pytest.raises(UnknownCommand):
            await it.submit("system_x")
        for params in (
            {"timeout": "1s"},
            {"timeout": "1s", "pid": "7\n"},
            {"timeout": "1s", "pid": "x7"},
            {"timeout": "1s", "pid": "7", "more": "1"},
        ):
            with pytest.raises(InvalidParameter):
                await it.submit(STRACE, params=params)

        assert [] == runs(agent)


async def test_an_agents_pattern_decides_what_its_parameter_takes_whatever_its_kind(
    tmp_path: Path,
) -> None:
    flag = CommandParam(name="all", regex="^(0|1)$", kind=ParamKind.BOOLEAN)
    plain = offer("probe", "ls $all")
    offers = (replace(plain, command=replace(plain.command, params=(flag,))),)
    async with estate(tmp_path) as it, it.agent(Responder(offers=offers)) as agent:
        await it.online()
        ident = offers[0].command.ident or ""
        with pytest.raises(InvalidParameter):
            await it.submit(ident, params={"all": "true"})
        for value in ("1", ""):
            await it.final(await it.submit(ident, params={"all": value}))
        listed = (await it.client.get(f"/v1/agent/{NAME}/cmd")).json()["DATA"]["remote_commands"]

        sent = [it.params for it in agent.ordered if it.exec_type == 2]
        assert [(Parameter("all", "1"),), (Parameter("all", ""),)] == sent
        assert [("^(0|1)$", 1)] == [(p["regex"], p["param_type"]) for p in listed[0]["params"]]


async def test_a_pattern_that_cannot_be_read_refuses_its_calls_and_nothing_else(
    tmp_path: Path,
) -> None:
    strace = next(offer for offer in OFFERS if offer.command.ident == STRACE)
    broken = replace(strace.command.params[0], regex="(?=x)")
    command = replace(strace.command, params=(broken, *strace.command.params[1:]))
    offers = (replace(strace, command=command), *(it for it in OFFERS if it is not strace))
    async with estate(tmp_path) as it, it.agent(Responder(offers=offers)):
        known = await it.online()
        with pytest.raises(InvalidParameter, match=r"cannot be read here.*\(\?=x\)"):
            await it.submit(STRACE, params={"timeout": "1s", "pid": "7"})

        assert "(?=x)" == (await it.tenant.agents.commands(known.id))[0].params[0].pattern
        assert RunState.SUCCEEDED is (await it.final(await it.submit())).state


@pytest.mark.parametrize(
    "asked_for", [{"argv": ["uptime"]}, {"script": "uptime"}, {"command": DATE, "cwd": "/"}]
)
async def test_what_it_cannot_do_is_refused_before_it_is_sent(
    tmp_path: Path, asked_for: dict[str, object]
) -> None:
    async with estate(tmp_path) as it, it.agent() as agent:
        await it.online()
        body = {"targets": {"names": [NAME]}, **asked_for}
        (run,) = (await it.client.post("/api/v1/jobs?wait_s=20", json=body)).json()["runs"]

        assert ("refused", "unsupported") == (run["state"], run["why"])
        assert "a DeepFlow agent cannot do this" in run["message"]
        assert [] == runs(agent)


async def test_the_api_shows_what_it_is_and_can(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent():
        await it.online()
        found = (await it.client.get(f"/api/v1/agents/{NAME}")).json()

        assert ["namespaces"] == found["capabilities"]
        assert ("deepflow-agent", "online") == (found["software"], found["liveness"])
        assert "deepflow" == found["facts"]["protocol"]
        assert (SENDER.ip, SENDER.mac) == (found["ip"], found["mac"])


async def test_the_service_of_old_agents_is_served_too(tmp_path: Path) -> None:
    responder = Responder(behaviour=print_out(b"old"))
    async with estate(tmp_path) as it, it.agent(responder, method=OLD_METHOD):
        await it.online()

        assert RunState.SUCCEEDED is (await it.final(await it.submit())).state


# --- the command line, and DeepFlow's own API ---------------------------------------------


async def farhand(it: Estate, *argv: str) -> tuple[int | None, str, str]:
    """What the command line says; a process of its own, as users start it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "import sys; from farhand.cli.main import main; sys.exit(main())", *argv),
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(it.data),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "FARHAND_URL": it.controller.http.url,
            "FARHAND_TOKEN": it.token,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_command_line_is_the_same_as_for_native_agents(tmp_path: Path) -> None:
    responder = Responder(behaviour=print_out(b"Thu\n", b"oops\n", code=3))
    async with estate(tmp_path) as it, it.agent(responder):
        await it.online()
        renamed = await farhand(it, "agents", "rename", NAME, "db-1")
        ran = await farhand(it, "run", "db-1", "--command", DATE)
        argv = await farhand(it, "run", "db-1", "--", "uptime")
        commands = await farhand(it, "commands", "db-1")
        namespaces = await farhand(it, "namespaces", "db-1")

        assert (0, "") == (renamed[0], renamed[2])
        assert (3, "Thu\n") == ran[:2]
        assert "oops" in ran[2]
        assert argv[0]
        assert "a DeepFlow agent cannot do this" in argv[2]
        assert "strace" in commands[1]
        assert DATE in commands[1]
        assert "/sbin/init" in namespaces[1]


async def test_an_operators_name_stays_when_the_agent_comes_back(tmp_path: Path) -> None:
    async with estate(tmp_path) as it:
        async with it.agent():
            known = await it.online()
            await it.client.patch(f"/api/v1/agents/{NAME}", json={"name": "db-1"})
        async with it.agent():
            again = await it.online()

            assert (known.id, "db-1") == (again.id, again.name)
            assert 1 == len(await it.agents())


async def test_deepflows_own_api_reaches_it(tmp_path: Path) -> None:
    async with estate(tmp_path) as it, it.agent():
        await it.online()
        answer = (await it.client.get(f"/v1/agent/{NAME}/cmd")).json()

        assert [offer.command.cmd for offer in OFFERS] == [
            each["cmd"] for each in answer["DATA"]["remote_commands"]
        ]
        assert [INIT.id] == [each["id"] for each in answer["DATA"]["linux_namespaces"]]


async def test_an_agent_that_does_not_answer_for_its_commands_is_told_so(tmp_path: Path) -> None:
    limits = replace(DEFAULTS, request_s=0.2)
    async with estate(tmp_path, limits) as it, it.agent() as agent:
        known = await it.online()
        agent.responder.receive = lambda request: None  # type: ignore[method-assign]  # deaf
        with pytest.raises(AgentGone) as told:
            await it.tenant.agents.commands(known.id)

        assert told.value.details["connected"]
        assert await eventually(it.online) is not None
