"""An agent behind a network that swallows everything: when it is believed lost, and when found.

Nobody is told anything: no reset, no end of file, no answer to a new connection.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from bench.figures import AtMost, BenchError, Figure
from bench.processes import agent, controller
from bench.scale import Site
from farhand.client import Client
from farhand.testing.proxy import BLACK_HOLE, NO_FAULTS, FaultProxy, Faults

# A tenth of the defaults, in the same proportions.
LIMITS: Final = {"heartbeat_s": 2.0, "inactivity_s": 6.0, "lease_s": 9.0}
LATE_S: Final = 2.0  # that a sweep may add
HEALED: Final = AtMost(20)  # an attempt that was swallowed takes 10 s, and the next wait 10 more
WITHIN_S: Final = 60.0
PAUSE_S: Final = 0.02


class Network:
    """A proxy in a loop and a thread of its own."""

    def __init__(self, to: str) -> None:
        host, _, port = to.rpartition(":")
        self.address = ""
        self._to = host, int(port)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), name="network")

    def set(self, faults: Faults) -> None:
        """From now on this goes wrong."""
        self._loop.call_soon_threadsafe(setattr, self._proxy, "faults", faults)

    def open(self) -> None:
        self._thread.start()
        if not self._ready.wait(WITHIN_S):
            raise BenchError("the proxy does not listen")

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with FaultProxy(self._to) as self._proxy:
            self.address = "{}:{}".format(*self._proxy.address)
            self._ready.set()
            await self._over.wait()


@contextmanager
def network(to: str) -> Iterator[Network]:
    """A way to HOST:PORT that can be made to swallow."""
    made = Network(to)
    made.open()
    try:
        yield made
    finally:
        made.close()


def blackhole(site: Site) -> list[Figure]:
    """A run goes on while its agent cannot be reached, and is found again afterwards."""
    with controller(site.home, limits=LIMITS) as to, network(to.agents) as way:
        through = replace(to, agents=way.address)
        with agent(site.home, through), to.client() as client:
            run = client.submit(["sleep", "600"], names=["web-1"]).runs[0].id
            _until(client, run, "running")
            way.set(BLACK_HOLE)
            lost_s = _until(client, run, "lost")
            way.set(NO_FAULTS)
            healed_s = _until(client, run, "running")
            client.cancel_run(run)
            _until(client, run, "cancelled")
    under = ", ".join(f"{name} {value:g}" for name, value in LIMITS.items())
    return [
        Figure(
            what=f"swallowed → lost ({under})",
            value=lost_s,
            unit="s",
            aim=AtMost(LIMITS["lease_s"] + LATE_S),
        ),
        Figure(what="reachable again → running again", value=healed_s, unit="s", aim=HEALED),
    ]


def _until(client: Client, run: str, state: str) -> float:
    """Seconds until a run is in this state."""
    began = time.monotonic()
    while (now := client.get_run(run).state) != state:
        if time.monotonic() - began > WITHIN_S:
            raise BenchError(f"the run was still {now} after {WITHIN_S:g} s, not {state}")
        time.sleep(PAUSE_S)
    return time.monotonic() - began
