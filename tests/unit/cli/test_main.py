import os
import pty
import subprocess
import sys
from collections.abc import Sequence

import pytest

from farhand.cli import main as cli
from farhand.cli.outcome import Exit
from farhand.client import _errors as errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotConfigured("x"), Exit.CONFIG),
        (errors.TlsFailed("x"), Exit.UNREACHABLE),
        (errors.TimedOut("x"), Exit.UNREACHABLE),
        (errors.StreamLost("x"), Exit.UNREACHABLE),
        (errors.UnexpectedAnswer("x"), Exit.INTERNAL),
        (errors.NotAllowed("x", status=401, code="c"), Exit.NOT_ALLOWED),
        (errors.NotFound("x", status=404, code="c"), Exit.NOT_FOUND),
        (errors.Conflict("x", status=409, code="c"), Exit.REFUSED),
        (errors.BadRequest("x", status=400, code="c"), Exit.REFUSED),
        (errors.Unavailable("x", status=503, code="c"), Exit.TRY_AGAIN),
        (errors.FarhandApiError("x", status=500, code="c"), Exit.INTERNAL),
    ],
)
def test_every_error_has_its_exit_code(error: errors.ClientError, code: Exit) -> None:
    assert code == cli.exit_for(error)


def test_processes_are_started_by_their_own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Sequence[str]] = []

    class Module:
        @staticmethod
        def main(argv: Sequence[str]) -> int:
            given.append(argv)
            return 7

    for verb in cli.PROCESSES:
        monkeypatch.setitem(sys.modules, f"farhand.boot.{verb}", Module)
        assert 7 == cli.main([verb, "--help", "x"])

    assert [["--help", "x"]] * len(cli.PROCESSES) == given


def test_a_process_whose_parts_are_not_installed_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "farhand.boot.controller", raising=False)
    monkeypatch.setitem(sys.modules, "structlog", None)
    code = cli.main(["controller"])
    said = capsys.readouterr().err

    assert Exit.CONFIG == code
    assert "this installation has no controller: structlog is missing [extra-missing]" in said
    assert "install farhand[controller]" in said


def on_a_terminal(*argv: str) -> str:
    """What farhand shows on a terminal that has colours."""
    ours, theirs = pty.openpty()
    code = "import sys\nfrom farhand.cli.main import main\nsys.exit(main())"
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "NO_COLOR": ""}
    with subprocess.Popen(
        [sys.executable, "-c", code, *argv], stdout=theirs, stdin=theirs, env=env
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:  # its last holder has closed it
                break
            if not more:
                break
            shown += more
        process.wait(20)
    os.close(ours)
    return shown.decode()


def test_help_has_colours_on_a_terminal() -> None:
    shown = on_a_terminal("run", "--help")

    assert "\x1b[" in shown
    assert "--selector" in shown


def test_a_verb_without_help_loads_no_formatter() -> None:
    code = "import sys; from farhand.cli.main import main; main(['doctor']); print(*sys.modules)"
    env = {"FARHAND_URL": "http://127.0.0.1:1", "FARHAND_TOKEN": "x"}
    got = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env={**os.environ, **env}
    )

    assert set() == {b"rich", b"rich_argparse", b"httpx"} & set(got.stdout.split())
