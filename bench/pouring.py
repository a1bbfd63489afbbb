"""Much output from many runs at the same time, and what a line of another run waits meanwhile.

The agents are simulated: they spool, hash, and send what their programs print, as real ones do.
"""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from bench.asking import asked, connection, job_body
from bench.bulk import GROWTH, RATE
from bench.figures import MIB, BenchError, Figure, median, quantile
from bench.numbers import numbers, writes
from bench.processes import Controller, controller, crowd, forget_peak, peak_bytes, resident_bytes
from bench.scale import Site
from farhand.client import Output

ALONE_S: Final = 3.0
WITHIN_S: Final = 90.0
WAIT_S: Final = 0.02


def pour(site: Site) -> list[Figure]:
    """Runs that print together as much as `bulk` does with one, beside one that prints the time."""
    runs, size = site.scale.pours, site.scale.output_bytes // site.scale.pours
    with (
        controller(site.home) as to,
        crowd(site.home, to, runs + 1, processes=site.scale.processes) as them,
    ):
        them.wait_for(runs + 1)
        _poured_s(to, runs, 64 * 1024)  # code is loaded
        with _ticking(to, f"sim-{runs}") as ticks:
            time.sleep(ALONE_S)
            alone = ticks.so_far()
            resident, before = resident_bytes(to.pid), numbers(to)
            forget_peak(to.pid)
            took_s = _poured_s(to, runs, size)
            grown, after = peak_bytes(to.pid) - resident, numbers(to)
            beside = ticks.so_far()
            them.stop_programs()
    whole = runs * size / MIB
    return [
        Figure(
            what=f"{whole:.0f} MiB, {runs} runs at once, submit → all ended",
            value=whole / took_s,
            unit="MiB/s",
            aim=RATE,
            durable=True,
        ),
        Figure(
            what=f"the controller grew, {runs} runs at once",
            value=grown / MIB,
            unit="MiB",
            aim=GROWTH,
        ),
        *writes(f"{runs} runs at once", before, after, took_s),
        *_delays("alone", alone),
        *_delays(f"beside {runs} runs", beside),
    ]


def _delays(when: str, taken: list[float]) -> Iterator[Figure]:
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        yield Figure(
            what=f"a line of a live run, printed → SSE, {when}, {name}",
            value=quantile(taken, share) if share != 0.5 else median(taken),
            unit="ms",
            samples=len(taken),
            durable=True,
        )


def _poured_s(to: Controller, runs: int, size: int) -> float:
    """Let each agent print *size* bytes; return the seconds until all is stored."""
    names = [f"sim-{number}" for number in range(runs)]
    with connection(to) as on:
        began = time.monotonic()
        body = job_body(["pour", str(size)], {"names": names})
        job = asked(on, to, "POST", "/api/v1/jobs", body)["id"]
        while (counts := _counts(on, to, job)).get("succeeded") != runs:
            if time.monotonic() - began > WITHIN_S or counts.get("failed"):
                raise BenchError(f"not all runs succeeded: {counts}")
            time.sleep(WAIT_S)
        return time.monotonic() - began


def _counts(on: http.client.HTTPConnection, to: Controller, job: str) -> dict[str, int]:
    found: dict[str, int] = asked(on, to, "GET", f"/api/v1/jobs/{job}")["counts"]
    return found


@dataclass(slots=True)
class Ticks:
    """How old each line was when a follower had it, in ms."""

    delays_ms: list[float] = field(default_factory=list)

    def so_far(self) -> list[float]:
        """Those since the last look."""
        seen, self.delays_ms = self.delays_ms, []
        return seen


@contextmanager
def _ticking(to: Controller, name: str) -> Iterator[Ticks]:
    """Follow a run that prints the time until its programs are stopped, which the block does."""
    ticks = Ticks()

    def follow() -> None:
        rest = b""
        with to.client() as client:
            for event in client.run(["tick"], names=name):
                if isinstance(event, Output):
                    now = time.monotonic_ns()
                    *lines, rest = (rest + event.data).split(b"\n")
                    ticks.delays_ms += [(now - int(line)) / 1e6 for line in lines]

    following = threading.Thread(target=follow, name="ticks", daemon=True)
    following.start()
    yield ticks
    following.join(WITHIN_S)
