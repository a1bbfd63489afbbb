"""Choose agents by what they are: `role=web & os=linux`, `!(env=prod | name=db-*)`.

Reads text into a tree and asks it; knows no store. A term is `key=value`, `key!=value` or `key`
alone (it is there); values may be globs (`*`, `?`, `[…]`) and may be quoted. `!` binds tighter
than `&`, which binds tighter than `|`; a comma is `&`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from farhand.errors import InvalidSelector

MAX_LENGTH: Final = 4096
MAX_DEPTH: Final = 64

_TOKEN: Final = re.compile(
    r"""\s*(?P<token>(?P<op>!=|[()&|,!=])
        |"(?P<dq>[^"]*)"|'(?P<sq>[^']*)'
        |(?P<word>[^\s()&|,!="']+))""",
    re.VERBOSE,
)

_Match = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector that was read; equal when its text is."""

    text: str

    def __post_init__(self) -> None:
        """Refuse, with InvalidSelector, what cannot be read."""
        _Reader(self.text).read()

    def compiled(self) -> _Match:
        """Return a function that tells whether an agent's terms match."""
        return _Reader(self.text).read()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # "op", "word" or "end"
    text: str
    at: int


class _Reader:
    """A recursive descent over the tokens of one selector."""

    def __init__(self, text: str) -> None:
        self._text = text
        if len(text) > MAX_LENGTH:
            raise InvalidSelector(f"the selector is longer than {MAX_LENGTH} characters")
        self._tokens = self._scan()
        self._next = 0
        self._depth = 0

    def _scan(self) -> list[_Token]:
        tokens, at = [], 0
        end = len(self._text.rstrip())
        while at < end:
            found = _TOKEN.match(self._text, at)
            if found is None:
                rest = self._text[at:]
                raise self._error("a quote is not closed", at + len(rest) - len(rest.lstrip()))
            op = found["op"]
            word = next((found[k] for k in ("word", "dq", "sq") if found[k] is not None), "")
            tokens.append(_Token("op" if op else "word", op or word, found.start("token")))
            at = found.end()
        return [*tokens, _Token("end", "", end)]

    def _error(self, what: str, at: int) -> InvalidSelector:
        shown = "".join(char if char.isprintable() else " " for char in self._text)
        mark = f"{shown}\n{' ' * at}^"
        return InvalidSelector(f"{what}, at character {at + 1}:\n{mark}", at=at)

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *ops: str) -> _Token | None:
        token = self._peek()
        if token.kind == "op" and token.text in ops:
            self._next += 1
            return token
        return None

    def read(self) -> _Match:
        if self._peek().kind == "end":
            raise self._error("the selector is empty; write key=value", 0)
        found = self._either()
        if (left := self._peek()).kind != "end":
            raise self._error(f"unexpected {left.text!r}; join terms with & or |", left.at)
        return found

    def _either(self) -> _Match:
        parts = [self._both()]
        while self._take("|"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda terms: any(part(terms) for part in parts)

    def _both(self) -> _Match:
        parts = [self._one()]
        while self._take("&", ","):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda terms: all(part(terms) for part in parts)

    def _one(self) -> _Match:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH}", self._peek().at)
        try:
            if self._take("!"):
                inner = self._one()
                return lambda terms: not inner(terms)
            if opened := self._take("("):
                inside = self._either()
                if self._take(")") is None:
                    raise self._error("this parenthesis is not closed", opened.at)
                return inside
            return self._term()
        finally:
            self._depth -= 1

    def _term(self) -> _Match:
        key = self._word("a key, such as role=web, is missing")
        op = self._take("=", "!=")
        if op is None:
            return lambda terms: key in terms
        value = self._word(f"{key}{op.text} has no value")
        if op.text == "=":
            return lambda terms: key in terms and fnmatchcase(terms[key], value)
        return lambda terms: not (key in terms and fnmatchcase(terms[key], value))

    def _word(self, missing: str) -> str:
        token = self._peek()
        if token.kind != "word":
            raise self._error(missing, token.at)
        self._next += 1
        return token.text
