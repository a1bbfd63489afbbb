"""Names as sets: read within bounds, and folded so that they read back."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.nodeset import EXPAND_MOST, FOLD_WHOLE, expand, fold

names = st.from_regex(r"[a-z]{1,3}-?[0-9]{0,3}[a-z]{0,2}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "stands_for"),
    [
        ("web1", ["web1"]),
        ("web[1-3,7]", ["web1", "web2", "web3", "web7"]),
        ("web[08-11]", ["web08", "web09", "web10", "web11"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("web[1-2].example.net", ["web1.example.net", "web2.example.net"]),
        ("web[1-2]-*", ["web1-*", "web2-*"]),
    ],
)
def test_a_set_stands_for_names(text: str, stands_for: list[str]) -> None:
    assert stands_for == list(expand(text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("web[1-1000000]", f"more than {EXPAND_MOST}"),
        ("r[1-999]n[1-999]", f"more than {EXPAND_MOST}"),
        ("web[1-99999999999999999999]", "no number"),
        ("web[5-1]", "backwards"),
        ("web[]", "is written"),
        ("web[1-]", "no number"),
        ("web[1", "is written"),
        ("web]1[", "is written"),
        ("web[1-2]]", "is written"),
        ("web[1-2/0]", "is written"),
        ("web[1,,2]", "no number"),
    ],
)
def test_what_is_no_set_is_refused_at_once(text: str, told: str) -> None:
    began = time.process_time()
    with pytest.raises(ValueError, match=told):
        expand(text)

    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("given_names", "folded"),
    [
        ([], ""),
        (["web1"], "web1"),
        (["web2", "web1", "web1", "db"], "db,web[1-2]"),
        (["web08", "web09", "web10"], "web[08-10]"),
        (["a1b", "a2b"], "a[1-2]b"),
        (["10.0.0.1-aa:bb", "10.0.0.2-aa:bb"], "10.0.0.[1-2]-aa:bb"),
    ],
)
def test_names_are_folded(given_names: list[str], folded: str) -> None:
    assert folded == fold(given_names)


def many(most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(names, max_size=most, unique=True)


def stands_for(folded: str) -> list[str]:
    parts = re.findall(r"(?:[^,\[]|\[[^\]]*\])+", folded)
    return sorted(name for part in parts for name in expand(part))


def test_numbers_too_long_for_a_set_stay_as_they_are() -> None:
    long = ["a" + "1" * 20, "a" + "1" * 19 + "2", "a", "a0"]

    assert sorted(long) == stands_for(fold(long))


@given(many(20))
def test_what_is_folded_stands_for_the_same_names(given_names: list[str]) -> None:
    assert sorted(given_names) == stands_for(fold(given_names))


@given(many(20), st.sampled_from(["web{}", "r{}-x", "n{:03}"]))
def test_so_are_more_than_can_be_folded_whole(given_names: list[str], shape: str) -> None:
    crowd = dict.fromkeys([*given_names, *(shape.format(n) for n in range(FOLD_WHOLE + 1))])

    assert sorted(crowd) == stands_for(fold(crowd))


@pytest.mark.parametrize("shape", ["web{}", "ip-10-{}-7-{}", "r{}n{}.rack{}"])
def test_thousands_are_folded_in_no_time(shape: str) -> None:
    crowd = [shape.format(n, n * 7 % 256, n % 9) for n in range(5_000)]
    began = time.process_time()
    folded = fold(crowd)

    assert time.process_time() - began < 5.0
    assert len(folded) < sum(map(len, crowd)) + len(crowd)


@pytest.mark.parametrize(
    ("name", "folded"),
    [
        ("web٣", '"web٣"'),  # another 3, which ClusterShell takes for one
        ("web[1]", '"web[[]1]"'),
        ("a,b", '"a,b"'),
        ('say "x"', "'say \"x\"'"),
        ("a&b", '"a&b"'),
    ],
)
def test_a_name_that_no_set_can_say_is_quoted(name: str, folded: str) -> None:
    assert f"web[1-2],{folded}" == fold([name, "web1", "web2"])
