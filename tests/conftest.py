"""What every test stands on: no setting of the caller's reaches it, and Hypothesis is steady.

`make flake` explores instead: `--hypothesis-profile=explore` draws new examples each time. With
`--hypothesis-profile=deep --timeout=0` the model (tests/model) draws a hundred times as many.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# No deadline: a crowded machine is no failure. The same examples each time: neither is luck.
settings.register_profile("steady", deadline=None, database=None, derandomize=True)
settings.register_profile("explore", deadline=None, database=None, print_blob=True)
settings.register_profile("deep", parent=settings.get_profile("explore"), max_examples=10_000)
settings.load_profile("steady")


def pytest_configure(config: pytest.Config) -> None:
    """Forget what would steer farhand or send its connections elsewhere."""
    del config
    for name in list(os.environ):
        if name.startswith("FARHAND_") or name.lower().endswith("_proxy"):
            del os.environ[name]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of farhand's programs as a user has them: from a built wheel, src/ out of reach.

    Dependencies are borrowed from the environment that runs the tests.
    """
    home = tmp_path_factory.mktemp("installed")
    environment, uv = home / "venv", Path(sys.prefix) / "bin/uv"

    def run(*command: str | Path) -> None:
        subprocess.run([uv, "--quiet", "--offline", *command], cwd=ROOT, check=True)

    run("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", home)
    run("venv", "--no-project", "--python", sys.executable, environment)
    (wheel,) = home.glob("farhand-*.whl")
    python = environment / "bin/python"
    run("pip", "install", "--python", python, "--no-deps", "--compile-bytecode", wheel)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return environment / "bin"
