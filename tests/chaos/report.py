"""What a round came to, for people: the invariants with their figures, recoveries, and findings.

A finding is shown with everything that leads to its cause: the seed, the faults with their times,
the run as it is said to be, its marks, and the lines of the logs that name it.
"""

import json
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.chaos.facts import Marks
from tests.chaos.inflict import Recovery
from tests.chaos.round import Outcome
from tests.chaos.verdict import Finding

WIDTH = 100
FINDINGS = 10  # shown with all their facts
LOG_LINES = 12


def report(outcome: Outcome) -> str:
    """The whole report."""
    return "\n".join(
        [
            *_head(outcome),
            *_invariants(outcome),
            *_recoveries(outcome.recoveries),
            *_findings(outcome),
        ]
    )


def _head(outcome: Outcome) -> Iterator[str]:
    plan = outcome.plan
    answers = ", ".join(f"{count} x {what}" for what, count in sorted(outcome.answers.items()))
    yield (
        f"seed {plan.seed}: {len(plan.faults)} faults on {plan.agents} agents and a controller, "
        f"{outcome.took_s:.0f} s, settled after {outcome.settled_s:.0f} s, disks: {outcome.disks}"
    )
    yield f"answers: {answers}"
    yield ""


def _invariants(outcome: Outcome) -> Iterator[str]:
    for number, part in enumerate(outcome.parts, 1):
        verdict = "ok" if not part.findings else f"{len(part.findings)} FOUND"
        yield f"{number}  {part.says:<72}{verdict:>10}"
        yield textwrap.fill(part.figures, WIDTH, initial_indent="     ", subsequent_indent="     ")
    yield ""


def _recoveries(recoveries: Sequence[Recovery]) -> Iterator[str]:
    """One line per kind: of those that no other fault disturbed, how long until all moved."""
    kinds: dict[str, list[Recovery]] = defaultdict(list)
    for each in recoveries:
        kinds[each.fault.kind].append(each)
    yield f"{'recovery in s, from the moment a fault is lifted':<50}{'first':>16}{'all':>16}"
    yield f"{'kind of fault':<28}{'faults':>7}{'alone':>7}{'runs':>7} {'     p50     max' * 2}"
    for kind, group in sorted(kinds.items()):
        alone = [each for each in group if not each.disturbed and each.all_s is not None]
        first = sorted(each.first_s for each in alone if each.first_s is not None)
        whole = sorted(each.all_s for each in alone if each.all_s is not None)
        cells = "".join(
            f"{times[len(times) // 2]:>8.2f}{times[-1]:>8.2f}" if times else f"{'-':>8}{'-':>8}"
            for times in (first, whole)
        )
        runs = sum(each.runs for each in alone)
        yield f"{kind:<28}{len(group):>7}{len(alone):>7}{runs:>7} {cells}"


def _findings(outcome: Outcome) -> Iterator[str]:
    if not outcome.findings:
        return
    yield ""
    yield f"FAILED with seed {outcome.plan.seed}; logs and marks are in {outcome.home}"
    yield f"again: make chaos SEED={outcome.plan.seed}"
    yield ""
    yield "what happened (seconds)"
    for at, what in outcome.history:
        yield f"  {at:7.2f}  {what}"
    for number, finding in enumerate(outcome.findings, 1):
        yield ""
        yield f"{number}. {finding.run} {finding.what}".replace("  ", " ")
        if finding.run and number <= FINDINGS:
            yield from _run_of(outcome, finding)


def _run_of(outcome: Outcome, finding: Finding) -> Iterator[str]:
    run = finding.run
    for asked in outcome.facts.asked:
        if run in asked.runs:
            wish = ", a cancel was asked" if asked.cancelled else ""
            yield f"   asked: {asked.work.kind} for {asked.runs[run]}, how {asked.work.how}{wish}"
            yield f"          {len(asked.work.out)} and {len(asked.work.err)} bytes"
    if (told := outcome.facts.runs.get(run)) is not None:
        yield textwrap.indent(json.dumps(told, indent=1), "   ")
    for stream in ("stdout", "stderr"):
        if (data := outcome.facts.outputs.get((run, stream))) is not None:
            yield f"   stored of {stream}: {len(data)} bytes"
    marks = outcome.facts.marks.get(run, Marks())
    yield f"   marks: {marks.starts} starts, ends {list(marks.ends)}"
    for log in sorted(outcome.home.glob("*.log")):
        lines = [line for line in log.read_text(errors="replace").splitlines() if run in line]
        yield from (f"   {log.name}: {line[:200]}" for line in lines[:LOG_LINES])
