"""One program for a DeepFlow server: what it prints is bounded, and nothing of it is left."""

import asyncio
import re
import signal
from dataclasses import replace

import pytest

from farhand.agent.deepflow.errand import STDERR_BYTES, Basket, Outcome, carry_out, fresh_run
from farhand.domain.ids import is_id
from farhand.domain.limits import AGENT_DEFAULTS
from farhand.domain.output import StreamName
from farhand.domain.run import Why
from farhand.errors import LaunchFailed
from farhand.ports import Launch
from farhand.testing.launcher import FakeLauncher, FakeProcess
from tests.until import until

LIMITS = replace(AGENT_DEFAULTS, deepflow_output_bytes=100, kill_grace_s=0.05, drain_s=0.05)


async def speak(process: FakeProcess) -> int:
    await process.print(b"out")
    await process.print(b"err", StreamName.STDERR)
    return 3


async def flood(process: FakeProcess) -> int:
    for _ in range(100):
        await process.print(b"0123456789")
        await process.print(bytes(STDERR_BYTES // 50), StreamName.STDERR)
    return 0


async def print_and_hang(process: FakeProcess) -> int:
    await process.print(b"so far")
    return await process.block()


async def leave(process: FakeProcess) -> int:
    process.leave_behind()
    return 0


PROGRAMS = {"speak": speak, "flood": flood, "hang": print_and_hang, "leave": leave}


def launch(program: str) -> Launch:
    return Launch(run=fresh_run(), argv=(program,), env={})


async def carried(
    launcher: FakeLauncher, what: Launch, *, limit_s: float = 10, stop: asyncio.Event | None = None
) -> Outcome:
    return await carry_out(
        launcher, what, limit_s=limit_s, limits=LIMITS, stop=stop or asyncio.Event()
    )


async def test_a_program_is_carried_to_its_end() -> None:
    async with FakeLauncher(PROGRAMS) as launcher:
        outcome = await carried(launcher, launch("speak"))

        assert (3, b"out", b"err") == (outcome.exit.code, outcome.stdout, outcome.stderr)
        assert (None, 0, 0) == (outcome.cause, outcome.cut, outcome.stderr_cut)


async def test_what_is_beyond_the_limit_is_counted_and_the_program_ends_by_itself() -> None:
    async with FakeLauncher(PROGRAMS) as launcher:
        outcome = await carried(launcher, launch("flood"))

        assert (0, None) == (outcome.exit.code, outcome.cause)
        assert (b"0123456789" * 10, 900) == (outcome.stdout, outcome.cut)
        assert STDERR_BYTES == len(outcome.stderr)
        assert 100 * (STDERR_BYTES // 50) - STDERR_BYTES == outcome.stderr_cut


async def test_a_program_past_its_time_is_killed_and_what_it_printed_is_there() -> None:
    async with FakeLauncher(PROGRAMS) as launcher:
        what = launch("hang")
        outcome = await carried(launcher, what, limit_s=0.05)

        assert (Why.TIME_LIMIT, signal.SIGTERM) == (outcome.cause, outcome.exit.signal)
        assert b"so far" == outcome.stdout
        assert 0 == launcher.living(what.run)


async def test_a_stop_kills_it() -> None:
    stop = asyncio.Event()
    stop.set()
    async with FakeLauncher(PROGRAMS) as launcher:
        outcome = await carried(launcher, launch("hang"), stop=stop)

        assert Why.AGENT_STOPPED is outcome.cause


async def test_nothing_is_left_of_a_wait_that_is_cancelled() -> None:
    async with FakeLauncher(PROGRAMS) as launcher:
        what = launch("hang")
        waiting = asyncio.ensure_future(carried(launcher, what))
        await until(lambda: launcher.living(what.run))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

        assert 0 == launcher.living(what.run)


async def test_what_a_program_leaves_behind_is_cleared_away() -> None:
    async with FakeLauncher(PROGRAMS) as launcher:
        what = launch("leave")
        outcome = await carried(launcher, what)

        assert (0, None) == (outcome.exit.code, outcome.cause)
        assert 0 == launcher.living(what.run)


async def test_a_program_that_cannot_be_started_is_said_so() -> None:
    async with FakeLauncher() as launcher:
        with pytest.raises(LaunchFailed):
            await carried(launcher, launch("nothing"))


def test_each_errand_has_a_mark_of_its_own() -> None:
    marks = {fresh_run() for _ in range(100)}

    assert 100 == len(marks)
    assert all(is_id("run", mark) for mark in marks)
    assert not any(re.search(r"[^a-z0-9_]", mark) for mark in marks)


def test_a_basket_keeps_the_beginning() -> None:
    basket = Basket(5)
    for part in (b"abc", b"", b"def", b"gh"):
        basket.put(part)

    assert (b"abcde", 3) == (basket.taken(), basket.cut)
