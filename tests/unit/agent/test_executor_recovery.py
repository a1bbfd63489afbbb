"""What an agent does after its own death: it tells the truth, and has what it had read."""

import hashlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.domain.ids import RunId
from farhand.domain.job import JobSpec, Script
from farhand.domain.limits import AGENT_DEFAULTS, KIB
from farhand.domain.messages import (
    Ack,
    HeldState,
    RunAccepted,
    RunEnded,
    RunRefused,
    RunStarted,
    Settled,
    StartRun,
)
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import Ending, RunState, Why
from farhand.testing.launcher import FakeLauncher, FakeProcess
from tests.unit.agent.workbench import OTHER, PLENTY, RUN, Bench, bench
from tests.until import until

SMALL = replace(AGENT_DEFAULTS, spool_bytes=64 * KIB, spool_reserve_bytes=KIB, tail_bytes=KIB)
TEXT = b"".join(b"%07d\n" % number for number in range(100_000))


def printer(text: bytes, *, then: str = "exit") -> FakeLauncher:
    """Its `print` prints *text* and ends, or stays."""

    async def program(process: FakeProcess) -> int:
        for at in range(0, len(text), 16 * KIB):
            await process.print(text[at : at + 16 * KIB])
        return await process.block() if then == "stay" else 0

    return FakeLauncher({"print": program})


async def told_end(it: Bench, *, stdout: int = 0) -> Ending:
    it.reconnect(stdout=stdout)
    end = await it.heard(RunEnded)
    assert isinstance(end, RunEnded)
    return end.ending


# --- ended, not settled -------------------------------------------------------------------


async def test_all_output_of_a_run_that_had_ended_is_sent_with_its_digests(tmp_path: Path) -> None:
    async with bench(tmp_path / "a", launcher=printer(TEXT), limits=SMALL) as it:
        it.start("print", grant=0)
        await until(lambda: it.state() is HeldState.ENDED)
        killed = it.killed()
    async with bench(killed, limits=SMALL) as it:
        ending = await told_end(it)

        assert TEXT == it.output()
        digest = hashlib.sha256(TEXT).hexdigest()
        size = len(TEXT)
        assert Why.EXIT is ending.why
        assert ending.streams[StreamName.STDOUT] == StreamEnd(
            total=size, kept=size, sha256_kept=digest, sha256_all=digest
        )


async def test_it_goes_on_where_the_controller_had_stored(tmp_path: Path) -> None:
    async with bench(tmp_path / "a", launcher=printer(TEXT)) as it:
        it.start("print", grant=0)
        await until(lambda: it.state() is HeldState.ENDED)
        it.executor.handle(Ack(RUN, StreamName.STDOUT, 600_000, PLENTY))
        killed = it.killed()
    async with bench(killed) as it:
        held = it.reconnect(stdout=700_000)
        await it.heard(RunEnded)

        assert (HeldState.ENDED, len(TEXT)) == (held.state, held.next_offsets[StreamName.STDOUT])
        assert TEXT[700_000:] == it.output()


async def test_a_tail_that_was_held_back_is_there_once_the_run_has_ended(tmp_path: Path) -> None:
    async with bench(tmp_path / "a", launcher=printer(TEXT), limits=SMALL) as it:
        it.start("print", grant=0, output_limit_bytes=10 * KIB)
        await until(lambda: it.state() is HeldState.ENDED)
        killed = it.killed()
    async with bench(killed) as it:
        ending = await told_end(it)

        assert TEXT[: 9 * KIB] + TEXT[-KIB:] == it.output()
        assert len(TEXT) - 10 * KIB == ending.streams[StreamName.STDOUT].cut_bytes


async def test_a_run_that_ended_twice_interrupted_is_told_all_the_same(tmp_path: Path) -> None:
    """The agent dies again before anybody has asked."""
    async with bench(tmp_path / "a", launcher=printer(TEXT)) as it:
        it.start("print", grant=0)
        await until(lambda: it.state() is HeldState.ENDED)
        killed = it.killed()
    for _ in range(3):
        async with bench(killed) as it:
            killed = it.killed()
    async with bench(killed) as it:
        await told_end(it)

        assert TEXT == it.output()


async def test_leaving_kills_every_run_and_the_next_start_tells_how_they_ended(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, launcher=printer(b"bye", then="stay")) as it:
        it.start("print", grant=0)
        await until(lambda: it.read() == 3)
    async with bench(tmp_path) as it:
        ending = await told_end(it)

        assert Why.AGENT_STOPPED is ending.why
        assert b"bye" == it.output()


# --- interrupted --------------------------------------------------------------------------


async def test_an_interrupted_run_is_told_with_everything_that_had_been_read(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path / "a", launcher=printer(TEXT, then="stay"), limits=SMALL) as it:
        it.start("print", grant=0)
        await until(lambda: it.read() == len(TEXT))
        killed = it.killed()
    async with bench(killed) as it:
        ending = await told_end(it)

        assert (RunState.FAILED, Why.AGENT_RESTARTED) == (ending.state, ending.why)
        assert "killed" in ending.message
        assert "may be missing" in ending.message
        assert TEXT == it.output()
        size = len(TEXT)
        assert ending.streams == {
            StreamName.STDOUT: StreamEnd(total=size, kept=size),
            StreamName.STDERR: StreamEnd(),
        }


async def test_what_was_left_of_an_interrupted_run_is_swept_before_anything_is_told(
    tmp_path: Path,
) -> None:
    swept = []

    class Sweeping(FakeLauncher):
        async def sweep(self, run: RunId) -> None:
            swept.append(run)

    async with bench(tmp_path / "a") as it:
        it.start("sleep")
        await it.heard(RunStarted)
        killed = it.killed()
    async with bench(killed, launcher=Sweeping()) as it:
        assert [RUN] == swept
        assert HeldState.ENDED is it.state()


async def test_a_run_that_was_accepted_only_says_what_is_not_known(tmp_path: Path) -> None:
    async with bench(tmp_path / "a") as it:
        it.start("true")
        await it.heard(RunAccepted)
        entry = replace(it.journal.entries[RUN], state=HeldState.ACCEPTED, pid=0, ending=None)
        it.journal.note(entry)
        killed = it.killed()
    async with bench(killed) as it:
        ending = await told_end(it)

        assert Why.AGENT_RESTARTED is ending.why
        assert "before it could note" in ending.message


async def test_more_that_the_controller_stored_than_a_power_cut_left_is_what_was_printed(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path / "a", launcher=printer(TEXT, then="stay")) as it:
        it.start("print")
        await until(lambda: it.read() == len(TEXT))
        killed = it.killed()
    os.truncate(killed / "spool" / f"{RUN}.stdout", 1000)
    async with bench(killed, boot_id="another") as it:
        ending = await told_end(it, stdout=5000)

        assert b"" == it.output()
        assert StreamEnd(total=5000, kept=5000) == ending.streams[StreamName.STDOUT]


async def test_a_script_that_a_dead_agent_left_is_removed(tmp_path: Path) -> None:
    async with bench(tmp_path / "a", launcher=FakeLauncher({"/bin/sh": stay})) as it:
        order = StartRun(run=RUN, spec=JobSpec(what=Script("sleep 1000")), grant=0)
        it.executor.handle(order)
        await it.heard(RunStarted)
        killed = it.killed()
        assert [f"{RUN}.script"] == [file.name for file in (killed / "scripts").iterdir()]
    async with bench(killed):
        assert [] == list((killed / "scripts").iterdir())


async def stay(process: FakeProcess) -> int:
    return await process.block()


# --- what is missing ----------------------------------------------------------------------


async def ended_and_damaged(
    tmp_path: Path, damage: Callable[[Path], object], *, boot_id: str = "boot"
) -> tuple[bytes, Ending]:
    async with bench(tmp_path / "a", launcher=printer(TEXT)) as it:
        it.start("print", grant=0)
        await until(lambda: it.state() is HeldState.ENDED)
        killed = it.killed()
    damage(killed / "spool" / f"{RUN}.stdout")
    async with bench(killed, boot_id=boot_id) as it:
        ending = await told_end(it)
        return it.output(), ending


async def test_an_end_that_has_more_than_the_file_is_told_behind_what_is_there(
    tmp_path: Path,
) -> None:
    output, ending = await ended_and_damaged(
        tmp_path, lambda file: os.truncate(file, file.stat().st_size - 1000)
    )

    assert TEXT[:-1000] == output
    assert len(TEXT) == ending.streams[StreamName.STDOUT].kept


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda file: os.truncate(file, 0),
        lambda file: os.truncate(file, 50),
        lambda file: file.write_bytes(bytes(10_000)),
        lambda file: file.write_bytes(b"farhand spool 1\n" + bytes(10_000)),
    ],
    ids=["gone", "empty", "torn", "zeros", "damaged"],
)
async def test_a_file_that_a_power_cut_took_holds_nothing_and_the_end_is_told(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    output, ending = await ended_and_damaged(tmp_path, damage, boot_id="another")

    assert b"" == output
    assert len(TEXT) == ending.streams[StreamName.STDOUT].kept


async def test_pages_that_never_reached_the_disk_are_not_told_as_zeros(tmp_path: Path) -> None:
    def punch(file: Path) -> None:
        data = file.read_bytes()
        with file.open("wb") as out:
            out.write(data[: 64 * KIB])
            out.seek(128 * KIB)
            out.write(data[128 * KIB :])

    output, _ = await ended_and_damaged(tmp_path, punch, boot_id="another")

    assert TEXT.startswith(output)
    assert 60 * KIB < len(output) <= 64 * KIB


async def test_a_controller_that_asks_for_what_was_given_back_gets_the_end_at_once(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, launcher=printer(TEXT)) as it:
        it.start("print")
        await it.heard(RunEnded)
        it.executor.handle(Ack(RUN, StreamName.STDOUT, len(TEXT), PLENTY))
        for _ in range(3):
            ending = await told_end(it, stdout=100)
            assert b"" == it.output()

        assert len(TEXT) == ending.streams[StreamName.STDOUT].kept


async def test_a_run_goes_on_when_what_the_controller_asks_for_was_given_back(
    tmp_path: Path,
) -> None:
    """A backup was put back: the program must not wait for ever for what nobody can store."""
    limits = replace(SMALL, spool_disk_bytes=256 * KIB)
    async with bench(tmp_path, launcher=printer(TEXT), limits=limits) as it:
        it.start("print", grant=100)
        await until(lambda: it.executor._spools.budget.wanted)
        it.executor.handle(Ack(RUN, StreamName.STDOUT, it.read(), PLENTY))
        ending = await told_end(it, stdout=100)

        assert RunState.SUCCEEDED is ending.state
        assert len(TEXT) == ending.streams[StreamName.STDOUT].total


# --- files --------------------------------------------------------------------------------


async def test_files_of_runs_that_the_journal_does_not_hold_are_removed(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    for name in (f"{RUN}.stdout", f"{OTHER}.stderr", "notes.txt", f"{RUN}.stdout.bak"):
        (spool / name).write_bytes(b"x")
    async with bench(tmp_path):
        left = {file.name for file in spool.iterdir()}

    assert {"notes.txt", f"{RUN}.stdout.bak"} == left


async def test_a_refusal_is_told_again_after_a_restart(tmp_path: Path) -> None:
    async with bench(tmp_path / "a", allow=()) as it:
        it.start()
        await it.heard(RunRefused)
        killed = it.killed()
    async with bench(killed) as it:
        it.reconnect()
        refused = await it.heard(RunRefused)
        it.executor.handle(Settled(RUN))

        assert isinstance(refused, RunRefused)
        assert Why.POLICY is refused.why
        assert it.executor.settled


# --- at most once -------------------------------------------------------------------------

Stage = Callable[[Bench], Awaitable[object]]


async def _nothing(it: Bench) -> None:
    del it


async def _accepted(it: Bench) -> None:
    await it.heard(RunAccepted)


async def _started(it: Bench) -> None:
    await it.heard(RunStarted)


async def _ended(it: Bench) -> None:
    await it.heard(RunEnded)


async def _settled(it: Bench) -> None:
    await it.heard(RunEnded)
    it.executor.handle(Settled(RUN))


async def _compacted(it: Bench) -> None:
    await _settled(it)
    it.journal._compact()
    it.journal._compact()


async def _forgotten(it: Bench) -> None:
    await _settled(it)
    for number in range(it.journal.past._most + 1):
        it.journal.settle(RunId(f"{RUN[:-8]}z{number:07d}"))
    assert RUN not in it.journal.entries


STAGES = [_nothing, _accepted, _started, _ended, _settled, _compacted, _forgotten]
FEW = replace(AGENT_DEFAULTS, ended_runs=10)


@pytest.mark.parametrize("stage", STAGES, ids=[each.__name__[1:] for each in STAGES])
async def test_a_run_starts_once_however_often_it_is_sent(tmp_path: Path, stage: Stage) -> None:
    async with bench(tmp_path, limits=FEW) as it:
        for step in (_nothing, stage, _nothing):
            await step(it)
            it.start()
            it.start()
        await until(lambda: it.state() in {HeldState.ENDED, HeldState.REFUSED})

        assert 1 == len(it.launcher.launches)


@pytest.mark.parametrize("stage", STAGES, ids=[each.__name__[1:] for each in STAGES])
async def test_a_run_starts_at_most_once_when_the_agent_was_killed_between(
    tmp_path: Path, stage: Stage
) -> None:
    async with bench(tmp_path / "a", limits=FEW) as it:
        it.start()
        await stage(it)
        starts = len(it.launcher.launches)
        killed = it.killed()
    async with bench(killed, limits=FEW) as it:
        it.start()
        it.start()
        await until(lambda: it.state() in {HeldState.ENDED, HeldState.REFUSED})
        starts += len(it.launcher.launches)

    assert starts in ({0, 1} if stage is _accepted else {1})


async def test_a_run_that_is_too_old_to_tell_is_refused_and_says_so(tmp_path: Path) -> None:
    async with bench(tmp_path, limits=FEW) as it:
        it.start()
        await _forgotten(it)
        it.said.clear()
        it.start()
        refused = await it.heard(RunRefused)
        it.executor.handle(Settled(RUN))

        assert isinstance(refused, RunRefused)
        assert Why.ALREADY_RUN is refused.why
        assert "cannot tell any more" in refused.message
        assert it.executor.settled


async def test_a_name_that_is_no_runs_id_is_not_started(tmp_path: Path) -> None:
    async with bench(tmp_path) as it:
        it.start(run=RunId("../../run"))

        assert it.executor.settled
        assert [] == it.launcher.launches
