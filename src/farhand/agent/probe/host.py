"""Look at this host as a whole: how long it is up, its memory, its disks, its kernel's messages.

Reads /proc and /dev/kmsg only.
"""

# ruff: noqa: T201  # printing is its work

import errno
import os
import time
from collections import deque
from pathlib import Path
from typing import Final

from farhand.agent import procfs
from farhand.agent.probe.main import ProbeFailed
from farhand.agent.probe.table import duration, show, size

_LEVELS: Final = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_CPU: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_SECTOR: Final = 512


def uptime_s() -> float:
    """Seconds since boot."""
    return float(_words("uptime")[0])


def cpu_times() -> list[int]:
    """Clock ticks of all CPUs together, in the order of /proc/stat."""
    return [int(word) for word in _words("stat")[1 : 1 + len(_CPU)]]


def cpu_line(before: list[int], after: list[int]) -> str:
    """Tell what the CPUs did between two times."""
    spent = [late - early for early, late in zip(before, after, strict=True)]
    total = sum(spent) or 1
    return "cpu " + ", ".join(
        f"{name} {100 * ticks / total:.1f}%" for name, ticks in zip(_CPU, spent, strict=True)
    )


def memory_line() -> str:
    """Tell how much memory there is and how much can still be had."""
    found = _memory()
    return f"memory {size(found['MemTotal'])}, available {size(found['MemAvailable'])}"


def memory() -> None:
    """Print where memory and swap went."""
    found = _memory()
    shown = (
        *("MemTotal", "MemAvailable", "MemFree", "Buffers", "Cached", "Shmem", "Slab"),
        *("AnonPages", "Dirty", "Writeback", "Committed_AS", "CommitLimit"),
        *("SwapTotal", "SwapFree", "HugePages_Total"),
    )
    total = found["MemTotal"]
    rows = [
        (name, size(found[name]), f"{100 * found[name] / total:.1f}%")
        for name in shown
        if name in found
    ]
    show(("WHAT", "SIZE", "OF ALL"), rows, right=frozenset({1, 2}))


def uptime() -> None:
    """Print how long the host is up, its load and its CPUs."""
    one, five, fifteen, tasks, *_ = _words("loadavg")
    print(f"up {duration(uptime_s())}, load {one} {five} {fifteen}, {os.cpu_count()} CPUs")
    print(f"tasks running/all {tasks}")


def io(*, seconds: str) -> None:
    """Print what each block device did in *seconds*."""
    before = _disks()
    time.sleep(float(seconds))
    rows = []
    for name, after in _disks().items():
        if name not in before or not any(after):
            continue
        reads, read, writes, written, busy_ms = (
            (late - early) / float(seconds) for early, late in zip(before[name], after, strict=True)
        )
        rows.append(
            (
                name,
                f"{reads:.1f}",
                f"{size(read * _SECTOR)}/s",
                f"{writes:.1f}",
                f"{size(written * _SECTOR)}/s",
                f"{min(100.0, busy_ms / 10):.1f}",
            )
        )
    head = ("DEVICE", "READS/s", "READ", "WRITES/s", "WRITTEN", "BUSY%")
    show(head, rows, right=frozenset({1, 2, 3, 4, 5}))


def kernel_log(*, limit: str, level: str) -> None:
    """Print the newest *limit* messages of the kernel that are at least as bad as *level*."""
    worst = _LEVELS.index(level)
    newest: deque[str] = deque(maxlen=int(limit))
    for record in _kernel_records():
        head, _, text = record.partition(";")
        priority, _, microseconds, *_ = head.split(",")
        if (grade := int(priority) & 7) <= worst:
            line = text.partition("\n")[0]
            newest.append(f"[{int(microseconds) / 1e6:12.6f}] {_LEVELS[grade]}: {line}")
    print("\n".join(newest))


def _kernel_records() -> list[str]:
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise ProbeFailed(f"/dev/kmsg: {exc.strerror}; only root may read it here") from exc
    records = []
    try:
        while True:
            try:
                records.append(os.read(fd, 16_384).decode(errors="replace"))
            except BlockingIOError:
                return records
            except OSError as exc:
                if exc.errno != errno.EPIPE:  # some were overwritten before they were read
                    raise
    finally:
        os.close(fd)


def _memory() -> dict[str, int]:
    """The lines of /proc/meminfo, in bytes."""
    found = {}
    for line in Path(f"{procfs.PROC}/meminfo").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        number, *unit = rest.split()
        found[name] = int(number) * (1024 if unit else 1)
    return found


def _disks() -> dict[str, tuple[int, ...]]:
    """Of each device: reads, sectors read, writes, sectors written, milliseconds busy."""
    found = {}
    for line in Path(f"{procfs.PROC}/diskstats").read_text(encoding="ascii").splitlines():
        _, _, name, *numbers = line.split()
        if not name.startswith(("loop", "ram")):
            found[name] = tuple(int(numbers[at]) for at in (0, 2, 4, 6, 9))
    return found


def _words(name: str) -> list[str]:
    return procfs.read(f"{procfs.PROC}/{name}").decode().split()
