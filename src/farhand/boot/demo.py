"""Show the real thing: a controller and three agents as processes, and a job on all of them.

Uses only what a user has: the same entry points, the same command line.
"""

import argparse
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

AGENTS: Final = (("web-1", "web"), ("web-2", "web"), ("db-1", "db"))
START_S: Final = 30.0
STOP_S: Final = 10.0

_LIVE: Final = 'for i in 1 2 3; do echo "step $i of 3"; sleep 0.5; done; echo "$0 done" >&2'
_SHOWN: Final = (
    ("agents",),
    ("run", "--all", "--", "sh", "-c", _LIVE, "upgrade"),
    ("run", "-l", "role=web", "--command", "uptime"),
)
_NEXT: Final = (
    ("farhand run web-1 -- uname -a", "one host: its output, its exit code"),
    ("farhand run --all -- sh -c 'sleep 5; date'", "press Ctrl-C: nothing is left running"),
    ("farhand commands web-1", "what may be run without --allow"),
    ("farhand jobs", "what was asked, and how it ended"),
    ("farhand doctor", "is everything as it should be?"),
)


class Failed(Exception):
    """A process of the demo did not come up; the text says which and why."""


@contextmanager
def _process(name: str, argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the demo, stopped politely at the end; what it says goes to *log*."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the others
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            sys.stderr.write(f"demo: {name} does not stop and is killed\n")
            process.kill()
            process.wait()


def _until(process: subprocess.Popen[bytes], log: Path, pattern: str) -> re.Match[str]:
    """Wait until a process has written *pattern* to its log; raises Failed."""
    pause = threading.Event()
    for _ in range(int(START_S / 0.05)):
        text = log.read_text(errors="replace")
        if found := re.search(pattern, text):
            return found
        if process.poll() is not None:
            break
        pause.wait(0.05)
    raise Failed(f"{log.stem} did not start; it said:\n{log.read_text(errors='replace')}")


def _farhand(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Show a command as it would be typed, and run it."""
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    _say(f"\n{bold}$ farhand {shlex.join(argv)}{plain}")
    return subprocess.run(
        [sys.executable, "-m", "farhand.cli.main", *argv], env=env, check=False
    ).returncode


def show(directory: Path, *, once: bool) -> int:
    """Run the demo in *directory*; returns the exit status."""
    with ExitStack() as stack:
        _say("starting a controller and three agents …")
        log = directory / "controller.log"
        data = directory / "data"
        options = ["--data", str(data), "--http", "127.0.0.1:0", "--agents", "127.0.0.1:0"]
        argv = ["farhand.boot.controller", *options]
        controller = stack.enter_context(_process("the controller", argv, log))
        ready = _until(controller, log, r"controller\.ready.* http='(\S+)' agents='(\S+)'")
        started = []
        for name, role in AGENTS:
            log = directory / f"{name}.log"
            argv = ["farhand.boot.agent", "--controller", ready[2], "--name", name]
            argv += ["--join-token-file", str(data / "join.token"), "--allow", "argv,script"]
            argv += ["--state", str(directory / name), "--label", f"role={role}"]
            started.append((stack.enter_context(_process(name, argv, log)), log))
        for process, log in started:
            _until(process, log, r"connected to")
        env = {**os.environ, "FARHAND_URL": ready[1], "FARHAND_TOKEN": _token(data)}
        status = max(_farhand(argv, env) for argv in _SHOWN)
        if not once:
            _stay(ready[1], data)
        _say("\nstopping …")
    return status


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _token(data: Path) -> str:
    return (data / "admin.token").read_text().strip()


def _stay(url: str, data: Path) -> None:
    """Tell what to type next, and wait for Ctrl-C."""
    farhand = Path(sys.executable).with_name("farhand")
    _say("\nEverything stays up until you press Ctrl-C. In another terminal:\n")
    _say(f"  export PATH={shlex.quote(str(farhand.parent))}:$PATH")
    _say(f"  export FARHAND_URL={url} FARHAND_TOKEN=$(cat {shlex.quote(str(data))}/admin.token)\n")
    width = max(len(command) for command, _ in _NEXT)
    for command, why in _NEXT:
        _say(f"  {command:{width}}  # {why}")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `farhand demo`."""
    options = argparse.ArgumentParser(
        prog="farhand demo",
        description="Start a controller and three agents here and run a job on all of them.",
        allow_abbrev=False,
    )
    options.add_argument("--once", action="store_true", help="stop after the job")
    given = options.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end it in order
    with tempfile.TemporaryDirectory(prefix="farhand-demo-") as directory:
        try:
            return show(Path(directory), once=given.once)
        except Failed as exc:
            sys.stderr.write(f"farhand demo: {exc}\n")
            return 1
        except KeyboardInterrupt:
            return 130


if __name__ == "__main__":
    sys.exit(main())
