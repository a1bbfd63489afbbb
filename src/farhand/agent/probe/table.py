"""Print rows as a table for people. Knows nothing of what stands in them."""

from collections.abc import Iterable, Sequence


def show(head: Sequence[str], rows: Iterable[Sequence[object]], *, right: frozenset[int]) -> None:
    """Print *rows* under *head*; the columns in *right* are flush right, the last is not padded."""
    texts = [[*head], *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())  # noqa: T201  # the output of the program


def size(number: float) -> str:
    """Return bytes as people read them: `12.3 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(number) < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


def duration(seconds: float) -> str:
    """Return seconds as people read them: `3d 4h 5m`, `12m 3s`, `0.4s`."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole, parts = int(seconds), []
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, whole = divmod(whole, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:3])
