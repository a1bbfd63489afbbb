"""How one output differs from another, line by line, in bounded time.

Lines are compared as somebody normalises them and shown as they were printed. Texts that are too
long or too unlike are not compared at all: then they are shown whole.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import Final

LINES: Final = 2_000  # of each text
PAIRS: Final = 20_000  # of equal lines, once what begins and ends alike is left out: the work
SHOWN: Final = 200  # lines of a diff
CONTEXT: Final = 1
LINE_CHARS: Final = 500  # of one line of a diff

Normal = Callable[[str], str]


def as_printed(text: str) -> str:
    """Compare lines as they are."""
    return text


def difference(
    before: str,
    after: str,
    *,
    normal_before: Normal = as_printed,
    normal_after: Normal = as_printed,
) -> Sequence[str] | None:
    """Return lines that begin with `-`, `+`, a blank or `@`; none when both are the same.

    None when one is empty, when they are too long or too unlike, or the diff would be no shorter.
    """
    old, new = before.splitlines(), after.splitlines()
    if not old or not new:
        return [] if old == new else None  # there is nothing to compare with
    if max(len(old), len(new)) > LINES:
        return None
    old_key, new_key = normal_before(before).splitlines(), normal_after(after).splitlines()
    if len(old_key) != len(old) or len(new_key) != len(new):
        return None  # a normaliser moved lines: nothing can be said of them
    head = _alike(old_key, new_key)
    tail = _alike(old_key[head:][::-1], new_key[head:][::-1])
    if _pairs(old_key[head : len(old) - tail], new_key[head : len(new) - tail]) > PAIRS:
        return None
    # Only the middle is given to difflib, with the context that is shown around it.
    begin, end = max(0, head - CONTEXT), max(0, tail - CONTEXT)
    old, new = old[begin : len(old) - end], new[begin : len(new) - end]
    old_key, new_key = old_key[begin : len(old_key) - end], new_key[begin : len(new_key) - end]
    found = _hunks(old, new, SequenceMatcher(None, old_key, new_key, autojunk=False), begin)
    return None if len(found) > min(SHOWN, max(len(new) + begin + end, 10)) else found


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines both begin with."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _pairs(old: Sequence[str], new: Sequence[str]) -> int:
    """How many pairs of equal lines there are."""
    counted = Counter(new)
    return sum(counted[line] for line in old)


def _hunks(
    old: Sequence[str], new: Sequence[str], matcher: "SequenceMatcher[str]", begin: int
) -> list[str]:
    found: list[str] = []
    for group in matcher.get_grouped_opcodes(CONTEXT):
        found.append(f"@ line {begin + group[0][3] + 1}")
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                found += [f" {line[:LINE_CHARS]}" for line in new[new_from:new_to]]
                continue
            found += [f"-{line[:LINE_CHARS]}" for line in old[old_from:old_to]]
            found += [f"+{line[:LINE_CHARS]}" for line in new[new_from:new_to]]
    return found
