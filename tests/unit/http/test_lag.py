import asyncio
import time

import pytest

from farhand.http import lag
from farhand.http.lag import Lag
from tests.until import until


async def test_what_holds_up_the_loop_is_seen_and_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lag, "PROBE_S", 0.005)
    async with Lag() as probe:
        await until(lambda: probe.probes)
        asyncio.get_running_loop().call_later(0.001, time.sleep, 0.3)
        seen = probe.probes
        await until(lambda: probe.probes > seen + 1)
        worst = probe.worst_s
    after = probe.probes
    await asyncio.sleep(0.02)

    assert 0.2 < worst <= probe.total_s
    assert after == probe.probes


async def test_a_probe_may_run_again() -> None:
    probe = Lag()
    for _ in range(2):
        async with probe:
            pass

    assert 0.0 == probe.worst_s
