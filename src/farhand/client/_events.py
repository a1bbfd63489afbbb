"""What happens to a job, as its followers are told it: output, changes of its runs, the end.

Also what all of it comes to, gathered. Does no I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from farhand.client._shapes import Json, Run

StreamName = Literal["stdout", "stderr"]

KEEP_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A run printed *data* at *offset* of the kept bytes of its stream.

    Each byte is told once, in order, whatever happened to the connection meanwhile.
    """

    run: str
    agent: str
    stream: StreamName
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class RunChanged:
    """A run changed its state: the run as it was then."""

    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Nobody waits for a run of this job any more. *counts*: how many runs are in each state."""

    counts: Mapping[str, int] = field(default_factory=dict)
    raw: Json = field(default_factory=dict, repr=False, compare=False)


Event = Output | RunChanged | End


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended and what it printed; *truncated* when more was printed than was gathered.

    So it is when the output of an old job is not kept any more.
    """

    run: Run
    stdout: bytes = b""
    stderr: bytes = b""
    truncated: bool = False

    @property
    def ok(self) -> bool:
        """The run succeeded."""
        return self.run.state == "succeeded"


@dataclass(frozen=True, slots=True)
class Result:
    """A job whose runs have all come to rest; of a run that was made again, the last try."""

    job: str
    runs: tuple[RunResult, ...]

    @property
    def ok(self) -> bool:
        """Every run succeeded."""
        return all(run.ok for run in self.runs)


class Gathering:
    """Gathers events into a Result: at most *keep_bytes* of each stream of each run."""

    __slots__ = ("_bytes", "_cut", "_job", "_keep", "_runs")

    def __init__(self, job: str, runs: tuple[Run, ...], *, keep_bytes: int = KEEP_BYTES) -> None:
        self._job = job
        self._keep = keep_bytes
        self._runs = {run.id: run for run in runs}
        self._bytes: dict[tuple[str, str], bytearray] = {}
        self._cut: set[str] = set()

    def take(self, event: Event) -> None:
        """Take the next event."""
        match event:
            case Output(run=run, stream=stream, data=data):
                kept = self._bytes.setdefault((run, stream), bytearray())
                room = self._keep - len(kept)
                kept += data[:room]
                if len(data) > room:
                    self._cut.add(run)
            case RunChanged(run):
                self._runs[run.id] = run
            case End():
                pass

    def result(self) -> Result:
        """Return what has been gathered so far."""
        again = {run.retry_of for run in self._runs.values()}
        return Result(
            self._job,
            tuple(
                RunResult(
                    run=run,
                    stdout=bytes(self._bytes.get((run.id, "stdout"), b"")),
                    stderr=bytes(self._bytes.get((run.id, "stderr"), b"")),
                    truncated=run.id in self._cut
                    or any(
                        end.cut_bytes or end.kept > len(self._bytes.get((run.id, name), b""))
                        for name, end in run.streams.items()
                    ),
                )
                for run in self._runs.values()
                if run.id not in again
            ),
        )
