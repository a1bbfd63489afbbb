"""The verdict finds what is wrong: each invariant is broken here once, by hand."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from tests.chaos.facts import AT_REST, TASKS, Facts, Level, Marks
from tests.chaos.faults import Kind
from tests.chaos.people import Asked, Followed
from tests.chaos.program import end_mark
from tests.chaos.verdict import all_findings, judge
from tests.chaos.work import Work

RUN, OUT, ERR = "run_1", b"all that was printed", b"and complained"
ENDED = "2026-01-01T00:00:00Z"
BEFORE = 1_000_000.0


def work(**changes: Any) -> Work:
    plain = Work(kind="quick", nonce="n", what={"argv": ["true"]}, out=OUT, err=ERR)
    return replace(plain, **changes)


def said(**changes: Any) -> dict[str, Any]:
    """What the controller says of a run that succeeded."""
    plain = {"id": RUN, "agent": {"name": "host-1"}, "state": "succeeded", "why": "exit"}
    more = {"exit_code": 0, "signal": None, "pid": 4711, "timeout_s": 60.0, "duration_s": 1.0}
    streams = {"stdout": whole(OUT), "stderr": whole(ERR)}
    return {**plain, **more, "ended_at": ENDED, "streams": streams, **changes}


def whole(data: bytes, *, at: int = 0, cut: int = 0) -> dict[str, Any]:
    kept = data[:at] + data[at + cut :]
    sums = {"sha256_all": sha256(data).hexdigest(), "sha256_kept": sha256(kept).hexdigest()}
    return {"total": len(data), "kept": len(kept), "cut_at": at, "cut_bytes": cut, **sums}


def facts(
    run: Mapping[str, Any] | None = None,
    *,
    asked: Asked | None = None,
    out: bytes = OUT,
    err: bytes = ERR,
    marks: Marks | None = None,
    **changes: Any,
) -> Facts:
    """What is left after one job that succeeded."""
    job = asked or Asked(work(), "key", job="job_1", runs={RUN: "host-1"})
    left = Marks(1, (end_mark("exit-0", OUT, ERR),)) if marks is None else marks
    plain = Facts(
        asked=[job],
        jobs=["job_1"],
        runs={RUN: said() if run is None else run},
        outputs={(RUN, "stdout"): out, (RUN, "stderr"): err},
        marks={RUN: left} if left.starts else {},
        before={"host-1": Level(30.0, 9, 2, numbers={TASKS: 5.0})},
        after={"host-1": Level(33.0, 9, 3)},
    )
    return replace(plain, **changes)


def found(given: Facts) -> list[int]:
    """The numbers of the invariants that something was found against."""
    return [number for number, part in enumerate(judge(given), 1) if part.findings]


def asked(**changes: Any) -> Asked:
    return replace(Asked(work(), "key", job="job_1", runs={RUN: "host-1"}), **changes)


NOT_STARTED = Marks()
NO_END = Marks(1)
GONE: dict[str, Any] = {"pid": None, "exit_code": None, "streams": {}}
NOTHING: dict[str, Any] = {"out": b"", "err": b""}
KILLED = {"host-1": [(Kind.AGENT_KILLED, BEFORE)]}
RESTARTED = said(state="failed", why="agent_restarted", exit_code=None, streams={})
CANCELLED = said(state="cancelled", why="cancelled", exit_code=None, streams={})

TRUE = {
    "succeeded": facts(),
    "interrupted": facts(RESTARTED, marks=NO_END, out=OUT[:5], err=b"", touched=KILLED),
    "corrupt": facts(
        said(state="failed", why="output_corrupt"),
        out=OUT[:5],
        touched={"host-1": [(Kind.AGENT_DISK_FULL, BEFORE), (Kind.AGENT_KILLED, BEFORE)]},
    ),
    "cancelled in time": facts(
        {**CANCELLED, **GONE}, asked=asked(cancelled=True), marks=NOT_STARTED, **NOTHING
    ),
    "cancelled": facts(CANCELLED, asked=asked(cancelled=True), marks=NO_END, out=OUT[:5]),
    "expired": facts(said(state="expired", why="queue_ttl", **GONE), marks=NOT_STARTED, **NOTHING),
    "cut by its limit": facts(
        said(streams={"stdout": whole(OUT, at=3, cut=5), "stderr": whole(ERR)}),
        asked=asked(work=work(output_limit=15)),
        out=OUT[:3] + OUT[8:],
    ),
    "followed": facts(
        asked=asked(followed=Followed({(RUN, "stdout"): bytearray(OUT)}, {RUN: "succeeded"}))
    ),
}

WRONG = {
    "a job is gone": (1, facts(jobs=[])),
    "a run is gone": (1, facts(runs={}, marks=NOT_STARTED)),
    "a job that nobody was promised": (1, facts(jobs=["job_1", "job_2"])),
    "a job that was never answered": (
        1,
        facts(asked=Asked(work(), "k"), jobs=[], runs={}, marks=NOT_STARTED),
    ),
    "started twice": (2, facts(marks=Marks(2, (end_mark("exit-0", OUT, ERR),)))),
    "ended twice": (2, facts(marks=Marks(1, (end_mark("exit-0", OUT, ERR),) * 2))),
    "another exit code": (3, facts(said(state="failed", exit_code=1))),
    "succeeded and never ended": (3, facts(marks=NO_END)),
    "corrupt by nothing": (3, facts(said(state="failed", why="output_corrupt"), touched=KILLED)),
    "interrupted by nothing": (3, facts(RESTARTED, marks=NO_END)),
    "interrupted before the kill": (
        3,
        facts(RESTARTED, marks=NO_END, touched={"host-1": [(Kind.AGENT_KILLED, 4e9)]}),
    ),
    "not ended by its cancel": (3, facts(asked=asked(cancelled=True, work=work(how=None)))),
    "expired and started": (3, facts(said(state="expired", why="queue_ttl", **GONE), marks=NO_END)),
    "cancelled by nobody": (3, facts(CANCELLED, marks=NO_END)),
    "timed out too early": (3, facts(said(state="timed_out", why="time_limit"), marks=NO_END)),
    "still running": (3, facts(said(state="running", why=None, ended_at=None))),
    "lost": (3, facts(said(state="lost", why="contact_lost", ended_at=None))),
    "a byte is missing": (4, facts(out=OUT[:-1])),
    "a byte is another": (4, facts(err=b"?" + ERR[1:])),
    "nothing is said about a cut": (4, facts(said(streams={}), out=OUT[:5])),
    "not a part of what was printed": (
        4,
        facts(CANCELLED, asked=asked(cancelled=True), marks=NO_END, out=b"something else"),
    ),
    "the digest is another": (
        4,
        facts(said(streams={"stdout": {**whole(OUT), "sha256_all": "0"}, "stderr": whole(ERR)})),
    ),
    "a follower was told something else": (
        4,
        facts(asked=asked(followed=Followed({(RUN, "stdout"): bytearray(b"no")}, {}, ended=True))),
    ),
    "a process lives": (5, facts(living=["4711 run_1 sleep"])),
    "descriptors leak": (6, facts(after={"host-1": Level(30.0, 30, 2)})),
    "tasks leak": (6, facts(after={"host-1": Level(30.0, 9, 2, numbers={TASKS: 9.0})})),
    "a follower stays": (6, facts(after={"host-1": Level(30.0, 9, 2, numbers={AT_REST[0]: 1.0})})),
    "memory leaks": (6, facts(after={"host-1": Level(300.0, 9, 2)})),
    "a process is gone": (6, facts(after={})),
    "a crash": (7, facts(problems=["host-1 ended by itself"])),
}


@pytest.mark.parametrize("name", TRUE)
def test_what_is_true_is_not_found_fault_with(name: str) -> None:
    assert [] == all_findings(judge(TRUE[name]))


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found(name: str) -> None:
    number, given = WRONG[name]

    assert number in found(given)
