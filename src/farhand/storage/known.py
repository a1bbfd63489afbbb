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
EPOCHS: Final = 16_384


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
    """What a ledger finds and leaves behind; in *ending* it says which may be at their end."""

    runs: dict[RunId, RunRow] = field(default_factory=dict)
    jobs: dict[JobId, JobRow] = field(default_factory=dict)
    epochs: dict[AgentId, int | None] = field(default_factory=dict)
    ending: set[RunId | JobId] = field(default_factory=set)
    stored_bytes: int | None = None  # of all output, once somebody asked

    def forget(self) -> None:
        """Know nothing any more."""
        self.runs.clear()
        self.jobs.clear()
        self.epochs.clear()
        self.ending.clear()
        self.stored_bytes = None

    def trim(self) -> None:
        """Between two transactions: let go of what is at its end, and of the oldest above a bound.

        Above their bound all epochs go: the next of each agent is read again.
        """
        for ended in self.ending:
            run, job = self.runs.get(RunId(ended)), self.jobs.get(JobId(ended))
            if run is not None and run.run.state.final:
                del self.runs[run.run.id]
            if job is not None and job.tally.left == 0:
                del self.jobs[JobId(ended)]
        self.ending.clear()
        while len(self.runs) > RUNS:
            del self.runs[next(iter(self.runs))]
        while len(self.jobs) > JOBS:
            del self.jobs[next(iter(self.jobs))]
        if len(self.epochs) > EPOCHS:
            self.epochs.clear()
