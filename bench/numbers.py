"""The controller's own numbers, read as a scraper reads them, and what they say of its disk."""

import ssl
import urllib.request
from collections.abc import Iterator

from bench.figures import Figure
from bench.processes import Controller

READ_S = 10.0


def numbers(to: Controller) -> dict[str, float]:
    """Every number of `/metrics` by its name without `farhand_`, its labels added up."""
    asked = urllib.request.Request(
        f"{to.url}/metrics", headers={"Authorization": f"Bearer {to.token}"}
    )
    trusted = ssl.create_default_context(cafile=str(to.ca)) if to.ca else None
    with urllib.request.urlopen(asked, timeout=READ_S, context=trusted) as answer:
        return summed(answer.read().decode())


def summed(text: str) -> dict[str, float]:
    """The samples of Prometheus' text format."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            sample, _, value = line.rpartition(" ")
            name = sample.partition("{")[0].removeprefix("farhand_")
            found[name] = found.get(name, 0.0) + float(value)
    return found


def writes(
    under: str, before: dict[str, float], after: dict[str, float], seconds: float
) -> Iterator[Figure]:
    """What the store did between two looks at its numbers."""

    def grown(name: str) -> float:
        return after[f"store_{name}_total"] - before[f"store_{name}_total"]

    commits = int(grown("commits"))
    for what, value, unit in (
        ("commits of the store", commits / seconds, "1/s"),
        ("fsyncs of the store", grown("flushes") / seconds, "1/s"),
        ("changes in one commit", grown("changes") / max(1, commits), ""),
        ("time in one commit", grown("commit_seconds") * 1e3 / max(1, commits), "ms"),
    ):
        yield Figure(what=f"{what}, {under}", value=value, unit=unit, samples=commits, durable=True)
