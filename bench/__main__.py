"""`python -m bench [NAME…]`: take the figures, print them beside their aims, write JSON.

Says what it found and judges nothing: the exit status is 1 only when a figure could not be taken.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.blackhole import blackhole
from bench.bulk import bulk
from bench.dispatch import dispatch, dispatch_one
from bench.figures import BenchError, Figure, median
from bench.fleet import fleet, masses
from bench.latency import cli, first_byte
from bench.machine import disk, flushes_ms, machine
from bench.memory import memory
from bench.pouring import pour
from bench.recovery import recovery
from bench.report import Measured, as_json, block, heading, publish, write
from bench.scale import FULL, QUICK, Scale, Site
from bench.spawning import spawn
from bench.standing import connects, idle
from bench.storm import storm
from farhand.client import ClientError

Bench = Callable[[Site], list[Figure]]


def in_tls(bench: Bench) -> Bench:
    """The same bench, where everybody speaks TLS."""
    return lambda site: bench(site.in_tls())


BENCHES: Final[Mapping[str, Bench]] = {
    "disk": disk,
    "spawn": spawn,
    "cli": cli,
    "first-byte": first_byte,
    "memory": memory,
    "idle": idle,
    "idle-tls": in_tls(idle),
    "connects": connects,
    "connects-tls": in_tls(connects),
    "dispatch": dispatch,
    "dispatch-tls": in_tls(dispatch_one),
    "fleet": fleet,
    "masses": masses,
    "masses-tls": in_tls(masses),
    "recovery": recovery,
    "storm": storm,
    "blackhole": blackhole,
    "bulk": bulk,
    "pour": pour,
}
BOUND_S: Final = 300  # of one bench
FLUSHES: Final = 50  # just before each
RESULTS: Final = Path(__file__).parent / "results/latest.json"


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise BenchError in the block when it takes longer."""

    def too_long(*_: object) -> None:
        raise BenchError(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def measured(name: str, scale: Scale) -> Measured:
    """Run one bench in a directory of its own, which is gone afterwards."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="farhand-bench-") as directory:
        home = Path(directory)
        flush_ms = median(flushes_ms(home, min(FLUSHES, scale.flushes)))
        figures: list[Figure] = []
        error = ""
        try:
            with within(BOUND_S):
                figures = BENCHES[name](Site(home, scale))
        except (BenchError, ClientError, OSError) as exc:
            error = str(exc) or type(exc).__name__
        except ExceptionGroup as group:
            error = "; ".join(str(exc) or type(exc).__name__ for exc in group.exceptions)
    took_s = time.monotonic() - began
    return Measured(name=name, took_s=took_s, flush_ms=flush_ms, figures=figures, error=error)


def main(argv: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    options.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where to")
    options.add_argument("--publish", type=Path, metavar="DIR", help="write page and plot as well")
    options.add_argument("--quick", action="store_true", help="a taste; its figures do not count")
    asked = options.parse_args(argv)
    if unknown := sorted(set(asked.names) - BENCHES.keys()):
        options.error(f"there is no bench {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    on = machine(Path(tempfile.gettempdir()))
    print(*on.lines, "", heading(), sep="\n", flush=True)
    found = []
    for name in asked.names or BENCHES:
        found.append(measured(name, QUICK if asked.quick else FULL))
        print(block(found[-1]), flush=True)
    text = as_json(on, found, scale="quick" if asked.quick else "full")
    write(asked.json, text)
    if asked.publish:
        publish(asked.publish, on, found, text)
    print(f"\nwritten to {asked.json}")
    return 1 if any(each.error for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
