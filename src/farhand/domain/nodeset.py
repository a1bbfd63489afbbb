"""Names of hosts as sets: `web[1-40,52]`, read into names and folded back from them.

Knows names only, no agents and no groups. Folding is ClusterShell's, which is loaded by who needs
it: an agent never does.
"""

import math
import re
from collections.abc import Iterable, Sequence
from itertools import chain, product, zip_longest
from typing import Final

EXPAND_MOST: Final = 10_000  # names that one set may stand for
FOLD_WHOLE: Final = 200  # names that are folded over all their numbers: it costs their square

_SET: Final = re.compile(r"[A-Za-z0-9_.:*?-]*(?:\[[0-9,-]+\][A-Za-z0-9_.:*?-]*)*")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:-]+")  # ClusterShell takes other digits for these
_RANGE: Final = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_LAST_NUMBER: Final = re.compile(r"(.*?)([0-9]+)([^0-9]*)")
_DIGITS: Final = 15  # of one number
_LONG: Final = re.compile(f"[0-9]{{{_DIGITS + 1}}}")


def expand(text: str) -> Sequence[str]:
    """The names that one set stands for, in order: `db[1-2]` is db1 and db2.

    Raises ValueError that says what is wrong with it.
    """
    if "[" not in text and "]" not in text:
        return (text,)
    if _SET.fullmatch(text) is None:
        raise ValueError("a set of names is written web[1-40,52], with letters, digits and ._:-")
    parts = re.split(r"\[([^]]*)\]", text)
    ranges = [_ranges(inside) for inside in parts[1::2]]
    count = math.prod(sum(len(each) for each, _ in several) for several in ranges)
    if count > EXPAND_MOST:  # said before anything is made of it: a range is short to write
        raise ValueError(f"it stands for more than {EXPAND_MOST} names")
    numbers = [[f"{n:0{width}}" for each, width in several for n in each] for several in ranges]
    return tuple(
        "".join(chain.from_iterable(zip_longest(parts[::2], chosen, fillvalue="")))
        for chosen in product(*numbers)
    )


def _ranges(inside: str) -> Sequence[tuple[range, int]]:
    """The numbers of `1-40,052`, and the width that each is filled up to with zeros."""
    found: list[tuple[range, int]] = []
    for part in inside.split(","):
        ends = _RANGE.fullmatch(part)
        if ends is None or max(len(ends[1]), len(ends[2] or "")) > _DIGITS:
            raise ValueError(f"{part!r} is no number and no range such as 1-40")
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if last < first:
            raise ValueError(f"{part} counts backwards")
        found.append((range(first, last + 1), len(ends[1]) if ends[1][0] == "0" else 0))
    return found


def fold(names: Iterable[str]) -> str:
    """Write many names as a few sets: db1, db2 and web1 are `db[1-2],web1`.

    A selector reads it as the same names. Many are folded over their last number alone, in time
    that grows with their count.
    """
    unique = list(dict.fromkeys(names))
    plain = [name for name in unique if _PLAIN.fullmatch(name) is not None]
    odd = [_quoted(name) for name in unique if _PLAIN.fullmatch(name) is None]
    return ",".join([*filter(None, [_folded(plain)]), *odd])


def _quoted(name: str) -> str:
    glob = re.sub(r"([*?[])", r"[\1]", name)
    return f"'{glob}'" if '"' in name else f'"{glob}"'


def _folded(names: Sequence[str]) -> str:
    if len(names) <= 1:
        return "".join(names)
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet  # noqa: PLC0415

    if len(names) <= FOLD_WHOLE and not any(map(_LONG.search, names)):
        return str(NodeSet.fromlist(names, resolver=RESOLVER_NOGROUP))
    alike: dict[tuple[str, str], list[str]] = {}
    alone: list[str] = []
    for name in names:
        found = _LAST_NUMBER.fullmatch(name)
        if found is None or len(found[2]) > _DIGITS:
            alone.append(name)
        else:
            alike.setdefault((found[1], found[3]), []).append(found[2])
    folded = (_numbered(*key, numbers) for key, numbers in sorted(alike.items()))
    return ",".join([*alone, *folded])


def _numbered(before: str, after: str, numbers: Sequence[str]) -> str:
    """Names that differ in one number."""
    if len(numbers) == 1:
        return before + numbers[0] + after
    from ClusterShell.RangeSet import RangeSet  # noqa: PLC0415

    return f"{before}[{RangeSet.fromlist(numbers)}]{after}"
