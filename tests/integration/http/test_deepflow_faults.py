"""The faults of DeepFlow's server that can show at its HTTP side, each shown absent here.

A test's name begins with the fault's code. Those of the agents' stream have tests of their own.
"""

import asyncio
import json
import tracemalloc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import httpx
import pytest
from starlette.types import Message
from structlog.testing import capture_logs

from farhand.boot.config import ControllerConfig
from farhand.domain.agent import Agent
from farhand.domain.command import Command, Param
from farhand.domain.ids import RunId
from farhand.domain.job import CommandCall
from farhand.domain.limits import DEFAULTS, MIB
from farhand.domain.messages import CancelRun, FromAgent, RunStarted, StartRun
from farhand.domain.output import StreamName
from farhand.domain.run import RunState
from farhand.errors import StoreUnavailable, UnsafeBinding
from farhand.http.deepflow.cipher import UNREADABLE, sealed_length
from farhand.http.deepflow.outcome import READ_BYTES
from farhand.storage.memory import MemoryStore
from farhand.testing import Behaviour, ended, hang, output, succeed
from tests.integration.http.facade import (
    DATE,
    FRONT,
    KEYS,
    PS,
    STRACE,
    Facade,
    client_of,
    facade,
    opened,
    sealed,
    told,
)
from tests.integration.http.house import eventually
from tests.until import until

NO_ADMIN = {"X-User-Type": "3"}
ADMIN = {"X-User-Id": "1", "X-User-Type": "1", "X-Org-Id": "1"}
PID = [{"key": "pid", "value": "7"}]
SOON = replace(DEFAULTS, deepflow_wait_s=1.0)
TIMEOUT = (
    "The deepflow-server is unable to execute the `date` command. "
    "Detailed error information is as follows:\n\ntimeout(1s) to run agent command"
)
NOTHING = "9tPZgyndLepfdM2cEBPP0A=="


def print_and_hang(data: bytes) -> Behaviour:
    """Start, print *data*, go on for ever."""

    def behave(order: StartRun) -> Iterable[FromAgent]:
        yield RunStarted(order.run, 4242)
        yield output(order.run, data)

    return behave


async def idents(here: Facade) -> list[str]:
    """What was run."""
    jobs = [await here.world.store.job(run.job) for run in await here.runs()]
    return [job.spec.what.ident for job in jobs if job and isinstance(job.spec.what, CommandCall)]


async def by_hand(here: Facade, *, leave: asyncio.Event) -> list[int]:
    """Run `date`, go when *leave* is set, and keep of the answer how long its parts were."""
    sizes: list[int] = []
    body = sealed(json.dumps({"command_ident": DATE.ident}).encode())
    bodies: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    token = f"Bearer {here.world.admin_token}".encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/agent/web-1/cmd/run",
        "query_string": b"",
        "headers": [(b"authorization", token)],
        "client": ("127.0.0.1", 1),
    }

    async def receive() -> Message:
        if bodies:
            return bodies.pop()
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sizes.append(len(message.get("body", b"")))

    await here.app(scope, receive, send)
    return sizes


# --- security -----------------------------------------------------------------------------


async def test_s1_rights_are_checked_on_the_ident_not_on_the_label() -> None:
    async with facade() as here:
        front = here.from_peer(FRONT)
        lie = await front.run(STRACE, cmd="ps", params=PID, headers=NO_ADMIN)
        honest = await front.run(PS, cmd="strace", headers=NO_ADMIN)

        denied = "only super admin and admin can operate command(strace)"
        assert (403, "NO_PERMISSIONS", denied) == told(lie)
        assert 200 == honest.status_code
        assert [PS.ident] == await idents(here)


async def test_s1_of_two_commands_with_one_ident_the_one_that_would_run_is_checked() -> None:
    async with facade() as here:
        decoy = Command(ident=STRACE.ident, label="ps")
        here.world.agent("web-1").commands = (STRACE, decoy)
        answer = await here.from_peer(FRONT).run(decoy, params=PID, headers=NO_ADMIN)

        assert 403 == answer.status_code
        assert [] == await idents(here)


@pytest.mark.parametrize("token", [None, "wrong"])
@pytest.mark.parametrize("peer", ["127.0.0.1", FRONT])
async def test_s2_without_a_token_nobody_is_anybody(token: str | None, peer: str) -> None:
    async with facade() as here, client_of(here.app, here.world, peer) as client:
        del client.headers["Authorization"]
        headers = ADMIN | ({"Authorization": f"Bearer {token}"} if token else {})
        ran = await client.post("/v1/agent/web-1/cmd/run", content=sealed(b"{}"), headers=headers)
        listed = await client.get("/v1/agent/web-1/cmd", headers=headers)

        assert [401, 401] == [ran.status_code, listed.status_code]
        assert [] == await idents(here)


async def test_s2_headers_are_believed_from_a_trusted_front_alone() -> None:
    async with facade() as here:
        stranger = here.from_peer("10.2.0.8")
        named = {"X-User-Id": "2"}
        by_stranger = await stranger.run(key=KEYS[2, 1], headers=named)
        by_front = await here.from_peer(FRONT).run(key=KEYS[2, 1], headers=named)
        narrowed = await stranger.run(PS, headers=NO_ADMIN)
        names = [run.job for run in await here.runs()]
        jobs = [await here.world.store.job(job) for job in names]

        assert [200, 200, 403] == [a.status_code for a in (by_stranger, by_front, narrowed)]
        assert ["admin/user-2", "admin"] == [job.by for job in jobs if job is not None]


@pytest.mark.parametrize("name", ["X-User-Id", "X-User-Type", "X-Org-Id"])
@pytest.mark.parametrize("peer", ["127.0.0.1", FRONT])
async def test_s2_a_header_that_cannot_be_is_answered_with_a_body(name: str, peer: str) -> None:
    async with facade() as here:
        answer = await here.from_peer(peer).run(headers={name: "one"})
        status = "ORG_ID_INVALID" if name == "X-Org-Id" else "INVALID_PARAMETERS"

        assert (400, status, f"{name} must be one whole number") == told(answer)
        assert [] == await idents(here)


@pytest.mark.parametrize("times", ["-200", "0", "3", "4", "99999999999999999999", "x", "", "\xff"])
async def test_s6_a_request_is_never_forwarded_whatever_it_says(times: str) -> None:
    async with facade() as here:
        headers = {"ForwardControllerTimes": times.encode("latin-1")}
        answer = await here.client.post(
            "/v1/agent/web-1/cmd/run",
            content=sealed(json.dumps({"command_ident": DATE.ident}).encode()),
            headers=headers,  # type: ignore[arg-type] # bytes are what a stranger sends
        )

        assert b"Thu\n" == opened(answer.json()["DATA"])
        assert [DATE.ident] == await idents(here)


@pytest.mark.parametrize(
    "body", [b"", b"=", b"AAAAAAAAAAAAAAAAAAAAAA==", sealed(b"{}")[:-4], sealed(b"", KEYS[2, 1])]
)
async def test_s7_whatever_cannot_be_opened_is_one_answer_with_a_body(body: bytes) -> None:
    async with facade() as here:
        answer = await here.send(body)

        assert (400, "INVALID_PARAMETERS", UNREADABLE) == told(answer)


def test_s7_what_the_layer_does_not_hide_is_not_sent_in_the_clear_beyond_the_host() -> None:
    with pytest.raises(UnsafeBinding):
        ControllerConfig(http="0.0.0.0:8470", deepflow_api=True).checked()


async def test_s8_no_value_is_logged_and_every_run_is_recorded() -> None:
    async with facade() as here:
        login = Command(ident="login", params=(Param(name="password"),))
        here.world.agent("web-1").commands = (login,)
        with capture_logs() as logs:
            answers = [
                await here.run(login, params=[{"key": "password", "value": "hunter2"}]),
                await here.run(login, params=[{"key": "password", "value": "$(hunter2)"}]),
            ]
        records = (await here.world.store.audit()).items
        recorded = [(r.by, r.action) for r in records if r.action == "job.submitted"]

        assert [200, 500] == [answer.status_code for answer in answers]
        assert "hunter2" not in repr(logs)
        assert [("admin", "job.submitted")] == recorded
        assert answers[0].headers["farhand-job"] in {record.subject for record in records}
        assert "hunter2" not in repr(records)


async def test_s9_who_administers_nothing_sees_no_namespaces_and_few_commands() -> None:
    async with facade() as here:
        headers = {"X-User-Type": "3"}
        answer = await here.from_peer(FRONT).client.get("/v1/agent/web-1/cmd", headers=headers)
        data = answer.json()["DATA"]

        assert ["ps"] == [command["cmd"] for command in data["remote_commands"]]
        assert data["linux_namespaces"] is None
        assert "/sbin/init" not in answer.text


async def test_s9_an_agent_that_takes_no_runs_is_given_none() -> None:
    async with facade() as here:
        agent = await here.world.tenant.agents.find("web-1")
        await here.world.tenant.agents.edit(agent.id, by="admin", drained=True)
        answer = await here.run()

        assert (500, "SERVER_ERROR") == told(answer)[:2]
        assert "web-1 is drained" in told(answer)[2]
        assert [] == here.world.agent("web-1").orders(StartRun)


async def test_s9_the_org_is_that_of_the_token() -> None:
    async with facade() as here:
        answer = await here.from_peer(FRONT).run(key=KEYS[1, 2], headers={"X-Org-Id": "2"})
        (run,) = await here.runs()

        assert answer.headers["farhand-run"] == run.id


# --- every request comes to an end --------------------------------------------------------


async def test_b2_a_command_that_prints_nothing_succeeds_at_once() -> None:
    async with facade(succeed(b"")) as here:
        answer = await here.run()

        assert (200, "SUCCESS", "") == told(answer)
        assert NOTHING == answer.json()["DATA"]


async def test_b3_a_host_without_namespaces_has_an_empty_list() -> None:
    async with facade() as here:
        here.world.agent("web-1").namespaces = ()
        answer = await here.list()

        assert (200, "SUCCESS", "") == told(answer)
        assert [] == answer.json()["DATA"]["linux_namespaces"]


async def test_b4_namespaces_that_cannot_be_listed_are_told() -> None:
    async with facade() as here:
        here.world.agent("web-1").namespaces_error = "read /proc: permission denied"
        answer = await here.list()
        data = answer.json()["DATA"]

        assert (206, "PARTIAL_RESULT") == told(answer)[:2]
        assert "read /proc: permission denied" in told(answer)[2]
        assert 3 == len(data["remote_commands"])
        assert data["linux_namespaces"] is None


async def test_b5_requests_for_an_agent_that_does_not_read_end_in_time() -> None:
    limits = replace(DEFAULTS, request_s=0.1, requests_per_agent=4)
    async with facade(limits=limits) as here:
        channel = here.world.agent("web-1").channel
        assert channel is not None
        channel.stall()
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*(here.run() for _ in range(8)), here.list())

        assert {(503, "SERVICE_UNAVAILABLE")} == {told(answer)[:2] for answer in answers}
        assert [] == await idents(here)


async def test_b5_a_run_for_an_agent_that_stops_reading_ends_in_time() -> None:
    async with facade(limits=SOON) as here:
        await here.run()  # its catalogue is known from here on
        channel = here.world.agent("web-1").channel
        assert channel is not None
        channel.stall()
        answers = await asyncio.gather(*(here.run() for _ in range(8)))

        assert {(500, "SERVER_ERROR", TIMEOUT)} == {told(answer) for answer in answers}


async def test_b5_an_agent_that_does_not_answer_is_told_apart_from_one_that_is_away() -> None:
    async with facade(limits=replace(DEFAULTS, request_s=0.1)) as here:
        here.world.agent("web-1").mute = True
        listed, ran = await here.list(), await here.run()

        assert (500, "FAIL", "the agent did not answer in time") == told(listed)
        assert (500, "SERVER_ERROR") == told(ran)[:2]


async def test_b11_without_an_output_format_the_answer_is_text() -> None:
    async with facade() as here:
        answers = [
            await here.run(),
            await here.run(output_format=None),
            await here.run(output_format="TEXT"),
            await here.run(output_format=0),
        ]

        assert ["5a+KYPmfk8rVAQkL7zlH4Q=="] * 4 == [a.json()["DATA"] for a in answers]


@pytest.mark.parametrize("times", ["x", "3.5", "-", "4, 4"])
async def test_b12_a_bad_header_about_forwarding_gives_one_answer_and_one_run(times: str) -> None:
    async with facade() as here:
        answer = await here.run(headers={"ForwardControllerTimes": times})

        assert (200, "SUCCESS", "") == told(answer)  # one JSON text, or it could not be read
        assert [DATE.ident] == await idents(here)


class NoStore(MemoryStore):
    """A store that cannot be read once it is *gone*."""

    gone = False

    async def agents_named(self, name: str) -> Sequence[Agent]:
        if self.gone:
            raise StoreUnavailable("the disk is gone")
        return await super().agents_named(name)


async def test_b13_a_store_that_does_not_answer_is_told_in_an_envelope() -> None:
    store = NoStore()
    async with facade(store=store) as here:
        store.gone = True
        answers = [await here.run(), await here.list(), await here.run(agent="17")]

        assert [(503, "SERVICE_UNAVAILABLE", "the disk is gone")] * 3 == list(map(told, answers))
        assert all("retry-after" in answer.headers for answer in answers)


async def test_b13_a_user_who_names_no_command_is_answered() -> None:
    async with facade() as here:
        front = here.from_peer(FRONT)
        answers = [
            await front.send(sealed(body), headers=NO_ADMIN)
            for body in (b"{}", b'{"cmd":null}', b'{"command_ident":"system_d2e"}')
        ]

        assert [500, 500, 403] == [answer.status_code for answer in answers]


# --- output -------------------------------------------------------------------------------


class Printer(MemoryStore):
    """A store that has much output of every run, and counts how it is read."""

    SIZE = 32 * MIB

    def __init__(self) -> None:
        super().__init__()
        self.read: list[tuple[int, int]] = []

    async def offsets(self, run: RunId) -> Mapping[StreamName, int]:
        return {StreamName.STDOUT: self.SIZE, StreamName.STDERR: 0}

    async def output(self, run: RunId, stream: StreamName, *, offset: int, limit: int) -> bytes:
        if stream is StreamName.STDERR:
            return b""
        self.read.append((offset, limit))
        return bytes(limit)


async def test_b14_large_output_is_read_once_and_never_held() -> None:
    store, turns = Printer(), 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with facade(succeed(), store=store) as here, asyncio.TaskGroup() as tasks:
        ticking = tasks.create_task(others(), name="others")
        tracemalloc.start()
        try:
            sizes = await by_hand(here, leave=asyncio.Event())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            ticking.cancel()

        pieces = range(0, store.SIZE, READ_BYTES)
        assert len(pieces) < turns
        assert [(offset, READ_BYTES) for offset in pieces] == store.read
        assert sealed_length(store.SIZE) < sum(sizes) < sealed_length(store.SIZE) + 100
        assert max(sizes) < 2 * READ_BYTES
        assert peak < 8 * MIB


async def test_b16_a_timeout_keeps_what_was_printed_and_the_agent_is_told() -> None:
    async with facade(print_and_hang(b"part"), limits=SOON) as here:
        agent = here.world.agent("web-1")
        answer = await here.run(output_format="BINARY")
        await until(lambda: agent.orders(CancelRun))
        job = await here.world.store.job(answer.headers["farhand-job"])  # type: ignore[arg-type] # a text

        assert (500, "SERVER_ERROR", TIMEOUT) == told(answer)
        assert b"part" == opened(answer.json()["DATA"])
        assert job is not None
        assert job.cancel_requested


async def test_b16_what_an_agent_still_sends_after_a_timeout_is_kept() -> None:
    async with facade(print_and_hang(b"part"), limits=SOON) as here:
        agent = here.world.agent("web-1")
        answer = await here.run()
        run = RunId(answer.headers["farhand-run"])
        agent.say(output(run, b" and more", offset=4), ended(run, stdout=b"part and more"))

        await eventually(lambda: here.world.run(run), lambda now: now.state.final)

        assert RunState.SUCCEEDED == (await here.world.run(run)).state
        assert b"part and more" == await here.world.output(run)


async def test_b18_a_stop_cuts_no_command_and_answers_whoever_waits() -> None:
    async with facade(print_and_hang(b"part")) as here, asyncio.TaskGroup() as tasks:
        agent = here.world.agent("web-1")
        asked: asyncio.Task[httpx.Response] = tasks.create_task(here.run(), name="asked")
        await until(lambda: agent.orders(StartRun))
        here.app.state.stopping.set()
        answer = await asked
        job = answer.headers["farhand-job"]
        (run,) = await here.runs()

        assert (503, "SERVICE_UNAVAILABLE") == told(answer)[:2]
        assert told(answer)[2].endswith(f"this controller is stopping; the job {job} goes on")
        assert not run.state.resting
        assert not run.cancel_requested
        assert [] == agent.orders(CancelRun)


async def test_b18_a_caller_who_leaves_cuts_no_command() -> None:
    async with facade(hang) as here, asyncio.TaskGroup() as tasks:
        agent, leave = here.world.agent("web-1"), asyncio.Event()
        asked = tasks.create_task(by_hand(here, leave=leave), name="asked")
        await until(lambda: agent.orders(StartRun))
        leave.set()
        async with asyncio.timeout(10):
            await asked
        (run,) = await here.runs()

        assert not run.state.resting
        assert not run.cancel_requested
