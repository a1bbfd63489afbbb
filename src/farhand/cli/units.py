"""What people type for times, sizes and pairs, as values.

Raises ArgumentTypeError, which argparse turns into a usage error that names the option.
"""

import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta
from typing import Final

_SECONDS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d|)", re.ASCII)
_SIZE: Final = re.compile(r"(\d{1,12})(?:([KMGT])(?:i?B)?|B)?", re.ASCII | re.IGNORECASE)


def duration(text: str) -> float:
    """Read `500ms`, `30s`, `5m`, `2h`, `1d` or plain seconds; return seconds above 0."""
    found = _DURATION.fullmatch(text)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if seconds <= 0:
        raise ArgumentTypeError(f"{text!r} is not a duration; write 500ms, 30s, 5m, 2h or 1d")
    return seconds


def moment(text: str) -> datetime:
    """Read `2h` (so long ago), `2026-01-31`, `2026-01-31T12:00` or with an offset; return a time.

    Without an offset it is this machine's clock.
    """
    try:
        if _DURATION.fullmatch(text):
            return datetime.now(UTC) - timedelta(seconds=duration(text))
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        msg = f"{text!r} is no time; write 2h for two hours ago, or 2026-01-31T12:00"
        raise ArgumentTypeError(msg) from None


def patience(text: str) -> float:
    """Read a duration, or 0 for none at all."""
    return 0.0 if text in {"0", "0s"} else duration(text)


def size(text: str) -> int:
    """Read `0`, `4096`, `64K`, `10M`, `1G`; return bytes, in powers of 1024."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is not a size; write 4096, 64K, 10M or 1G")
    factor = 1024 ** ("KMGT".index(found[2].upper()) + 1) if found[2] else 1
    return int(found[1]) * factor


def pair(text: str) -> tuple[str, str]:
    """Read `KEY=VALUE`; the value may be empty and may hold more `=`."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def label(text: str) -> tuple[str, str | None]:
    """Read `KEY=VALUE`, or `KEY-`, which takes the label away."""
    if "=" not in text and len(text) > 1 and text.endswith("-"):
        return text[:-1], None
    try:
        return pair(text)
    except ArgumentTypeError:
        raise ArgumentTypeError(f"{text!r} is neither KEY=VALUE nor KEY-") from None


_SELECTOR: Final = re.compile(r"[\s\[\]*?=<>!&|()@\"']")


def is_selector(text: str) -> bool:
    """Whether this is more than names with commas between them."""
    return _SELECTOR.search(text) is not None


def names(text: str) -> list[str]:
    """Read `a` or `a,b,c`; none may be empty."""
    found = text.split(",")
    if not all(found):
        raise ArgumentTypeError(f"{text!r} has an empty name")
    return found


NORMALISERS: Final = ("numbers", "times", "addresses", "hex", "uuids", "hostname")


def normalisers(text: str) -> list[str]:
    """Read `numbers,times`: what outputs are compared without."""
    found = names(text)
    if unknown := [name for name in found if name not in NORMALISERS]:
        known = ", ".join(NORMALISERS)
        raise ArgumentTypeError(f"{unknown[0]!r} is not one of {known}")
    return found


def in_words(number: float) -> str:
    """Write bytes for people: `12 B`, `3.4 KiB`, `1.0 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
