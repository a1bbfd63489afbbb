"""A table for people and JSON for machines, of the same figures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.figures import Figure
from bench.machine import Machine
from bench.plot import svg

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one bench found; *flush_ms* is the disk's median fdatasync just before it."""

    name: str
    took_s: float
    flush_ms: float
    figures: Sequence[Figure] = ()
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "bench": self.name,
            "took_s": round(self.took_s, 3),
            "error": self.error or None,
            "figures": [
                {**figure.as_json(), "fdatasync_ms": self.flush_ms if figure.durable else None}
                for figure in self.figures
            ],
        }


def as_json(on: Machine, measured: Sequence[Measured], *, scale: str) -> str:
    """Everything, as one JSON document."""
    found = {
        "schema": SCHEMA,
        "scale": scale,
        "measured_on": on.as_json(),
        "benches": [each.as_json() for each in measured],
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def write(path: Path, text: str) -> None:
    """Put a file in place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f".{path.name}.new")
    written.write_text(text, encoding="utf-8")
    written.replace(path)


_WIDTHS: Final = (72, 18, 10, 8, 10)


def publish(directory: Path, on: Machine, measured: Sequence[Measured], text: str) -> None:
    """Write the figures as JSON (*text*), as a page with the table, and as a plot."""
    table = "\n".join([*on.lines, "", heading(), *map(block, measured)])
    page = (
        "# Figures\n\n"
        "Written by `make bench`; [the benchmarks' own page](README.md) says how to read them. The "
        "same as [JSON](figures.json).\n\n"
        "![How far each figure is from its aim](figures.svg)\n\n"
        f"```text\n{table}\n```\n"
    )
    write(directory / "figures.json", text)
    write(directory / "figures.md", page)
    write(directory / "figures.svg", svg(json.loads(text)))


def heading() -> str:
    return _row("", "value", "aim", "", "fdatasync")


def block(measured: Measured) -> str:
    """The lines of one bench."""
    lines = [f"{measured.name}  ({measured.took_s:.1f} s)"]
    for figure in measured.figures:
        aim = "" if figure.aim is None else f"{figure.aim.sign} {figure.aim.bound:g}"
        flush = f"{measured.flush_ms:.2f} ms" if figure.durable else ""
        value = f"{_number(figure.value)} {figure.unit:<6}"
        lines.append(_row(f"  {figure.what}", value, aim, figure.verdict, flush))
    if measured.error:
        lines.append(f"  not measured: {measured.error}")
    return "\n".join(lines)


def _row(what: str, value: str, aim: str, verdict: str, flush: str) -> str:
    first, second, third, fourth, fifth = _WIDTHS
    line = f"{what:<{first}}{value:>{second}}{aim:>{third}}  {verdict:<{fourth}}{flush:>{fifth}}"
    return line.rstrip()


def _number(value: float) -> str:
    """Three digits that count."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"
