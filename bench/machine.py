"""What the figures were measured on: processor, kernel, Python, file system, and the disk's pace.

The disk is asked by `disk`, the others are read from the system; nothing is remembered.
"""

import os
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.figures import Figure, median, quantile
from bench.scale import Site

BLOCK = bytes(4096)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Everything that a figure cannot be compared without."""

    cpu: str
    cores: int
    memory_mib: int
    load: float
    kernel: str
    python: str
    file_system: str
    date: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def lines(self) -> tuple[str, ...]:
        return (
            f"{self.cores} x {self.cpu}, {self.memory_mib / 1024:.0f} GiB, load {self.load:.1f}",
            f"Python {self.python}, {self.kernel}, {self.file_system}, {self.date}",
        )


def machine(home: Path) -> Machine:
    """Describe this machine; *home* lies on the file system that counts."""
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_mib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        load=round(os.getloadavg()[0], 2),
        kernel=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        file_system=file_system(home),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model"}:
            return value.strip()
    return platform.machine()


def file_system(home: Path) -> str:
    """The kind of file system that holds *home*: its mount is the longest that leads there."""
    found = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if home.resolve().is_relative_to(where) and len(where) >= len(found[0]):
            found = where, kind
    return found[1]


def flushes_ms(home: Path, count: int) -> list[float]:
    """How long each of *count* fdatasyncs took, every one after an append of 4 KiB."""
    path = home / "flushed"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    taken = []
    try:
        for _ in range(count):
            os.write(fd, BLOCK)
            began = time.perf_counter_ns()
            os.fdatasync(fd)
            taken.append((time.perf_counter_ns() - began) / 1e6)
    finally:
        os.close(fd)
        path.unlink()
    return taken


def disk(site: Site) -> list[Figure]:
    """What every durable figure waits for."""
    taken = flushes_ms(site.home, site.scale.flushes)
    size = len(taken)
    return [
        Figure(what="fdatasync of 4 KiB, median", value=median(taken), unit="ms", samples=size),
        Figure(
            what="fdatasync of 4 KiB, p99", value=quantile(taken, 0.99), unit="ms", samples=size
        ),
    ]
