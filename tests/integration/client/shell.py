"""farhand as a shell starts it: in this process, or as one of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from farhand.cli.main import main
from tests.integration.client.stub import Stub


@dataclass(frozen=True)
class Said:
    """What came of it."""

    code: int
    out: bytes
    err: str


class Shell:
    """Runs farhand against a stub; nothing of the user's own environment reaches it."""

    def __init__(self, stub: Stub, home: Path, capture: pytest.CaptureFixture[bytes]) -> None:
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "FARHAND_URL": stub.url,
            "FARHAND_TOKEN": "secret",
        }
        self._capture = capture

    def __call__(self, *argv: str) -> Said:
        """Run it in this process."""
        self._capture.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            for name in ("FARHAND_CA", "NO_COLOR", "XDG_STATE_HOME"):
                patch.delenv(name, raising=False)
            for name, value in self.env.items():
                patch.setenv(name, value)
            code = main(argv)
        out, err = self._capture.readouterr()
        return Said(code, out, err.decode())

    def start(self, *argv: str, prelude: str = "", **options: object) -> subprocess.Popen[bytes]:
        """Start it as a process, with *prelude* run before."""
        code = f"{prelude}\nimport sys\nfrom farhand.cli.main import main\nsys.exit(main())"
        return subprocess.Popen(
            [sys.executable, "-c", code, *argv],
            env={**self.env, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


def until(process: subprocess.Popen[bytes], said: Callable[[bytes], bool]) -> bytes:
    """Read its stderr until *said*; return what was read."""
    assert process.stderr is not None
    read = b""
    while not said(read):
        more = os.read(process.stderr.fileno(), 4096)
        assert more, f"it ended with {read!r}"
        read += more
    return read
