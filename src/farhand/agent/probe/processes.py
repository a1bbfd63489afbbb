"""Look at this host's processes: who uses what, which files, which namespaces, which calls.

Changes none of them. What looks like a secret in an environment is not shown.
"""

# ruff: noqa: T201  # printing is its work

import os
import pwd
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from farhand.agent import procfs
from farhand.agent.namespaces import list_namespaces
from farhand.agent.probe import host
from farhand.agent.probe.main import ProbeFailed
from farhand.agent.probe.table import duration, show, size
from farhand.agent.procfs import Stat

_DETACH_S: Final = 5.0
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_COMMAND: Final = 200
_SECRET: Final = re.compile(r"SECRET|TOKEN|PASS|PWD|KEY|CREDENTIAL|AUTH|COOKIE|SALT", re.IGNORECASE)
_URL_SECRET: Final = re.compile(r"(://[^/@\s:]*:)[^/@\s]+(@)")

# What sorts first, from a process and its share of the CPU.
_ORDERS: Final[Mapping[str, Callable[[tuple[Stat, float]], float]]] = {
    "cpu": lambda each: -each[1],
    "memory": lambda each: -each[0].rss_pages,
    "time": lambda each: -each[0].ticks,
    "start": lambda each: -each[0].started,
    "pid": lambda each: each[0].pid,
}


def ps(*, by: str, limit: str, user: str = "") -> None:
    """Print the first *limit* processes; the share of CPU is over their whole life."""
    now = host.uptime_s()
    found = [
        (one, one.ticks / _TICKS_PER_S / max(0.01, now - one.started / _TICKS_PER_S))
        for one in _stats()
        if not user or user == _owner(one.pid)
    ]
    _show_processes(found, by, int(limit), now)


def top(*, seconds: str, limit: str) -> None:
    """Print load, memory, and the processes that used the CPU most in *seconds*."""
    before, began = {(one.pid, one.started): one.ticks for one in _stats()}, host.cpu_times()
    time.sleep(float(seconds))
    after, ended = _stats(), host.cpu_times()
    used = [
        (one, (one.ticks - before.get((one.pid, one.started), 0)) / _TICKS_PER_S / float(seconds))
        for one in after
    ]
    host.uptime()
    print(host.cpu_line(began, ended))
    print(host.memory_line())
    print()
    _show_processes(used, "cpu", int(limit), host.uptime_s())


def open_files(*, pid: str, limit: str) -> None:
    """Print what the process has open."""
    folder = Path(f"{procfs.PROC}/{pid}/fd")
    try:
        numbers = sorted(int(each.name) for each in folder.iterdir())
    except OSError as exc:
        raise _unreadable(pid, exc) from exc
    print(f"process {pid} has {len(numbers)} descriptors")
    for number in numbers[: int(limit)]:
        try:
            print(f"{number:>5}  {(folder / str(number)).readlink()}")
        except OSError:
            continue  # closed meanwhile


def environment(*, pid: str) -> None:
    """Print the environment the process began with, secrets left out."""
    data = procfs.environ(int(pid))
    if data is None:
        raise ProbeFailed(f"process {pid} is not there, or belongs to another user")
    for item in sorted(filter(None, data.decode(errors="replace").split("\0"))):
        name, _, value = item.partition("=")
        shown = "(not shown)" if _SECRET.search(name) else _URL_SECRET.sub(r"\1***\2", value)
        print(f"{name}={shown}")


def namespaces() -> None:
    """Print all namespaces of the host and whose they are."""
    show(
        ("KIND", "ID", "PID", "PROCESSES", "OWNER", "CONTAINER", "POD", "COMMAND"),
        (
            (
                each.kind,
                each.id,
                each.pid,
                each.processes,
                each.owner,
                each.container[:12] or "-",
                each.pod or "-",
                each.command,
            )
            for each in list_namespaces()
        ),
        right=frozenset({2, 3}),
    )


def strace(*, pid: str, seconds: str) -> None:
    """Print the system calls of a process and its threads for *seconds*, then let go of it."""
    argv = ["strace", "-q", "-f", "-tt", "-T", "-s", "128", "-o", "/dev/stdout", "-p", pid]
    try:
        tracer = subprocess.Popen(argv)
    except FileNotFoundError:
        raise ProbeFailed("strace is not installed; the package is called strace") from None
    try:
        code = tracer.wait(float(seconds))
    except subprocess.TimeoutExpired:
        tracer.terminate()  # it detaches; SIGINT may be ignored here, behind nohup or &
        try:
            tracer.wait(_DETACH_S)
        except subprocess.TimeoutExpired:
            tracer.kill()  # the kernel lets go of what it traced
            tracer.wait()
        return
    if code != 0:
        raise ProbeFailed(f"strace ended with exit code {code}")


def _stats() -> list[Stat]:
    found = (procfs.stat(pid) for pid in procfs.pids())
    return [one for one in found if one is not None and not one.kernel]


def _show_processes(
    found: Iterable[tuple[Stat, float]], by: str, limit: int, uptime_s: float
) -> None:
    first = sorted(found, key=_ORDERS[by])[:limit]
    show(
        ("PID", "PPID", "USER", "CPU%", "RSS", "CPU TIME", "AGE", "S", "COMMAND"),
        (
            (
                one.pid,
                one.ppid,
                _owner(one.pid),
                f"{100 * share:.1f}",
                size(one.rss_pages * _PAGE),
                duration(one.ticks / _TICKS_PER_S),
                duration(max(0.0, uptime_s - one.started / _TICKS_PER_S)),
                one.state,
                _command(one),
            )
            for one, share in first
        ),
        right=frozenset({0, 1, 3, 4, 5, 6}),
    )


def _owner(pid: int) -> str:
    try:
        uid = Path(f"{procfs.PROC}/{pid}").stat().st_uid
    except OSError:
        return "?"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _command(one: Stat) -> str:
    try:
        words = procfs.read(f"{procfs.PROC}/{one.pid}/cmdline").decode(errors="replace")
    except OSError:
        words = ""
    text = words.rstrip("\0").replace("\0", " ") or f"[{one.comm}]"
    return "".join(c if c.isprintable() else "?" for c in text[:_COMMAND])


def _unreadable(pid: str, exc: OSError) -> ProbeFailed:
    if isinstance(exc, FileNotFoundError):
        return ProbeFailed(f"there is no process {pid}")
    return ProbeFailed(f"process {pid}: {exc.strerror}; it may belong to another user")
