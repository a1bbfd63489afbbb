"""Choose agents by what they are: `web[1-40] & os=linux & !(env=prod | kernel<5.10)`.

Reads text into a tree and asks it; knows no store. A word alone is a name, a set of names or a
glob; `@word` is a saved group. `key=value` asks for a label or a fact: `=` and `!=` take globs and
several values (`role=web,db`), `<`, `<=`, `>` and `>=` compare as versions do. `key=*` asks
whether it is there. `!` binds tighter than `&`, which binds tighter than `|`. Words and values may
be quoted, for spaces and signs; globs count there too, sets of names do not.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import zip_longest
from typing import Final, assert_never

from farhand.domain.nodeset import expand
from farhand.errors import InvalidSelector

MAX_LENGTH: Final = 16_384  # a folded set of some thousand names is as long
MAX_DEPTH: Final = 64

_TOKEN: Final = re.compile(
    r"""\s*(?P<token>(?P<op>!=|<=|>=|[()&|,!=<>])
        |"(?P<dq>[^"]*)"|'(?P<sq>[^']*)'
        |(?P<word>(?:[^\s()&|,!="'<>\[\]]|\[[^\s\]]*\])+))""",
    re.VERBOSE,
)
_COMPARISONS: Final = ("=", "!=", "<", "<=", ">", ">=")
_GLOB: Final = re.compile(r"[*?[]")
_BRACKETS: Final = re.compile(r"\[[^\]]*\]")
_NUMBERS: Final = re.compile(r"\[[0-9,-]*\]")
_EARLY: Final = frozenset({"dev", "a", "alpha", "b", "beta", "pre", "preview", "rc"})
_COMMA: Final = "a comma stands between names or between values; join terms with & or |"

Terms = Mapping[str, str]

# --- the tree -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Called:
    """Agents with one of these names, or that one of the globs matches."""

    text: str
    names: frozenset[str]
    globs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InGroup:
    """Agents of a saved group."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Has:
    """Agents whose *key* compares so with one of the *values*."""

    text: str
    key: str
    op: str
    values: tuple[str, ...]


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


Node = Called | InGroup | Has | Not | All | Any


# --- the selector ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector that was read; equal when its text is."""

    text: str

    def __post_init__(self) -> None:
        """Refuse, with InvalidSelector, what cannot be read."""
        _Reader(self.text).read()

    def bound(self, groups: Mapping[str, "Selector"] | None = None) -> "Choice":
        """Put the saved *groups* in their places; raise InvalidSelector where there is none.

        A group that stands within itself is none.
        """
        used: set[str] = set()
        tree = _bound(self.text, groups or {}, (), used)
        return Choice(self.text, tree, frozenset(used))


@dataclass(frozen=True, slots=True)
class Choice:
    """A selector with nothing left to look up. Terms are what an agent tells: `Agent.terms()`."""

    text: str
    tree: Node
    groups: frozenset[str] = frozenset()  # whose selectors stand in it

    def matches(self, terms: Terms) -> bool:
        """Whether an agent is chosen."""
        return _matches(self.tree, terms)

    def refusal(self, terms: Terms) -> str:
        """Why an agent is not chosen, as a person would say it; empty if it is."""
        return "; ".join(_refusals(self.tree, terms))

    @property
    def names(self) -> list[str]:
        """Every plain name: each should be somebody's."""
        called = (node for node in _walk(self.tree) if isinstance(node, Called))
        return sorted({name for node in called for name in node.names})

    @property
    def keys(self) -> list[str]:
        """Every key whose value is compared: each should be known."""
        terms = (node for node in _walk(self.tree) if isinstance(node, Has))
        return sorted({node.key for node in terms if node.values != ("*",)})


def _bound(
    text: str, groups: Mapping[str, Selector], inside: tuple[str, ...], used: set[str]
) -> Node:
    """Read *text* and put *groups* in their places; *inside* are those it stands in itself."""
    reader = _Reader(text)

    def bind(node: Node) -> Node:
        match node:
            case InGroup(name, at):
                if name in inside:
                    way = " → ".join(f"@{each}" for each in (*inside, name))
                    raise reader.error(f"the group @{name} stands within itself: {way}", at)
                if name not in groups:
                    told = f"there is no group @{name}; `farhand groups` lists them"
                    raise reader.error(told, at)
                used.add(name)
                return _bound(groups[name].text, groups, (*inside, name), used)
            case Not(part):
                return Not(bind(part))
            case All(parts):
                return All(tuple(map(bind, parts)))
            case Any(parts):
                return Any(tuple(map(bind, parts)))
            case _:
                return node

    return bind(reader.read())


def _walk(node: Node) -> Iterator[Node]:
    yield node
    match node:
        case Not(part):
            yield from _walk(part)
        case All(parts) | Any(parts):
            for part in parts:
                yield from _walk(part)
        case _:
            pass


def _matches(node: Node, terms: Terms) -> bool:
    match node:
        case Called():
            return _is_called(node, terms)
        case Has():
            return _has(node, terms)
        case Not(part):
            return not _matches(part, terms)
        case All(parts):
            return all(_matches(part, terms) for part in parts)
        case Any(parts):
            return any(_matches(part, terms) for part in parts)
        case InGroup():
            return False  # bound selectors have none
        case _:
            assert_never(node)


def _is_called(node: Called, terms: Terms) -> bool:
    own = (terms.get("name", ""), terms.get("id", ""), terms.get("ip_mac", ""))
    return not node.names.isdisjoint(own) or any(fnmatchcase(own[0], glob) for glob in node.globs)


def _has(node: Has, terms: Terms) -> bool:
    there = terms.get(node.key)
    if there is None:
        return node.op == "!="
    match node.op:
        case "=":
            return any(fnmatchcase(there, value) for value in node.values)
        case "!=":
            return not any(fnmatchcase(there, value) for value in node.values)
    order = compared(there, node.values[0])
    match node.op:
        case "<":
            return order < 0
        case "<=":
            return order <= 0
        case ">":
            return order > 0
        case _:
            return order >= 0


def compared(one: str, other: str) -> int:
    """Below, at or above 0 as version *one* is before, the same as or behind *other*.

    Numbers count as numbers: 5.9 is before 5.10. What follows makes a version later (5.10-21), but
    for the words of what is not yet one: 1.0-rc1 is before 1.0.
    """
    for mine, theirs in zip_longest(_pieces(one), _pieces(other), fillvalue=(1, 0, "")):
        if mine != theirs:
            return -1 if mine < theirs else 1
    return 0


def _pieces(version: str) -> list[tuple[int, int, str]]:
    return [_piece(found) for found in re.findall(r"[0-9]+|[a-z]+", version.lower())]


def _piece(found: str) -> tuple[int, int, str]:
    """Where it stands: early words, the end of the version, other words, numbers."""
    if found[0].isdecimal():
        return (3, int(found[:100]), "")
    return (0 if found in _EARLY else 2, 0, found)


def _refusals(node: Node, terms: Terms) -> Iterator[str]:
    if _matches(node, terms):
        return
    match node:
        case Called(text):
            yield f"{text}: it is called {terms.get('name', '')}"
        case Has(text, key):
            has = f"it has {key}={terms[key]}" if key in terms else f"it has no {key}"
            yield f"{text}: {has}"
        case Not(part):
            yield f"!({_said(part)}): it is excluded by that"
        case All(parts) | Any(parts):
            for part in parts:
                yield from _refusals(part, terms)
        case InGroup():
            pass
        case _:
            assert_never(node)


def _said(node: Node) -> str:
    match node:
        case Called(text) | Has(text):
            return text
        case InGroup(name):
            return f"@{name}"
        case Not(part):
            return f"!({_said(part)})"
        case All(parts):
            return " & ".join(
                f"({_said(part)})" if isinstance(part, Any) else _said(part) for part in parts
            )
        case Any(parts):
            return " | ".join(map(_said, parts))
        case _:
            assert_never(node)


# --- reading --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # "op", "word", "quoted" or "end"
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
        if op := self._take(*_COMPARISONS):
            return self._has(first, op.text)
        if first.kind == "word" and first.text.startswith("@"):
            if first.text == "@":
                raise self.error("the name of the group is missing", first.at)
            return InGroup(first.text[1:], first.at)
        words = [first]
        while self._take(","):
            words.append(self._word("a name is missing behind the comma"))
        self._no_comparison(words[-1])
        patterns = [pattern for word in words for pattern in self._patterns(word)]
        return Called(
            text=",".join(word.text for word in words),
            names=frozenset(each for each in patterns if not _GLOB.search(each)),
            globs=tuple(each for each in patterns if _GLOB.search(each)),
        )

    def _has(self, key: _Token, op: str) -> Has:
        values = [self._word(f"{key.text}{op} has no value")]
        while op in {"=", "!="} and self._take(","):
            values.append(self._word("a value is missing behind the comma"))
        self._no_comparison(values[-1])
        patterns = [pattern for value in values for pattern in self._patterns(value)]
        text = f"{key.text}{op}{','.join(value.text for value in values)}"
        return Has(text, key.text, op, tuple(patterns))

    def _no_comparison(self, last: _Token) -> None:
        """The comma in `role=web,os=linux` is no `&`, and `a=b=c` is nothing."""
        token = self._peek()
        if token.kind != "op" or token.text not in _COMPARISONS:
            return
        if self._tokens[self._next - 2].text == ",":
            raise self.error(_COMMA, last.at)
        raise self.error(f"unexpected {token.text!r}; join terms with & or |", token.at)

    def _patterns(self, word: _Token) -> Sequence[str]:
        """What a word stands for: names or globs. In quotes nothing is a set of names."""
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
