"""The words of selectors: text becomes a tree, or an error that marks the place.

Asks no agent and looks up no group; `domain.selector` does that with the tree.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from farhand.domain.agent import Liveness
from farhand.domain.nodeset import EXPAND_MOST, expand
from farhand.domain.versions import is_version
from farhand.errors import InvalidSelector

MAX_LENGTH: Final = 16_384  # a folded set of some thousand names is as long
MAX_DEPTH: Final = 64  # groups counted in
MAX_TERMS: Final = 256  # with globs, alternatives and groups: each is asked of every agent

_TOKEN: Final = re.compile(
    r"""\s*(?P<token>(?P<op>!=|<=|>=|[()&|,!=<>])
        |"(?P<dq>[^"]*)"|'(?P<sq>[^']*)'
        |(?P<word>(?:[^\s()&|,!="'<>\[\]]|\[[^\s\]]*\])+))""",
    re.VERBOSE,
)
_COMPARISONS: Final = ("=", "!=", "<", "<=", ">", ">=")
_EQUALS: Final = ("=", "!=")
_LIVENESS: Final = tuple(each.value for each in Liveness)
_AROUND: Final = 200  # characters shown on either side of a mistake
_SHOWN: Final = 80  # characters of a term or of a value, when it is told
_GLOB: Final = re.compile(r"[*?[]")
_BRACKETS: Final = re.compile(r"\[[^\]]*\]")
_NUMBERS: Final = re.compile(r"\[[0-9,-]*\]")
_COMMA: Final = "a comma stands between names or between values; join terms with & or |"

# --- the tree -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Called:
    """Agents with one of these names, or that one of the globs matches."""

    text: str
    names: frozenset[str]
    globs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InGroup:
    """Agents of a saved group; *part* is what it stands for, once that is known."""

    name: str
    at: int
    part: "Node | None" = None


@dataclass(frozen=True, slots=True)
class Has:
    """Agents whose *key* is one of the *values* or matches one of the *globs*; != is the others."""

    text: str
    key: str
    op: str
    values: frozenset[str]
    globs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compares:
    """Agents whose *key* is before or behind *value*, as versions and numbers are."""

    text: str
    key: str
    op: str
    value: str


@dataclass(frozen=True, slots=True)
class Not:
    """Agents that *part* does not choose."""

    part: "Node"


@dataclass(frozen=True, slots=True)
class All:
    """Agents that all *parts* choose."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Any:
    """Agents that one of the *parts* chooses."""

    parts: tuple["Node", ...]


Node = Called | InGroup | Has | Compares | Not | All | Any


def walk(node: Node) -> Iterator[Node]:
    """Every node, from the top, into groups too."""
    yield node
    match node:
        case Not(part):
            yield from walk(part)
        case All(parts) | Any(parts):
            for part in parts:
                yield from walk(part)
        case InGroup(part=inner) if inner is not None:
            yield from walk(inner)
        case _:
            pass


def cost(node: Node) -> int:
    """How often an agent is asked for the node: once, and once for each glob."""
    match node:
        case Called(globs=globs) | Has(globs=globs):
            return 1 + len(globs)
        case _:
            return 1


def cut(text: str) -> str:
    """Text that is told to people, at most 80 characters of it."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def said(node: Node) -> str:
    """The node as somebody would write it."""
    match node:
        case Called(text) | Has(text) | Compares(text):
            return cut(text)
        case InGroup(name):
            return f"@{name}"
        case Not(part):
            return f"!({said(part)})"
        case All(parts):
            return cut(
                " & ".join(
                    f"({said(part)})" if isinstance(part, Any) else said(part) for part in parts
                )
            )
        case Any(parts):
            return cut(" | ".join(map(said, parts)))
        case _:
            assert_never(node)


# --- reading --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # "op", "word", "quoted" or "end"
    text: str
    at: int


class Reader:
    """A recursive descent over the tokens of one selector."""

    def __init__(self, text: str) -> None:
        self._text = text
        if len(text) > MAX_LENGTH:
            raise InvalidSelector(f"the selector is longer than {MAX_LENGTH} characters")
        self._tokens = self._scan()
        self._next = 0
        self._depth = 0
        self._terms = 0
        self._names = 0

    def _scan(self) -> list[_Token]:
        tokens, at = [], 0
        end = len(self._text.rstrip())
        while at < end:
            found = _TOKEN.match(self._text, at)
            if found is None:
                rest = self._text[at:]
                at += len(rest) - len(rest.lstrip())
                bracket = self._text[at] in "[]"
                told = "a bracket is not closed" if bracket else "a quote is not closed"
                raise self.error(told, at)
            op, word = found["op"], found["word"]
            quoted = found["dq"] if found["dq"] is not None else found["sq"]
            kind = "op" if op else "word" if word else "quoted"
            tokens.append(_Token(kind, op or word or quoted or "", found.start("token")))
            at = found.end()
        return [*tokens, _Token("end", "", end)]

    def error(self, what: str, at: int) -> InvalidSelector:
        """Say what is wrong, and mark the place."""
        first = max(0, at - _AROUND)
        part = self._text[first : at + _AROUND]
        shown = "".join(char if char.isprintable() else " " for char in part)
        before = "…" if first else ""
        after = "…" if at + _AROUND < len(self._text) else ""
        mark = f"{before}{shown}{after}\n{' ' * (at - first + len(before))}^"
        return InvalidSelector(f"{what}, at character {at + 1}:\n{mark}", at=at)

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *ops: str) -> _Token | None:
        token = self._peek()
        if token.kind == "op" and token.text in ops:
            self._next += 1
            return token
        return None

    def read(self) -> Node:
        """Return the tree; raise InvalidSelector."""
        if self._peek().kind == "end":
            raise self.error("the selector is empty; write a name or key=value", 0)
        found = self._either()
        left = self._peek()
        if left.text == "," and left.kind == "op":
            raise self.error(_COMMA, left.at)
        if left.kind != "end":
            raise self.error(f"unexpected {left.text!r}; join terms with & or |", left.at)
        return found

    def _either(self) -> Node:
        parts = [self._both()]
        while self._take("|"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _both(self) -> Node:
        parts = [self._one()]
        while self._take("&"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.error(f"nested deeper than {MAX_DEPTH}", self._peek().at)
        try:
            if self._take("!"):
                return Not(self._one())
            if opened := self._take("("):
                inside = self._either()
                if self._take(")") is None:
                    raise self.error("this parenthesis is not closed", opened.at)
                return inside
            return self._term()
        finally:
            self._depth -= 1

    def _term(self) -> Node:
        first = self._word("a name, or a term such as role=web, is missing")
        if first.kind == "word" and first.text.startswith("@"):
            if first.text == "@":
                raise self.error("the name of the group is missing", first.at)
            self._no_comparison(first)
            return self._counted(InGroup(first.text[1:], first.at), first)
        if op := self._take(*_COMPARISONS):
            return self._has(first, op.text)
        words = [first]
        while self._take(","):
            words.append(self._word("a name is missing behind the comma"))
        self._no_comparison(words[-1])
        if empty := next((word for word in words if not word.text), None):
            raise self.error("the name is empty", empty.at)
        names, globs = self._patterns(words)
        called = Called(",".join(word.text for word in words), names, globs)
        return self._counted(called, first)

    def _has(self, key: _Token, op: str) -> Node:
        values = [self._word(f"{key.text}{op} has no value")]
        while op in _EQUALS and self._take(","):
            values.append(self._word("a value is missing behind the comma"))
        self._no_comparison(values[-1])
        if not key.text:
            raise self.error("the key is empty; write key=value", key.at)
        text = f"{key.text}{op}{','.join(value.text for value in values)}"
        if op not in _EQUALS:
            if not is_version(values[0].text):
                told = f"{op} compares numbers and versions, such as 8 or 5.10"
                raise self.error(told, values[0].at)
            return self._counted(Compares(text, key.text, op, values[0].text), key)
        exact, globs = self._patterns(values)
        if key.text == "liveness" and (wrong := min(exact.difference(_LIVENESS), default=None)):
            told = f"liveness is {', '.join(_LIVENESS)}, but never {wrong!r}"
            raise self.error(told, values[0].at)
        return self._counted(Has(text, key.text, op, exact, globs), key)

    def _counted(self, node: Node, first: _Token) -> Node:
        self._terms += cost(node)
        if self._terms > MAX_TERMS:
            told = f"it has more than {MAX_TERMS} terms with its globs; names are joined by commas"
            raise self.error(told, first.at)
        return node

    def _no_comparison(self, last: _Token) -> None:
        """The comma in `role=web,os=linux` is no `&`, and `a=b=c` is nothing."""
        token = self._peek()
        if token.kind != "op" or token.text not in _COMPARISONS:
            return
        if self._tokens[self._next - 2].text == ",":
            raise self.error(_COMMA, last.at)
        raise self.error(f"unexpected {token.text!r}; join terms with & or |", token.at)

    def _patterns(self, words: Sequence[_Token]) -> tuple[frozenset[str], tuple[str, ...]]:
        """What words stand for: names or values as they are, and globs."""
        exact: set[str] = set()
        globs: list[str] = []
        for word in words:
            found = self._expanded(word)
            self._names += len(found)
            if self._names > EXPAND_MOST:
                raise self.error(f"with this it has more than {EXPAND_MOST} names", word.at)
            for each in found:
                if _GLOB.search(each):
                    globs.append(each)
                else:
                    exact.add(each)
        return frozenset(exact), tuple(globs)

    def _expanded(self, word: _Token) -> Sequence[str]:
        """A word, or the names of its set. In quotes nothing is a set of names."""
        brackets = _BRACKETS.findall(word.text)
        if word.kind == "quoted" or not brackets or not all(map(_NUMBERS.fullmatch, brackets)):
            return (word.text,)
        try:
            return expand(word.text)
        except ValueError as exc:
            raise self.error(str(exc), word.at) from exc

    def _word(self, missing: str) -> _Token:
        token = self._peek()
        if token.kind not in {"word", "quoted"}:
            raise self.error(missing, token.at)
        self._next += 1
        return token
