"""Lists for people and for programs: a table on a terminal, plain columns in a pipe, JSON lines.

rich is loaded for a terminal alone.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

from farhand.cli.screen import json_line, write

T = TypeVar("T")

Columns = Mapping[str, Callable[[T], str]]

STYLES: Final = {
    **dict.fromkeys(("online", "succeeded", "ok", "done"), "green"),
    **dict.fromkeys(("failed", "timed_out", "refused", "fail"), "red"),
    **dict.fromkeys(("suspect", "lost", "expired", "cancelled", "warn"), "yellow"),
    **dict.fromkeys(("running", "sent"), "cyan"),
    **dict.fromkeys(("offline", "queued", "held"), "dim"),
}


def show(
    items: Iterable[T],
    columns: Columns[T],
    raw: Callable[[T], Mapping[str, object]],
    *,
    as_json: bool,
    empty: str,
) -> None:
    """Show *items*: as JSON lines by *raw*, else with *columns*; *empty* is said when none are."""
    if as_json:
        for item in items:
            json_line(None, raw(item))
        return
    rows = [[clean(cell(item)) for cell in columns.values()] for item in items]
    if not rows:
        sys.stderr.write(f"farhand: {empty}\n")
    elif sys.stdout.isatty():
        _table(list(columns), rows)
    else:
        _plain([[name.upper() for name in columns], *rows])


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box  # noqa: PLC0415 - slow to load, and only for terminals
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
    Console().print(table)


def _plain(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        write("stdout", "  ".join(padded).rstrip().encode(errors="backslashreplace") + b"\n")


def facts(pairs: Mapping[str, str]) -> None:
    """Show what is known of one thing, a line each; empty values are left out."""
    shown = {name: clean(value) for name, value in pairs.items() if value}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        line = f"{name.ljust(width)}  {value}\n"
        write("stdout", line.encode(errors="backslashreplace"))


def clean(text: str) -> str:
    """Return one line without control characters: names and labels come from foreign hosts."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def assignments(pairs: Mapping[str, object]) -> str:
    """Write `a=1 b=2`."""
    return " ".join(f"{key}={value}" for key, value in sorted(pairs.items()))


def ago(when: datetime | None) -> str:
    """Write how long ago something was: `12 s ago`, `3 h ago`; empty for never."""
    if when is None:
        return ""
    seconds = max(0.0, (datetime.now(UTC) - when).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def at(when: datetime | None) -> str:
    """Write a time as this machine's people read it; empty for never."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S") if when else ""
