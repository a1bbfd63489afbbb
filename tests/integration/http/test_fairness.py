"""One agent, one run or one reader never delays the others: shown by what is over before what."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from farhand.boot.config import ControllerConfig
from farhand.boot.controller import Controller, running_controller
from farhand.domain.agent import Identity
from farhand.domain.limits import DEFAULTS, KIB, MIB, Limits
from farhand.domain.messages import Held, Hello, Welcome
from farhand.domain.run import RunState
from farhand.testing import World, hang, succeed
from farhand.testing.launcher import FakeProcess
from farhand.wire import native
from farhand.wire.grpc import Call, CallEnd, Handler, connect
from tests.integration.agent.estate import Estate
from tests.integration.http.house import eventually
from tests.until import until


@dataclass(slots=True)
class Site:
    """A whole controller on a disk, agents over loopback, and somebody who asks."""

    controller: Controller
    client: httpx.AsyncClient
    estate: Estate

    async def submit(self, name: str, *argv: str, **body: object) -> dict[str, Any]:
        asked = {"targets": {"names": [name]}, "argv": argv, **body}
        answer = await self.client.post("/api/v1/jobs", json=asked)
        assert 202 == answer.status_code, answer.text
        job: dict[str, Any] = answer.json()
        return job

    async def states(self, job: dict[str, Any]) -> list[str]:
        runs = await self.client.get(f"/api/v1/runs?job={job['id']}&limit=1000")
        return [run["state"] for run in runs.json()["items"]]

    async def ended(self, job: dict[str, Any]) -> list[str]:
        return await eventually(
            lambda: self.states(job), lambda found: set(found) <= {"succeeded", "failed"}
        )


@asynccontextmanager
async def site(directory: Path, limits: Limits = DEFAULTS) -> AsyncIterator[Site]:
    data = directory / "data"
    config = ControllerConfig(
        data=data, http="127.0.0.1:0", agents="127.0.0.1:0", limits=limits
    ).checked()
    async with running_controller(config) as controller:
        token = (data / "admin.token").read_text().strip()
        bearer = {"Authorization": f"Bearer {token}"}
        url = controller.http.url
        async with httpx.AsyncClient(base_url=url, headers=bearer, timeout=30) as client:
            yield Site(controller, client, Estate(data, limits))


class Deaf(Handler):
    """An agent that says who it is, and from then on reads nothing of what is sent to it."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.welcome = asyncio.Event()

    def on_message(self, message: bytes) -> None:
        if any(isinstance(it, Welcome) for it in native.decode_from_controller(message)):
            self.call.send(native.encode_from_agent([Held((), last=True)]))
            self.call.pause_reading()
            self.welcome.set()

    def on_closed(self, end: CallEnd) -> None:
        del end


@asynccontextmanager
async def deaf(here: Site, name: str) -> AsyncIterator[None]:
    link = await connect(*here.controller.gateway.address)
    made: list[Deaf] = []

    def make(call: Call) -> Deaf:
        made.append(Deaf(call))
        return made[0]

    try:
        link.open(native.METHOD, make)
        token = (here.estate.directory / "join.token").read_text().strip()
        identity = Identity(name=name, machine_id=name, catalogue=name)
        hello = Hello(protocols=(1,), join_token=token, identity=identity)
        made[0].call.send(native.encode_from_agent([hello]))
        await made[0].welcome.wait()
        yield
    finally:
        link.close()
        await link.wait_closed()


async def test_an_agent_that_reads_nothing_delays_nobody_but_itself(tmp_path: Path) -> None:
    limits = replace(DEFAULTS, outbox_bytes=64 * KIB, request_s=0.3)
    async with site(tmp_path, limits) as here, AsyncExitStack() as stack:
        await stack.enter_async_context(deaf(here, "deaf"))
        quick = here.estate.agent(here.controller.gateway.address, name="quick")
        await (await stack.enter_async_context(quick)).connected.wait()
        script = "#!/bin/sh\n#" + "x" * 400 * KIB
        for _ in range(20):  # 8 MB: more than its window and its outbox
            asked = {"targets": {"names": ["deaf"]}, "script": script}
            assert 202 == (await here.client.post("/api/v1/jobs", json=asked)).status_code
        queued = (await here.client.get("/api/v1/runs?agent=deaf&state=queued")).json()["items"]
        both = {"targets": {"names": ["deaf", "quick"]}, "argv": ["echo", "hi"]}
        among = (await here.client.post("/api/v1/jobs", json=both)).json()
        alone = await here.ended(await here.submit("quick", "echo", "hi"))
        beside = await eventually(lambda: here.states(among), lambda it: "succeeded" in it)
        busy = await here.client.get("/api/v1/agents/deaf/commands")
        outbox = here.controller.gateway.server.queued_bytes

    assert ["succeeded"] == alone
    assert {"succeeded", "queued"} == set(beside)
    assert 1 <= len(queued) < 20
    assert (503, "agent-busy") == (busy.status_code, busy.json()["code"])
    assert 1 <= int(busy.headers["retry-after"])
    assert outbox < 2 * MIB


async def test_a_run_at_full_speed_lets_fifty_small_ones_end_first(tmp_path: Path) -> None:
    over = asyncio.Event()

    async def flood(process: FakeProcess) -> int:
        while not over.is_set():
            await process.print(b"x" * 64 * KIB)
        return 0

    async with site(tmp_path) as here:
        agent = here.estate.agent(
            here.controller.gateway.address, name="web-1", programs={"flood": flood}
        )
        async with agent as connected:
            await connected.connected.wait()
            large = await here.submit("web-1", "flood")
            url = f"/api/v1/runs/{large['runs'][0]['id']}/output"
            await eventually(
                lambda: here.client.head(url), lambda it: int(it.headers["content-length"]) > MIB
            )
            small = [here.submit("web-1", "echo", str(number)) for number in range(50)]
            ended = [await here.ended(job) for job in await asyncio.gather(*small)]
            before = int((await here.client.head(url)).headers["content-length"])
            during = await here.states(large)
            more = await eventually(
                lambda: here.client.head(url),
                lambda it: int(it.headers["content-length"]) > before,
            )
            over.set()
            last = await here.ended(large)

    assert [["succeeded"]] * 50 == ended
    assert ["running"] == during  # it goes on beside them
    assert int(more.headers["content-length"]) > before
    assert ["succeeded"] == last  # and is whole: its digest was compared


async def test_a_job_on_a_thousand_agents_lets_a_job_on_one_end_first() -> None:
    async with World.start(limits=replace(DEFAULTS, unnamed_targets=1_000)) as world:
        for number in range(1_000):
            await world.new_agent(f"n-{number}", behaviour=hang).connect()
        await world.join("one", behaviour=succeed(b"done"))
        for number in range(0, 1_000, 100):  # some of them do not even read
            channel = world.agent(f"n-{number}").channel
            assert channel is not None
            channel.stall()
        large = await world.submit(on=[f"n-{number}" for number in range(1_000)])
        small = await world.submit(on="one")
        run = await world.run(small.runs[0])
        job = await world.store.job(large.job.id)
        printed = await world.output(run)

    assert RunState.SUCCEEDED is run.state
    assert job is not None
    assert {RunState.RUNNING: 990, RunState.SENT: 10} == job.counts
    assert b"done" == printed


async def test_a_follower_at_a_byte_a_time_does_not_hold_up_a_quick_one(tmp_path: Path) -> None:
    size = 4 * MIB

    async def print_much(process: FakeProcess) -> int:
        for _ in range(size // (64 * KIB)):
            await process.print(b"x" * 64 * KIB)
        return 0

    async with site(tmp_path) as here:
        agent = here.estate.agent(
            here.controller.gateway.address, name="web-1", programs={"much": print_much}
        )
        async with agent as connected:
            await connected.connected.wait()
            job = await here.submit("web-1", "much")
            address = here.controller.http
            bearer = here.client.headers["authorization"]
            with socket.socket() as slow:
                slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                slow.connect((address.host, address.port))
                slow.sendall(
                    f"GET /api/v1/jobs/{job['id']}/events HTTP/1.1\r\nHost: x\r\n"
                    f"Authorization: {bearer}\r\n\r\n".encode()
                )
                tenant = here.controller.tenants.all[0]
                await until(lambda: tenant.followers.count == 1)
                loop = asyncio.get_running_loop()
                slow.setblocking(False)
                read = b""

                async def crawl() -> None:
                    nonlocal read
                    while True:
                        read += await loop.sock_recv(slow, 1)
                        await asyncio.sleep(0.01)

                crawling = asyncio.create_task(crawl())
                quick = await here.client.get(f"/api/v1/jobs/{job['id']}/events")
                followers = tenant.followers.count
                crawling.cancel()

    assert quick.text.count("event: end") == 1
    assert 4 * size / 3 < len(quick.content)
    assert 1 == followers  # it is still there
    assert 0 < len(read) < 64 * KIB
