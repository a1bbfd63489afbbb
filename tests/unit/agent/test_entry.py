import pytest

from farhand.agent.entry import Entry, Item
from farhand.domain.command import Command, Param, ParamType
from farhand.errors import ConfigError, InvalidParameter

NAME = Param(name="name")
COUNT = Param(name="count", type=ParamType.INT, minimum=-5)
LOUD = Param(name="loud", type=ParamType.BOOL)
ANY = Param(name="any", pattern=r"(?s:.*)")
MODE = Param(name="mode", type=ParamType.CHOICE, choices=("-4", "-6"))


def entry(*argv: Item, params: tuple[Param, ...] = (), ident: str = "tool") -> Entry:
    return Entry(command=Command(ident=ident, params=params), argv=argv)


def test_a_value_stands_in_one_argument_whatever_it_holds() -> None:
    made = entry("tool", "{any}", "--name={any}", params=(ANY,))

    assert ("tool", "a b; rm -rf $(x)\n", "--name=a b; rm -rf $(x)\n") == made.filled(
        {"any": "a b; rm -rf $(x)\n"}
    )


def test_an_argument_without_its_value_is_left_out_and_its_group_with_it() -> None:
    made = entry("tool", ("--count", "{count}"), "{name}", "end", params=(NAME, COUNT))

    assert ("tool", "end") == made.filled({})
    assert ("tool", "--count", "3", "end") == made.filled({"count": "3"})
    assert ("tool", "web", "end") == made.filled({"name": "web"})


def test_a_bool_says_whether_its_argument_is_there() -> None:
    made = entry("tool", "{loud:--loud}", ("-v", "{loud:2}"), params=(LOUD,))

    assert ("tool", "--loud", "-v", "2") == made.filled({"loud": "true"})
    assert ("tool",) == made.filled({"loud": "false"}) == made.filled({})


def test_doubled_braces_are_braces() -> None:
    made = entry("awk", "{{print ${name}}}", params=(NAME,))

    assert ("awk", "{print $1}") == made.filled({"name": "1"})


def test_a_value_is_not_filled_in_again() -> None:
    made = entry("tool", "{any}/{name}", params=(ANY, NAME))

    assert ("tool", "{name}/x") == made.filled({"any": "{name}", "name": "x"})


def test_a_value_cannot_become_an_option() -> None:
    made = entry("tool", "{any}", params=(ANY,))
    with pytest.raises(InvalidParameter) as refused:
        made.filled({"any": "--output=/etc/passwd"})

    assert "any" == refused.value.details["parameter"]
    assert ("tool", "--x=--y") == entry("tool", "--x={any}", params=(ANY,)).filled({"any": "--y"})


def test_what_the_catalogue_chose_itself_may_be_an_option() -> None:
    made = entry("tool", "{mode}", "{count}", params=(MODE, COUNT))

    assert ("tool", "-6", "-5") == made.filled({"mode": "-6", "count": "-5"})


@pytest.mark.parametrize(
    ("argv", "params", "said"),
    [
        ((), (), "begin with a program"),
        (("",), (), "begin with a program"),
        (("{name}",), (NAME,), "begin with a program"),
        ((("tool", "x"),), (), "begin with a program"),
        (("tool", "{name}"), (), "which is no param"),
        (("tool",), (NAME,), "never used"),
        (("tool", "{name}"), (NAME, NAME), "twice"),
        (("tool", "{name:--x}"), (NAME,), "is for a bool"),
        (("tool", "{loud}"), (LOUD,), "is for a bool"),
        (("tool", "{Name}"), (), "a lone {"),
        (("tool", "x}"), (), "a lone }"),
        (("tool", "a\0b"), (), "NUL"),
        (("tool", "{name}"), (Param(name="name", pattern="("),), "pattern"),
        (("tool", "{name}"), (Param(name="name", choices=("a",)),), "choices"),
        (("tool", "{name}"), (Param(name="name", type=ParamType.CHOICE),), "choices"),
        (("tool", "{name}"), (Param(name="name", minimum=1),), "type int"),
        (("tool", "{name}"), (Param(name="name", default="\n"),), "default"),
        (("tool", "{name}"), (Param(name="name", default="a", required=True),), "not required"),
        (("tool",), (Param(name="No"),), "param name"),
    ],
)
def test_what_could_fail_only_when_it_is_needed_is_refused_at_once(
    argv: tuple[Item, ...], params: tuple[Param, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        entry(*argv, params=params)


@pytest.mark.parametrize("ident", ["", "-x", "X", "a b", "a/b", "x" * 65, "é"])
def test_an_ident_is_short_and_plain(ident: str) -> None:
    with pytest.raises(ConfigError, match="ident"):
        entry("tool", ident=ident)


@pytest.mark.parametrize("timeout_s", [0, -1, 1e9])
def test_a_time_limit_has_bounds(timeout_s: float) -> None:
    with pytest.raises(ConfigError, match="timeout_s"):
        Entry(command=Command(ident="tool"), argv=("tool",), timeout_s=timeout_s)
