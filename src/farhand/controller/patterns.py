"""Hold values against patterns that an agent sent, in linear time and bounded memory.

Never hands such a pattern to Python's own `re`: what an agent says is foreign input. A pattern that
cannot be read refuses every value.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import re2

from farhand.domain.command import Command
from farhand.errors import InvalidParameter

PATTERN_CHARS: Final = 1024
MEMORY_BYTES: Final = 256 * 1024  # of one pattern, compiled
REMEMBERED: Final = 256
_SHOWN: Final = 200


def check(command: Command, params: Mapping[str, str]) -> None:
    """Raise InvalidParameter for the first value that its parameter's pattern does not take.

    All of a value must match, and `$` is its very end: a trailing newline is never let through. An
    optional value may be empty.
    """
    for param in command.params:
        value = params.get(param.name)
        if value is None or param.pattern is None or not (value or param.required):
            continue
        shown = param.pattern[:_SHOWN] + ("…" if len(param.pattern) > _SHOWN else "")
        pattern = _compiled(param.pattern) if len(param.pattern) <= PATTERN_CHARS else None
        if pattern is None:
            msg = (
                f"{command.ident} cannot be given {param.name!r}: the pattern that the agent sent "
                f"for it cannot be read here, or is too large: {shown}"
            )
            raise InvalidParameter(msg, parameter=param.name)
        if pattern.fullmatch(value) is None:
            msg = f"{param.name}={value!r} does not match {shown}"
            raise InvalidParameter(msg, parameter=param.name)


@lru_cache(maxsize=REMEMBERED)
def _compiled(pattern: str) -> "re2._Regexp | None":
    options = re2.Options()
    options.max_mem = MEMORY_BYTES
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError):
        return None
