"""The invariants: what must be true when everything has settled, whatever happened before.

Pure: takes facts and returns findings. A finding that names a run is shown with its marks.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from tests.chaos.facts import AT_REST, TASKS, Facts, Level, Marks
from tests.chaos.faults import Kind
from tests.chaos.program import end_mark
from tests.chaos.work import Work

RSS_MIB: Final = 96.0  # Python gives little back; a leak of this chaos is above it
FDS: Final = 8  # three readers of the store come when they are needed
TASKS_MORE: Final = 2
THREADS: Final = 8  # pools start theirs when they are first needed
FINAL: Final = frozenset({"succeeded", "failed", "timed_out", "cancelled", "refused", "expired"})
# A replayed stream says that its agent holds nothing, and is believed: its runs are interrupted.
_INTERRUPTS: Final = frozenset({Kind.AGENT_KILLED, Kind.LINK_REPLAYED})
_OWN: Final = frozenset({"exit", "signal"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be. *run* where it is one's."""

    what: str
    run: str = ""


@dataclass(slots=True)
class Part:
    """One invariant: what it says, the figures it was checked with, what was found against it."""

    says: str
    figures: str = ""
    findings: list[Finding] = field(default_factory=list)


def judge(facts: Facts) -> list[Part]:
    """Check every invariant."""
    return [
        _none_missing(facts),
        _none_twice(facts),
        _true_ends(facts),
        _every_byte(facts),
        _none_alive(facts),
        _levels_back(facts),
        _nothing_odd(facts),
    ]


def _none_missing(facts: Facts) -> Part:
    accepted = [each for each in facts.asked if each.job]
    runs = [run for each in accepted for run in each.runs]
    part = Part("no accepted job is missing", f"{len(accepted)} jobs, {len(runs)} runs accepted")
    part.findings += [
        Finding(f"{each.job} was accepted and is not there")
        for each in accepted
        if each.job not in facts.jobs
    ]
    part.findings += [
        Finding("was accepted and is not there", run) for run in runs if run not in facts.runs
    ]
    extra = set(facts.jobs) - {each.job for each in accepted}
    part.findings += [Finding(f"{job} is there and nobody was told of it") for job in sorted(extra)]
    unanswered = [each.key for each in facts.asked if not each.job]
    part.findings += [Finding(f"the job with key {key} was never answered") for key in unanswered]
    return part


def _none_twice(facts: Facts) -> Part:
    started = sum(marks.starts for marks in facts.marks.values())
    part = Part("no run started twice", f"{started} starts of {len(facts.marks)} runs")
    for run, marks in facts.marks.items():
        if marks.starts != 1:
            part.findings.append(Finding(f"started {marks.starts} times", run))
        if len(marks.ends) > 1:
            part.findings.append(Finding(f"ended {len(marks.ends)} times", run))
        if run not in facts.runs:
            part.findings.append(Finding("left marks and is not known to the controller", run))
    return part


# --- The true end -------------------------------------------------------------------------


def _true_ends(facts: Facts) -> Part:
    ends: Counter[str] = Counter()
    part = Part("every run is in one final state, the true one")
    for asked, run, told in _pairs(facts):
        state, why = told["state"], told["why"]
        ends[
            state if why in {"exit", "time_limit", "cancelled", "queue_ttl"} else f"{state}/{why}"
        ] += 1
        marks = facts.marks.get(run, Marks())
        if wrong := _untrue(facts, asked.work, told, marks, cancelled=asked.cancelled):
            part.findings.append(Finding(f"is {state} ({why}), but {wrong}", run))
        if asked.followed is not None and asked.followed.ended:
            seen = asked.followed.states.get(run, "")
            if seen in FINAL and seen != state:
                part.findings.append(Finding(f"is {state}; its follower was told {seen}", run))
    part.figures = ", ".join(f"{count} {end}" for end, count in ends.most_common())
    return part


def _untrue(
    facts: Facts, work: Work, told: Mapping[str, Any], marks: Marks, *, cancelled: bool
) -> str:
    """Say what speaks against how the run is said to have ended; empty if nothing does."""
    how = marks.ends[0].split()[1] if marks.ends else None
    met = _met(facts, told)
    match told["state"], told["why"]:
        case "succeeded" | "failed", "exit" if work.how is None:
            return "it was to be ended, by a cancel or its time limit"
        case "succeeded" | "failed", "exit":
            return "" if how == f"exit-{told['exit_code']}" else f"its program says {how}"
        case "failed", "signal":
            return "" if how == f"signal-{told['signal']}" else f"its program says {how}"
        case "failed", "output_corrupt":
            # What was read while the disk was full was in memory, which ended with the agent.
            if not met >= {Kind.AGENT_DISK_FULL, Kind.AGENT_KILLED}:
                return "the agent was not killed with a full disk"
            ended = f"exit-{told['exit_code']}", f"signal-{told['signal']}"
            return "" if how in ended else f"its program says {how}"
        case "failed", "agent_restarted":
            return "" if met & _INTERRUPTS else "its agent was not killed"
        case "failed", "agent_stopped":
            return "" if Kind.AGENT_RESTARTED in met else "its agent was not stopped"
        case "failed", "spawn_failed":
            if Kind.AGENT_DISK_FULL not in met:
                return "the disk was never full"
            return _never_started(marks)
        case "timed_out", "time_limit":
            least = min(work.timeout_s, told["timeout_s"])
            return "" if (told["duration_s"] or 0.0) >= least - 0.05 else "it had time left"
        case "cancelled", "cancelled":
            if not cancelled:
                return "nobody asked"
            return "" if told["pid"] is not None else _never_started(marks)
        case "expired", "queue_ttl" | "contact_lost":
            return _never_started(marks)
        case "refused", "agent_stopped":
            return (
                _never_started(marks)
                if Kind.AGENT_RESTARTED in met
                else "its agent was not stopped"
            )
        case "refused", "journal_full":
            return _never_started(marks) if Kind.AGENT_DISK_FULL in met else "the disk had room"
        case "refused", "agent_full":
            return _never_started(marks)
        case state, _:
            return "nothing here can cause that" if state in FINAL else "that is not final"


def _met(facts: Facts, told: Mapping[str, Any]) -> set[Kind]:
    """The kinds of faults that the run's agent had met when the run came to its end."""
    ended = datetime.fromisoformat(told["ended_at"]).timestamp() if told["ended_at"] else 0.0
    touched = facts.touched.get(told["agent"]["name"], ())
    return {kind for kind, at in touched if at <= ended + 0.001}


def _never_started(marks: Marks) -> str:
    return "it was started" if marks.starts else ""


# --- The bytes ----------------------------------------------------------------------------


def _every_byte(facts: Facts) -> Part:
    part = Part("each stream is what was printed, or the cut is named")
    sums: Counter[str] = Counter()
    for asked, run, told in _pairs(facts):
        marks = facts.marks.get(run, Marks())
        own = told["state"] in {"succeeded", "failed"} and told["why"] in _OWN and bool(marks.ends)
        for stream, printed in (("stdout", asked.work.out), ("stderr", asked.work.err)):
            stored = facts.outputs.get((run, stream), b"")
            sums["compared"] += len(stored)
            end = told["streams"].get(stream)
            if told["why"] == "output_corrupt":
                sums["cut and named"] += len(printed) - len(stored)
                wrong = (
                    "" if printed.startswith(stored) else "not the beginning of what was printed"
                )
            elif own:
                wrong = _incomplete(asked.work, printed, stored, end, sums)
            else:
                sums["ended early"] += len(printed) - len(stored)
                wrong = _no_part(printed, stored, end)
            if wrong:
                part.findings.append(Finding(f"{stream}: {wrong}", run))
            if asked.followed is not None:
                heard = bytes(asked.followed.output.get((run, stream), b""))
                sums["followed"] += len(heard)
                if not stored.startswith(heard) or (
                    heard != stored
                    and asked.followed.ended
                    and not _was_lost(asked.followed.states)
                ):
                    wrong = f"{len(heard)} bytes, not the {len(stored)} stored"
                    part.findings.append(Finding(f"{stream}: its follower was told {wrong}", run))
        for line in marks.ends:
            if line != end_mark(line.split()[1], asked.work.out, asked.work.err):
                part.findings.append(Finding("its program printed something else", run))
    part.figures = ", ".join(
        f"{sums[name]:,} bytes {name}"
        for name in ("compared", "followed", "cut by limit", "cut and named", "ended early")
    )
    return part


def _was_lost(states: Mapping[str, str]) -> bool:
    """A follower is let go when a run is lost; it may print more when it is back."""
    return any(state not in FINAL for state in states.values())


def _incomplete(
    work: Work, printed: bytes, stored: bytes, end: Mapping[str, Any] | None, sums: Counter[str]
) -> str:
    """Say what is wrong with the output of a run that ended by itself."""
    if end is None:
        if stored == printed:
            return ""
        return f"{len(stored)} of {len(printed)} bytes, and nothing is said about the rest"
    if end["total"] != len(printed):
        return f"{len(printed)} bytes were printed, it says {end['total']}"
    if end["sha256_all"] != hashlib.sha256(printed).hexdigest():
        return "the digest of all is not that of what was printed"
    at, cut = end["cut_at"], end["cut_bytes"]
    if stored != printed[:at] + printed[at + cut :]:
        return f"{len(stored)} bytes that are not the {len(printed)} printed, {cut} cut at {at}"
    limit = work.output_limit
    named = "cut by limit" if limit is not None and len(stored) == limit else "cut and named"
    sums[named] += cut
    return ""


def _no_part(printed: bytes, stored: bytes, end: Mapping[str, Any] | None) -> str:
    """Say what is wrong with the output of a run that was ended."""
    at, cut = (end["cut_at"], end["cut_bytes"]) if end is not None else (len(stored), 0)
    total = end["total"] if end is not None else len(stored)
    if stored == printed[:at] + printed[at + cut : total] and len(stored) == total - cut:
        return ""
    return f"{len(stored)} bytes that are not what was printed up to {total}, {cut} cut at {at}"


# --- What is left -------------------------------------------------------------------------


def _none_alive(facts: Facts) -> Part:
    part = Part("no process of a run is left", f"{len(facts.living)} processes")
    part.findings += [Finding(f"alive: {each}") for each in facts.living]
    return part


def _levels_back(facts: Facts) -> Part:
    part = Part("memory, descriptors, threads and tasks are back at their level")
    told = []
    for name, after in facts.after.items():
        before = facts.before[name]
        told.append(
            f"{name} {before.rss_mib:.0f}>{after.rss_mib:.0f} MiB, "
            f"{before.fds}>{after.fds} fds, {before.threads}>{after.threads} threads"
        )
        if after.numbers:
            tasks = before.numbers.get(TASKS, 0.0), after.numbers.get(TASKS, 0.0)
            told[-1] += ", {:.0f}>{:.0f} tasks".format(*tasks)
        part.findings += [Finding(f"{name}: {wrong}") for wrong in grown(before, after)]
    missing = facts.before.keys() - facts.after.keys()
    part.findings += [Finding(f"{name} is not running") for name in sorted(missing)]
    part.figures = "; ".join(told)
    return part


def grown(before: Level, after: Level) -> Iterator[str]:
    """Say what is above its level."""
    if after.rss_mib > before.rss_mib + RSS_MIB:
        yield f"{before.rss_mib:.0f} MiB became {after.rss_mib:.0f}"
    if after.fds > before.fds + FDS:
        more = ", ".join(f"{count} {kind}" for kind, count in (after.kinds - before.kinds).items())
        yield f"{before.fds} descriptors became {after.fds}: {more} more"
    if after.threads > before.threads + THREADS:
        yield f"{before.threads} threads became {after.threads}"
    if after.numbers.get(TASKS, 0.0) > before.numbers.get(TASKS, 0.0) + TASKS_MORE:
        yield f"{before.numbers[TASKS]:.0f} tasks became {after.numbers[TASKS]:.0f}"
    for name in AT_REST:
        if after.numbers.get(name, 0.0):
            yield f"{name} is {after.numbers[name]:g}, and nothing is going on"


def _nothing_odd(facts: Facts) -> Part:
    part = Part("nothing crashed, hung or answered what it should not")
    part.figures = f"{len(facts.problems)} problems"
    part.findings += [Finding(each) for each in facts.problems]
    return part


def _pairs(facts: Facts) -> Iterator[tuple[Any, str, Mapping[str, Any]]]:
    """Each accepted run that is there: what was asked, its id, what the controller says."""
    for asked in facts.asked:
        for run in asked.runs:
            if run in facts.runs:
                yield asked, run, facts.runs[run]


def all_findings(parts: Sequence[Part]) -> list[Finding]:
    """Everything that was found."""
    return [finding for part in parts for finding in part.findings]
