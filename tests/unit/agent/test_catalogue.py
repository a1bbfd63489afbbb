from pathlib import Path

import pytest

from farhand.agent.catalogue import Catalogue, load_catalogue
from farhand.agent.diagnosis import ENTRIES
from farhand.agent.entry import Entry
from farhand.domain.command import Command, Param, ParamType
from farhand.domain.job import CommandCall
from farhand.errors import InvalidParameter, UnknownCommand

HEADS = Entry(
    command=Command(
        ident="heads",
        params=(
            Param(name="lines", type=ParamType.INT, default="5", maximum=99),
            Param(name="unit", pattern="[a-z]+", required=True),
        ),
    ),
    argv=("heads", "-n", "{lines}", "{unit}"),
    timeout_s=3,
)


def test_a_call_becomes_an_argv_with_its_time_limit() -> None:
    resolved = Catalogue([HEADS]).resolve(CommandCall("heads", {"unit": "web"}))

    assert (("heads", "-n", "5", "web"), 3) == (resolved.argv, resolved.timeout_s)


@pytest.mark.parametrize(
    "params", [{}, {"unit": "Web"}, {"unit": "web\n"}, {"unit": "web", "lines": "100"}, {"x": "1"}]
)
def test_values_are_matched_again(params: dict[str, str]) -> None:
    with pytest.raises(InvalidParameter):
        Catalogue([HEADS]).resolve(CommandCall("heads", params))


def test_an_unknown_command_says_where_to_look() -> None:
    with pytest.raises(UnknownCommand, match="farhand commands"):
        Catalogue([HEADS]).resolve(CommandCall("tails", {}))


def test_commands_are_listed_by_ident_and_the_later_of_two_counts() -> None:
    own = Entry(command=Command(ident="heads", description="mine"), argv=("mine",))
    other = Entry(command=Command(ident="a"), argv=("a",))

    assert (other.command, own.command) == Catalogue([HEADS, own, other]).commands


def test_the_digest_tells_catalogues_apart_and_the_same_one_again() -> None:
    moved = Entry(command=HEADS.command, argv=("/opt/heads", *HEADS.argv[1:]), timeout_s=3)
    digests = [Catalogue(each).digest for each in ([HEADS], [HEADS, HEADS], [moved], [])]

    assert digests[0] == digests[1]
    assert 3 == len(set(digests))


def test_an_operators_command_replaces_one_of_farhands(tmp_path: Path) -> None:
    path = tmp_path / "commands.toml"
    path.write_text('[[command]]\nident = "uptime"\nargv = ["/usr/bin/uptime", "--pretty"]\n')
    path.chmod(0o600)
    catalogue = load_catalogue(path)

    assert len(ENTRIES) == len(catalogue.commands)
    assert ("/usr/bin/uptime", "--pretty") == catalogue.resolve(CommandCall("uptime", {})).argv


def test_without_a_file_there_are_farhands_own() -> None:
    assert {entry.command for entry in ENTRIES} == set(load_catalogue(None).commands)
