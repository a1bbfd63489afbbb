"""Ids and names: what is recognised, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.ids import check_name, is_id
from farhand.errors import InvalidName

SUFFIX = "01h455vb4pex5vsknk084sn02q"


@pytest.mark.parametrize("kind", ["org", "agt", "job", "run"])
def test_an_id_of_each_kind_is_recognised(kind: str) -> None:
    assert is_id(kind, f"{kind}_{SUFFIX}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run",
        "run_",
        SUFFIX,
        f"run_{SUFFIX}\n",
        f" run_{SUFFIX}",
        f"RUN_{SUFFIX}",
        f"run_{SUFFIX.upper()}",
        f"run_{SUFFIX[:-1]}",
        f"run_{SUFFIX}q",
        f"run_8{SUFFIX[1:]}",  # more than 128 bits
        f"run_{SUFFIX[:-1]}l",  # no letter of Crockford's
        f"job_{SUFFIX}",
        f"run_job_{SUFFIX}",
        f"run_{SUFFIX[:-1]}\u0661",
    ],
)
def test_what_is_not_a_runs_id_is_not_taken_for_one(text: str) -> None:
    assert not is_id("run", text)


def test_a_kind_that_does_not_exist_has_no_ids() -> None:
    assert not is_id("usr", f"usr_{SUFFIX}")


@pytest.mark.parametrize(
    "name", ["a", "7", "web-1", "10.0.0.1", "db_2.prod.example", "10.0.0.1-52:54:00:12:34:56"]
)
def test_a_name_that_can_be_used_is_returned(name: str) -> None:
    assert name == check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-web",
        "web-",
        ".",
        "web 1",
        "web\n",
        "web/1",
        "wéb",
        "web\0",
        "w" * 129,
        f"agt_{SUFFIX}",
        f"run_{SUFFIX}",
    ],
)
def test_a_name_that_cannot_be_used_is_refused(name: str) -> None:
    with pytest.raises(InvalidName) as refused:
        check_name(name)

    assert "invalid-name" == refused.value.code


def test_a_name_has_at_most_128_characters() -> None:
    assert "w" * 128 == check_name("w" * 128)


@given(st.text(max_size=140))
def test_any_text_is_a_name_or_is_refused(text: str) -> None:
    try:
        name = check_name(text)
    except InvalidName:
        return
    assert text == name
    assert name.isascii()
    assert name.isprintable()
