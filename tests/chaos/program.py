"""The program of a run: prints bytes that can be computed again, and leaves marks of its own.

Imports nothing of farhand and trusts it with nothing: the marks are lines in a file that bears the
run's id, one when it starts and one right before it ends as it was told to.
"""

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

CHILD_S = 600.0  # a child that is left behind lives so long, unless somebody ends it


def printed(nonce: str, stream: str, size: int) -> bytes:
    """What a run with *nonce* prints on *stream*; what it printed earlier is its beginning."""
    return hashlib.shake_256(f"{nonce}/{stream}".encode()).digest(size)


def end_mark(how: str, out: bytes, err: bytes) -> str:
    """The line that a run leaves at its end: how, and length and digest of each stream."""
    sums = (f"{len(data)} {hashlib.sha256(data).hexdigest()}" for data in (out, err))
    return " ".join(["end", how, *sums])


def _mark(folder: str, line: str) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    fd = os.open(f"{folder}/{os.environ['FARHAND_RUN']}", flags, 0o644)
    os.write(fd, f"{line}\n".encode())
    os.close(fd)


def _write(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _leave_child(*, pipes: bool) -> None:
    """Start a process in a session of its own that outlives this one."""
    if os.fork():
        return
    os.setsid()
    if not pipes:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nowhere, fd)
    time.sleep(CHILD_S)
    os._exit(0)


def main(told: Mapping[str, Any]) -> int:
    """Do what *told* says, see `tests.chaos.work`."""
    nonce = told["nonce"]
    _mark(told["marks"], f"start {nonce}")
    if told.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if child := told.get("child"):
        _leave_child(pipes=child == "pipes")
    out = sys.stdin.buffer.read() if told.get("echo") else printed(nonce, "stdout", told["out"])
    err = printed(nonce, "stderr", told["err"])
    at, piece = 0, told["piece"]
    while at < max(len(out), len(err)):
        _write(1, out[at : at + piece])
        _write(2, err[at : at + piece])
        at += piece
        time.sleep(told["pause_s"])
    time.sleep(told["sleep_s"])
    _mark(told["marks"], end_mark(told["how"], out, err))
    how, _, number = told["how"].partition("-")
    if how == "signal":
        os.kill(os.getpid(), int(number))
    return int(number)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
