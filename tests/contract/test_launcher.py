"""What every Launcher promises, whatever its programs are made of."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import pytest

from farhand.agent import procfs
from farhand.agent.cgroup import Cgroups
from farhand.agent.leftovers import MARK
from farhand.agent.process import PosixLauncher, Watch, watch_by_pidfd, watch_by_thread
from farhand.domain.ids import RunId
from farhand.domain.output import StreamName
from farhand.domain.run import Why
from farhand.errors import LaunchFailed
from farhand.ports import Exit, Launch, Launched, Launcher
from farhand.testing.launcher import FakeLauncher, FakeProcess
from tests.runs import new_run

RUN: Final = new_run()
OTHER: Final = new_run()
PATH: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin"}

# What the programs of the suite do, for a shell and for the fake.
SCRIPTS: Final = {
    "both": "printf out; printf err >&2",
    "exit-7": "exit 7",
    "die": "kill -KILL $$",
    "binary": r"printf '\377\000\376'",
    "drip": "printf .; exec sleep 600",
    "flood": "head -c 4000000 /dev/zero; printf done >&2",
    "cat": "exec cat",
    "deaf": "exec <&-; printf deaf",
    "block": "printf ready; exec sleep 600",
    "polite": "trap 'printf bye; exit 3' TERM; printf ready; while :; do sleep 0.01; done",
    "stubborn": "trap '' TERM; printf ready; while :; do sleep 0.01; done",
    "leave": "sleep 600 & printf ready",
}


async def both(process: FakeProcess) -> int:
    await process.print(b"out")
    await process.print(b"err", StreamName.STDERR)
    return 0


async def exit_7(process: FakeProcess) -> int:
    return 7


async def binary(process: FakeProcess) -> int:
    await process.print(b"\xff\x00\xfe")
    return 0


async def drip(process: FakeProcess) -> int:
    await process.print(b".")
    return await process.block()


async def flood(process: FakeProcess) -> int:
    for _ in range(4000):
        await process.print(bytes(1000))
    await process.print(b"done", StreamName.STDERR)
    return 0


async def deaf(process: FakeProcess) -> int:
    await process.print(b"deaf")
    return 0


async def block(process: FakeProcess) -> int:
    await process.print(b"ready")
    return await process.block()


async def polite(process: FakeProcess) -> int:
    process.trap()
    await process.print(b"ready")
    await process.terminated.wait()
    await process.print(b"bye")
    return 3


async def stubborn(process: FakeProcess) -> int:
    process.trap()
    await process.print(b"ready")
    return await process.block()


async def leave(process: FakeProcess) -> int:
    process.leave_behind()
    await process.print(b"ready")
    return 0


PROGRAMS: Final = {
    "both": both,
    "exit-7": exit_7,
    "binary": binary,
    "drip": drip,
    "flood": flood,
    "deaf": deaf,
    "block": block,
    "polite": polite,
    "stubborn": stubborn,
    "leave": leave,
}


@dataclass(frozen=True)
class Host:
    """A launcher, how it is told to run a program of the suite, and what is left of a run."""

    launcher: Launcher
    argv: Callable[[str], tuple[str, ...]]
    living: Callable[[RunId], int]

    async def start(self, what: str, *, run: RunId = RUN, stdin: bytes = b"") -> Launched:
        launch = Launch(run=run, argv=self.argv(what), env=PATH, stdin=stdin)
        return await self.launcher.launch(launch)


def marked(run: RunId) -> int:
    """How many live processes bear the run's mark."""
    mark = f"{MARK}={run}".encode()
    stats = [procfs.stat(pid) for pid in procfs.pids() if mark in (procfs.environ(pid) or b"")]
    return sum(stat is not None and stat.alive for stat in stats)


def posix(watch: Watch, cgroups: Callable[[], Cgroups | None]) -> Host:
    launcher = PosixLauncher(watch, cgroups)
    return Host(launcher, lambda what: ("sh", "-c", SCRIPTS.get(what, what)), marked)


@pytest.fixture(params=["pidfd", "thread", "fake"])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[Host]:
    if request.param == "fake":
        async with FakeLauncher(PROGRAMS) as launcher:
            yield Host(launcher, lambda what: (what,), launcher.living)
        return
    if request.param == "pidfd":
        host = posix(watch_by_pidfd, Cgroups.found)
    else:
        host = posix(watch_by_thread, lambda: None)
    yield host
    for run in (RUN, OTHER):
        await host.launcher.sweep(run)


async def all_of(process: Launched, stream: StreamName = StreamName.STDOUT) -> bytes:
    parts = []
    while part := await process.read(stream):
        parts.append(part)
    return b"".join(parts)


async def ready(process: Launched) -> None:
    assert b"ready" == await process.read(StreamName.STDOUT)


async def within(seconds: float, work: Awaitable[Exit]) -> Exit:
    async with asyncio.timeout(seconds):
        return await work


async def test_both_streams_arrive_apart_and_end(host: Host) -> None:
    process = await host.start("both")

    assert b"out" == await all_of(process)
    assert b"err" == await all_of(process, StreamName.STDERR)
    assert 0 == (await process.wait()).code
    process.close()


async def test_an_exit_code_is_told_to_everybody_who_waits(host: Host) -> None:
    process = await host.start("exit-7")

    assert (7, None) == ((await process.wait()).code, (await process.wait()).signal)
    process.close()


async def test_output_is_bytes_not_text(host: Host) -> None:
    process = await host.start("binary")

    assert b"\xff\x00\xfe" == await all_of(process)
    await process.wait()
    process.close()


async def test_a_byte_is_there_as_soon_as_it_is_printed(host: Host) -> None:
    process = await host.start("drip")

    assert b"." == await process.read(StreamName.STDOUT)
    await process.kill(0)
    process.close()


async def test_who_does_not_read_makes_the_program_wait(host: Host) -> None:
    process = await host.start("flood")
    done = asyncio.ensure_future(process.read(StreamName.STDERR))
    await asyncio.wait([done], timeout=0.1)

    assert not done.done()
    assert 4_000_000 == len(await all_of(process))
    assert b"done" == await done
    await process.wait()
    process.close()


async def test_reading_can_be_given_up_and_taken_up_again(host: Host) -> None:
    process = await host.start("block")
    await ready(process)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await process.read(StreamName.STDOUT)
    await process.kill(0)

    assert b"" == await process.read(StreamName.STDOUT)
    process.close()


async def test_stdin_arrives_whole_and_ends(host: Host) -> None:
    stdin = bytes(range(256)) * 4096  # 1 MiB
    process = await host.start("cat", stdin=stdin)

    assert stdin == await all_of(process)
    assert 0 == (await process.wait()).code
    process.close()


async def test_without_stdin_a_program_reads_its_end_at_once(host: Host) -> None:
    process = await host.start("cat")

    assert b"" == await all_of(process)
    assert 0 == (await process.wait()).code
    process.close()


async def test_a_program_need_not_read_its_stdin(host: Host) -> None:
    process = await host.start("deaf", stdin=bytes(1 << 20))

    assert b"deaf" == await all_of(process)
    assert 0 == (await process.wait()).code
    process.close()


async def test_what_is_not_there_is_not_started(host: Host) -> None:
    with pytest.raises(LaunchFailed) as failed:
        await host.launcher.launch(Launch(run=RUN, argv=("no-such-program",), env=PATH))

    assert Why.PROGRAM_NOT_FOUND == failed.value.why
    assert 0 == host.living(RUN)


async def test_kill_ends_a_program_with_sigterm(host: Host) -> None:
    process = await host.start("block")
    await ready(process)
    await process.kill(30)

    assert 15 == (await process.wait()).signal
    assert 0 == host.living(RUN)
    process.close()


async def test_a_program_may_use_its_grace(host: Host) -> None:
    process = await host.start("polite")
    await ready(process)
    await process.kill(30)

    assert 3 == (await process.wait()).code
    assert b"bye" == await all_of(process)
    process.close()


async def test_who_ignores_sigterm_is_killed_after_the_grace(host: Host) -> None:
    process = await host.start("stubborn")
    await ready(process)
    await process.kill(0.05)

    assert 9 == (await process.wait()).signal
    assert 0 == host.living(RUN)
    process.close()


async def test_a_second_kill_shortens_the_grace_of_the_first(host: Host) -> None:
    process = await host.start("stubborn")
    await ready(process)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(process.kill(60), name="patient")
        tasks.create_task(process.kill(0), name="impatient")

    assert 9 == (await process.wait()).signal
    process.close()


async def test_kill_at_once_after_the_start(host: Host) -> None:
    process = await host.start("block")
    await process.kill(0)

    assert 9 == (await process.wait()).signal
    assert 0 == host.living(RUN)
    process.close()


async def test_the_leader_can_end_before_what_it_left_behind(host: Host) -> None:
    process = await host.start("leave")
    await ready(process)

    assert 0 == (await within(10, process.wait())).code
    assert 1 == host.living(RUN)
    with pytest.raises(TimeoutError):  # the pipe is held
        async with asyncio.timeout(0.02):
            await process.read(StreamName.STDOUT)
    await process.kill(1)
    assert 0 == host.living(RUN)
    assert b"" == await process.read(StreamName.STDOUT)
    process.close()


async def test_kill_after_the_end_may_be_repeated(host: Host) -> None:
    process = await host.start("exit-7")
    await process.wait()
    await process.kill(5)
    await process.kill(0)

    assert 7 == (await process.wait()).code
    process.close()
    process.close()


async def test_closing_wakes_who_reads(host: Host) -> None:
    process = await host.start("block")
    await ready(process)
    reading = asyncio.ensure_future(process.read(StreamName.STDOUT))
    await asyncio.wait([reading], timeout=0.01)
    process.close()

    assert b"" == await reading
    assert b"" == await process.read(StreamName.STDERR)
    await process.kill(0)


async def test_sweeping_ends_one_run_and_no_other(host: Host) -> None:
    mine, other = await host.start("leave"), await host.start("block", run=OTHER)
    await ready(mine)
    await ready(other)
    await mine.wait()
    await host.launcher.sweep(RUN)

    assert (0, 1) == (host.living(RUN), host.living(OTHER))
    mine.close()
    await other.kill(0)
    other.close()


async def test_many_runs_at_once_have_each_their_own(host: Host) -> None:
    processes = [await host.start("cat", stdin=f"{n}".encode()) for n in range(20)]

    assert [f"{n}".encode() for n in range(20)] == [await all_of(each) for each in processes]
    assert len(processes) == len({each.pid for each in processes})
    for each in processes:
        await each.wait()
        each.close()
