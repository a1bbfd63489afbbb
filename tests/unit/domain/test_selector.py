"""Selectors: against an oracle for trees of terms, and against any text at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from farhand.domain.selector import MAX_DEPTH, MAX_LENGTH, Selector
from farhand.errors import InvalidSelector

AGENT = {"role": "web", "os": "linux", "name": "web-12", "empty": "", "note": "a b"}


def matches(text: str, terms: Mapping[str, str] = AGENT) -> bool:
    return Selector(text).compiled()(terms)


# --- what it means ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("role=web", True),
        ("role=db", False),
        ("role!=db", True),
        ("role!=web", False),
        ("gone=x", False),
        ("gone!=x", True),  # what is not there is not x
        ("role", True),
        ("gone", False),
        ("!gone", True),
        ("!role=db", True),
        ("! ! role", True),
        ("role=web & os=linux", True),
        ("role=web,os=plan9", False),
        ("role=db | os=linux", True),
        ("role=db|os=plan9", False),
        ("!(role=db | os=plan9)", True),
        ("!(role=web)", False),
        ("role=WEB", False),  # case counts
        ("name=web-*", True),
        ("name=web-??", True),
        ("name=web-?", False),
        ("name=web-[0-9][0-9]", True),
        ("name='web-[!0-9]*'", False),
        ("note='a b'", True),
        ('note="a b"', True),
        ("note='a *'", True),
        ("empty=''", True),
        ("empty=*", True),
        ("gone=*", False),
        ("'role' = 'web'", True),
        ("\trole\n=\u2003web ", True),
    ],
)
def test_a_term_asks_for_a_key_and_its_value(text: str, *, expected: bool) -> None:
    assert expected == matches(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a & b | c & d", "(a & b) | (c & d)"),
        ("a | b & c", "a | (b & c)"),
        ("!a & b", "(!a) & b"),
        ("!a | b", "(!a) | b"),
        ("a, b | c", "(a & b) | c"),
        ("a & b & c", "(a & b) & c"),
    ],
)
def test_not_binds_tighter_than_and_and_and_tighter_than_or(text: str, same: str) -> None:
    worlds = [
        {k: "" for k, there in zip("abcd", f"{n:04b}", strict=True) if there == "1"}
        for n in range(16)
    ]

    assert [matches(same, world) for world in worlds] == [matches(text, world) for world in worlds]


def test_selectors_with_the_same_text_are_equal() -> None:
    assert Selector("a=b") == Selector("a=b")
    assert Selector("a=b") != Selector("a = b")


# --- an oracle ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Term:
    key: str
    op: str = ""
    value: str = ""


@dataclass(frozen=True)
class Not:
    inner: "Tree"


@dataclass(frozen=True)
class Join:
    op: str
    parts: "tuple[Tree, ...]"


Tree = Term | Not | Join

KEYS = st.sampled_from(["role", "os", "env", "a.b/c", "Größe"])
VALUES = st.sampled_from(["web", "db", "*", "w*", "?b", "[a-e]b", "a b", "", "x=y", "(", "!,"])
TERMS = st.builds(Term, KEYS, st.sampled_from(["", "=", "!="]), VALUES)
TREES: st.SearchStrategy[Tree] = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(Join, st.sampled_from("&|,"), st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=12,
)
WORLDS = st.dictionaries(KEYS, st.sampled_from(["web", "db", "a b", "", "x=y", "(", "!,"]))


def asks(tree: Tree, world: Mapping[str, str]) -> bool:
    match tree:
        case Term(key, ""):
            return key in world
        case Term(key, op, value):
            return (key in world and fnmatchcase(world[key], value)) == (op == "=")
        case Not(inner):
            return not asks(inner, world)
        case Join("|", parts):
            return any(asks(part, world) for part in parts)
        case Join(_, parts):
            return all(asks(part, world) for part in parts)


def written(tree: Tree, quote: str, space: str) -> str:
    """The tree as somebody would type it, every inner part in parentheses."""
    match tree:
        case Term(key, ""):
            return key
        case Term(key, op, value):
            return f"{key}{space}{op}{space}{quote}{value}{quote}"
        case Not(inner):
            return f"!{space}({written(inner, quote, space)})"
        case Join(op, parts):
            texts = [f"({written(part, quote, space)})" for part in parts]
            return f"{space}{op}{space}".join(texts)


@given(TREES, WORLDS, st.sampled_from("'\""), st.sampled_from(["", " ", "\n\t"]))
def test_a_tree_of_terms_means_what_it_says(
    tree: Tree, world: dict[str, str], quote: str, space: str
) -> None:
    assert asks(tree, world) == matches(written(tree, quote, space), world)


# --- what cannot be read ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at", "told"),
    [
        ("", 0, "the selector is empty"),
        ("  ", 0, "the selector is empty"),
        ("role=", 5, "role= has no value"),
        ("role!=  ", 6, "role!= has no value"),
        ("role=web &", 10, "a key, such as role=web, is missing"),
        ("=web", 0, "a key, such as role=web, is missing"),
        ("& a", 0, "a key, such as role=web, is missing"),
        ("a && b", 3, "a key, such as role=web, is missing"),
        ("a b", 2, "unexpected 'b'"),
        ("a 'b'", 2, "unexpected 'b'"),
        ("a=b c=d", 4, "unexpected 'c'"),
        ("a=b)", 3, "unexpected ')'"),
        ("a=b=c", 3, "unexpected '='"),
        ("(a", 0, "this parenthesis is not closed"),
        ("a & (b | (c)", 4, "this parenthesis is not closed"),
        ("()", 1, "a key, such as role=web, is missing"),
        ("a='b", 2, "a quote is not closed"),
        ("a=  'b", 4, "a quote is not closed"),
        ('a=b & c="', 8, "a quote is not closed"),
        ("it's", 2, "a quote is not closed"),
        ("!" * (MAX_DEPTH + 1) + "a", MAX_DEPTH, f"nested deeper than {MAX_DEPTH}"),
    ],
)
def test_an_error_says_what_is_wrong_and_marks_the_place(text: str, at: int, told: str) -> None:
    with pytest.raises(InvalidSelector) as refused:
        Selector(text)
    first, shown, mark = str(refused.value).split("\n")

    assert {"at": at} == refused.value.details
    assert first.startswith(told)
    assert first.endswith(f", at character {at + 1}:")
    assert (text, " " * at + "^") == (shown, mark)


def test_the_mark_stands_right_below_lines_and_tabs_too() -> None:
    with pytest.raises(InvalidSelector) as refused:
        Selector("a\n&\tb c")
    _, shown, mark = str(refused.value).split("\n")

    assert ("a & b c", "      ^") == (shown, mark)


def test_a_selector_has_a_length() -> None:
    Selector("a" * MAX_LENGTH)
    with pytest.raises(InvalidSelector, match="longer than 4096 characters"):
        Selector("a" * (MAX_LENGTH + 1))


@pytest.mark.parametrize("unit", ["!", "(", "!(", "a&", "a|(", "'", "=", "a=*"])
def test_a_selector_that_repeats_itself_is_read_or_refused_in_no_time(unit: str) -> None:
    text = (unit * MAX_LENGTH)[:MAX_LENGTH]
    try:
        selector = Selector(text)
    except InvalidSelector:
        return
    selector.compiled()(AGENT)


def test_the_deepest_selector_that_is_read_can_be_asked() -> None:
    assert matches("(" * (MAX_DEPTH - 1) + "role" + ")" * (MAX_DEPTH - 1))
    assert matches("!" * (MAX_DEPTH - 2) + "role")


SOUP = st.text(st.sampled_from(list("ab=!&|,()'\"*?[]-^\\~ \t\n\0")) | st.characters(codec=None))


@given(SOUP)
@example("\x1c=\x1c")
@example("a\u200b=\ufeff")
@example("a=[[:alpha:]]")
@example("a=[a--b]")
@example("a='[!]a-'")
@example("a=" + "*a" * 1000 + "b")
def test_any_text_is_a_selector_or_an_invalid_one(text: str) -> None:
    try:
        selector = Selector(text)
    except InvalidSelector as refused:
        assert 0 <= int(str(refused.details["at"])) <= len(text)  # noqa: PT017  # any may come
        return
    asked = selector.compiled()
    assert asked(AGENT) in {True, False}
    assert asked({"a": "a" * 500, "b": text}) in {True, False}
