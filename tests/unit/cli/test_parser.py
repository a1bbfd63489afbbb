import argparse
from pathlib import Path

import pytest

from farhand.cli.parser import UsageError, add_connection, flat, parser_for, suggested, token_in
from farhand.client._errors import NotConfigured


def parser() -> argparse.ArgumentParser:
    made = parser_for("farhand x", "x", help_wanted=False)
    made.add_argument("--timeout", type=int)
    made.add_argument("shell", choices=("bash", "zsh"), nargs="?")
    return made


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (["--timout=3"], "'--timout=3' is not known here", "did you mean --timeout?"),
        (["bsh"], "argument shell: 'bsh' is not known", "did you mean bash or zsh?"),
        (["--timeout", "x"], "argument --timeout: invalid int value: 'x'", "`farhand x --help`"),
        (["--timeout"], "argument --timeout: expected one argument", "`farhand x --help`"),
        (["bash", "7", "8"], "'7' is not known here", "`farhand x --help`"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(words: list[str], said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parser().parse_args(words)

    assert said == str(caught.value)
    assert caught.value.hint.startswith(hint)


def test_options_are_never_abbreviated() -> None:
    with pytest.raises(UsageError):
        parser().parse_args(["--time", "3"])


def test_an_option_above_an_action_is_not_forgotten_below_it() -> None:
    made = argparse.ArgumentParser()
    add_connection(made)
    below = made.add_subparsers().add_parser("show")
    add_connection(below, again=True)

    assert "a" == made.parse_args(["--url", "a", "show"]).url
    assert "b" == made.parse_args(["--url", "a", "show", "--url", "b"]).url


def test_names_are_flat_and_each_is_meant_once() -> None:
    assert ["a", "b", "c"] == flat([["a", "b"], ["c", "a"]])


def test_a_word_like_nothing_has_no_suggestion() -> None:
    assert "" == suggested("zzzzz", ["run", "jobs"])


def test_a_token_is_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("secret\n")

    assert "secret" == token_in(str(tmp_path / "t"))
    with pytest.raises(NotConfigured):
        token_in(str(tmp_path / "nowhere"))
