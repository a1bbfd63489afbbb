"""When a cron expression is due: five fields, read as Debian's cron reads them, in a time zone.

Knows no jobs and no clock. CronSim counts the days; here its errors get a place, and every answer
becomes a moment: seconds since 1970 in UTC, which no zone repeats or leaves out.

Where a zone's clock changes, an expression whose minute and hour are both given (`30 2 * * *`) is
due once a day: a time that does not exist is due when the gap ends, and one that exists twice the
first time. One with a `*` in either (`*/10 * * * *`) goes by the time that passes: it has nothing
to do in the hour that does not exist, and is due in both of those that bear one name.
"""

import difflib
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from farhand.errors import InvalidCron, NeverFires, UnknownZone

MAX_LENGTH: Final = 256

_MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS: Final = (
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, or L for the last"),
    ("month", "1 to 12, or JAN to DEC"),
    ("day of the week", "0 to 7, where both are Sunday, or SUN to SAT"),
)
_MIDDAY: Final = datetime(2000, 1, 1, 12, tzinfo=UTC)  # any will do to read an expression


def zone(name: str) -> ZoneInfo:
    """Return the time zone *name*, such as `Europe/Berlin` or `UTC`; raise UnknownZone."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as exc:  # not there, no name, not a table of one
        names = resources.files("tzdata").joinpath("zones").read_text("ascii").split()
        folded = {known.casefold(): known for known in names}
        close = difflib.get_close_matches(name[:64].casefold(), folded, n=3)
        hint = f"; did you mean {' or '.join(folded[one] for one in close)}?" if close else ""
        told = f"there is no time zone {name[:64]!r}{hint or ': write one as Europe/Berlin or UTC'}"
        raise UnknownZone(told, zone=name[:64]) from exc


def check(text: str) -> None:
    """Raise InvalidCron for what is no cron expression, NeverFires for one without any day."""
    if len(text) > MAX_LENGTH:
        raise InvalidCron(f"the cron expression is longer than {MAX_LENGTH} characters", at=0)
    plain = _five(text)
    try:
        following = next(CronSim(plain, _MIDDAY), None)
    except CronSimError:  # every field can be read, but no month of it has the day
        following = None
    if following is None:
        told = f"{text!r} is never due: there is no such day in the next 50 years"
        raise NeverFires(told, cron=text)


def next_after(text: str, zone_name: str, moment: float) -> float | None:
    """Return the first due time later than *moment*, or None when there is none in 50 years.

    *text* is one that `check` takes. Raises UnknownZone.
    """
    return next(after(text, zone_name, moment), None)


def after(text: str, zone_name: str, moment: float) -> Iterator[float]:
    """Return the due times later than *moment*, in order. Raises UnknownZone."""
    begin = datetime.fromtimestamp(moment, zone(zone_name))
    last = moment
    for found in CronSim(_MACROS.get(text.strip().lower(), text), begin):
        # One clock time that comes twice, or two that fall to the end of one gap, are due once.
        if (at := found.timestamp()) > last:
            last = at
            yield at


def _five(text: str) -> str:
    """Return *text* as five fields, each of which can be read; raise InvalidCron."""
    asked = text.strip()
    if asked.startswith("@"):
        if (known := _MACROS.get(asked.lower())) is None:
            raise _error(
                text, f"{asked} is not known; there are {', '.join(_MACROS)}", text.index("@")
            )
        return known
    fields = asked.split()
    if len(fields) != len(_FIELDS):
        told = f"a cron expression has 5 fields, and this has {len(fields)}"
        raise _error(text, f"{told}: minute hour day month weekday", 0)
    at = 0
    for number, field in enumerate(fields):
        at = text.index(field, at)
        inside = at
        for item in field.split(","):
            if not _readable(item, number):
                name, takes = _FIELDS[number]
                raise _error(text, f"{item!r} is no {name}; it takes {takes}", inside)
            inside += len(item) + 1
        at += len(field)
    return asked


def _readable(item: str, number: int) -> bool:
    fields = ["*"] * len(_FIELDS)
    fields[number] = item
    try:
        CronSim(" ".join(fields), _MIDDAY)
    except (CronSimError, AssertionError, ValueError):
        return False
    return True


def _error(text: str, what: str, at: int) -> InvalidCron:
    shown = "".join(char if char.isprintable() else " " for char in text)
    return InvalidCron(f"{what}, at character {at + 1}:\n{shown}\n{' ' * at}^", at=at)
