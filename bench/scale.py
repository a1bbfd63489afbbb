"""How much each bench does: the figures that count, or a taste that ends in seconds."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from bench.certificates import Certificate, make_certificate
from bench.figures import MIB


@dataclass(frozen=True, slots=True)
class Absence:
    """For how long the controller is away, and whether it was killed or stopped politely."""

    seconds: float
    killed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How often, how many, how long."""

    flushes: int  # of the disk
    spawns: int  # through the agent's code, and as many bare ones
    commands: int  # shell to shell, and as many bare interpreters
    first_bytes: int  # runs
    lines: int  # of one run
    output_bytes: int
    fleet: int  # simulated agents that must stay and take a job each
    crowd: int  # simulated agents for what only shows in numbers
    dispatched: tuple[int, ...]  # simulated agents that are connected while jobs are dispatched
    standing: tuple[int, ...]  # simulated agents that do nothing, more and more
    idle_s: float  # for how long they do nothing
    pours: int  # simulated agents that print much at the same time
    processes: int  # that simulate agents
    stay_s: float
    rounds: int  # jobs on all of them
    storm: int  # simulated agents that come back all at once
    absences: tuple[Absence, ...]  # of the controller
    printing: int  # runs that go on while it is away
    jobs: int  # dispatched one after the other, and four times as many 64 at a time


FULL: Final = Scale(
    flushes=300,
    spawns=200,
    commands=30,
    first_bytes=20,
    lines=200,
    output_bytes=256 * MIB,
    fleet=200,
    crowd=1_000,
    dispatched=(100, 1_000, 5_000),
    standing=(200, 1_000, 5_000),
    idle_s=60.0,
    pours=64,
    processes=4,
    stay_s=10.0,
    rounds=5,
    storm=2_000,
    absences=(Absence(2.0), Absence(60.0), Absence(2.0, killed=False)),
    printing=100,
    jobs=500,
)

QUICK: Final = Scale(
    flushes=20,
    spawns=5,
    commands=3,
    first_bytes=2,
    lines=10,
    output_bytes=4 * MIB,
    fleet=8,
    crowd=24,
    dispatched=(10, 24),
    standing=(4, 24),
    idle_s=2.0,
    pours=4,
    processes=2,
    stay_s=1.0,
    rounds=1,
    storm=60,
    absences=(Absence(1.0), Absence(0.5, killed=False)),
    printing=6,
    jobs=20,
)


@dataclass(frozen=True, slots=True)
class Site:
    """Where one bench works, how much it does, and whether all speak TLS.

    *home* is removed afterwards.
    """

    home: Path
    scale: Scale
    tls: bool = False

    def in_tls(self) -> Self:
        """The same, in TLS."""
        return replace(self, tls=True)

    def certificate(self) -> Certificate | None:
        """What a controller here listens with."""
        return make_certificate(self.home) if self.tls else None
