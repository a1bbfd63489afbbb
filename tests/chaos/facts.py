"""What is left when everything has settled: what the controller says, and what the disk says.

Collects and judges nothing. The marks are read from the disk, the processes from /proc.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from tests.chaos.estate import Estate
from tests.chaos.faults import Kind
from tests.chaos.people import ANSWER_S, Asked, Auditor

# What the controller says of itself: as before within a few, and nothing at all.
TASKS: Final = "farhand_loop_tasks"
AT_REST: Final = (
    *("farhand_followers", "farhand_waiting", "farhand_http_requests_bytes"),
    *("farhand_http_readers_bytes", "farhand_agent_outbox_bytes", "farhand_store_queued_changes"),
    *("farhand_store_outside", "farhand_agents_entering", "farhand_agents_waiting"),
)
_ALL_MARKS: Final = b"\0FARHAND_RUN="


@dataclass(frozen=True, slots=True)
class Marks:
    """What a run's program left on disk: how often it started, and the lines at its end."""

    starts: int = 0
    ends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Level:
    """What a process uses when there is nothing to do."""

    rss_mib: float
    fds: int
    threads: int
    kinds: Counter[str] = field(default_factory=Counter)  # of descriptors
    numbers: Mapping[str, float] = field(default_factory=dict)  # what it tells of itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that the verdict looks at. *touched*: kinds of faults and when, by target."""

    asked: Sequence[Asked]
    jobs: Sequence[str]
    runs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[tuple[str, str], bytes]
    marks: Mapping[str, Marks]
    living: Sequence[str] = ()
    before: Mapping[str, Level] = field(default_factory=dict)
    after: Mapping[str, Level] = field(default_factory=dict)
    touched: Mapping[str, Sequence[tuple[Kind, float]]] = field(default_factory=dict)
    problems: Sequence[str] = ()  # what was seen to be wrong while it went on


def read_marks(folder: Path) -> dict[str, Marks]:
    """The marks of all runs, by run id."""
    found = {}
    for path in folder.iterdir():
        lines = path.read_text().splitlines()
        ends = tuple(line for line in lines if line.startswith("end "))
        found[path.name] = Marks(sum(line.startswith("start ") for line in lines), ends)
    return found


def living(runs: Iterable[str]) -> list[str]:
    """The processes of this host that belong to one of *runs*: pid, run and command."""
    wanted, found = set(runs), []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environ = b"\0" + (path / "environ").read_bytes()
            _, marked, rest = environ.partition(_ALL_MARKS)
            run = rest.partition(b"\0")[0].decode(errors="replace")
            if marked and run in wanted:
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ")[:80]
                found.append(f"{path.name} {run} {command.decode(errors='replace')}")
    return found


async def levels(estate: Estate, auditor: Auditor, http: httpx.AsyncClient) -> dict[str, Level]:
    """What each process uses now."""
    numbers = (await auditor.get(http, "/metrics", [])).text
    found = {}
    for member in estate.members:
        if member.pid is not None:
            proc = Path(f"/proc/{member.pid}")
            status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
            kinds = _descriptors(proc)
            found[member.name] = Level(
                rss_mib=int(status["VmRSS"].split()[0]) / 1024,
                fds=kinds.total(),
                threads=int(status["Threads"]),
                kinds=kinds,
                numbers=_numbers(numbers) if member is estate.controller else {},
            )
    return found


def _numbers(text: str) -> dict[str, float]:
    """Those of Prometheus' text format that are looked at; of several orgs the sum."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in {TASKS, *AT_REST}:
            found[name] = found.get(name, 0.0) + float(line.rpartition(" ")[2])
    return found


def _descriptors(proc: Path) -> Counter[str]:
    """What a process holds open: files by their name, sockets and pipes by their kind.

    Output files are left out: the controller keeps the last few open on purpose, up to a bound.
    """
    kinds: Counter[str] = Counter()
    for path in (proc / "fd").iterdir():
        with contextlib.suppress(OSError):
            name = os.readlink(path).split(":")[0].rpartition("/")[2]  # noqa: PTH115  # may be none
            kinds[name] += not name.endswith((".stdout", ".stderr"))
    return kinds


async def collect(
    estate: Estate, auditor: Auditor, asked: Sequence[Asked], *, within_s: float
) -> tuple[list[str], dict[str, dict[str, Any]], dict[tuple[str, str], bytes]]:
    """Read jobs, runs and output; asks again, for *within_s*, where nobody answers."""
    end = time.monotonic() + within_s
    while True:
        try:
            async with httpx.AsyncClient(timeout=4 * ANSWER_S, trust_env=False) as http:
                return await _collected(auditor, http, asked)
        except (httpx.TransportError, KeyError):
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.2)


async def _collected(
    auditor: Auditor, http: httpx.AsyncClient, asked: Sequence[Asked]
) -> tuple[list[str], dict[str, dict[str, Any]], dict[tuple[str, str], bytes]]:
    jobs = [job["id"] for job in await auditor.all(http, "/jobs", [])]
    runs = {run["id"]: run for run in await auditor.all(http, "/runs", [])}
    outputs = {}
    for run in (run for each in asked for run in each.runs if run in runs):
        for stream in ("stdout", "stderr"):
            answer = await auditor.get(http, f"/runs/{run}/output", [("stream", stream)])
            if answer.status_code != 200:
                raise KeyError(answer.text)
            outputs[run, stream] = answer.content
    return jobs, runs, outputs
