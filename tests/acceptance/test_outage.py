"""`farhand run` outlives the controller it talks to: every byte, the right exit code, a notice."""

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import IO

import pytest

from tests.acceptance.plant import Plant, alive, plant, until
from tests.integration.client.certificates import certificate

pytestmark = pytest.mark.acceptance

NOTICES = re.compile(
    r"farhand: lost the controller \([^)]+\)+; the job goes on and all that it prints is kept; "
    r"trying again for \d+ min at most\n"
    r"(farhand: still no luck after [^\n]+\n)*"
    r"farhand: the controller is there again; the output goes on where it stopped\n"
)


def counting(gate: Path) -> str:
    """Print lines until the gate is there, then a great deal at once, and fail with 7."""
    return (
        f"n=0; while [ ! -e {gate} ]; do n=$((n+1)); echo line $n; sleep 0.02; done; "
        f"echo gate >&2; seq 1 200000; exit 7"
    )


def check(out: bytes) -> None:
    """What `counting` printed, from its first byte to its last."""
    lines = out.decode().split("\n")
    begun = next(n for n, line in enumerate(lines) if not line.startswith("line "))

    assert [f"line {n}" for n in range(1, begun + 1)] == lines[:begun]
    assert [*map(str, range(1, 200_001)), ""] == lines[begun:]


def restarted(here: Plant, *options: str) -> None:
    """Start the controller again, where it was."""
    here.controller(*options, http=here.url.rsplit("/", 1)[1], agents=here.agents_at)


def line_of(file: IO[bytes] | None) -> bytes:
    """Wait for a line; what is behind it stays where `communicate` finds it."""
    assert file is not None
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(file.fileno(), 1)
        assert byte, f"it ended with {line!r}"
        line += byte
    return line


@pytest.mark.parametrize(
    ("number", "tls"), [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGKILL, True)]
)
def test_a_run_survives_a_restart_of_the_controller(
    installed: Path, tmp_path: Path, number: int, tls: bool
) -> None:
    gate = tmp_path / "gate"
    options: tuple[str, ...] = ()
    agent_options: tuple[str, ...] = ("--allow", "argv")
    if tls:
        made = certificate(tmp_path, days=1)
        cert, key = made.chain, made.key
        options = ("--tls-cert", str(cert), "--tls-key", str(key))
        agent_options += ("--ca", str(cert))
    with plant(installed, tmp_path, options=options, agent_options=agent_options) as here:
        controller = here.controller()
        here.agent("web-1")
        ca = {"FARHAND_CA": str(cert)} if tls else {}
        with here.popen("run", "web-1", "--", "sh", "-c", counting(gate), **ca) as process:
            first = line_of(process.stdout)
            controller.stop(number)
            gate.touch()  # it prints on, and ends, while nobody is there
            restarted(here)
            out, err = process.communicate(timeout=60)

    check(first + out)
    assert 7 == process.returncode
    assert NOTICES.fullmatch(err.decode().replace("gate\n", "")), err
    assert b"gate\n" in err


def test_a_run_survives_a_controller_that_is_away_for_long_and_dies_again(
    installed: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with plant(installed, tmp_path, agent_options=("--allow", "argv")) as here:
        controller = here.controller()
        here.agent("web-1")
        with here.popen("run", "web-1", "--", "sh", "-c", counting(gate)) as process:
            first = line_of(process.stdout)
            controller.stop(signal.SIGKILL)
            lost = line_of(process.stderr)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2)  # it has patience
            restarted(here)
            back = line_of(process.stderr)
            here.processes[-1].stop(signal.SIGKILL)
            gate.touch()
            restarted(here)
            out, err = process.communicate(timeout=60)

    check(first + out)
    assert 7 == process.returncode
    assert b"lost the controller" in lost
    assert b"is there again" in back
    assert NOTICES.fullmatch(err.decode().replace("gate\n", "")), err


def test_a_run_that_was_left_for_want_of_patience_is_followed_from_its_beginning(
    installed: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with plant(installed, tmp_path, agent_options=("--allow", "argv")) as here:
        controller = here.controller()
        here.agent("web-1")
        argv = ("run", "--patience", "1s", "web-1", "--", "sh", "-c", counting(gate))
        with here.popen(*argv) as process:
            line_of(process.stdout)
            controller.stop(signal.SIGKILL)
            _, err = process.communicate(timeout=60)
        gate.touch()
        restarted(here)
        told = re.search(rb"`farhand jobs follow (job_\w+)` comes back to it", err)
        assert told is not None, err
        done = here.farhand("jobs", "follow", told[1].decode())

    assert 69 == process.returncode
    assert b"did not come back within 1 s" in err
    check(done.stdout)
    assert 7 == done.returncode


def test_ctrl_c_while_the_controller_is_away_is_passed_on_when_it_is_back(
    installed: Path, tmp_path: Path
) -> None:
    with plant(installed, tmp_path, agent_options=("--allow", "argv")) as here:
        controller = here.controller()
        here.agent("web-1")
        argv = ("run", "web-1", "--", "sh", "-c", "echo begun; exec sleep 31571")
        with here.popen(*argv) as process:
            line_of(process.stdout)
            controller.stop(signal.SIGKILL)
            line_of(process.stderr)
            process.send_signal(signal.SIGINT)
            restarted(here)
            _, err = process.communicate(timeout=60)
        until(lambda: not alive("31571"), "it is gone")

    assert 130 == process.returncode
    assert b"web-1: cancelled" in err


def test_a_download_goes_on_where_it_was_cut(installed: Path, tmp_path: Path) -> None:
    size = 24 << 20
    with plant(installed, tmp_path, agent_options=("--allow", "argv")) as here:
        controller = here.controller()
        here.agent("web-1")
        printed = f"head -c {size} /dev/zero | tr '\\0' x"
        job = here.farhand("run", "--detach", "web-1", "--", "sh", "-c", printed).stdout.decode()
        until(lambda: here.lines("jobs", "show", job.strip())[0]["state"] == "done", "it is done")
        (run,) = here.lines("runs", "--job", job.strip())
        with here.popen("runs", "output", run["id"]) as process:
            assert process.stdout is not None
            first = os.read(process.stdout.fileno(), 4096)
            controller.stop(signal.SIGKILL)  # most of it has not been asked for
            restarted(here)
            out, err = process.communicate(timeout=60)

    assert size == len(first + out)
    assert set(b"x") == set(first + out)
    assert (0, True) == (process.returncode, b"is there again" in err), err
