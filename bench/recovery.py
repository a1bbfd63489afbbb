"""The controller is killed while runs print: how soon all goes on, and whether a byte is missing.

What agents say they printed is compared with what is stored, line by line, when all is over.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Final

from bench.figures import AtMost, BenchError, Figure
from bench.processes import Controller, Crowd, controller, crowd
from bench.scale import Site
from farhand.client import Client, Output

LINE_BYTES: Final = 30  # of bench.agents.LINE
NUMBER_BYTES: Final = 9
WITHIN_S: Final = 60.0
PRINTED_S: Final = 2.0  # before the controller is killed
BACK: Final = AtMost(5)


class Watch:
    """Follows a job until every run has printed something after a moment, and says when that was.

    A follower of its own thread: the time is the one at which the line is in its hands.
    """

    def __init__(self, to: Controller, job: str, runs: Iterable[str], since_ns: int) -> None:
        self._to = to
        self._job = job
        self._missing = set(runs)
        self._since_ns = since_ns
        self._ended_at: float | None = None
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)
        self._thread.start()

    def seconds_after(self, began: float) -> float:
        """How long after *began* the last of them printed; raise BenchError when it did not."""
        self._thread.join(WITHIN_S)
        if self._ended_at is None:
            raise BenchError(f"{len(self._missing)} runs were not resumed within {WITHIN_S:g} s")
        return self._ended_at - began

    def _follow(self) -> None:
        with self._to.client() as client:
            rest: dict[str, bytes] = {}
            for event in client.follow(self._job):
                if not isinstance(event, Output):
                    continue
                *lines, rest[event.run] = (rest.get(event.run, b"") + event.data).split(b"\n")
                if lines and int(lines[-1].split()[1]) > self._since_ns:
                    self._missing.discard(event.run)
                if not self._missing:
                    self._ended_at = time.monotonic()
                    return


def recovery(site: Site) -> list[Figure]:
    """Kill the controller with all connected and some running; start it again on the same data."""
    scale, count = site.scale, site.scale.crowd
    with (
        controller(site.home) as to,
        crowd(site.home, to, count, processes=scale.processes) as them,
    ):
        them.wait_for(count, WITHIN_S)
        with to.client() as client:
            names = [f"sim-{number}" for number in range(scale.printing)]
            job = client.submit(["count"], names=names)
            runs = [run.id for run in client.runs(job=job.id)]
        Watch(to, job.id, runs, time.monotonic_ns()).seconds_after(0.0)
        time.sleep(PRINTED_S)
        to.kill()
        began = time.monotonic()
        with controller(site.home, agents=to.agents, name="again") as again:
            listens_s = time.monotonic() - began
            watch = Watch(again, job.id, runs, time.monotonic_ns())
            them.wait_for(count, WITHIN_S)
            back_s = time.monotonic() - began
            resumed_s = watch.seconds_after(began)
            them.stop_programs()
            with again.client() as client:
                ended = client.follow(job.id).wait(WITHIN_S)
                missing, wrong = _compared(client, them, runs)
    after = f"kill -9 among {count} agents"
    return [
        Figure(what=f"the controller listens again, {after}", value=listens_s, unit="s"),
        Figure(what=f"all connected, {after}", value=back_s, unit="s", aim=BACK, durable=True),
        Figure(
            what=f"{len(runs)} runs print on to a follower, {after}",
            value=resumed_s,
            unit="s",
            aim=BACK,
            durable=True,
        ),
        Figure(what="bytes printed and not stored", value=missing, unit="B", aim=AtMost(0)),
        Figure(what="lines doubled, bent or out of order", value=wrong, unit="", aim=AtMost(0)),
        Figure(
            what="runs that did not end well",
            value=len(runs) - ended.counts.get("succeeded", 0),
            unit="",
            aim=AtMost(0),
        ),
    ]


def _compared(client: Client, them: Crowd, runs: Iterable[str]) -> tuple[int, int]:
    """Bytes that are missing, and lines that are not the one that belongs there."""
    printed: Mapping[str, int] = them.printed()
    missing = wrong = 0
    for run in runs:
        stored = b"".join(client.output(run))
        missing += max(0, printed[run] * LINE_BYTES - len(stored))
        lines = stored.splitlines(keepends=True)
        wrong += max(0, len(lines) - printed[run]) + sum(
            line[:NUMBER_BYTES] != b"%09d" % number or len(line) != LINE_BYTES
            for number, line in enumerate(lines)
        )
    return missing, wrong
