"""How fast a job may spread over its hosts, and when it must stop.

Only what was asked, checked; `domain.rollout` says what it means while the job runs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from farhand.domain.job import JobSpec, checked
from farhand.domain.limits import DEFAULTS, Limits
from farhand.errors import InvalidSpread, WaveTooLarge

REST: Final = "rest"
_SHARE: Final = re.compile(r"(?P<number>[0-9]{1,9})(?P<decimals>\.[0-9]{1,2})?(?P<percent>%)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many hosts, or so many of a hundred of them: exactly one of both is given.

    *percent* may have two decimals. Read one with `share`.
    """

    hosts: int = 0
    percent: float = 0.0

    def of(self, total: int) -> int:
        """How many of *total* hosts it is, rounded up; a number of hosts may be above *total*."""
        if self.hosts:
            return self.hosts
        return -(-round(self.percent * 100) * total // 10_000)

    def __str__(self) -> str:
        return str(self.hosts) if self.hosts else f"{self.percent:g}%"


def share(text: str, what: str) -> Share:
    """Read `50` or `10%`; raise InvalidSpread, which names *what* it was for."""
    found = _SHARE.fullmatch(text.strip())
    if found is None or (found["decimals"] and not found["percent"]):
        msg = f"{what}: {text!r} is neither a number of hosts (50) nor a percent of them (10%)"
        raise InvalidSpread(msg, at=what)
    if found["percent"]:
        percent = float(found["number"] + (found["decimals"] or ""))
        if not 0 < percent <= 100:
            raise InvalidSpread(f"{what}: {text} must be above 0% and at most 100%", at=what)
        return Share(percent=percent)
    if int(found["number"]) == 0:
        raise InvalidSpread(f"{what}: 0 hosts; it must be 1 or more", at=what)
    return Share(hosts=int(found["number"]))


def waves(texts: Sequence[str]) -> tuple[Share, ...]:
    """Read the sizes of successive waves; `rest` may stand last, and is what it ends with anyway.

    Raises InvalidSpread.
    """
    sizes = list(texts)
    if sizes and sizes[-1].strip() == REST:
        del sizes[-1]
    if any(text.strip() == REST for text in sizes):
        raise InvalidSpread("waves: nothing comes behind `rest`; let it stand last", at="waves")
    return tuple(share(text, "waves") for text in sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A job of its own that is run between two waves; its result decides about the next.

    *targets* is a selector. It passes when every run of it succeeded.
    """

    spec: JobSpec
    targets: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a job reaches its hosts. Make it with `check`.

    *concurrency* bounds the runs that are queued, sent or running at once. *waves* are sizes; what
    they leave is the last wave. Between waves *pause_s* seconds pass, or with *by_hand* somebody
    must say `resume`; then the *gate* is asked. *abort_after* is the number of failed executions,
    or the percent of all, at which nothing more is begun. A failed run is made again up to
    *retries* times, each time *retry_delay_s* after its wave came to rest.
    """

    concurrency: Share | None = None
    waves: tuple[Share, ...] = ()
    pause_s: float = 0.0
    by_hand: bool = False
    abort_after: Share | None = None
    gate: Gate | None = None
    retries: int = 0
    retry_delay_s: float = 0.0

    def fitted(self, total: int) -> "Spread":
        """The same for fewer hosts: a wave of more than *total* is one of all of them."""
        most = Share(hosts=total)
        waves = tuple(most if wave.of(total) > total else wave for wave in self.waves)
        return replace(self, waves=waves)

    def sizes(self, total: int) -> tuple[int, ...]:
        """The sizes of the waves over *total* hosts; a wave takes no more than there are left.

        Raises InvalidSpread for no hosts, WaveTooLarge for a wave that is larger than the job.
        """
        if total < 1:
            raise InvalidSpread("a share of no hosts is none; the job has no targets", at="waves")
        sizes: list[int] = []
        left = total
        for place, wave in enumerate(self.waves, start=1):
            size = wave.of(total)
            if size > total:
                msg = f"wave {place} is {size} hosts, and the job has {total}"
                raise WaveTooLarge(msg, wave=place, size=size, targets=total)
            if left:
                sizes.append(min(size, left))
                left -= sizes[-1]
        return (*sizes, left) if left else tuple(sizes)


def check(spread: Spread, spec: JobSpec, limits: Limits = DEFAULTS) -> Spread:
    """Return *spread* if a job of *spec* can be spread so; raise InvalidSpread, InvalidJob."""
    if len(spread.waves) > limits.waves:
        raise InvalidSpread(f"{len(spread.waves)} waves; at most {limits.waves} are taken")
    between = len(spread.waves) > 0
    for name, seconds in (("pause", spread.pause_s), ("retry_delay_s", spread.retry_delay_s)):
        if not 0 <= seconds <= limits.pause_max_s:
            msg = f"{name} is {seconds:g}; it must be from 0 to {limits.pause_max_s:g} seconds"
            raise InvalidSpread(msg, at=name)
    if (spread.pause_s or spread.by_hand) and not between:
        raise InvalidSpread("a pause lies between waves; give waves, as 1,10%,rest", at="pause")
    if spread.gate is not None:
        if not between:
            raise InvalidSpread("a gate stands between waves; give waves, as 1,10%,rest", at="gate")
        checked(spread.gate.spec, limits)
    if not 0 <= spread.retries <= limits.retries:
        msg = f"retries is {spread.retries}; it must be from 0 to {limits.retries}"
        raise InvalidSpread(msg, at="retries")
    if spread.retries and not spec.rerunnable:
        msg = "only a job that says that it may be run again is retried; say rerunnable"
        raise InvalidSpread(msg, at="retries")
    return spread
