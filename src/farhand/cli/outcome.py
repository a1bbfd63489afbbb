"""What a job's runs come to: one exit code, and a note for each run that did not succeed.

Pure. docs/reference/exit-codes.md is the table of `exit_code` in words.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final

from farhand.cli.units import in_words
from farhand.client._shapes import Run


class Exit(IntEnum):
    """The exit codes of farhand itself; a remote exit code may be the same number."""

    OK = 0
    SOME_FAILED = 1
    NONE_REACHED = 2
    USAGE = 64
    REFUSED = 65
    NOT_FOUND = 66
    UNREACHABLE = 69
    INTERNAL = 70
    IO = 74
    TRY_AGAIN = 75
    NOT_ALLOWED = 77
    CONFIG = 78
    TIMED_OUT = 124
    NOT_RUN = 125
    NOT_EXECUTABLE = 126
    PROGRAM_NOT_FOUND = 127
    SIGNALLED = 128
    INTERRUPTED = 130
    READER_GONE = 141


UNREACHED: Final = frozenset({"expired", "lost"})
LINES: Final = 20  # of one kind
NAMED: Final = 10  # hosts in one line

_NEXT: Final = {
    "time_limit": "give it longer with --timeout",
    "program_not_found": "is it installed there, and on the agent's PATH?",
    "not_executable": "look at its mode on the host",
    "no_such_directory": "look at --cwd",
    "queue_ttl": "its agent did not come in time; `farhand agents` shows it, --queue-ttl waits",
    "contact_lost": "it may still run; its state heals when the agent is back",
    "drained": "`farhand agents undrain` lets it take runs again",
    "already_run": "the controller was restored to an older state; submit a new job",
    "agent_full": "try again when its runs are over",
    "policy": "the agent's own configuration decides; see --allow of `farhand agent`",
    "unknown_command": "`farhand commands` lists what the agent has",
    "invalid_parameter": "`farhand commands AGENT IDENT` shows what it takes",
    "agent_restarted": "what it did until then is not undone",
    "output_corrupt": "what is kept is not what was printed; run it again",
}


def last_tries(runs: Iterable[Run]) -> list[Run]:
    """Leave out runs that failed and were made again: the last one of each host counts."""
    every = list(runs)
    again = {run.retry_of for run in every}
    return [run for run in every if run.id not in again]


def exit_code(runs: Sequence[Run], *, interrupted: bool = False) -> int:
    """Return what `farhand run` exits with when *runs* have come to rest."""
    if interrupted and any(run.state == "cancelled" for run in runs):
        return Exit.INTERRUPTED
    if len(runs) == 1:
        return _exit_code_of(runs[0])
    if all(run.state == "succeeded" for run in runs):
        return Exit.OK
    if all(run.state in UNREACHED for run in runs):
        return Exit.NONE_REACHED
    return Exit.SOME_FAILED


def _exit_code_of(run: Run) -> int:
    match run.state, run.why:
        case "succeeded", _:
            return Exit.OK
        case "timed_out", _:
            return Exit.TIMED_OUT
        case "cancelled", _:
            return Exit.INTERRUPTED
        case "failed", "program_not_found":
            return Exit.PROGRAM_NOT_FOUND
        case "failed", "not_executable":
            return Exit.NOT_EXECUTABLE
        case "failed", "signal":
            return Exit.SIGNALLED + (run.signal or 0)
        case "failed", "exit" if run.exit_code:
            return run.exit_code
        case _:
            return Exit.NOT_RUN


def what_happened(run: Run) -> str:
    """Say in one line how a run ended, and what to do about it."""
    match run.why:
        case "exit":
            return f"exit code {run.exit_code}"
        case "signal":
            said = f"killed by signal {run.signal or '?'}"
        case "time_limit":
            said = "ran longer than its limit and was killed"
        case _ if run.state == "cancelled":
            return "cancelled"
        case why if run.message:
            return f"{run.state.replace('_', ' ')}: {run.message}" + (f" [{why}]" if why else "")
        case why:
            said = f"{run.state.replace('_', ' ')} [{why or 'no reason was given'}]"
    todo = _NEXT.get(run.why or "")
    return f"{said}; {todo}" if todo else said


def notes(job: str, runs: Sequence[Run]) -> list[str]:
    """Return what a person should be told at the end, line by line; nothing if all is plain."""
    several = len(runs) > 1
    found: list[str] = []
    if several:
        counts = Counter(run.state for run in runs)
        folded = ", ".join(f"{number} {state}" for state, number in counts.most_common())
        found.append(f"{len(runs)} hosts: {folded.replace('_', ' ')}")
    failed = [run for run in runs if run.state != "succeeded" and (several or run.why != "exit")]
    found += _folded([(run.agent, what_happened(run)) for run in failed], job)
    cut = [
        (
            run.agent,
            f"{in_words(end.cut_bytes)} were cut out of {stream}; --output-limit keeps more",
        )
        for run in runs
        for stream, end in run.streams.items()
        if end.cut_bytes
    ]
    return found + _folded(cut, job)


def _folded(told: Sequence[tuple[str, str]], job: str) -> list[str]:
    """Say the same thing once, with everybody it is about."""
    about: dict[str, list[str]] = {}
    for agent, said in told:
        about.setdefault(said, []).append(agent)
    lines = [f"{_named(agents)}: {said}" for said, agents in about.items()]
    if len(lines) > LINES:
        more = f"… and {len(lines) - LINES} more; `farhand runs --job {job}` lists them all"
        return [*lines[:LINES], more]
    return lines


def _named(agents: Sequence[str]) -> str:
    more = len(agents) - NAMED
    return ", ".join(agents[:NAMED]) + (f" and {more} more" if more > 0 else "")
