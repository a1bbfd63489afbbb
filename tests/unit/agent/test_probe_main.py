import os
import subprocess
import sys

import pytest

from farhand.agent.probe.main import PROBES

START = "import sys; from farhand.agent.probe.main import main; sys.exit(main(sys.argv[1:]))"


def probe(*argv: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([sys.executable, "-c", START, *argv], capture_output=True, check=False)


def test_a_probe_prints_and_ends_well() -> None:
    done = probe("uptime")

    assert (0, b"") == (done.returncode, done.stderr)
    assert done.stdout.startswith(b"up ")


def test_what_cannot_be_told_is_a_sentence_and_exit_code_1() -> None:
    done = probe("open-files", "pid=4194305", "limit=1")

    assert (1, b"", b"open-files: there is no process 4194305\n") == (
        *(done.returncode, done.stdout, done.stderr),
    )


def test_a_reader_that_went_away_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", START, "ps", "by=cpu", "limit=9"],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)

    assert (1, b"") == (done.returncode, done.stderr)


@pytest.mark.parametrize("what", PROBES)
def test_a_probe_loads_nothing_but_the_standard_library(what: str) -> None:
    code = (
        f"import sys, importlib; importlib.import_module('farhand.agent.probe.{PROBES[what]}'); "
        "print(*{name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    )
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()

    assert {"farhand", "__main__"} >= set(loaded)
