"""What an agent does with orders: at most once, in its own order, told until it is settled."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.domain.job import Argv, CommandCall, JobSpec, Script
from farhand.domain.limits import AGENT_DEFAULTS, KIB
from farhand.domain.messages import (
    Ack,
    CancelRun,
    HeldState,
    Output,
    RunAccepted,
    RunEnded,
    RunRefused,
    RunStarted,
    Settled,
    StartRun,
    Stop,
)
from farhand.domain.output import StreamName
from farhand.domain.run import RunState, Why
from farhand.ports import Launch
from farhand.testing import settle
from farhand.testing.launcher import FakeLaunched, FakeLauncher, FakeProcess
from tests.unit.agent.workbench import OTHER, PLENTY, RUN, bench
from tests.until import until


async def test_a_run_is_accepted_started_heard_and_ended_in_this_order(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.start("echo", "hi")
        end = await it.heard(RunEnded)

        assert isinstance(end, RunEnded)
        assert [RunAccepted, RunStarted, Output, RunEnded] == [type(f) for f in it.said]
        assert RunState.SUCCEEDED is end.ending.state
        assert 3 == end.ending.streams[StreamName.STDOUT].kept


async def test_the_journal_names_a_run_before_its_program_starts(tmp_path: Path) -> None:
    known: list[bool] = []

    async def look(process: FakeProcess) -> int:
        known.append((process.launch.run.encode()) in (tmp_path / "journal").read_bytes())
        return 0

    async with bench(tmp_path, launcher=FakeLauncher({"look": look})) as it:
        it.start("look")
        await it.heard(RunEnded)

    assert [True] == known


async def test_a_run_sent_twice_starts_once(tmp_path: Path) -> None:
    starts: list[int] = []

    async def count(process: FakeProcess) -> int:
        starts.append(process.pid)
        return 0

    async with bench(tmp_path, launcher=FakeLauncher({"count": count})) as it:
        it.start("count")
        it.start("count")
        await it.heard(RunEnded)
        it.executor.handle(Settled(RUN))
        it.start("count")
        await settle()

        assert 1 == len(starts)


async def test_a_run_that_was_settled_before_a_restart_is_not_started_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.start()
        await it.heard(RunEnded)
        it.executor.handle(Settled(RUN))
    async with bench(tmp_path) as it:
        it.start()
        refused = await it.heard(RunRefused)
        it.executor.handle(Settled(RUN))

        assert isinstance(refused, RunRefused)
        assert Why.ALREADY_RUN is refused.why
        assert [] == it.executor.held()


@pytest.mark.parametrize(
    ("what", "allow", "why"),
    [
        (Argv(("true",)), (), Why.POLICY),
        (Script("true"), ("argv",), Why.POLICY),
        (CommandCall("nope", {}), (), Why.UNKNOWN_COMMAND),
        (CommandCall("date", {"a": "b"}), (), Why.INVALID_PARAMETER),
    ],
)
async def test_a_refusal_is_told_with_its_reason(
    tmp_path: Path, what: Argv | Script | CommandCall, allow: tuple[str, ...], why: Why
) -> None:
    async with bench(tmp_path, allow=allow) as it:
        it.executor.handle(StartRun(run=RUN, spec=JobSpec(what=what), grant=PLENTY))
        refused = await it.heard(RunRefused)

        assert isinstance(refused, RunRefused)
        assert why is refused.why


async def test_catalogue_commands_need_no_permission(tmp_path: Path) -> None:
    async with bench(tmp_path, allow=()) as it:
        spec = JobSpec(what=CommandCall("date", {}))
        it.executor.handle(StartRun(run=RUN, spec=spec, grant=PLENTY))
        await it.heard(RunEnded)

        assert b"today\n" == it.output()


async def test_the_working_directory_needs_a_permission_of_its_own(tmp_path: Path) -> None:
    async with bench(tmp_path, allow=("argv",)) as it:
        it.start(cwd="/tmp")
        refused = await it.heard(RunRefused)

        assert isinstance(refused, RunRefused)
        assert "--allow cwd" in refused.message


async def test_more_runs_than_the_limit_are_refused(tmp_path: Path) -> None:
    limits = replace(AGENT_DEFAULTS, runs=1)
    async with bench(tmp_path, limits=limits) as it:
        it.start("sleep")
        await it.heard(RunStarted)
        it.start("true", run=OTHER)
        refused = await it.heard(RunRefused)

        assert isinstance(refused, RunRefused)
        assert (OTHER, Why.AGENT_FULL) == (refused.run, refused.why)


async def test_a_program_that_is_not_there_ends_with_its_own_why(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.start("no-such-program")
        end = await it.heard(RunEnded)

        assert isinstance(end, RunEnded)
        assert Why.PROGRAM_NOT_FOUND is end.ending.why


async def test_the_time_limit_ends_a_run(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.start("sleep", timeout_s=0.02)
        end = await it.heard(RunEnded)

        assert isinstance(end, RunEnded)
        assert (RunState.TIMED_OUT, Why.TIME_LIMIT) == (end.ending.state, end.ending.why)


async def test_a_cancel_ends_a_run_once(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.start("sleep")
        await it.heard(RunStarted)
        it.executor.handle(CancelRun(RUN, 0.01))
        it.executor.handle(CancelRun(RUN, 0.01))
        end = await it.heard(RunEnded)

        assert isinstance(end, RunEnded)
        assert RunState.CANCELLED is end.ending.state
        assert 1 == sum(isinstance(frame, RunEnded) for frame in it.said)


async def test_output_waits_for_the_grant_and_the_end_waits_for_the_output(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.start("echo", "0123456789", grant=4)
        await it.heard(Output)
        await settle()
        it.said += it.executor.collect(1 << 20)
        assert b"0123" == it.output()
        assert not any(isinstance(frame, RunEnded) for frame in it.said)

        it.executor.handle(Ack(RUN, StreamName.STDOUT, 4, PLENTY))
        await it.heard(RunEnded)

        assert b"0123456789\n" == it.output()


async def test_a_stream_beyond_its_limit_keeps_head_and_tail_and_names_the_cut(
    tmp_path: Path,
) -> None:
    async def alphabet(process: FakeProcess) -> int:
        for letter in b"abcdefghijklmnopqrstuvwxyz":
            await process.print(bytes([letter]))
        return 0

    async with bench(tmp_path, launcher=FakeLauncher({"alphabet": alphabet})) as it:
        it.start("alphabet", output_limit_bytes=10)
        end = await it.heard(RunEnded)

        assert isinstance(end, RunEnded)
        told = end.ending.streams[StreamName.STDOUT]
        assert b"abcdevwxyz" == it.output()
        assert (26, 10, 5, 16) == (told.total, told.kept, told.cut_at, told.cut_bytes)


async def test_a_program_waits_when_its_output_is_not_stored(tmp_path: Path) -> None:
    printed: list[int] = []

    async def chatter(process: FakeProcess) -> int:
        for _ in range(64):
            await process.print(bytes(KIB * 16))
            printed.append(1)
        return 0

    limits = replace(AGENT_DEFAULTS, spool_disk_bytes=128 * KIB, spool_reserve_bytes=KIB)
    launcher = FakeLauncher({"chatter": chatter})
    async with bench(tmp_path, launcher=launcher, limits=limits) as it:
        it.start("chatter", grant=0)
        await it.heard(RunStarted)
        for _ in range(20):
            await settle()
        stuck = len(printed)
        it.executor.handle(Ack(RUN, StreamName.STDOUT, 0, PLENTY))
        kept = 0
        async with asyncio.timeout(5):
            while not any(isinstance(frame, RunEnded) for frame in it.said):
                it.said += it.executor.collect(1 << 20)
                kept = len(it.output())
                it.executor.handle(Ack(RUN, StreamName.STDOUT, kept, PLENTY))
                await asyncio.sleep(0)

        assert stuck <= (64 + 64 + 32) // 16
        assert 64 * 16 * KIB == kept


async def test_after_a_reconnect_nothing_is_said_before_the_controller_asks(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.start("echo", "hello")
        await it.heard(RunEnded)
        it.executor.held()
        assert [] == it.executor.collect(1 << 20)

        held = it.reconnect(stdout=2)
        await it.heard(RunEnded)

        assert (HeldState.ENDED, 6) == (held.state, held.next_offsets[StreamName.STDOUT])
        assert b"llo\n" == it.output()
        assert isinstance(it.said[0], RunStarted)


async def test_acknowledged_bytes_are_not_held_in_memory_any_more(tmp_path: Path) -> None:
    async with bench(tmp_path, limits=replace(AGENT_DEFAULTS, spool_disk_bytes=0)) as it:
        it.start("echo", "hello")
        await it.heard(RunEnded)
        free = it.executor.free_bytes
        it.executor.handle(Ack(RUN, StreamName.STDOUT, 6, PLENTY))

        assert free + 6 == it.executor.free_bytes == AGENT_DEFAULTS.spool_total_bytes


async def test_settled_output_is_not_on_disk_any_more(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.start("echo", "hello")
        await it.heard(RunEnded)
        free = it.executor.free_bytes
        assert [f"{RUN}.stdout"] == [file.name for file in (tmp_path / "spool").iterdir()]
        it.executor.handle(Settled(RUN))

        assert free + 6 == it.executor.free_bytes
        assert [] == list((tmp_path / "spool").iterdir())


async def test_a_settled_run_is_forgotten(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.start()
        await it.heard(RunEnded)
        assert not it.executor.settled
        it.executor.handle(Settled(RUN))

        assert it.executor.settled


async def test_a_run_that_is_not_known_to_the_controller_is_killed_and_forgotten(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as it:
        it.start("sleep")
        await it.heard(RunStarted)
        it.executor.handle(Stop(RUN))
        await until(lambda: it.executor.settled)

        assert [] == it.executor.held()


async def test_many_runs_share_a_message_fairly(tmp_path: Path) -> None:
    async def much(process: FakeProcess) -> int:
        await process.print(bytes(600 * KIB))
        return await process.block()

    async with bench(tmp_path, launcher=FakeLauncher({"much": much})) as it:
        it.start("much")
        it.start("much", run=OTHER)
        free = AGENT_DEFAULTS.spool_disk_bytes - 1200 * KIB
        await until(lambda: it.executor.free_bytes <= free)
        frames = it.executor.collect(512 * KIB)
        sizes = {RUN: 0, OTHER: 0}
        for frame in frames:
            if isinstance(frame, Output):
                sizes[frame.chunk.run] += len(frame.chunk.data)

        assert min(sizes.values()) >= 200 * KIB


async def test_a_script_is_run_by_its_first_line_and_leaves_no_file(tmp_path: Path) -> None:
    seen: list[tuple[str, ...]] = []

    async def interpreter(process: FakeProcess) -> int:
        seen.append(process.launch.argv)
        assert "print(1)" in Path(process.launch.argv[-1]).read_text()  # noqa: ASYNC240
        return 0

    async with bench(tmp_path, launcher=FakeLauncher({"/usr/bin/env": interpreter})) as it:
        spec = JobSpec(what=Script("#!/usr/bin/env python3\nprint(1)\n"))
        it.executor.handle(StartRun(run=RUN, spec=spec, grant=PLENTY))
        await it.heard(RunEnded)

        assert ("/usr/bin/env", "python3") == seen[0][:2]
        await until(lambda: not list((tmp_path / "scripts").iterdir()))


async def test_a_cancel_that_comes_behind_the_end_changes_nothing(tmp_path: Path) -> None:
    async def leave(process: FakeProcess) -> int:
        process.leave_behind(stubborn)
        return 0

    async def stubborn(process: FakeProcess) -> int:
        process.trap()
        return await process.block()

    limits = replace(AGENT_DEFAULTS, kill_grace_s=0.2)
    async with bench(tmp_path, launcher=FakeLauncher({"leave": leave}), limits=limits) as it:
        it.start("leave")
        await it.heard(RunStarted)
        await settle()
        it.executor.handle(CancelRun(RUN, 0.01))
        end = await it.heard(RunEnded)

        assert isinstance(end, RunEnded)
        assert (RunState.SUCCEEDED, Why.EXIT) == (end.ending.state, end.ending.why)


async def test_a_fault_of_the_agent_ends_one_run_and_not_the_others(tmp_path: Path) -> None:
    class Faulty(FakeLaunched):
        async def read(self, stream: StreamName) -> bytes:
            raise RuntimeError(f"no {stream} today")

    class FaultyLauncher(FakeLauncher):
        async def launch(self, launch: Launch) -> FakeLaunched:
            launched = await super().launch(launch)
            if launch.run == RUN:
                launched.__class__ = Faulty
            return launched

    async with bench(tmp_path, launcher=FaultyLauncher()) as it:
        it.start("sleep")
        end = await it.heard(RunEnded)
        assert isinstance(end, RunEnded)
        assert (RunState.FAILED, Why.AGENT_FAILED) == (end.ending.state, end.ending.why)
        it.said.clear()
        it.start("echo", "fine", run=OTHER)
        await it.heard(RunEnded)

        assert b"fine\n" == it.output()
        assert 0 == it.launcher.living(RUN)
