"""A controller whose data directory takes no more: nothing acknowledged is lost, and it goes on."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from farhand.agent.daemon import Agent
from farhand.testing.launcher import FakeProcess, Program
from tests.chaos.disks import Disks, disks
from tests.integration.boot.process import QUICK, ControllerProcess, controller
from tests.until import until

MIB = 1 << 20
PIECE = bytes(n % 251 for n in range(64 * 1024))


@dataclass
class Printer:
    """A program that prints a piece each time it is asked to."""

    asked: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    pieces: int = 0
    over: bool = False

    async def run(self, process: FakeProcess) -> int:
        while True:
            await self.asked.acquire()
            if self.over:
                return 0
            await process.print(PIECE)
            self.pieces += 1

    def end(self) -> None:
        self.over = True
        self.asked.release()


@dataclass
class Plant:
    """A controller on a disk of its own, an agent, and a caller."""

    disks: Disks
    data: Path
    controller: ControllerProcess
    client: httpx.AsyncClient
    agent: Agent
    address: tuple[str, int]
    printer: Printer

    def fill(self) -> None:
        self.disks.fill(self.data, self.controller.pid)

    def free(self) -> None:
        self.disks.free(self.data, self.controller.pid)

    async def submit(self, *argv: str) -> httpx.Response:
        body = {"targets": {"all": True}, "argv": argv}
        return await self.client.post("/api/v1/jobs", json=body)

    async def get(self, path: str) -> Any:
        answer = await self.client.get(f"/api/v1/{path}")
        assert 200 == answer.status_code, answer.text
        return answer.json()

    async def state(self, run: str) -> str:
        return str((await self.get(f"runs/{run}"))["state"])

    async def until_state(self, run: str, state: str) -> None:
        async with asyncio.timeout(20):
            while await self.state(run) != state:  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.02)


@asynccontextmanager
async def plant(tmp_path: Path, kind: str) -> AsyncIterator[Plant]:
    data = tmp_path / "data"
    try:
        mounted = disks({data: 32 * MIB}, kind=kind)
        disk = mounted.__enter__()
    except OSError as exc:
        pytest.skip(str(exc))
    try:
        inside = disk.inside([])
        async with controller(data, inside=inside, seen=disk.seen(data)) as process:
            url, address = await process.ready()
            printer = Printer()
            programs: dict[str, Program] = {"printer": printer.run}
            async with (
                process.client(url) as client,
                process.estate(tmp_path / "agents").agent(address, programs=programs) as agent,
            ):
                await agent.connected.wait()
                yield Plant(disk, data, process, client, agent, address, printer)
    finally:
        mounted.__exit__(None, None, None)


@pytest.mark.parametrize("kind", ["tmpfs", "rlimit"])
async def test_nothing_that_was_acknowledged_is_lost_on_a_full_disk(
    tmp_path: Path, kind: str
) -> None:
    async with plant(tmp_path, kind) as it:
        before = (await it.submit("printer")).json()
        (run,) = [run["id"] for run in before["runs"]]
        it.printer.asked.release()
        await it.until_state(run, "running")

        it.fill()
        refused = await it.submit("true")
        for _ in range(20):
            it.printer.asked.release()
        await until(lambda: it.controller.logged("session.store_unavailable"))
        beats = it.controller.logged("session.opened")
        # Longer than silence is suffered and a lease lasts, with reads all the while.
        for _ in range(40):
            (agent,) = (await it.get("agents"))["items"]
            assert "online" == agent["liveness"]
            assert "running" == await it.state(run)
            await asyncio.sleep(QUICK["lease_s"] * 1.2 / 40)

        it.free()
        await until(lambda: it.controller.logged("session.store_available"), within_s=20)
        after = await it.submit("true")
        await until(lambda: it.printer.pieces == 21, within_s=20)
        it.printer.end()
        await it.until_state(run, "succeeded")
        printed = await it.client.get(f"/api/v1/runs/{run}/output?stream=stdout")
        jobs = {job["id"]: job["state"] for job in (await it.get("jobs"))["items"]}

        assert (503, "data-dir-unwritable") == (refused.status_code, refused.json()["code"])
        assert int(refused.headers["retry-after"]) >= 5
        assert "space" in refused.json()["detail"]
        assert 202 == after.status_code
        assert PIECE * 21 == printed.content
        assert {before["id"], after.json()["id"]} == set(jobs)
        assert [] == it.controller.logged("session.inactive")
        assert beats == it.controller.logged("session.opened")
        assert not it.controller.ended


def descriptors(pid: int, soft: int | None) -> None:
    """Let a process open no descriptor beyond number *soft*, or as many as it may."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard if soft is None else soft, hard))


async def test_without_descriptors_who_is_there_goes_on_and_who_comes_waits(
    tmp_path: Path,
) -> None:
    async with plant(tmp_path, "rlimit") as it:
        (run,) = [run["id"] for run in (await it.submit("printer")).json()["runs"]]
        await it.until_state(run, "running")
        descriptors(it.controller.pid, 3)
        for _ in range(20):  # more than fits into the database: a file has to be opened
            it.printer.asked.release()
        await until(lambda: it.controller.logged("session.store_unavailable"))
        (agent,) = (await it.get("agents"))["items"]
        url = str(it.client.base_url)
        async with it.controller.client(url) as stranger:
            late = asyncio.create_task(stranger.get("/api/v1/agents"), name="late")
            await until(lambda: it.controller.logged("http.accept_failed"))
            waits = not late.done()
            descriptors(it.controller.pid, None)
            answered = await late
        estate = it.controller.estate(tmp_path / "more")
        async with estate.agent(it.address, name="web-2") as second:
            await asyncio.wait_for(second.connected.wait(), 20)
        it.printer.end()
        await it.until_state(run, "succeeded")
        printed = await it.client.get(f"/api/v1/runs/{run}/output?stream=stdout")

        assert "online" == agent["liveness"]
        assert waits
        assert 200 == answered.status_code
        assert PIECE * 20 == printed.content
