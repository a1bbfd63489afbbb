"""Much output from one run: whole, fast, without growing, also when a follower stops reading."""

import hashlib
import http.client
import random
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from bench.asking import asked, connection, job_body, wait_for_end
from bench.figures import MIB, AtLeast, AtMost, BenchError, Figure
from bench.numbers import numbers, writes
from bench.processes import Controller, agent, controller, forget_peak, peak_bytes, resident_bytes
from bench.scale import Site

# Blocks of noise, each with its number in front, so that no two are alike.
PROGRAM: Final = """
import random, sys
block = random.Random(7).randbytes((1 << 20) - 8)
for number in range(int(sys.argv[1]) >> 20):
    sys.stdout.buffer.write(number.to_bytes(8, "big") + block)
"""
RATE: Final = AtLeast(95)  # 100 MB/s
GROWTH: Final = AtMost(61)  # 64 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What one run and its download came to. Growth is peak resident above what was there."""

    run_s: float
    download_s: float
    run_growth: int
    download_growth: int
    agent_growth: int
    digest: str


def bulk(site: Site) -> list[Figure]:
    """One run whose output is stored, then downloaded; and again beside a stopped follower."""
    size = site.scale.output_bytes
    expected = _digest(size)
    figures: list[Figure] = []
    with controller(site.home) as to, agent(site.home, to) as host:
        _pass(to, host.pid, MIB, stopped=False)  # code is loaded
        for stopped in (False, True):
            beside = ", a follower stopped" if stopped else ""
            before = numbers(to)
            passed = _pass(to, host.pid, size, stopped=stopped)
            figures += _figures(passed, size, beside, whole=passed.digest == expected)
            if not stopped:
                figures += writes("while it is stored", before, numbers(to), passed.run_s)
    return figures


def _figures(passed: Passed, size: int, beside: str, *, whole: bool) -> list[Figure]:
    mib = size / MIB
    return [
        Figure(
            what=f"{mib:.0f} MiB, submit → run ended{beside}",
            value=mib / passed.run_s,
            unit="MiB/s",
            aim=RATE,
            durable=True,
        ),
        Figure(
            what=f"download of it{beside}",
            value=mib / passed.download_s,
            unit="MiB/s",
            aim=RATE,
        ),
        Figure(
            what=f"of it with the right digest{beside}",
            value=100.0 * whole,
            unit="%",
            aim=AtLeast(100),
        ),
        Figure(
            what=f"the controller grew, run{beside}",
            value=passed.run_growth / MIB,
            unit="MiB",
            aim=GROWTH,
        ),
        Figure(
            what=f"the controller grew, download{beside}",
            value=passed.download_growth / MIB,
            unit="MiB",
            aim=GROWTH,
        ),
        Figure(what=f"the agent grew{beside}", value=passed.agent_growth / MIB, unit="MiB"),
    ]


def _pass(to: Controller, agent_pid: int, size: int, *, stopped: bool) -> Passed:
    argv = [sys.executable, "-I", "-S", "-c", PROGRAM, str(size)]
    with connection(to) as on, ExitStack() as stack:
        before, before_agent = resident_bytes(to.pid), resident_bytes(agent_pid)
        forget_peak(to.pid)
        forget_peak(agent_pid)
        began = time.monotonic()
        job = asked(on, to, "POST", "/api/v1/jobs", job_body(argv, {"names": ["web-1"]}))
        if stopped:
            stack.enter_context(_stopped_follower(to, job["id"]))
        run = wait_for_end(on, to, job["runs"][0]["id"])
        ran = time.monotonic() - began
        if run["state"] != "succeeded":
            raise BenchError(f"the run is {run['state']}: {run['why']} {run['message']}")
        grown = peak_bytes(to.pid) - before
        forget_peak(to.pid)
        began = time.monotonic()
        digest = _download(on, to, run["id"])
        return Passed(
            run_s=ran,
            download_s=time.monotonic() - began,
            run_growth=grown,
            download_growth=peak_bytes(to.pid) - before,
            agent_growth=peak_bytes(agent_pid) - before_agent,
            digest=digest,
        )


def _download(on: http.client.HTTPConnection, to: Controller, run: str) -> str:
    headers = {"Authorization": f"Bearer {to.token}"}
    on.request("GET", f"/api/v1/runs/{run}/output", headers=headers)
    answer = on.getresponse()
    digest, buffer = hashlib.sha256(), memoryview(bytearray(MIB))
    while count := answer.readinto(buffer):
        digest.update(buffer[:count])
    return digest.hexdigest()


def _digest(size: int) -> str:
    block = random.Random(7).randbytes(MIB - 8)
    digest = hashlib.sha256()
    for number in range(size // MIB):
        digest.update(number.to_bytes(8, "big"))
        digest.update(block)
    return digest.hexdigest()


@contextmanager
def _stopped_follower(to: Controller, job: str) -> Iterator[None]:
    """Follow a job until the first bytes, and then read no more; the connection stays."""
    with socket.socket() as follower:
        follower.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        follower.settimeout(10.0)
        follower.connect((to.host, to.port))
        lines = (f"GET /api/v1/jobs/{job}/events HTTP/1.1", f"Host: {to.host}:{to.port}")
        head = "\r\n".join((*lines, f"Authorization: Bearer {to.token}", "", ""))
        follower.sendall(head.encode())
        if not follower.recv(1024).startswith(b"HTTP/1.1 200"):
            raise BenchError("the job could not be followed")
        yield
