import os
from pathlib import Path

import pytest

from farhand.agent.commandfile import read_commands
from farhand.domain.command import Command, OutputFormat, Param, ParamType
from farhand.errors import ConfigError

WHOLE = """
[[command]]
ident = "shop.queue"
description = "Orders that wait"
argv = ["/usr/bin/shop", "queue", ["--count", "{count}"], "--region={region}", "{all:--all}"]
output = "binary"
timeout_s = 2.5

[[command.param]]
name = "count"
type = "int"
default = 10
minimum = 1
maximum = 99
description = "how many"

[[command.param]]
name = "region"
type = "choice"
choices = ["eu", "us"]
required = true

[[command.param]]
name = "all"
type = "bool"
default = false

[[command]]
ident = "plain"
argv = ["true"]
"""


def written(folder: Path, text: str | bytes, mode: int = 0o644) -> Path:
    path = folder / "commands.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def refusal(folder: Path, text: str | bytes, mode: int = 0o644) -> str:
    path = written(folder, text, mode)
    with pytest.raises(ConfigError) as refused:
        read_commands(path)
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    queue, plain = read_commands(written(tmp_path, WHOLE))

    assert queue.command == Command(
        ident="shop.queue",
        description="Orders that wait",
        output=OutputFormat.BINARY,
        params=(
            Param(
                name="count",
                type=ParamType.INT,
                default="10",
                minimum=1,
                maximum=99,
                description="how many",
            ),
            Param(name="region", type=ParamType.CHOICE, choices=("eu", "us"), required=True),
            Param(name="all", type=ParamType.BOOL, default="false"),
        ),
    )
    assert (2.5, None) == (queue.timeout_s, plain.timeout_s)
    assert ("/usr/bin/shop", "queue", "--count", "10", "--region=eu") == queue.filled(
        queue.command.checked({"region": "eu"})
    )
    assert (Command(ident="plain"), ("true",)) == (plain.command, plain.argv)


def test_an_empty_file_has_no_commands(tmp_path: Path) -> None:
    assert () == read_commands(written(tmp_path, "# nothing yet\n"))


HEAD = '[[command]]\nident = "x"\nargv = ["x", "{p}"]\n'
PARAM = '[[command.param]]\nname = "p"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[command]", "line 1"),
        (b"\xff", "not UTF-8"),
        ("[commands]\n", "only [[command]] tables"),
        ('command = "x"', "only [[command]] tables"),
        ("[[command]]\n", "command 1: ident is missing"),
        ('[[command]]\nident = "x"\n', "command 1 (x): argv is missing"),
        ('[[command]]\nident = "x"\nargv = "x"', "argv must be a list"),
        ('[[command]]\nident = "x"\nargv = ["x", 1]', "argv must hold strings"),
        ('[[command]]\nident = "x"\nargv = ["x", []]', "argv must hold strings"),
        ('[[command]]\nident = 1\nargv = ["x"]', "ident must be a string"),
        ('[[command]]\nident = "X Y"\nargv = ["x"]', "command 1 (X Y): ident"),
        ('[[command]]\nident = "x"\nargv = ["x"]\nuser = "root"', "not user"),
        ('[[command]]\nident = "x"\nargv = ["x"]\noutput = "json"', "output must be binary, text"),
        ('[[command]]\nident = "x"\nargv = ["x"]\ntimeout_s = "1"', "timeout_s must be a number"),
        ('[[command]]\nident = "x"\nargv = ["x"]\ntimeout_s = true', "timeout_s must be a number"),
        ('[[command]]\nident = "x"\nargv = ["x"]\nparam = 1', "[[command.param]] tables"),
        ('[[command]]\nident = "x"\nargv = ["x"]\n' * 2, "command 2 (x): this ident is there twic"),
        (HEAD, "argv uses {p}"),
        (HEAD + PARAM + 'tpye = "int"', "param 1 takes"),
        (HEAD + "[[command.param]]\n", "param 1 has no name"),
        (HEAD + PARAM + 'type = "float"', "param 1: type must be bool, choice"),
        (HEAD + PARAM + "required = 1", "param 1: required must be true or false"),
        (HEAD + PARAM + 'minimum = "1"', "param 1: minimum must be a whole number"),
        (HEAD + PARAM + "minimum = true", "param 1: minimum must be a whole number"),
        (HEAD + PARAM + 'type = "choice"\nchoices = [1]', "param 1: choices must be strings"),
        (HEAD + PARAM + 'pattern = "["', "pattern"),
        (HEAD + PARAM + 'pattern = "a"\ndefault = "b"', "its default"),
        (HEAD + PARAM + 'default = "-x"', "its default"),
        (HEAD + PARAM + '[[command.param]]\nname = "q"', "never used"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert said in refusal(tmp_path, text)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    assert "chmod go-w" in refusal(tmp_path, WHOLE, mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.chown(written(tmp_path, WHOLE), 65534, 0)
    with pytest.raises(ConfigError, match="belongs to user 65534"):
        read_commands(tmp_path / "commands.toml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read"):
        read_commands(tmp_path / "nowhere.toml")
