"""The code about itself: what is public, what is tested, what may be named, what is loaded."""

import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/farhand"

# Rooms where each module has a test file of its own, and the modules that need none.
TESTED = ("agent", "bus", "client", "controller", "domain", "storage", "wire")
UNTESTED = {
    "domain/limits.py",  # defaults; the table in the docs is compared with them
}

# An index host (spelled so that this file names none), this checkout, this user's hidden files.
FORBIDDEN = re.compile(
    r"(pypi|pythonhosted|npmjs)\.(org|com|net)"
    f"|{re.escape(str(ROOT))}|{re.escape(str(Path.home()))}/\\."
)

# What each entry point must not load before it knows that it needs it.
BUDGETS = {
    "farhand": {"asyncio", "httpx", "logging", "pydantic", "rich"},
    "farhand.cli.main": {"asyncio", "google", "httpx", "ngh2", "pydantic", "rich", "sqlalchemy"},
    "farhand.boot.controller": {"cryptography"},  # DeepFlow's API alone needs it
    "farhand.boot.agent": {
        *{"alembic", "cryptography", "fastapi", "httpx", "pydantic", "rich", "rich_argparse"},
        *{"shtab", "sqlalchemy", "starlette", "structlog", "typer", "uvicorn", "uvloop"},
    },
}


def public_names(module: ModuleType) -> list[str]:
    """What a reader can reach: no underscore, and not a submodule that an import left."""
    submodules = {found.name for found in pkgutil.iter_modules(module.__path__)}
    return sorted(
        name
        for name in {*vars(module), *module.__all__}
        if hasattr(module, name) and not name.startswith("_") and name not in submodules
    )


@pytest.mark.parametrize("name", ["farhand.client", "farhand.testing", "farhand.wire.grpc"])
def test_all_names_exactly_what_can_be_imported(name: str) -> None:
    module = importlib.import_module(name)

    assert sorted(module.__all__) == public_names(module)


def test_every_module_has_its_test_file() -> None:
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    untested = {
        str(path.relative_to(SOURCE))
        for room in TESTED
        for path in (SOURCE / room).rglob("*.py")
        if path.name != "__init__.py" and "gen" not in path.parts
        for name in [path.stem.strip("_")]
        if not tests & {f"test_{name}.py", f"test_{path.parent.name}_{name}.py"}
    }

    assert UNTESTED == untested


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git knows which files are the project's")
def test_no_file_names_an_index_host_or_a_path_of_one_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    named = [
        f"{name}: {found[0]}"
        for name in listed.split("\0")
        if name and (ROOT / name).is_file()
        if (found := FORBIDDEN.search((ROOT / name).read_text(errors="replace")))
    ]

    assert [] == named


@pytest.mark.parametrize("entry", BUDGETS)
def test_an_entry_point_loads_only_what_it_needs(entry: str) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", f"import {entry}, sys; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()

    assert set() == BUDGETS[entry] & set(loaded)
