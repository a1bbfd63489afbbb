"""What differs from host to host for no good reason, taken out of an output: numbers, times, names.

Takes text and gives text. Every pattern is matched in time that grows with the text alone, whatever
a host prints: nothing in them repeats without a bound next to something that it could be itself.
"""

import codecs
import re
from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Final


class Normaliser(StrEnum):
    """What can be taken out."""

    HOSTNAME = "hostname"  # the host's own name
    UUIDS = "uuids"
    ADDRESSES = "addresses"  # IPv4, IPv6, MAC
    TIMES = "times"  # dates and times of day
    HEX = "hex"  # digests, pointers
    NUMBERS = "numbers"  # with the blanks that line them up


_HEX = "[0-9A-Fa-f]"
_GROUP = f"{_HEX}{{1,4}}"
_BYTE = "[0-9]{1,3}"
_CLOCK = r"[0-2]?[0-9]:[0-5][0-9](?::[0-6][0-9](?:[.,][0-9]{1,9})?)?"
_ZONE = r"(?:[ ]?(?:Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}))?"
_DAYS = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTHS = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"

_UUID: Final = re.compile(rf"(?<!\w){_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}(?!\w)")
_ADDRESS: Final = re.compile(
    rf"""
    (?<![\w.]) {_BYTE} (?:\.{_BYTE}){{3}} (?:/[0-9]{{1,2}})? (?!\w|\.[0-9])
    | (?<![\w:-]) {_HEX}{{2}} (?: (?::{_HEX}{{2}}){{5}} | (?:-{_HEX}{{2}}){{5}} ) (?![\w:-])
    | (?<![\w:.])
      (?: {_GROUP} (?::{_GROUP}){{7}}
        | {_GROUP} (?::{_GROUP}){{0,6}} :: (?: {_GROUP} (?::{_GROUP}){{0,6}} )?
        | :: {_GROUP} (?::{_GROUP}){{0,6}} )
      (?:%\w{{1,15}})? (?:/[0-9]{{1,3}})? (?![\w:])
    """,
    re.VERBOSE | re.ASCII,
)
_TIME: Final = re.compile(
    rf"""
    (?<![\w:.-])
    (?: [0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}} (?:[T ]{_CLOCK}{_ZONE})?
      | (?:{_DAYS},?[ ])? (?: {_MONTHS}[ ]{{1,2}}[0-9]{{1,2}} | [0-9]{{1,2}}[ ]{_MONTHS} )
        (?:[ ][0-9]{{4}})? (?:[ ]{_CLOCK}{_ZONE})? (?:[ ][0-9]{{4}})?
      | {_CLOCK}{_ZONE} )
    (?![\w:])
    """,
    re.VERBOSE | re.ASCII,
)
_HEXES: Final = re.compile(
    r"(?<!\w)(?:0x[0-9A-Fa-f]{1,128}"
    r"|(?=[a-f]{0,64}[0-9])(?=[0-9]{0,64}[a-f])[0-9a-f]{7,128})(?!\w)",
    re.ASCII,
)
_BLANKS: Final = re.compile(r"[ \t]+")
_NUMBER: Final = re.compile(
    r"[0-9]+(?:[.,][0-9]+)*(?:[KMGTP](?:i?B)?(?![A-Za-z0-9]))?(?:%(?!\w))?", re.ASCII
)

Normal = Callable[[str], str]


def normalising(which: Collection[Normaliser], host: str) -> Normal:
    """Return what takes *which* out of the text of *host*; the order they are asked in is nothing.

    Line breaks stay where they are: line 7 is line 7 afterwards.
    """
    steps: list[Normal] = [_STEPS[step] for step in Normaliser if step in which and step in _STEPS]
    if Normaliser.HOSTNAME in which and host:
        steps.insert(0, _without_name(host))

    def normal(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return normal


def _without_name(host: str) -> Normal:
    """Take out *host*, with its domain and without it."""
    short = host.partition(".")[0]
    names = "|".join(re.escape(name) for name in dict.fromkeys((host, short)) if name)
    pattern = re.compile(rf"(?<![\w-])(?:{names})(?![\w-])", re.IGNORECASE)
    return lambda text: pattern.sub("<host>", text)


def _without_numbers(text: str) -> str:
    return _NUMBER.sub("<number>", _BLANKS.sub(" ", text))


_STEPS: Final[dict[Normaliser, Normal]] = {
    Normaliser.UUIDS: lambda text: _UUID.sub("<uuid>", text),
    Normaliser.ADDRESSES: lambda text: _ADDRESS.sub("<address>", text),
    Normaliser.TIMES: lambda text: _TIME.sub("<time>", text),
    Normaliser.HEX: lambda text: _HEXES.sub("<hex>", text),
    Normaliser.NUMBERS: _without_numbers,
}


def text_of(data: bytes, *, cut: bool) -> str | None:
    """Return *data* as text; None when it is binary. With *cut* its last character may be broken.

    A zero byte is in no text, though UTF-8 has it.
    """
    if b"\0" in data:
        return None
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data, final=not cut)
    except UnicodeDecodeError:
        return None
