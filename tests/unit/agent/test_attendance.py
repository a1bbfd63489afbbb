"""Attending a run: its own end counts first, its pipes are emptied, and nobody waits for ever."""

import asyncio
from dataclasses import replace

from farhand.agent.attendance import Attendance
from farhand.agent.budget import Budget
from farhand.agent.held import HeldEntry
from farhand.agent.spool import Spool
from farhand.domain.ids import RunId
from farhand.domain.limits import AGENT_DEFAULTS, KIB, AgentLimits
from farhand.domain.output import StreamName
from farhand.domain.run import Why
from farhand.ports import Launch
from farhand.testing.launcher import FakeLauncher, FakeProcess, Program

RUN = RunId("run_01h455vb4pex5vsknk084sn02q")
TIGHT = replace(
    AGENT_DEFAULTS, spool_bytes=KIB, spool_total_bytes=KIB, spool_reserve_bytes=KIB, drain_s=0.05
)


async def attended(
    program: Program,
    *,
    limits: AgentLimits = AGENT_DEFAULTS,
    limit_s: float = 5.0,
    keep_children: bool = False,
    meanwhile: str = "",
) -> tuple[Why | None, HeldEntry]:
    """Attend to a program; *meanwhile* somebody cancels it, or the agent leaves."""
    held = HeldEntry(RUN)
    held.spools = {n: Spool(RUN, n, 1 << 30, Budget(limits)) for n in StreamName}
    async with FakeLauncher({"program": program}) as launcher:
        launch = Launch(run=RUN, argv=("program",), env={})
        process = await launcher.launch(launch)
        attendance = Attendance(held, process, limits, lambda: None)
        async with asyncio.TaskGroup() as tasks:
            end = tasks.create_task(
                attendance.until_end(limit_s, keep_children=keep_children), name="attend"
            )
            if meanwhile:
                for _ in range(20):
                    await asyncio.sleep(0)
            match meanwhile:
                case "cancel":
                    held.ask_to_end(Why.CANCELLED, 0.01)
                case "leave":
                    held.ask_to_end(Why.AGENT_STOPPED, 0.01)
                    for spool in held.spools.values():
                        spool.hurry()
        process.close()
        return end.result()[0], held


async def talk(process: FakeProcess) -> int:
    for _ in range(8):
        await process.print(bytes(KIB))
    return await process.block()


async def test_its_own_end_is_no_cause() -> None:
    async def program(process: FakeProcess) -> int:
        await process.print(b"out")
        await process.print(b"err", StreamName.STDERR)
        return 0

    cause, held = await attended(program)

    assert cause is None
    assert [3, 3] == [spool.next_offset for spool in held.spools.values()]


async def test_a_wish_to_end_it_is_the_cause() -> None:
    cause, _ = await attended(talk, meanwhile="cancel")

    assert Why.CANCELLED is cause


async def test_the_time_limit_is_the_cause() -> None:
    cause, held = await attended(talk, limit_s=0.02)

    assert Why.TIME_LIMIT is cause
    assert 8 * KIB == held.spools[StreamName.STDOUT].next_offset


async def test_a_pipe_that_a_child_holds_in_silence_is_left() -> None:
    async def program(process: FakeProcess) -> int:
        process.leave_behind()
        return 0

    cause, _ = await attended(program, limits=TIGHT, keep_children=True)

    assert cause is None


async def test_when_the_agent_leaves_the_pipe_is_emptied_though_nothing_is_stored() -> None:
    cause, held = await attended(talk, limits=TIGHT, meanwhile="leave")

    assert Why.AGENT_STOPPED is cause
    assert 8 * KIB == held.spools[StreamName.STDOUT].next_offset
