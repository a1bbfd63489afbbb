"""Selectors: against an oracle for trees of terms, and against any text at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from farhand.domain.grammar import MAX_DEPTH, MAX_LENGTH
from farhand.domain.nodeset import fold
from farhand.domain.selector import Selector
from farhand.errors import InvalidSelector

AGENT = {
    "role": "web",
    "os": "linux",
    "name": "web-12",
    "empty": "",
    "note": "a b",
    "id": "agt_1",
    "ip_mac": "10.0.0.1-aa:bb",
    "kernel": "5.10.0-21-amd64",
    "cpus": "8",
}


def matches(text: str, terms: Mapping[str, str] = AGENT) -> bool:
    return Selector(text).bound().matches(terms)


# --- what it means ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("role=web", True),
        ("role=db", False),
        ("role=db,web", True),
        ("role=db,cache", False),
        ("role!=db", True),
        ("role!=web", False),
        ("role!=db,web", False),
        ("gone=x", False),
        ("gone!=x", True),  # what is not there is not x
        ("role=*", True),
        ("!gone=*", True),
        ("!role=db", True),
        ("! ! role=web", True),
        ("role=web & os=linux", True),
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
    ("text", "expected"),
    [
        ("web-12", True),
        ("web-1", False),
        ("role", False),  # no agent is called so, whatever it has
        ("web-1,web-12", True),
        ("web-[1-40]", True),
        ("web-[1-11,13-40]", False),
        ("db-1,web-[10-12]", True),
        ("web-*", True),
        ("web-?", False),
        ("w[ae]b-[10-12]", False),  # this and that: a glob, where 12 is 1 or 2
        ("w[ae]b-1[12]", True),
        ("'web-12'", True),
        ("'web-[10-12]'", False),  # in quotes no set of names
        ("agt_1", True),
        ("10.0.0.1-aa:bb", True),
        ("!web-12", False),
        ("web-[1-40] & role=web & !web-[1-9]", True),
    ],
)
def test_a_word_alone_is_a_name_a_set_of_names_or_a_glob(text: str, *, expected: bool) -> None:
    assert expected == matches(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kernel>=5.10", True),
        ("kernel>5.10", True),
        ("kernel>5.9", True),
        ("kernel<5.10.0-22", True),
        ("kernel<=5.10.0-21-amd64", True),
        ("kernel>=5.10.0-21-amd64", True),
        ("kernel>=5.10.0-21", True),
        ("kernel<5.10.0-21-amd64", False),
        ("kernel>6", False),
        ("cpus>=8", True),
        ("cpus>16", False),
        ("cpus<16", True),
        ("gone>1", False),
        ("gone<1", False),
        ("note<5", False),  # is no version
        ("note>5", False),
        ("kernel<5.10.0.0", False),
        ("cpus>=8.0", True),
    ],
)
def test_versions_and_numbers_are_compared_as_such(text: str, *, expected: bool) -> None:
    assert expected == matches(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a=* & b=* | c=* & d=*", "(a=* & b=*) | (c=* & d=*)"),
        ("a=* | b=* & c=*", "a=* | (b=* & c=*)"),
        ("!a=* & b=*", "(!a=*) & b=*"),
        ("!a=* | b=*", "(!a=*) | b=*"),
        ("a=* & b=* & c=*", "(a=* & b=*) & c=*"),
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


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="'\""), min_size=1)))
def test_a_folded_set_is_a_selector_for_its_names(names: list[str]) -> None:
    text = fold([*names, "web-1", "web-2"])
    choice = Selector(text).bound()

    assert all(choice.matches({"name": name}) for name in names)
    assert not choice.matches({"name": "web-3"}) or "web-3" in names


# --- groups -------------------------------------------------------------------------------


def test_a_group_stands_for_its_selector() -> None:
    groups = {"web": Selector("role=web | role=cache"), "old": Selector("@web & kernel<5")}

    assert Selector("@web & os=linux").bound(groups).matches(AGENT)
    assert not Selector("!@web").bound(groups).matches(AGENT)
    assert not Selector("@old").bound(groups).matches(AGENT)


def test_a_group_that_is_not_there_is_told_with_its_place() -> None:
    with pytest.raises(InvalidSelector, match=r"no group @wbe.*at character 10"):
        Selector("os=linux&@wbe").bound({"web": Selector("role=web")})


def test_a_group_cannot_stand_within_itself() -> None:
    groups = {"a": Selector("role=web | @b"), "b": Selector("!@a")}
    with pytest.raises(InvalidSelector, match=r"within itself: @a → @b → @a"):
        Selector("@a").bound(groups)


def test_groups_that_double_are_refused_at_once() -> None:
    groups = {f"g{n}": Selector(f"@g{n + 1} | @g{n + 1}") for n in range(20)}
    with pytest.raises(InvalidSelector, match="more than 256 terms"):
        Selector("@g0").bound({**groups, "g20": Selector("a=b")})


def test_groups_within_groups_have_a_depth() -> None:
    groups = {f"g{n}": Selector(f"!@g{n + 1}") for n in range(500)}
    last = {"g500": Selector("role=web")}
    with pytest.raises(InvalidSelector, match="nested deeper than 64"):
        Selector("@g0").bound({**groups, **last})

    deepest = Selector("@g471").bound({**groups, **last})

    assert not deepest.matches(AGENT)
    assert deepest.refusal(AGENT)


def test_a_group_that_was_read_before_counts_with_its_depth() -> None:
    inner = Selector("!" * (MAX_DEPTH - 10) + "role=web")
    Selector("@a | a=b").bound({"a": inner})
    with pytest.raises(InvalidSelector, match="nested deeper than 64"):
        Selector("@a | " + "!" * 20 + "@a").bound({"a": inner})


def test_a_mistake_within_a_group_is_marked_there() -> None:
    with pytest.raises(InvalidSelector, match="no group @gone") as refused:
        Selector("role=web & @a").bound({"a": Selector("@gone")})

    assert {"at": 0} == refused.value.details


# --- why not ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("role=web", ""),
        ("role=db", "role=db: it has role=web"),
        ("gone=x", "gone=x: it has no gone"),
        ("web-[1-3]", "web-[1-3]: it is called web-12"),
        ("role=web & os=plan9", "os=plan9: it has os=linux"),
        ("role=db | db-*", "role=db: it has role=web; db-*: it is called web-12"),
        ("!(role=web & os=linux)", "!(role=web & os=linux): it has role=web, it has os=linux"),
        ("!(role=db | web-*)", "!(role=db | web-*): it is called web-12"),
        ("!!role=db", "!(!(role=db)): role=db: it has role=web"),
        ("!gone!=x", "!(gone!=x): it has no gone"),
        ("kernel>6", "kernel>6: it has kernel=5.10.0-21-amd64"),
    ],
)
def test_whoever_is_not_chosen_is_told_why(text: str, told: str) -> None:
    assert told == Selector(text).bound().refusal(AGENT)


def test_every_name_and_key_that_should_be_known_can_be_listed() -> None:
    choice = Selector("web-[1-2],db-* & role=x | !(env!=y & note=*)").bound()

    assert ["web-1", "web-2"] == choice.names
    assert ["env", "role"] == choice.keys


def test_what_is_told_has_a_bound() -> None:
    many = " & ".join(f"k{n}=x" for n in range(100))
    told = Selector(f"{many} & name={'y' * 500}").bound().refusal(AGENT)

    assert told.endswith("k9=x: it has no k9; …")
    assert len(Selector("'" + "z" * 5_000 + "'").bound().refusal(AGENT)) < 200


def test_a_reason_names_the_group_it_stands_in() -> None:
    groups = {"web": Selector("role=web & @new"), "new": Selector("kernel>=6")}

    assert Selector("@web").bound(groups).refusal(AGENT) == (
        "@web: @new: kernel>=6: it has kernel=5.10.0-21-amd64"
    )
    assert Selector("!@web").bound({"web": Selector("role=web")}).refusal(AGENT) == (
        "!(@web): it has role=web"
    )


# --- an oracle ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Term:
    key: str
    op: str
    value: str


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
TERMS = st.builds(Term, KEYS, st.sampled_from(["=", "!="]), VALUES)
TREES: st.SearchStrategy[Tree] = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(Join, st.sampled_from("&|"), st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=12,
)
WORLDS = st.dictionaries(KEYS, st.sampled_from(["web", "db", "a b", "", "x=y", "(", "!,"]))


def asks(tree: Tree, world: Mapping[str, str]) -> bool:
    match tree:
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


# --- bounds -------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["!", "(", "!(", "a&", "a|(", "'", "=", "a=*"])
def test_a_selector_that_repeats_itself_is_read_or_refused_in_no_time(unit: str) -> None:
    text = (unit * MAX_LENGTH)[:MAX_LENGTH]
    try:
        selector = Selector(text)
    except InvalidSelector:
        return
    selector.bound().matches(AGENT)


def test_the_deepest_selector_that_is_read_can_be_asked() -> None:
    assert matches("(" * (MAX_DEPTH - 1) + "role=*" + ")" * (MAX_DEPTH - 1))
    assert matches("!" * (MAX_DEPTH - 2) + "role=*")


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
    if "@" in text:
        return  # of a group that is not there
    asked = selector.bound()
    for terms in (AGENT, {"a": "a" * 500, "b": text}):
        assert asked.matches(terms) == (not asked.refusal(terms))
