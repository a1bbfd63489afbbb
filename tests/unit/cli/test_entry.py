"""The first step of `farhand`."""

import subprocess
import sys

import pytest


def _modules(*argv: str) -> set[str]:
    """What is loaded once the command line has been read."""
    code = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules));"
        f"sys.argv = {['farhand', *argv]!r};"
        "from farhand.cli.entry import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return set(done.stdout.split())


@pytest.mark.parametrize("verb", ["agent", "controller"])
def test_a_process_that_stays_does_not_load_the_command_line(verb: str) -> None:
    loaded = _modules(verb, "--help")

    assert f"farhand.boot.{verb}" in loaded
    assert "farhand.cli.parser" not in loaded


@pytest.mark.parametrize("argv", [(), ("version",), ("agnet",)])
def test_everything_else_is_for_people(argv: tuple[str, ...]) -> None:
    assert "farhand.cli.main" in _modules(*argv)
