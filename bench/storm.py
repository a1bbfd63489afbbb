"""Everybody comes back at once, in TLS: how soon, how densely, and what others notice of it.

The controller is killed, or stopped, and is away for a while; the agents do what they always do.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from bench.certificates import make_certificate
from bench.figures import AtLeast, AtMost, BenchError, Figure, quantile
from bench.numbers import numbers
from bench.processes import Controller, Crowd, controller, crowd
from bench.scale import Absence, Site
from farhand.client import Client, RunChanged
from farhand.domain.limits import DEFAULTS

JOIN_S: Final = 60.0
RETURN_S: Final = 40.0
BACK: Final = AtMost(15)
ASK_EVERY_S: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """One return: (seconds since the controller listens, agents there) and answers meanwhile."""

    seen: Sequence[tuple[float, int]]
    answers_ms: Sequence[float]

    @property
    def back_s(self) -> float:
        return self.seen[-1][0]

    @property
    def densest(self) -> int:
        """The most that came within one second."""
        return max(
            there - before
            for at, there in self.seen
            for since, before in self.seen
            if 0 <= at - since <= 1.0
        )


def storm(site: Site) -> list[Figure]:
    """Agents with runs on some of them lose their controller again and again."""
    scale, count = site.scale, site.scale.storm
    certificate = make_certificate(site.home)
    figures: list[Figure] = []
    with ExitStack() as stack:
        to = stack.enter_context(controller(site.home, certificate=certificate))
        them = stack.enter_context(crowd(site.home, to, count, processes=scale.processes))
        them.wait_for(count, JOIN_S)
        job = _waiting_job(to, scale.printing)
        for number, absence in enumerate(scale.absences):
            _end(to, absence)
            time.sleep(absence.seconds)
            name = f"controller-{number}"
            to = stack.enter_context(
                controller(site.home, agents=to.agents, name=name, certificate=certificate)
            )
            took = _return(to, them, count)
            figures += _figures(absence, count, took, numbers(to))
        them.stop_programs()
        with to.client() as client:
            figures += _runs(client, job, scale.printing)
    return figures


def _waiting_job(to: Controller, runs: int) -> str:
    """Start a program that waits on some agents; return its job when all of them run."""
    with to.client() as client:
        job = client.submit(["wait"], names=[f"sim-{number}" for number in range(runs)])
        until = time.monotonic() + JOIN_S
        while client.get_job(job.id).counts.get("running", 0) < runs:
            if time.monotonic() > until:
                raise BenchError(f"not all of {runs} runs started")
            time.sleep(0.05)
    return job.id


def _end(to: Controller, absence: Absence) -> None:
    if absence.killed:
        to.kill()
    else:
        to.popen.terminate()
        to.popen.wait()


def _return(to: Controller, them: Crowd, count: int) -> Return:
    began = time.monotonic()
    seen = [(0.0, 0)]
    with to.client() as client, _asking(client) as answers_ms:
        while seen[-1][1] < count:
            if seen[-1][0] > RETURN_S:
                raise BenchError(f"{seen[-1][1]} of {count} agents are back after {RETURN_S:g} s")
            time.sleep(0.01)
            seen.append((time.monotonic() - began, them.presence().online))
    return Return(seen=seen, answers_ms=answers_ms)


@contextmanager
def _asking(client: Client) -> Iterator[list[float]]:
    """Ask something simple over and over while the block runs; how long each answer took, in ms."""
    taken_ms: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(ASK_EVERY_S):
            began = time.monotonic()
            client.version()
            taken_ms.append((time.monotonic() - began) * 1e3)

    asking = threading.Thread(target=ask, name="asking")
    asking.start()
    try:
        yield taken_ms
    finally:
        over.set()
        asking.join()


def _figures(absence: Absence, count: int, took: Return, seen: Mapping[str, float]) -> list[Figure]:
    how = "killed" if absence.killed else "stopped"
    after = f"{how}, {absence.seconds:g} s away"
    return [
        Figure(
            what=f"{count} agents back in TLS, {after}",
            value=took.back_s,
            unit="s",
            aim=BACK,
            durable=True,
        ),
        Figure(
            what=f"agents back within one second, most, {after}", value=took.densest, unit="1/s"
        ),
        Figure(
            what=f"being let in at once, most, {after}",
            value=seen["agents_entering_most"],
            unit="agents",
            aim=AtMost(DEFAULTS.admissions),
        ),
        Figure(
            what=f"waiting for it at once, most, {after}",
            value=seen["agents_waiting_most"],
            unit="agents",
            aim=AtMost(DEFAULTS.admissions_waiting),
        ),
        Figure(
            what=f"told to come back later, {after}",
            value=seen["agents_sent_away_total"] + seen.get("agents_refused_total", 0),
            unit="times",
        ),
        Figure(
            what=f"changes in one commit meanwhile, {after}",
            value=seen["store_changes_total"] / max(1.0, seen["store_commits_total"]),
            unit="",
            durable=True,
        ),
        Figure(
            what=f"an API answer meanwhile, p99, {after}",
            value=quantile(took.answers_ms, 0.99),
            unit="ms",
            samples=len(took.answers_ms),
        ),
    ]


def _runs(client: Client, job: str, count: int) -> list[Figure]:
    """What became of the runs: each went on through all of it, and none was ever lost."""
    states = [event.run.state for event in client.follow(job) if isinstance(event, RunChanged)]
    return [
        Figure(
            what="runs that went on to their end through all of it",
            value=states.count("succeeded"),
            unit="",
            aim=AtLeast(count),
        ),
        Figure(what="runs that were ever lost", value=states.count("lost"), unit="", aim=AtMost(0)),
    ]
