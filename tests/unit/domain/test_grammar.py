"""The words of selectors: what cannot be read is told with its place, and at once."""

import time

import pytest

from farhand.domain.grammar import (
    MAX_DEPTH,
    MAX_LENGTH,
    MAX_TERMS,
    All,
    Any,
    Not,
    Reader,
    said,
    walk,
)
from farhand.domain.nodeset import EXPAND_MOST
from farhand.domain.selector import Selector
from farhand.errors import InvalidSelector

# --- what cannot be read ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "at", "told"),
    [
        ("", 0, "the selector is empty"),
        ("  ", 0, "the selector is empty"),
        ("role=", 5, "role= has no value"),
        ("role!=  ", 6, "role!= has no value"),
        ("role=web &", 10, "a name, or a term such as role=web, is missing"),
        ("=web", 0, "a name, or a term such as role=web, is missing"),
        ("& a", 0, "a name, or a term such as role=web, is missing"),
        ("a && b", 3, "a name, or a term such as role=web, is missing"),
        ("a b", 2, "unexpected 'b'"),
        ("a 'b'", 2, "unexpected 'b'"),
        ("a=b c=d", 4, "unexpected 'c'"),
        ("a=b)", 3, "unexpected ')'"),
        ("a=b=c", 3, "unexpected '='"),
        ("role=web,os=linux", 9, "a comma stands between names or between values"),
        ("web1,os=linux", 5, "a comma stands between names or between values"),
        ("(a),b", 3, "a comma stands between names or between values"),
        ("a,,b", 2, "a name is missing behind the comma"),
        ("a=b,", 4, "a value is missing behind the comma"),
        ("a>1,2", 3, "a comma stands between names or between values"),
        ("os=linux & web[1-1000000]", 11, "it stands for more than"),
        ("a=[5-1]", 2, "5-1 counts backwards"),
        ("web[1", 3, "a bracket is not closed"),
        ("web]", 3, "a bracket is not closed"),
        ("a>x", 2, "> compares numbers and versions"),
        ("a<=''", 3, "<= compares numbers and versions"),
        ("a & ''", 4, "the name is empty"),
        ("''=a", 0, "the key is empty"),
        ("@a=b", 2, "unexpected '='"),
        ("liveness=onlin", 9, "liveness is online, suspect, offline, but never 'onlin'"),
        ("name=web-[0-9][0-9", 14, "a bracket is not closed"),
        ("a & @", 4, "the name of the group is missing"),
        ("(a", 0, "this parenthesis is not closed"),
        ("a & (b | (c)", 4, "this parenthesis is not closed"),
        ("()", 1, "a name, or a term such as role=web, is missing"),
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
    with pytest.raises(InvalidSelector, match="longer than 16384 characters"):
        Selector("a" * (MAX_LENGTH + 1))


def test_of_a_long_selector_the_part_around_the_mistake_is_shown() -> None:
    text = "|".join(f"name-{n}" for n in range(1_000)) + " ? " + "&".join(["a=b"] * 200)
    with pytest.raises(InvalidSelector) as refused:
        Selector(text)
    _, shown, mark = str(refused.value).split("\n")

    assert shown.startswith("…")
    assert shown.endswith("…")
    assert len(shown) < 500
    assert shown[mark.index("^")] == text[int(str(refused.value.details["at"]))]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("|".join(["a=b"] * (MAX_TERMS + 1)), f"more than {MAX_TERMS} terms"),
        ("a=" + ",".join(["b*"] * MAX_TERMS), f"more than {MAX_TERMS} terms"),
        ("web[1-300]*", f"more than {MAX_TERMS} terms"),
        (" | ".join(["@g"] * (MAX_TERMS + 1)), f"more than {MAX_TERMS} terms"),
        (",".join(f"a{n}[1-9999]" for n in range(1_000)), f"more than {EXPAND_MOST} names"),
        ("|".join(f"a{n}[1-9999]" for n in range(200)), f"more than {EXPAND_MOST} names"),
    ],
)
def test_what_would_be_asked_too_often_is_refused_at_once(text: str, told: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidSelector, match=told):
        Selector(text)

    assert time.process_time() - began < 1.0


def test_the_most_terms_and_names_can_be_read() -> None:
    assert Selector("|".join(["a=b"] * MAX_TERMS)).bound().matches({"a": "b"})
    assert Selector(f"web[1-{EXPAND_MOST}]").bound().matches({"name": f"web{EXPAND_MOST}"})


def test_a_tree_is_walked_from_its_top_and_written_as_it_was_typed() -> None:
    tree = Reader("a=1,2 & !(web[1-3] | k>=5) & @g").read()

    leaves = [node for node in walk(tree) if not isinstance(node, All | Any | Not)]
    assert ["a=1,2", "web[1-3]", "k>=5", "@g"] == [said(leaf) for leaf in leaves]
    assert said(tree) == "a=1,2 & !(web[1-3] | k>=5) & @g"
