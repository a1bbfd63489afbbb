"""Choose agents by what they are: `web[1-40] & os=linux & !(env=prod | kernel<5.10)`.

Reads text into a tree and asks it; knows no store. A word alone is a name, a set of names or a
glob; `@word` is a saved group. `key=value` asks for a label or a fact: `=` and `!=` take globs and
several values (`role=web,db`), `<`, `<=`, `>` and `>=` compare as versions do. `key=*` asks
whether it is there. `!` binds tighter than `&`, which binds tighter than `|`. Words and values may
be quoted, for spaces and signs; globs count there too, sets of names do not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import islice
from typing import Final, assert_never

from farhand.domain.grammar import (
    MAX_DEPTH,
    MAX_TERMS,
    All,
    Any,
    Called,
    Compares,
    Has,
    InGroup,
    Node,
    Not,
    Reader,
    cost,
    cut,
    said,
    walk,
)
from farhand.domain.versions import compared, is_version

_REASONS: Final = 10  # told of one agent

Terms = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector that was read; equal when its text is."""

    text: str

    def __post_init__(self) -> None:
        """Refuse, with InvalidSelector, what cannot be read."""
        Reader(self.text).read()

    @property
    def groups(self) -> frozenset[str]:
        """The saved groups that it names itself."""
        nodes = walk(Reader(self.text).read())
        return frozenset(node.name for node in nodes if isinstance(node, InGroup))

    def bound(self, groups: Mapping[str, "Selector"] | None = None) -> "Choice":
        """Put the saved *groups* in their places; raise InvalidSelector where there is none.

        A group that stands within itself is none. With its groups it has the bounds that it has
        alone: MAX_DEPTH and MAX_TERMS.
        """
        binder = _Binder(groups or {})
        return Choice(self.text, binder.text(self.text, (), 1).node, frozenset(binder.known))


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
        reasons = list(islice(_refusals(self.tree, terms), _REASONS + 1))
        more = ["…"] if len(reasons) > _REASONS else []
        return "; ".join([*reasons[:_REASONS], *more])

    @property
    def names(self) -> list[str]:
        """Every plain name: each should be somebody's."""
        called = (node for node in walk(self.tree) if isinstance(node, Called))
        return sorted({name for node in called for name in node.names})

    @property
    def keys(self) -> list[str]:
        """Every key whose value is compared: each should be known."""
        asked = set[str]()
        for node in walk(self.tree):
            match node:
                case Compares(key=key):
                    asked.add(key)
                case Has(key=key, values=values, globs=globs) if values or globs != ("*",):
                    asked.add(key)
                case _:
                    pass
        return sorted(asked)


@dataclass(frozen=True, slots=True)
class _Part:
    """A tree whose groups are in their places: how many terms it has, and how deep it is."""

    node: Node
    terms: int
    depth: int


class _Binder:
    """Puts groups in their places, each read once, however often it is named."""

    def __init__(self, groups: Mapping[str, Selector]) -> None:
        self._groups = groups
        self.known: dict[str, _Part] = {}

    def text(self, text: str, inside: tuple[str, ...], depth: int) -> _Part:
        """Read *text*, which stands within the groups *inside*, at a *depth*."""
        reader = Reader(text)
        part = self._bound(reader.read(), reader, inside, depth)
        if part.terms > MAX_TERMS:
            raise reader.error(f"with its groups it has more than {MAX_TERMS} terms", 0)
        return part

    def _bound(self, node: Node, reader: "Reader", inside: tuple[str, ...], depth: int) -> _Part:
        match node:
            case InGroup(name, at):
                found = self._group(name, at, reader, inside, depth)
                if depth + found.depth > MAX_DEPTH:
                    told = f"with its groups it is nested deeper than {MAX_DEPTH}"
                    raise reader.error(told, at)
                return _Part(replace(node, part=found.node), found.terms, found.depth + 1)
            case Not(inner):
                part = self._bound(inner, reader, inside, depth + 1)
                return _Part(Not(part.node), part.terms, part.depth + 1)
            case All(inners) | Any(inners):
                parts = [self._bound(inner, reader, inside, depth + 1) for inner in inners]
                nodes = tuple(part.node for part in parts)
                whole = All(nodes) if isinstance(node, All) else Any(nodes)
                deepest = max(part.depth for part in parts)
                return _Part(whole, sum(part.terms for part in parts), deepest + 1)
            case _:
                return _Part(node, cost(node), 1)

    def _group(
        self, name: str, at: int, reader: "Reader", inside: tuple[str, ...], depth: int
    ) -> _Part:
        if name in inside:
            way = " → ".join(f"@{each}" for each in (*inside, name))
            raise reader.error(f"the group @{name} stands within itself: {way}", at)
        if name not in self._groups:
            told = f"there is no group @{name}; `farhand groups` lists them"
            raise reader.error(told, at)
        if depth >= MAX_DEPTH:
            raise reader.error(f"with its groups it is nested deeper than {MAX_DEPTH}", at)
        if name not in self.known:
            text = self._groups[name].text
            self.known[name] = self.text(text, (*inside, name), depth + 1)
        return self.known[name]


def _matches(node: Node, terms: Terms) -> bool:
    match node:
        case Called():
            return _is_called(node, terms)
        case Has():
            return _has(node, terms)
        case Compares():
            return _compares(node, terms)
        case Not(part):
            return not _matches(part, terms)
        case All(parts):
            return all(_matches(part, terms) for part in parts)
        case Any(parts):
            return any(_matches(part, terms) for part in parts)
        case InGroup(part=inner):
            return inner is not None and _matches(inner, terms)  # a bound one has each
        case _:
            assert_never(node)


def _is_called(node: Called, terms: Terms) -> bool:
    own = [terms[key] for key in ("name", "id", "ip_mac") if key in terms]
    if not node.names.isdisjoint(own):
        return True
    return bool(own) and any(fnmatchcase(own[0], glob) for glob in node.globs)


def _has(node: Has, terms: Terms) -> bool:
    there = terms.get(node.key)
    if there is None:
        return node.op == "!="
    found = there in node.values or any(fnmatchcase(there, glob) for glob in node.globs)
    return found == (node.op == "=")


def _compares(node: Compares, terms: Terms) -> bool:
    there = terms.get(node.key, "")
    if not is_version(there):
        return False
    order = compared(there, node.value)
    match node.op:
        case "<":
            return order < 0
        case "<=":
            return order <= 0
        case ">":
            return order > 0
        case _:
            return order >= 0


def _refusals(node: Node, terms: Terms) -> Iterator[str]:
    """Why an agent is not chosen: each term that would have to be otherwise, and what it has."""
    if _matches(node, terms):
        return
    match node:
        case Called() | Has() | Compares():
            yield f"{said(node)}: {_own(node, terms)}"
        case Not(part):
            yield f"!({said(part)}): {_ground(part, terms)}"
        case All(parts) | Any(parts):
            for part in parts:
                yield from _refusals(part, terms)
        case InGroup(name, part=inner):
            if inner is not None:
                yield from (f"@{name}: {reason}" for reason in _refusals(inner, terms))
        case _:
            assert_never(node)


def _ground(node: Node, terms: Terms) -> str:
    """Why an agent is chosen."""
    match node:
        case Called() | Has() | Compares():
            return _own(node, terms)
        case Not(part):
            return "; ".join(islice(_refusals(part, terms), 1))
        case All(parts):
            return ", ".join(_ground(part, terms) for part in parts[:_REASONS])
        case Any(parts):
            return next(_ground(part, terms) for part in parts if _matches(part, terms))
        case InGroup(part=inner):
            return _ground(inner, terms) if inner is not None else ""
        case _:
            assert_never(node)


def _own(node: Called | Has | Compares, terms: Terms) -> str:
    """What the agent has there."""
    if isinstance(node, Called):
        return f"it is called {terms.get('name', '')}"
    if node.key not in terms:
        return f"it has no {node.key}"
    return f"it has {cut(f'{node.key}={terms[node.key]}')}"
