"""Byte ranges of RFC 9110: which bytes of a body a `Range` header asks for.

One range is served; several at once, other units and what cannot be read are ignored, as the RFC
allows, and mean the whole.
"""

import re
from dataclasses import dataclass
from typing import Final

from farhand.errors import InvalidRange

_RANGE: Final = re.compile(r"bytes=[ \t]*(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})[ \t]*")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from *start* up to, not including, *end*. *part*: a range was asked for."""

    start: int
    end: int
    part: bool = False

    @property
    def length(self) -> int:
        """How many bytes these are."""
        return self.end - self.start


def asked_span(header: str | None, length: int) -> Span:
    """Return which of *length* bytes are asked for; raise InvalidRange when there is none."""
    found = _RANGE.fullmatch(header or "")
    if found is None or not (found["first"] or found["last"]):
        return Span(0, length)
    if not found["first"]:
        start, end = max(0, length - int(found["last"])), length
    else:
        start = int(found["first"])
        end = min(length, int(found["last"]) + 1) if found["last"] else length
        if found["last"] and int(found["last"]) < start:
            return Span(0, length)
    if start >= end:
        msg = f"the range {header} lies outside of the {length} bytes that are stored"
        raise InvalidRange(msg, length=length)
    return Span(start, end, part=True)
