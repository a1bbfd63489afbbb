"""What agents cost that are only there: memory, processor time, and how fast they come.

The memory of one agent more is the slope between two numbers of agents, so that what is needed
once does not count.
"""

import itertools
import time
from contextlib import ExitStack
from typing import Final

from bench.figures import AtMost, Figure
from bench.processes import Controller, controller, cpu_s, crowd, resident_bytes
from bench.scale import Site

JOIN_S: Final = 90.0
SETTLE_S: Final = 3.0
USUAL: Final = {"heartbeat_s": 30.0, "inactivity_s": 90.0, "lease_s": 120.0}
KB: Final = 1_000
PLAIN: Final = AtMost(20)  # KB for an agent
IN_TLS: Final = AtMost(50)


def idle(site: Site) -> list[Figure]:
    """More and more agents that do nothing but beat every 30 s."""
    scale = site.scale
    figures: list[Figure] = []
    with ExitStack() as stack:
        to = stack.enter_context(
            controller(site.home, limits=USUAL, certificate=site.certificate())
        )
        held: dict[int, int] = {}
        for before, count in itertools.pairwise((0, *scale.standing)):
            more = count - before
            processes = min(scale.processes, 1 + more // 250)
            them = stack.enter_context(
                crowd(site.home, to, more, processes=processes, first=before)
            )
            them.wait_for(more, JOIN_S)
            time.sleep(SETTLE_S)
            held[count] = resident_bytes(to.pid)
            if before:
                figures += [
                    Figure(
                        what=f"memory of the controller for one agent more ({before} → {count})",
                        value=(held[count] - held[before]) / more / KB,
                        unit="KB",
                        aim=IN_TLS if site.tls else PLAIN,
                    ),
                    Figure(
                        what=f"of a core, controller with {count} idle agents",
                        value=100 * _share(to, scale.idle_s),
                        unit="%",
                    ),
                ]
    return figures


def _share(to: Controller, seconds: float) -> float:
    """How much of a core the controller uses."""
    began, used = time.monotonic(), cpu_s(to.pid)
    time.sleep(seconds)
    return (cpu_s(to.pid) - used) / (time.monotonic() - began)


def connects(site: Site) -> list[Figure]:
    """All agents come at the same time: for the first time, and as known ones."""
    count = site.scale.crowd
    taken: dict[str, tuple[float, float]] = {}
    with controller(site.home, certificate=site.certificate()) as to:
        for which in ("new", "known"):
            with crowd(site.home, to, count, processes=site.scale.processes) as them:
                began, used = time.monotonic(), cpu_s(to.pid)
                them.wait_for(count, JOIN_S)
                taken[which] = time.monotonic() - began, cpu_s(to.pid) - used
    return [
        figure
        for which, (took_s, used_s) in taken.items()
        for figure in (
            Figure(
                what=f"{count} {which} agents connect at once",
                value=count / took_s,
                unit="1/s",
                samples=count,
                durable=True,
            ),
            Figure(
                what=f"controller's time for a {which} agent that connects",
                value=used_s * 1e3 / count,
                unit="ms",
                samples=count,
            ),
        )
    ]
