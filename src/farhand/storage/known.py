"""Rows that the writer knows from earlier transactions: what was read once is not read again.

True because one thread writes a database and nobody else does; after a rollback, and whenever a
statement changes rows by itself, all of it is forgotten. Holds what still moves, within bounds.
"""

from dataclasses import dataclass, field
from typing import Final

from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.output import StreamName
from farhand.domain.run import Run
from farhand.storage.changes import Tally

RUNS: Final = 4_096
JOBS: Final = 256
EPOCHS: Final = 4_096


@dataclass(slots=True)
class RunRow:
    """A run, its number, and how much of each stream is kept."""

    n: int
    run: Run
    kept: dict[StreamName, int]


@dataclass(slots=True)
class JobRow:
    """The number of a job, and what moves of it."""

    n: int
    tally: Tally


@dataclass(slots=True)
class Known:
    """What a ledger finds and leaves behind."""

    runs: dict[RunId, RunRow] = field(default_factory=dict)
    jobs: dict[JobId, JobRow] = field(default_factory=dict)
    epochs: dict[AgentId, int | None] = field(default_factory=dict)

    def forget(self) -> None:
        """Know nothing any more."""
        self.runs.clear()
        self.jobs.clear()
        self.epochs.clear()

    def trim(self) -> None:
        """Between two transactions: let go of what is at its end, and of the oldest above a bound.

        Above their bound all epochs go: the next of each agent is read again.
        """
        for run in [run for run, row in self.runs.items() if row.run.state.final]:
            del self.runs[run]
        for job in [job for job, row in self.jobs.items() if row.tally.left == 0]:
            del self.jobs[job]
        while len(self.runs) > RUNS:
            del self.runs[next(iter(self.runs))]
        while len(self.jobs) > JOBS:
            del self.jobs[next(iter(self.jobs))]
        if len(self.epochs) > EPOCHS:
            self.epochs.clear()
