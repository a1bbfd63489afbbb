"""What a bench finds: figures, each beside its aim. Knows no process and no clock."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

MIB: Final = 1 << 20


class BenchError(Exception):
    """A figure could not be taken; the message says why."""


@dataclass(frozen=True, slots=True)
class AtMost:
    """An aim that is met from below."""

    bound: float
    words = "at most"
    sign = "≤"

    def met_by(self, value: float) -> bool:
        return value <= self.bound


@dataclass(frozen=True, slots=True)
class AtLeast:
    """An aim that is met from above."""

    bound: float
    words = "at least"
    sign = "≥"

    def met_by(self, value: float) -> bool:
        return value >= self.bound


Aim = AtMost | AtLeast


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number with its unit, and how many samples it stands for.

    *durable*: it waits for the disk, so that the disk's own figure belongs beside it.
    """

    what: str
    value: float
    unit: str
    samples: int = 1
    aim: Aim | None = None
    durable: bool = False

    @property
    def verdict(self) -> str:
        """`met`, `not met`, or nothing where there is no aim."""
        if self.aim is None:
            return ""
        return "met" if self.aim.met_by(self.value) else "not met"

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "samples": self.samples,
            "aim": None if self.aim is None else {self.aim.words: self.aim.bound},
            "met": None if self.aim is None else self.aim.met_by(self.value),
        }


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that *share* of all do not exceed: 0.5 is the (lower) median."""
    if not values:
        raise BenchError("nothing was measured")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def median(values: Sequence[float]) -> float:
    return quantile(values, 0.5)
