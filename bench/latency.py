"""How soon a byte arrives, and how long one command takes from shell to shell."""

import compileall
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import farhand
from bench.figures import AtMost, BenchError, Figure, median, quantile
from bench.processes import Controller, agent, controller, environment, program
from bench.scale import Site
from farhand.client import Client, Output

# Prints the time of each print, in nanoseconds of the clock that all processes share.
STAMPS: Final = """
import random, sys, time
for _ in range(int(sys.argv[1])):
    print(time.monotonic_ns(), flush=True)
    time.sleep(random.uniform(0.01, 0.03))
"""
FIRST_BYTE_MS: Final = AtMost(20)
COMMAND_MS: Final = AtMost(150)


def first_byte(site: Site) -> list[Figure]:
    """From a print on the agent to the bytes in the hands of a follower of the job."""
    scale = site.scale
    with controller(site.home) as to, agent(site.home, to), to.client() as client:
        _delays_ms(client, 1)  # connections and code are warm
        firsts = [_delays_ms(client, 1)[0] for _ in range(scale.first_bytes)]
        later = _delays_ms(client, scale.lines)
    return [
        Figure(
            what="first byte of a run, printed → SSE, median",
            value=median(firsts),
            unit="ms",
            samples=len(firsts),
            aim=FIRST_BYTE_MS,
            durable=True,
        ),
        Figure(
            what="a line of a live run, printed → SSE, median",
            value=median(later),
            unit="ms",
            samples=len(later),
            aim=FIRST_BYTE_MS,
            durable=True,
        ),
        Figure(
            what="a line of a live run, printed → SSE, p99",
            value=quantile(later, 0.99),
            unit="ms",
            samples=len(later),
            durable=True,
        ),
    ]


def _delays_ms(client: Client, lines: int) -> list[float]:
    """Run the program that prints the time, and return how old each line is when it arrives."""
    delays = []
    rest = b""
    argv = [sys.executable, "-I", "-S", "-c", STAMPS, str(lines)]
    for event in client.run(argv, names="web-1"):
        if isinstance(event, Output):
            now = time.monotonic_ns()
            *whole, rest = (rest + event.data).split(b"\n")
            delays += [(now - int(line)) / 1e6 for line in whole]
    if len(delays) != lines:
        raise BenchError(f"{len(delays)} of {lines} lines arrived")
    return delays


def cli(site: Site) -> list[Figure]:
    """`farhand run web-1 -- true`, and a bare interpreter in turn with it."""
    compileall.compile_dir(Path(farhand.__file__).parent, quiet=1)
    with controller(site.home) as to, agent(site.home, to):
        command, bare = (
            (str(program("farhand")), "run", "web-1", "--", "true"),
            (sys.executable, "-c", "pass"),
        )
        _shell_ms(site, to, command)  # the system's caches are warm
        _shell_ms(site, to, bare)
        whole, alone = [], []
        for _ in range(site.scale.commands):
            whole.append(_shell_ms(site, to, command))
            alone.append(_shell_ms(site, to, bare))
    size = len(whole)
    return [
        Figure(
            what="farhand run web-1 -- true, median",
            value=median(whole),
            unit="ms",
            samples=size,
            aim=COMMAND_MS,
            durable=True,
        ),
        Figure(what="python -c pass, median", value=median(alone), unit="ms", samples=size),
        Figure(what="one by the other", value=median(whole) / median(alone), unit="x"),
    ]


def _shell_ms(site: Site, to: Controller, command: Sequence[str]) -> float:
    env = environment(site.home, {"FARHAND_URL": to.url, "FARHAND_TOKEN": to.token})
    began = time.perf_counter_ns()
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    taken = (time.perf_counter_ns() - began) / 1e6
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command)}: {done.stderr.decode(errors='replace')[-300:]}")
    return taken
