"""Run one program to its end and hold what it prints, within bounds of size and time.

Knows no protocol. Nothing that the program started is left when this returns, also when the wait
is cancelled.
"""

import asyncio
import secrets
from dataclasses import dataclass
from typing import Final

from farhand.domain.ids import RunId
from farhand.domain.limits import AgentLimits
from farhand.domain.output import StreamName
from farhand.domain.run import Why
from farhand.ports import Exit, Launch, Launched, Launcher

STDERR_BYTES: Final = 256 * 1024  # all of it travels in one message, as an error text
_LETTERS: Final = "0123456789abcdefghjkmnpqrstvwxyz"


def fresh_run() -> RunId:
    """A mark for what one errand starts; no controller knows it."""
    return RunId("run_0" + "".join(secrets.choice(_LETTERS) for _ in range(25)))


class Basket:
    """The first *most* bytes of a stream; of what comes after that only the number."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: list[bytes] = []
        self._held = 0
        self.cut = 0

    def put(self, data: bytes) -> None:
        """Keep what fits."""
        kept = data[: self._most - self._held]
        self.cut += len(data) - len(kept)
        if kept:
            self._parts.append(kept)
            self._held += len(kept)

    def taken(self) -> bytes:
        """What was kept."""
        return b"".join(self._parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a program ended. *cause* is why somebody ended it.

    *cut* and *stderr_cut* are bytes that it printed and that are not here.
    """

    exit: Exit
    stdout: bytes
    stderr: bytes
    cut: int = 0
    stderr_cut: int = 0
    cause: Why | None = None


async def carry_out(
    launcher: Launcher, launch: Launch, *, limit_s: float, limits: AgentLimits, stop: asyncio.Event
) -> Outcome:
    """Run a program until it ends, until *limit_s* has passed or until *stop*.

    Raises LaunchFailed.
    """
    process = await launcher.launch(launch)
    try:
        return await _attended(process, limit_s, limits, stop)
    except BaseException:
        await process.kill(0)
        raise
    finally:
        process.close()


async def _attended(
    process: Launched, limit_s: float, limits: AgentLimits, stop: asyncio.Event
) -> Outcome:
    stdout, stderr = Basket(limits.deepflow_output_bytes), Basket(STDERR_BYTES)
    async with asyncio.TaskGroup() as tasks:
        pumps = [
            tasks.create_task(_carry(process, name, basket), name=f"pump-{name}")
            for name, basket in ((StreamName.STDOUT, stdout), (StreamName.STDERR, stderr))
        ]
        leader = tasks.create_task(process.wait(), name="wait")
        stopped = tasks.create_task(stop.wait(), name="stop")
        done, _ = await asyncio.wait(
            {leader, stopped}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
        )
        stopped.cancel()
        cause = None
        if leader not in done:
            cause = Why.AGENT_STOPPED if done else Why.TIME_LIMIT
        await process.kill(limits.kill_grace_s)  # also what a leader that ended left behind
        exit_ = await leader
        _, held = await asyncio.wait(pumps, timeout=limits.drain_s)
        for pump in held:  # something out of reach holds the pipe
            pump.cancel()
    return Outcome(
        exit=exit_,
        stdout=stdout.taken(),
        stderr=stderr.taken(),
        cut=stdout.cut,
        stderr_cut=stderr.cut,
        cause=cause,
    )


async def _carry(process: Launched, name: StreamName, basket: Basket) -> None:
    while data := await process.read(name):
        basket.put(data)
