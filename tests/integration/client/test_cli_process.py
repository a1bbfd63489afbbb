"""farhand as a process: signals, pipes, and what it loads."""

import os
import signal
import threading
from collections.abc import Iterator

from tests.integration.client.shell import Shell, until
from tests.integration.client.stub import Stub, accepted, changed, ended, live, output, told

EVENTS = "/api/v1/jobs/job_1/events"
CANCEL = "/api/v1/jobs/job_1/cancel"
LIMIT_S = 20


def running(stub: Stub, *, until_cancelled: bool) -> threading.Event:
    """A job that prints and then waits: for its cancel, or for ever (until the event is set)."""
    release = threading.Event()

    def parts() -> Iterator[bytes]:
        yield changed(1, "run_1", "running")
        yield output(2, "run_1", 0, b"begun\n", "stderr")
        for _ in range(LIMIT_S * 100):
            if release.wait(0.01) or (until_cancelled and stub.asked("POST", CANCEL)):
                break
        yield output(3, "run_1", 0, b"last words\n")
        yield changed(4, "run_1", "cancelled", why="cancelled", signal=15)
        yield ended(5, cancelled=1)

    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    stub.on("GET", EVENTS, live(parts()))
    stub.on("POST", CANCEL, told({"id": "job_1", "cancel_requested": True}, 202))
    return release


def test_ctrl_c_cancels_the_job_and_shows_what_it_still_prints(farhand: Shell, stub: Stub) -> None:
    running(stub, until_cancelled=True)
    with farhand.start("run", "web-1", "--", "sleep", "600") as process:
        until(process, lambda said: b"begun" in said)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)

    assert (130, b"last words\n") == (process.returncode, out)
    assert b"cancelling; Ctrl-C again leaves" in err
    assert b"web-1: cancelled" in err


def test_a_second_ctrl_c_leaves_at_once(farhand: Shell, stub: Stub) -> None:
    release = running(stub, until_cancelled=False)
    with farhand.start("run", "web-1", "--", "sleep", "600") as process:
        until(process, lambda said: b"begun" in said)
        process.send_signal(signal.SIGINT)
        until(process, lambda said: b"cancelling" in said)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    release.set()

    assert (130, b"") == (process.returncode, out)
    assert b"left; `farhand jobs follow job_1` comes back to it" in err
    assert b"Traceback" not in err


def test_a_reader_that_leaves_ends_the_job_without_a_word(farhand: Shell, stub: Stub) -> None:
    def parts() -> Iterator[bytes]:
        for number in range(1, 10_000):
            if stub.asked("POST", CANCEL):
                return
            yield output(number, "run_1", (number - 1) * 8_000, b"y\n" * 4_000)

    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    stub.on("GET", EVENTS, live(parts()))
    stub.on("POST", CANCEL, told({"id": "job_1"}, 202))
    with farhand.start("run", "web-1", "--", "yes") as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 2)
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        process.wait(LIMIT_S)

    assert (141, b"") == (process.returncode, err)
    assert 1 == len(stub.asked("POST", CANCEL))


def test_a_host_that_does_not_come_is_named_while_it_is_waited_for(
    farhand: Shell, stub: Stub
) -> None:
    release = threading.Event()

    def parts() -> Iterator[bytes]:
        yield b": here\n\n"
        release.wait(LIMIT_S)
        yield changed(1, "run_1", "succeeded", why="exit", exit_code=0)
        yield ended(2)

    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    stub.on("GET", EVENTS, live(parts()))
    prelude = "from farhand.cli import interrupts\ninterrupts.WAITING_S = 0.05"
    with farhand.start("run", "web-1", "--", "x", prelude=prelude) as process:
        said = until(process, lambda said: b"\n" in said)
        release.set()
        process.communicate(timeout=LIMIT_S)

    assert b"farhand: waiting for web-1 (not connected, or busy)\n" == said
    assert 0 == process.returncode


def test_running_something_loads_nothing_that_is_slow(farhand: Shell, stub: Stub) -> None:
    stub.on("POST", "/api/v1/jobs", accepted("web-1"))
    stub.on(
        "GET", EVENTS, live([changed(1, "run_1", "succeeded", why="exit", exit_code=0), ended(2)])
    )
    prelude = "import atexit, sys\natexit.register(lambda: print(*sys.modules))"
    with farhand.start("run", "web-1", "--", "true", prelude=prelude) as process:
        out, _ = process.communicate(timeout=LIMIT_S)
    slow = {"asyncio", "cryptography", "httpx", "logging", "pydantic", "rich", "rich_argparse"}
    slow |= {"difflib", "farhand.cli.doctor", "farhand.domain", "importlib.metadata", "shtab"}

    assert b"farhand.client._blocking" in out.split()
    assert set() == slow & set(out.decode().split())
