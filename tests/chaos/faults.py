"""What goes wrong, when and for how long: drawn from a seed before anything is started.

Pure: the same seed draws the same faults for the same agents.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """A kind of fault. Those that last are lifted after their time; the others are moments."""

    CONTROLLER_KILLED = "controller killed"
    CONTROLLER_RESTARTED = "controller restarted"
    CONTROLLER_STOPPED = "controller stopped"
    CONTROLLER_DISK_FULL = "controller's disk full"
    AGENT_KILLED = "agent killed"
    AGENT_RESTARTED = "agent restarted"
    AGENT_STOPPED = "agent stopped"
    AGENT_DISK_FULL = "agent's disk full"
    AGENT_DOUBLED = "agent doubled"
    LINK_CUT = "link cut"
    LINK_HALF_OPEN = "link half open"
    LINK_STALLED = "link stalled"
    LINK_SWALLOWED = "link swallowed"
    LINK_SLOW = "link slow"
    LINK_REFUSED = "link refused"
    LINK_REPLAYED = "link replayed"
    PEOPLE_CUT = "people cut off"
    PEOPLE_STALLED = "people stalled"
    PEOPLE_SLOW = "people slow"


AGENTS_OWN: Final = frozenset(
    kind for kind in Kind if kind.startswith(("agent ", "agent's", "link"))
)
MOMENTS: Final = frozenset({Kind.LINK_CUT, Kind.LINK_HALF_OPEN, Kind.PEOPLE_CUT})
CUT_OFF: Final = "cut off before"  # so that what ended last is known to the agent alone
WAYS: Final = ("both", "both", "up", "down")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. *after_s* is the pause before it; *how* a detail of its kind."""

    kind: Kind
    target: str  # an agent's name, or `controller`, or `people`
    after_s: float
    for_s: float
    how: str = ""
    overlaps: bool = False  # the next one does not wait for its end

    def __str__(self) -> str:
        lasting = "" if self.kind in MOMENTS else f" for {self.for_s:.2f} s"
        detail = f" ({self.how})" if self.how else ""
        return f"{self.kind}: {self.target}{detail}{lasting}"


def draw(seed: str, agents: Sequence[str], *, for_s: float, pace: float = 1.0) -> list[Fault]:
    """Draw the faults of one round that lasts about *for_s* seconds.

    At a *pace* of 2 pauses and faults are half as long. Every kind comes once before any comes
    twice, so that a few rounds have had them all.
    """
    drawer = random.Random(seed)
    faults: list[Fault] = []
    bag: list[Kind] = []
    while for_s > 0:
        if not bag:
            bag = list(Kind)
            drawer.shuffle(bag)
        faults.append(_one(drawer, bag.pop(), agents, pace))
        for_s -= faults[-1].after_s + faults[-1].for_s
    return faults


def _one(drawer: random.Random, kind: Kind, agents: Sequence[str], pace: float) -> Fault:
    target = drawer.choice(agents) if kind in AGENTS_OWN else kind.split()[0].removesuffix("'s")
    lasts = drawer.choices([(0.0, 0.5), (0.5, 2.0), (3.0, 6.0)], [3, 4, 2])[0]
    for_s = 0.0 if kind in MOMENTS else drawer.uniform(*lasts) / pace
    if kind is Kind.LINK_REPLAYED:
        for_s += 0.5  # to be let in
    match kind:
        case Kind.LINK_CUT | Kind.PEOPLE_CUT:
            how = drawer.choice(["reset", "fin", f"after {drawer.randint(1, 3000)} bytes"])
        case Kind.CONTROLLER_KILLED | Kind.AGENT_KILLED:
            again = f"again after {drawer.uniform(0.02, 1.0):.2f} s"
            how = drawer.choice(["", again, "" if kind is Kind.CONTROLLER_KILLED else CUT_OFF])
        case Kind.CONTROLLER_DISK_FULL | Kind.AGENT_DISK_FULL:
            how = drawer.choice(["", "", "killed meanwhile"])
        case Kind.LINK_HALF_OPEN:
            how = drawer.choice(["agent told", "controller told"])
        case Kind.LINK_STALLED | Kind.PEOPLE_STALLED:
            how = drawer.choice(WAYS)
        case Kind.LINK_SLOW | Kind.PEOPLE_SLOW:
            how = drawer.choice(["byte by byte", "late", "late and thin"])
        case _:
            how = ""
    after_s = drawer.choices([drawer.uniform(0.0, 0.4), drawer.uniform(0.4, 2.5)], [1, 3])[0]
    return Fault(
        kind=kind,
        target=target,
        after_s=round(after_s / pace, 2),
        for_s=round(for_s, 2),
        how=how,
        overlaps=drawer.random() < 0.3,
    )
