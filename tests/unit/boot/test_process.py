"""What surrounds a process's work: one line for an error, its exit status, and its signals."""

import asyncio
import logging
import platform
import signal
import subprocess
import sys

import pytest

from farhand.boot.process import (
    EXIT_CONFIG,
    EXIT_ERROR,
    EXIT_OK,
    complain,
    run,
    set_up_logging,
    stopping_on_signals,
)
from farhand.errors import (
    ConfigError,
    FarhandError,
    InvalidName,
    PortInUse,
    UnsafeBinding,
)


async def ends_with(status: int) -> int:
    return status


async def fails_with(*errors: BaseException) -> int:
    if len(errors) == 1:
        raise errors[0]
    raise BaseExceptionGroup("several", errors)


@pytest.mark.parametrize("fast_loop", [True, False])
def test_work_ends_with_its_own_status(*, fast_loop: bool) -> None:
    assert 7 == run(ends_with(7), fast_loop=fast_loop)


def test_an_agent_stays_on_the_plain_loop_and_a_controller_takes_the_fast_one() -> None:
    loops: list[str] = []

    async def look() -> int:
        loops.append(type(asyncio.get_running_loop()).__module__.split(".")[0])
        return EXIT_OK

    run(look(), fast_loop=False)
    run(look(), fast_loop=True)

    assert ["asyncio", "uvloop"] == loops


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("no"), EXIT_CONFIG),
        (UnsafeBinding("no"), EXIT_CONFIG),
        (PortInUse("no"), EXIT_ERROR),
        (FarhandError("no"), EXIT_ERROR),
    ],
)
def test_an_error_that_can_be_told_is_one_line_and_a_status(
    error: FarhandError, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status == complain(error) == run(fails_with(error), fast_loop=False)
    assert f"farhand: no [{error.code}]\n" * 2 == capsys.readouterr().err


def test_an_error_inside_a_group_is_told_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    inner = BaseExceptionGroup("inner", [PortInUse("taken")])

    assert EXIT_ERROR == run(fails_with(inner, InvalidName("x")), fast_loop=False)
    assert "farhand: taken [port-in-use]\n" == capsys.readouterr().err


def test_an_error_that_nobody_expected_is_not_hidden_behind_another() -> None:
    with pytest.raises(BaseExceptionGroup):
        run(fails_with(PortInUse("taken"), ZeroDivisionError()), fast_loop=False)
    with pytest.raises(ZeroDivisionError):
        run(fails_with(ZeroDivisionError()), fast_loop=False)


@pytest.mark.usefixtures("quiet_again")
@pytest.mark.parametrize(("level", "lines"), [("debug", 3), ("info", 2), ("error", 1)])
def test_log_records_go_to_stderr_from_a_level_on(
    level: str, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(level)
    log = logging.getLogger("farhand.test")
    log.debug("one")
    log.info("two")
    log.error("three")
    told = capsys.readouterr()

    assert ("", lines) == (told.out, len(told.err.splitlines()))
    assert told.err.endswith(" ERROR   farhand.test: three\n")


# --- signals ------------------------------------------------------------------------------

WORK = """
import asyncio, signal, sys, threading
from farhand.boot.process import run, stopping_on_signals

async def work():
    stop = asyncio.Event()
    with stopping_on_signals(stop.set):
        print("ready", flush=True)
        await stop.wait()
        print("stopping", flush=True)
        await asyncio.sleep({then})
    return 5

sys.exit(run(work(), fast_loop={fast}))
"""


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_first_signal_stops_politely(number: signal.Signals, *, fast: bool) -> None:
    with started(WORK.format(then=0, fast=fast)) as process:
        assert "ready\n" == line(process)
        process.send_signal(number)

        assert "stopping\n" == line(process)
        assert 5 == process.wait(20)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(second: signal.Signals, *, fast: bool) -> None:
    with started(WORK.format(then=60, fast=fast)) as process:
        line(process)
        process.send_signal(signal.SIGTERM)
        assert "stopping\n" == line(process)
        process.send_signal(second)

        assert 128 + second == process.wait(20)


async def test_behind_the_work_signals_mean_what_they_meant_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    stopped = asyncio.Event()
    with stopping_on_signals(stopped.set):
        signal.raise_signal(signal.SIGTERM)
        await stopped.wait()

    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]


def started(code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_programs_do_not_inherit_what_the_agent_was_started_to_ignore() -> None:
    code = (
        "import signal, subprocess; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "from farhand.boot.process import pass_on_no_ignored_signals as go; go();"
        "import os; os.kill(os.getpid(), signal.SIGHUP);"
        "subprocess.run(['grep', 'SigIgn', '/proc/self/status'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert 0 == int(done.stdout.split()[1], 16) & 1


CHURN = """
import os, resource, sys
from farhand.boot.process import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
with open("/dev/zero", "rb", buffering=0) as zeros:
    for turn in range(60):
        if turn == 10:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        buffers = [os.read(zeros.fileno(), 256 * 1024) for _ in range(8)]
        buffers.clear()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    not platform.libc_ver()[0].startswith("glibc"), reason="other C libraries have no mallopt"
)
def test_what_long_output_frees_is_not_fetched_from_the_kernel_again() -> None:
    def faults(how: str) -> int:
        code = [sys.executable, "-c", CHURN, how]
        return int(subprocess.run(code, check=True, capture_output=True).stdout)

    assert faults("keep") < faults("give back") / 10
