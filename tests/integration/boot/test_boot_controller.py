"""The whole controller in one loop with its agents, on a host whose wall clock is set."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from farhand.boot.clock import SystemClock
from farhand.boot.config import ControllerConfig
from farhand.boot.controller import running_controller
from farhand.domain.limits import DEFAULTS
from farhand.ports import Durability
from farhand.testing.launcher import PROGRAMS
from tests.integration.agent.estate import estate
from tests.integration.boot.process import QUICK

DAY = 86_400.0


class SettableClock(SystemClock):
    """The clock of a host on which somebody sets the wall clock."""

    off_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.off_s


def config(data: Path, **changes: Any) -> ControllerConfig:
    limits = replace(
        DEFAULTS, **{name: type(getattr(DEFAULTS, name))(n) for name, n in QUICK.items()}
    )
    return ControllerConfig(
        data=data, http="127.0.0.1:0", agents="127.0.0.1:0", limits=limits, **changes
    )


async def submitted(client: httpx.AsyncClient, name: str, *argv: str) -> str:
    body = {"targets": {"names": [name]}, "argv": argv, "queue_ttl_s": 300}
    answer = await client.post("/api/v1/jobs", json=body)
    assert 202 == answer.status_code, answer.text
    return str(answer.json()["runs"][0]["id"])


async def state(client: httpx.AsyncClient, run: str) -> str:
    found: Mapping[str, str] = (await client.get(f"/api/v1/runs/{run}")).json()
    return found["state"]


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
async def test_runs_go_on_and_wait_when_the_wall_clock_is_set_by_a_day(
    tmp_path: Path, jump: float
) -> None:
    clock = SettableClock()
    with capture_logs() as logs:
        async with running_controller(config(tmp_path / "data"), clock=clock) as it:
            hosts = estate(tmp_path / "data")
            token = (tmp_path / "data" / "admin.token").read_text().strip()
            async with (
                hosts.agent(
                    it.gateway.address, name="web-1", programs=dict(PROGRAMS), state=tmp_path / "1"
                ) as first,
                httpx.AsyncClient(
                    base_url=it.http.url, headers={"Authorization": f"Bearer {token}"}
                ) as client,
            ):
                await first.connected.wait()
                async with hosts.agent(
                    it.gateway.address, name="web-2", state=tmp_path / "2"
                ) as second:
                    await second.connected.wait()
                running = await submitted(client, "web-1", "sleep")
                queued = await submitted(client, "web-2", "true")
                clock.off_s = jump
                end = time.monotonic() + 1.1 * QUICK["lease_s"]
                while time.monotonic() < end:
                    seen = {await state(client, running), await state(client, queued)}
                    assert seen <= {"queued", "sent", "running"}
                    await asyncio.sleep(0.1)
                async with hosts.agent(
                    it.gateway.address, name="web-2", state=tmp_path / "2"
                ) as second:
                    await second.connected.wait()
                    async with asyncio.timeout(20):
                        while await state(client, queued) != "succeeded":  # noqa: ASYNC110 - over HTTP
                            await asyncio.sleep(0.02)

                assert "running" == await state(client, running)
    jumps = [line["by_s"] for line in logs if line["event"] == "clock.jumped"]

    assert [pytest.approx(jump, abs=1)] == jumps


async def test_a_controller_that_runs_relaxed_says_what_is_at_risk(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with running_controller(config(tmp_path / "a", durability=Durability.PROCESS)):
            pass
        relaxed = [line for line in logs if line["event"] == "store.relaxed"]
        logs.clear()
        async with running_controller(config(tmp_path / "b")):
            pass

    assert ["process"] == [line["durability"] for line in relaxed]
    assert "loses power" in relaxed[0]["at_risk"]
    assert [] == [line for line in logs if line["event"] == "store.relaxed"]
