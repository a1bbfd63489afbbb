"""Figures as one small SVG: how far each is from its aim, and the spread of latencies.

Draws and knows nothing else; both axes are logarithmic, and what is left of the aim's line is good.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

WIDTH: Final = 960
LEFT: Final = 520  # of the axis; the words stand before it
RIGHT: Final = 840  # of the axis; the numbers stand behind it
ROW: Final = 18
MET, MISSED, RANGE, INK, PALE = "#3a7d44", "#b3492f", "#4c6a92", "#222222", "#cccccc"

_SPREAD: Final = re.compile(r"(?P<what>.+), p(?P<which>50|99)$")


@dataclass(frozen=True, slots=True)
class Axis:
    """A logarithmic axis between two values."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Where a value stands; one beyond the axis stands at its end."""
        inside = min(max(value, self.low), self.high)
        share = math.log(inside / self.low) / math.log(self.high / self.low)
        return LEFT + share * (RIGHT - LEFT)


AIMS: Final = Axis(1 / 16, 4)
LATENCIES: Final = Axis(0.5, 1000)


def svg(found: Mapping[str, Any]) -> str:
    """The picture of what `report.as_json` says."""
    rows = [
        (f"{bench['bench']}: {figure['what']}", figure)
        for bench in found["benches"]
        for figure in bench["figures"]
    ]
    drawn: list[str] = []
    below = _aims(drawn, [(what, figure) for what, figure in rows if figure["aim"]], top=40)
    below = _latencies(drawn, _spreads(rows), top=below + 60)
    machine = found["measured_on"]
    told = f"{machine['cores']} x {machine['cpu']}, Python {machine['python']}, {machine['date']}"
    drawn.append(_text(10, below + 30, told))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {below + 45}" '
        f'font-family="sans-serif" font-size="11" fill="{INK}">'
    )
    paper = f'<rect width="{WIDTH}" height="{below + 45}" fill="#ffffff"/>'
    return "\n".join([head, paper, *drawn, "</svg>\n"])


def ratio(figure: Mapping[str, Any]) -> float:
    """How a value stands to its aim: 1 is just met, less is better."""
    ((words, bound),) = figure["aim"].items()
    over, under = (figure["value"], bound) if words == "at most" else (bound, figure["value"])
    if under:
        return float(over / under)
    return AIMS.high if over else AIMS.low


def _aims(drawn: list[str], rows: Sequence[tuple[str, Mapping[str, Any]]], *, top: int) -> int:
    """Draw a bar for each figure with an aim; return where the next part may begin."""
    bottom = top + ROW * len(rows)
    drawn.append(_title("How far from the aim (the line; left of it is better)", top))
    for power in range(-4, 3):
        drawn.append(_rule(AIMS.at(2.0**power), top, bottom, INK if power == 0 else PALE))
        drawn.append(_text(AIMS.at(2.0**power) - 8, bottom + 14, f"{2.0**power:g}x"))
    for number, (what, figure) in enumerate(rows):
        middle = top + ROW * number + ROW // 2
        end = AIMS.at(ratio(figure))
        drawn.append(_text(10, middle + 4, what))
        drawn.append(_bar(LEFT, end, middle, MET if figure["met"] else MISSED))
        drawn.append(_text(RIGHT + 10, middle + 4, f"{_short(figure['value'])} {figure['unit']}"))
    return bottom + 14


def _spreads(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """p50 and p99 of everything that has both, in ms."""
    found: dict[str, dict[str, float]] = {}
    for what, figure in rows:
        if figure["unit"] == "ms" and (said := _SPREAD.match(what)):
            found.setdefault(said["what"], {})[said["which"]] = figure["value"]
    return {what: both for what, both in found.items() if len(both) == 2}


def _latencies(drawn: list[str], spreads: Mapping[str, Mapping[str, float]], *, top: int) -> int:
    """Draw a bar from p50 to p99 for each; return where the next part may begin."""
    bottom = top + ROW * len(spreads)
    drawn.append(_title("From p50 to p99, in ms", top))
    for value in (0.5, 1, 5, 10, 20, 100, 1000):
        drawn.append(_rule(LATENCIES.at(value), top, bottom, PALE))
        drawn.append(_text(LATENCIES.at(value) - 8, bottom + 14, f"{value:g}"))
    for number, (what, both) in enumerate(spreads.items()):
        middle = top + ROW * number + ROW // 2
        begin, end = LATENCIES.at(both["50"]), LATENCIES.at(both["99"])
        drawn.append(_text(10, middle + 4, what))
        drawn.append(_bar(begin, max(end, begin + 2), middle, RANGE))
        said = f"{_short(both['50'])} … {_short(both['99'])}"
        drawn.append(_text(RIGHT + 10, middle + 4, said))
    return bottom + 14


def _title(words: str, top: int) -> str:
    return f'<text x="10" y="{top - 14}" font-size="14" font-weight="bold">{escape(words)}</text>'


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}">{escape(words)}</text>'


def _rule(x: float, top: int, bottom: int, colour: str) -> str:
    return f'<path d="M{x:.1f} {top}V{bottom}" stroke="{colour}"/>'


def _bar(begin: float, end: float, middle: int, colour: str) -> str:
    width = max(1.0, end - begin)
    return (
        f'<rect x="{begin:.1f}" y="{middle - 5}" width="{width:.1f}" height="10" fill="{colour}"/>'
    )


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
