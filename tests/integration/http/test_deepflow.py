"""DeepFlow's addresses, with agents behind them: what a program written against them meets."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farhand.boot.config import ControllerConfig
from farhand.boot.controller import running_controller
from farhand.domain.command import Command, Param, ParamType
from farhand.domain.job import CommandCall, NamespaceKind, NamespacesOf
from farhand.domain.limits import DEFAULTS
from farhand.domain.messages import FromAgent, RunEnded, RunRefused, RunStarted, StartRun
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import Ending, RunState, Why
from farhand.http.app import build_app
from farhand.http.deepflow.cipher import UNREADABLE
from farhand.testing import Behaviour, ended, hang, output, succeed
from tests.integration.http.facade import (
    COMMANDS,
    KEYS,
    STRACE,
    client_of,
    facade,
    opened,
    sealed,
    told,
)

SOON = replace(DEFAULTS, deepflow_wait_s=0.2)
BY_AGENT = (
    "The deepflow-agent is unable to execute the `{}` command. "
    "Detailed error information is as follows:\n\n"
)
BY_SERVER = BY_AGENT.replace("agent", "server")


def fail(stdout: bytes, stderr: bytes, code: int = 3) -> Behaviour:
    """Start, print, exit with *code*."""

    def behave(order: StartRun) -> Iterable[FromAgent]:
        yield RunStarted(order.run, 4242)
        for stream, data in (("stdout", stdout), ("stderr", stderr)):
            if data:
                yield output(order.run, data, stream=stream)
        yield ended(order.run, stdout=stdout, stderr=stderr, code=code)

    return behave


# --- listing ------------------------------------------------------------------------------


async def test_an_agents_commands_and_network_namespaces_are_listed_byte_for_byte() -> None:
    async with facade() as here:
        answer = await here.list()
        expected = (
            '{"OPT_STATUS":"SUCCESS","DESCRIPTION":"","DATA":{"remote_commands":['
            '{"cmd":"ps","output_format":0,"ident":"system_ps_a2f","type_name":"system"},'
            '{"cmd":"date","output_format":0,"ident":"system_d2e","type_name":"system"},'
            '{"cmd":"strace","output_format":0,'
            '"ident":"system_t5t_--s9L_--p13s_$t5t_s4e_-f_-p_$pid",'
            '"params":[{"name":"pid","regex":"^[0-9]+$","required":true,"param_type":0,'
            '"description":"The PID to run strace on"}],"type_name":"system"}],'
            '"linux_namespaces":[{"id":4026531840,"ns_type":"net","user":"root","pid":1,'
            '"cmd":"/sbin/init"}]}}'
        )

        assert expected == answer.text
        assert (200, "application/json") == (answer.status_code, answer.headers["content-type"])


@pytest.mark.parametrize(("kind", "names"), [("profile", ["ps"]), ("probe", []), ("", None)])
async def test_a_type_lists_some_commands_and_no_namespaces(
    kind: str, names: list[str] | None
) -> None:
    async with facade() as here:
        data = (await here.list(f"?type={kind}&verbose=1")).json()["DATA"]
        shown = [command["cmd"] for command in data["remote_commands"]]

        assert (names if names is not None else [c.label for c in COMMANDS]) == shown
        assert (names is not None) == (data["linux_namespaces"] is None)


async def test_a_type_that_is_none_is_refused() -> None:
    async with facade() as here:
        answer = await here.list("?type=everything")

        assert (400, "INVALID_PARAMETERS", "type is one of profile, probe") == told(answer)


async def test_a_farhand_agents_commands_are_called_by_their_idents() -> None:
    async with facade() as here:
        ping = Command(
            ident="ping",
            description="Ask a host for an echo",
            params=(Param(name="host", type=ParamType.HOST, required=True),),
        )
        here.world.agent("web-1").commands = (ping,)
        (listed,) = (await here.list("?type=probe")).json()["DATA"]["remote_commands"]

        assert ("ping", "ping") == (listed["cmd"], listed["ident"])
        assert "type_name" not in listed


# --- running ------------------------------------------------------------------------------


async def test_an_empty_value_of_an_optional_parameter_is_none_for_a_farhand_agent() -> None:
    async with facade() as here:
        params = (Param(name="host", type=ParamType.HOST), Param(name="all", type=ParamType.BOOL))
        agent = here.world.agent("web-1")
        agent.commands = (Command(ident="ping", params=params),)
        given = [{"key": "host", "value": ""}, {"key": "all", "value": "true"}]
        answer = await here.run(command_ident="ping", params=given)
        sent = [it.spec.what for it in agent.orders(StartRun) if isinstance(it, StartRun)]

        assert 200 == answer.status_code
        assert [CommandCall("ping", {"all": "true"})] == sent


async def test_a_command_is_run_byte_for_byte_as_deepflow_does() -> None:
    async with facade(succeed(b"Thu\n")) as here:
        answer = await here.send(
            b"WUmBtzVnWJDZ+1hBLoOuV35MXppN8PscGO5dKmqDD5EIJM77YssNOrP9jSNId9zPEM8NkPYF74/1pCupgWH+"
            b"eA=="  # {"cmd":"date","command_ident":"system_d2e","output_format":0}
        )

        assert '{"OPT_STATUS":"SUCCESS","DESCRIPTION":"","DATA":"5a+KYPmfk8rVAQkL7zlH4Q=="}' == (
            answer.text
        )
        assert "application/json" == answer.headers["content-type"]
        assert str(len(answer.content)) == answer.headers["content-length"]


@pytest.mark.parametrize("whose", KEYS)
async def test_everybody_has_a_key_of_their_own(whose: tuple[int, int]) -> None:
    async with facade() as here:
        headers = {"X-User-Id": str(whose[0]), "X-Org-Id": str(whose[1]), "X-User-Type": "1"}
        answer = await here.run(key=KEYS[whose], headers=headers)

        assert b"Thu\n" == opened(answer.json()["DATA"], KEYS[whose])


@pytest.mark.parametrize("format_", [1, "BINARY"])
async def test_a_binary_answer_is_the_sealed_text_alone(format_: object) -> None:
    async with facade(succeed(bytes(range(256)))) as here:
        named = await here.run(output_format=format_, output_filename="dump.bin")
        plain = await here.run(output_format=format_)

        assert bytes(range(256)) == opened(named.content)
        assert named.content == plain.content
        assert "application/octet-stream" == named.headers["content-type"]
        assert "attachment; filename*=utf-8''dump.bin" == named.headers["content-disposition"]
        assert "content-disposition" not in plain.headers
        assert str(len(named.content)) == named.headers["content-length"]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Ausgabe ä.txt", "Ausgabe%20%C3%A4.txt"),
        ("../x\r\nSet-Cookie: a=b", "..%2Fx%0D%0ASet-Cookie%3A%20a%3Db"),
        ("a'\"\0;", "a%27%22%00%3B"),
    ],
)
async def test_a_file_name_cannot_leave_its_header(name: str, written: str) -> None:
    async with facade() as here:
        answer = await here.run(output_format=1, output_filename=name)

        assert f"attachment; filename*=utf-8''{written}" == answer.headers["content-disposition"]
        assert "set-cookie" not in answer.headers


async def test_a_run_is_an_ordinary_job() -> None:
    async with facade() as here:
        params = [{"key": "pid", "value": "7"}, {"key": "colour", "value": "red"}]
        answer = await here.run(STRACE, params=params, linux_ns_pid=4711, exec_type=99)
        job = await here.world.store.job(answer.headers["farhand-job"])  # type: ignore[arg-type] # a text
        (run,) = await here.runs()

        assert job is not None
        assert CommandCall(STRACE.ident, {"pid": "7"}) == job.spec.what
        assert NamespacesOf(4711, (NamespaceKind.NET,)) == job.spec.namespaces_of
        assert (30.0, 30.0) == (job.spec.timeout_s, job.spec.queue_ttl_s)
        assert ("admin", RunState.SUCCEEDED) == (job.by, run.state)
        assert (run.id, "succeeded") == (
            answer.headers["farhand-run"],
            answer.headers["farhand-run-state"],
        )


async def test_a_command_that_fails_is_told_with_its_stderr_and_what_it_printed() -> None:
    async with facade(fail(b"out\n", b"err\n")) as here:
        answer = await here.run(output_format=1)

        assert (500, "SERVER_ERROR", BY_AGENT.format("date") + "err\n") == told(answer)
        assert b"out\n" == opened(answer.json()["DATA"])


@pytest.mark.parametrize("stderr", [b"", b"\xff\xfe"])
async def test_a_command_that_fails_without_words_is_told_as_deepflow_does(stderr: bytes) -> None:
    async with facade(fail(b"", stderr)) as here:
        answer = await here.run()

        assert BY_AGENT.format("date") + "command 'date' failed" == told(answer)[2]
        assert "9tPZgyndLepfdM2cEBPP0A==" == answer.json()["DATA"]


async def test_a_stderr_beyond_an_answer_is_cut_between_characters_and_says_so() -> None:
    limits = replace(DEFAULTS, wait_output_bytes=5)
    async with facade(fail(b"", "äöü".encode()), limits=limits) as here:
        answer = await here.run()
        (run,) = await here.runs()

        assert (
            f"{BY_AGENT.format('date')}äö\n… 6 bytes in all, kept with {run.id}"
            == (told(answer)[2])
        )


async def test_output_that_was_cut_is_partial_and_never_a_file() -> None:
    def behave(order: StartRun) -> Iterable[FromAgent]:
        yield RunStarted(order.run, 4242)
        yield output(order.run, b"abc")
        end = StreamEnd(total=10, kept=3, cut_at=2, cut_bytes=7)
        ending = Ending(why=Why.EXIT, exit_code=0, streams={StreamName.STDOUT: end})
        yield RunEnded(order.run, ending)

    async with facade(behave) as here:
        answer = await here.run(output_format="BINARY", output_filename="dump.bin")

        assert (206, "PARTIAL_RESULT") == told(answer)[:2]
        assert b"abc" == opened(answer.json()["DATA"])
        assert "content-disposition" not in answer.headers


async def test_what_an_agent_refuses_is_told_in_its_words() -> None:
    def refuse(order: StartRun) -> Iterable[FromAgent]:
        yield RunRefused(order.run, Why.NAMESPACES, "there is no process 4711")

    async with facade(refuse) as here:
        answer = await here.run(linux_ns_pid=4711)

        assert (500, "SERVER_ERROR", BY_AGENT.format("date") + "there is no process 4711") == (
            told(answer)
        )


# --- who is not there ---------------------------------------------------------------------


async def test_an_agent_is_found_by_name_id_and_ip_mac() -> None:
    async with facade() as here:
        agent = here.world.agent("web-1")
        answers = [
            await here.run(agent=name)
            for name in ("web-1", agent.id or "", f"{agent.ip}-{agent.mac}")
        ]

        assert [200] * 3 == [answer.status_code for answer in answers]


async def test_an_agent_that_is_not_there_is_told_as_deepflow_does() -> None:
    async with facade() as here:
        number, name = await here.run(agent="17"), await here.run(agent="web-9")
        listed = await here.client.get("/v1/agent/17/cmd")

        assert (500, "SERVER_ERROR", "record not found") == told(number) == told(listed)
        assert (400, "INVALID_PARAMETERS") == told(name)[:2]
        assert told(name)[2].startswith("failed to get agent by name(record not found), error: no")


async def test_a_number_is_the_one_that_an_operator_told_and_no_agents_own() -> None:
    async with facade() as here:
        liar = await here.world.join("liar", labels={"deepflow_id": "17"})
        liar.commands = COMMANDS
        before = await here.run(agent="17")
        web = await here.world.tenant.agents.find("web-1")
        await here.world.tenant.agents.edit(web.id, by="admin", labels={"deepflow_id": "17"})
        after = await here.run(agent="17")
        (run,) = await here.runs()

        assert [500, 200] == [before.status_code, after.status_code]
        assert "web-1" == run.agent_name


async def test_a_number_that_two_agents_were_given_is_refused() -> None:
    async with facade() as here:
        await here.world.join("web-2")
        for agent in await here.world.tenant.jobs.agents():
            await here.world.tenant.agents.edit(agent.id, by="me", labels={"deepflow_id": "17"})
        answer = await here.run(agent="17")

        assert (400, "INVALID_PARAMETERS") == told(answer)[:2]
        assert "2 agents" in told(answer)[2]


async def test_an_agent_that_is_away_is_unsupported_and_nothing_is_kept() -> None:
    async with facade() as here:
        agent = here.world.agent("web-1")
        agent.leave()
        description = (
            f"get agent(name: web-1, key: {agent.ip}-{agent.mac}) commands forward times > 3"
        )
        ran, listed = await here.run(), await here.list()

        assert (400, "AGENT_UNSUPPORTED", description) == told(ran) == told(listed)
        assert [] == list(await here.runs())


async def test_an_agent_that_is_lost_meanwhile_is_told_as_such() -> None:
    limits = replace(DEFAULTS, lease_s=0.05, sweep_s=0.02)
    async with facade(hang, limits=limits) as here:
        agent = here.world.agent("web-1")

        def vanish(order: StartRun) -> Iterable[FromAgent]:
            yield RunStarted(order.run, 4242)
            asyncio.get_running_loop().call_soon(agent.vanish)

        agent.behaviour = vanish
        answer = await here.run()
        name = f"agent(key: {agent.ip}-{agent.mac}, name: web-1)"

        assert (500, "SERVER_ERROR") == told(answer)[:2]
        assert BY_SERVER.format("date") + f"{name} command manager is lost" == told(answer)[2]


# --- what cannot be -----------------------------------------------------------------------


async def test_a_command_that_is_not_there_is_told_as_deepflow_does() -> None:
    async with facade() as here:
        unknown = await here.run(Command(ident="system_x", label="x"))
        missing = await here.send(sealed(b'{"cmd":"x"}'))
        nothing = "9tPZgyndLepfdM2cEBPP0A=="

        assert [
            (500, "SERVER_ERROR", BY_AGENT.format("x") + "command not found for id system_x"),
            (
                500,
                "SERVER_ERROR",
                BY_AGENT.format("x") + "command_ident not specified in run command request",
            ),
        ] == [told(unknown), told(missing)]
        assert [nothing] * 2 == [unknown.json()["DATA"], missing.json()["DATA"]]
        assert [] == list(await here.runs())


async def test_a_parameter_that_cannot_be_is_told_before_anything_is_kept() -> None:
    async with facade() as here:
        answer = await here.run(STRACE)

        assert (500, "SERVER_ERROR") == told(answer)[:2]
        assert "rejected run command 'strace' with invalid params: " in told(answer)[2]
        assert [] == list(await here.runs())


@pytest.mark.parametrize(
    "body",
    [
        {"linux_ns_pid": 0},
        {"linux_ns_pid": 1 << 31},
        {"linux_ns_pid": "1"},
        {"output_format": 2},
        {"params": [{"key": "pid", "value": 7}]},
    ],
)
async def test_a_field_that_cannot_be_is_refused_before_anything_is_kept(
    body: dict[str, object],
) -> None:
    async with facade() as here:
        asked = {"command_ident": STRACE.ident, "params": [{"key": "pid", "value": "7"}], **body}
        answer = await here.send(sealed(json.dumps(asked).encode()))

        assert (400, "INVALID_PARAMETERS") == told(answer)[:2]
        assert [] == list(await here.runs())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no base64!",
        b'{"command_ident":"system_d2e"}',
        b"AAAA",
        b"AAAAAAAAAAAAAAAAAAAAAA==",
        sealed(b"no json"),
        sealed(b'{"command_ident":"system_d2e"}', KEYS[2, 1]),
    ],
)
async def test_a_body_of_no_use_is_refused_with_one_sentence(body: bytes) -> None:
    async with facade() as here:
        answer = await here.send(body)

        assert (400, "INVALID_PARAMETERS", UNREADABLE) == told(answer)


async def test_a_body_beyond_the_limit_is_refused() -> None:
    async with facade(limits=replace(DEFAULTS, body_bytes=1000)) as here:
        answer = await here.send(b"A" * 1004)

        assert (400, "INVALID_PARAMETERS") == told(answer)[:2]


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    body=st.binary(max_size=80)
    | st.binary(max_size=80).map(sealed)
    | st.dictionaries(
        st.sampled_from(["cmd", "command_ident", "params", "linux_ns_pid", "output_format"]),
        st.none() | st.booleans() | st.integers() | st.text() | st.just([{"key": "pid"}]),
    ).map(lambda fields: sealed(json.dumps(fields).encode()))
)
def test_whatever_body_is_sent_the_answer_is_an_envelope(body: bytes) -> None:
    async def ask() -> httpx.Response:
        async with facade() as here:
            return await here.send(body)

    status, opt_status, _ = told(asyncio.run(ask()))

    assert (status, opt_status) in {(400, "INVALID_PARAMETERS"), (500, "SERVER_ERROR")}


# --- the switch ---------------------------------------------------------------------------


async def test_without_the_switch_the_addresses_do_not_exist() -> None:
    async with facade() as here:
        app = build_app(here.world.tenants, here.world.enrolment, DEFAULTS, version="1.2.3")
        async with client_of(app, here.world) as client:
            answers = [
                await client.get("/v1/agent/web-1/cmd"),
                await client.post("/v1/agent/web-1/cmd/run", content=sealed(b"{}")),
                await client.get("/v1/vtap/web-1/cmd"),
            ]
            described = (await client.get("/api/v1/openapi.json")).json()

        assert [(404, "application/problem+json", "not-found")] * 3 == [
            (answer.status_code, answer.headers["content-type"], answer.json()["code"])
            for answer in answers
        ]
        assert not [path for path in described["paths"] if path.startswith("/v1")]
        assert not [name for name in described["components"]["schemas"] if "Envelope" in name]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/agent/web-1/cmd/", 404),
        ("GET", "/v1/agent/web-1", 404),
        ("GET", "/v1/vtap/web-1/cmd", 404),
        ("GET", "/v1/agent/web-1/cmd/run", 405),
        ("POST", "/v1/agent/web-1/cmd", 405),
    ],
)
async def test_only_the_two_addresses_are_served(method: str, path: str, status: int) -> None:
    async with facade() as here:
        answer = await here.client.request(method, path)

        assert status == answer.status_code


async def test_with_the_switch_the_addresses_are_described() -> None:
    async with facade() as here:
        described = (await here.client.get("/api/v1/openapi.json")).json()
        schemathesis.openapi.from_dict(described).validate()
        run = described["paths"]["/v1/agent/{agent}/cmd/run"]["post"]

        assert [{"bearer": []}] == run["security"]
        assert {"200", "206", "400", "401", "403", "500", "503"} == set(run["responses"])
        assert {"application/json", "application/problem+json"} == set(
            run["responses"]["503"]["content"]
        )
        assert {"X-User-Id", "X-Org-Id", "X-User-Type", "agent"} == {
            parameter["name"] for parameter in run["parameters"]
        }


@pytest.mark.parametrize(
    ("options", "status", "opt_status"),
    [
        ({}, 404, None),
        ({"deepflow_api": True}, 403, "NO_PERMISSIONS"),
        (
            {"deepflow_api": True, "deepflow_trusted_front": ("127.0.0.0/8",)},
            400,
            "INVALID_PARAMETERS",
        ),
    ],
)
async def test_a_controller_does_what_its_switches_say(
    tmp_path: Path, options: dict[str, Any], status: int, opt_status: str | None
) -> None:
    config = ControllerConfig(
        data=tmp_path / "data", http="127.0.0.1:0", agents="127.0.0.1:0", **options
    ).checked()
    async with running_controller(config) as controller, httpx.AsyncClient() as client:
        token = (tmp_path / "data/admin.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "X-User-Type": "3"}
        answer = await client.get(f"{controller.http.url}/v1/agent/none/cmd", headers=headers)

        assert (status, opt_status) == (answer.status_code, answer.json().get("OPT_STATUS"))
