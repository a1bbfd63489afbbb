"""Be with one run from its start to its end: carry what it prints, watch its time, end the rest.

Starts nothing and tells nobody how it ended.
"""

import asyncio
from collections.abc import Callable

from farhand.agent.held import HeldEntry
from farhand.agent.spool import Spool
from farhand.domain.limits import AgentLimits
from farhand.domain.run import Why
from farhand.ports import Exit, Launched


class Attendance:
    """A started run and the two pipes of its output. *wake* is called when there is more of it."""

    def __init__(
        self, held: HeldEntry, process: Launched, limits: AgentLimits, wake: Callable[[], None]
    ) -> None:
        self._held = held
        self._process = process
        self._limits = limits
        self._pumps = [_Pump(spool, process, wake) for spool in held.spools.values()]

    async def until_end(self, limit_s: float, *, keep_children: bool) -> tuple[Why | None, Exit]:
        """Return how the leader ended, and why somebody ended it; None is its own end."""
        run = self._held.run
        async with asyncio.TaskGroup() as tasks:
            for pump in self._pumps:
                pump.task = tasks.create_task(pump.carry(), name=f"pump-{run}")
            leader = tasks.create_task(self._process.wait(), name=f"wait-{run}")
            cause = await self._cause(leader, limit_s)
            if cause is not None:
                await self._process.kill(self._held.grace_s)
            exit_ = await leader
            if cause is None and not keep_children:
                await self._process.kill(self._limits.kill_grace_s)
            await self._drain()
        return cause, exit_

    async def _cause(self, leader: "asyncio.Task[Exit]", limit_s: float) -> Why | None:
        """Wait for the leader's end, a wish to end it, or its time limit; return which of these.

        None is its own end, which counts when it came first, whatever is asked afterwards.
        """
        stop = asyncio.ensure_future(self._held.stop.wait())  # noqa: TID251  # ends here, below
        try:
            done, _ = await asyncio.wait(
                {leader, stop}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            stop.cancel()
        if not done:
            self._held.ask_to_end(Why.TIME_LIMIT, self._limits.kill_grace_s)
        return None if leader in done else self._held.cause

    async def _drain(self) -> None:
        """Read what is left in the pipes; one that somebody still holds is left after a while."""
        pumps = self._pumps
        tasks = {pump.task for pump in pumps if pump.task is not None}
        while tasks:
            seen = [pump.spool.next_offset for pump in pumps]
            _, tasks = await asyncio.wait(tasks, timeout=self._limits.drain_s)
            waits_for_room = any(pump.full and pump.task in tasks for pump in pumps)
            if not waits_for_room and seen == [pump.spool.next_offset for pump in pumps]:
                for task in tasks:
                    task.cancel()
                return


class _Pump:
    """Carries one stream from its pipe to its spool."""

    def __init__(self, spool: Spool, process: Launched, wake: Callable[[], None]) -> None:
        self.spool = spool
        self.task: asyncio.Task[None] | None = None
        self.full = False  # waits for room, not for the pipe
        self._process = process
        self._wake = wake

    async def carry(self) -> None:
        while True:
            self.full = True
            await self.spool.room()
            self.full = False
            data = await self._process.read(self.spool.stream)
            if not data:
                return
            self.spool.feed(data)
            self._wake()
