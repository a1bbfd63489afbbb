"""What the two processes need while they have nothing to do."""

import time
from typing import Final

from bench.asking import asked, connection, job_body
from bench.figures import MIB, AtMost, Figure
from bench.processes import agent, controller, resident_bytes
from bench.scale import Site

SETTLE_S: Final = 2.0
WORK: Final = 50  # runs


def memory(site: Site) -> list[Figure]:
    """A real agent and its controller: idle, and idle again after some work."""
    with controller(site.home) as to:
        time.sleep(SETTLE_S)
        alone = resident_bytes(to.pid)
        with agent(site.home, to) as host, connection(to) as on:
            time.sleep(SETTLE_S)
            idle = resident_bytes(host.pid)
            body = job_body(["true"], {"names": ["web-1"]})
            for _ in range(min(WORK, site.scale.jobs)):
                asked(on, to, "POST", "/api/v1/jobs?wait_s=30", body)
            time.sleep(SETTLE_S)
            worked, beside = resident_bytes(host.pid), resident_bytes(to.pid)
    return [
        Figure(what="agent, idle", value=idle / MIB, unit="MiB", aim=AtMost(32)),
        Figure(what="agent, idle after some runs", value=worked / MIB, unit="MiB"),
        Figure(what="controller, idle", value=alone / MIB, unit="MiB"),
        Figure(what="controller, idle after some runs", value=beside / MIB, unit="MiB"),
    ]
