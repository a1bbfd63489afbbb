"""Cursors: a place in one list, as text that only that list takes back.

Holds no secret: the check tells rubbish and other lists' cursors apart, it hides nothing.
"""

from hashlib import blake2s

from farhand.domain.history import ALL_JOBS, JobFilter
from farhand.errors import InvalidCursor
from farhand.ports import RunFilter

_CHECK = 8  # characters


def cursor_of(listing: str, place: str) -> str:
    """Return the cursor behind *place* (letters, digits and `_`) of *listing*."""
    return f"{place}.{_check(listing, place)}"


def place_of(listing: str, cursor: str) -> str:
    """Return the place that `cursor_of` was given; raise InvalidCursor for anything else."""
    place, dot, check = cursor.rpartition(".")
    if not dot or check != _check(listing, place):
        raise InvalidCursor
    return place


def number_of(listing: str, cursor: str) -> int:
    """Return the place that `cursor_of` was given, where places are numbers."""
    return int(place_of(listing, cursor))


def listing_of_jobs(which: JobFilter) -> str:
    """Name the list of jobs that *which* chooses."""
    return "jobs" if which == ALL_JOBS else f"jobs\0{which}"


def listing_of(which: RunFilter) -> str:
    """Name the list of runs that *which* chooses: a cursor of one is rubbish to another."""
    states = "" if which.states is None else f"={','.join(sorted(which.states))}"
    times = f"\0{which.since}\0{which.until}" if which.timed else ""
    return f"runs\0{which.job or ''}\0{which.agent or ''}\0{states}\0{which.wave}{times}"


def _check(listing: str, place: str) -> str:
    text = f"{listing}\0{place}".encode(errors="surrogatepass")
    return blake2s(text).hexdigest()[:_CHECK]
