"""Carry out what was drawn, on the processes and the network of an estate, and time the recovery.

Faults of one layer of one target wait for each other; others lie over each other as drawn.
"""

import asyncio
import contextlib
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Final

from farhand.testing.proxy import (
    BLACK_HOLE,
    BYTE_BY_BYTE,
    HELD,
    NO_FAULTS,
    Cut,
    FaultProxy,
    Faults,
    Side,
    Way,
)
from tests.chaos.estate import CONTROLLER, STOP_S, Estate, Member, tail, until
from tests.chaos.faults import CUT_OFF, Fault, Kind
from tests.chaos.people import Auditor, People

RECOVERY_S: Final = 60.0
LOOK_S: Final = 0.05
CUT_OFF_S: Final = 0.5
HELLO_BYTES: Final = 8 * 1024  # more than a Hello, less than is taken of a stranger
WELCOME_BYTES: Final = 100  # less than what is answered to a Hello that is let in
_STALLS: Final = {
    "both": Faults.both(HELD),
    "up": Faults(up=HELD),
    "down": Faults(down=HELD),
}
_SLOW: Final = {
    "byte by byte": Faults.both(BYTE_BY_BYTE),
    "late": Faults.both(Way(delay_s=0.3)),
    "late and thin": Faults.both(Way(delay_s=0.1, piece=512, pause_s=0.01)),
}

# After these an agent needs a new stream before anything moves.
_NEW_STREAM: Final = frozenset(
    {
        *(Kind.CONTROLLER_KILLED, Kind.CONTROLLER_RESTARTED, Kind.AGENT_KILLED),
        *(Kind.AGENT_RESTARTED, Kind.LINK_CUT, Kind.LINK_HALF_OPEN, Kind.LINK_SWALLOWED),
        *(Kind.LINK_REFUSED, Kind.LINK_REPLAYED),
    }
)


class Skipped(Exception):
    """A fault could not be inflicted as things stood."""


@dataclass
class Recovery:
    """How long after a fault was lifted something moved, and all did. *runs* were affected."""

    fault: Fault
    runs: int
    first_s: float | None = None
    all_s: float | None = None
    disturbed: bool = False  # by another fault: it is no measure of this one


@dataclass
class Inflicter:
    """Carries faults out. `touched` tells which kinds met which target, and when they began."""

    estate: Estate
    people: People
    auditor: Auditor
    tasks: asyncio.TaskGroup
    recoveries: list[Recovery] = field(default_factory=list)
    touched: dict[str, list[tuple[Kind, float]]] = field(default_factory=lambda: defaultdict(list))
    problems: list[str] = field(default_factory=list)
    _locks: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _begun: int = 0
    _doubles: int = 0

    async def all(self, faults: list[Fault]) -> None:
        """Inflict one fault after the other, and return when the last is lifted."""
        async with asyncio.TaskGroup() as lasting:
            for fault in faults:
                await asyncio.sleep(fault.after_s)
                task = lasting.create_task(self._inflict(fault), name=f"fault-{fault.kind}")
                if not fault.overlaps:
                    await asyncio.wait([task])

    async def _inflict(self, fault: Fault) -> None:
        layer = "disk" if "disk" in fault.kind else fault.kind.split()[0]
        async with self._locks[f"{layer} {fault.target}"]:
            self._begun += 1
            begun, began = self._begun, time.monotonic()
            self.touched[fault.target].append((fault.kind, time.time()))
            self.estate.history.note(f"{fault}")
            try:
                await _HOW[fault.kind](self, fault)
            except Skipped as exc:
                self.estate.history.note(f"  not done: {exc}")
                return
            self.estate.history.note(f"  lifted: {fault.kind}: {fault.target}")
        self.tasks.create_task(self._recover(fault, begun, began), name="recovery")

    # --- processes ------------------------------------------------------------------------

    def _member(self, fault: Fault) -> Member:
        estate = self.estate
        return estate.controller if fault.target == CONTROLLER else estate.agents[fault.target]

    async def _kill(self, fault: Fault) -> None:
        member = self._member(fault)
        if fault.how == CUT_OFF:
            link = self.estate.links[fault.target]
            async with self._locks[f"link {fault.target}"]:
                link.faults = Faults(refuse=True)
                link.cut()
                await asyncio.sleep(CUT_OFF_S + fault.for_s)
                await member.end(signal.SIGKILL)
                link.faults = NO_FAULTS
            member.start()
            return
        await member.end(signal.SIGKILL)
        await asyncio.sleep(fault.for_s)
        member.start()
        if fault.how:  # while it is still finding out what the first kill left
            await asyncio.sleep(float(fault.how.split()[2]))
            await member.end(signal.SIGKILL)
            member.start()

    async def _restart(self, fault: Fault) -> None:
        member = self._member(fault)
        if not await member.end(signal.SIGTERM):
            self.problems.append(f"{member.name} did not stop within {STOP_S:g} s of SIGTERM")
        await asyncio.sleep(fault.for_s)
        member.start()

    async def _freeze(self, fault: Fault) -> None:
        member = self._member(fault)
        member.tell(signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.for_s)
        finally:
            member.tell(signal.SIGCONT)

    async def _fill(self, fault: Fault) -> None:
        member, disks = self._member(fault), self.estate.disks
        member.full_until = float("inf")
        end = time.monotonic() + fault.for_s
        kill_at = end - fault.for_s / 2 if fault.how else end
        try:
            while (left := end - time.monotonic()) > 0:
                disks.fill(member.disk, member.pid)
                await asyncio.sleep(min(left, 0.1))  # room that was given back is taken again
                if time.monotonic() >= kill_at:
                    kill_at = float("inf")
                    await self._kill_now(member, fault)
        finally:
            disks.free(member.disk, member.pid)
            member.full_until = time.monotonic() + 5.0

    async def _kill_now(self, member: Member, fault: Fault) -> None:
        layer = fault.kind.split()[0].removesuffix("'s")
        async with self._locks[f"{layer} {fault.target}"]:
            if layer == "agent":
                self.touched[fault.target].append((Kind.AGENT_KILLED, time.time()))
            await member.end(signal.SIGKILL)
            member.start()

    async def _double(self, fault: Fault) -> None:
        """Start a second process with a copy of an agent's state; it must refuse to be that one."""
        self._doubles += 1
        double = self.estate.double(fault.target, self._doubles)
        double.start()
        refused = await until(lambda: double.pid is None, STOP_S)
        if not refused:
            await double.end(signal.SIGKILL)
        if not refused or not double.popen or double.popen.returncode == 0:
            self.problems.append(f"{double.name} did not refuse: {tail(double.log)}")
        await asyncio.sleep(fault.for_s)

    # --- the network ----------------------------------------------------------------------

    def _link(self, fault: Fault) -> FaultProxy:
        return self.estate.links.get(fault.target, self.estate.front)

    @contextlib.asynccontextmanager
    async def _with(self, fault: Fault, faults: Faults) -> AsyncIterator[FaultProxy]:
        link = self._link(fault)
        link.faults = faults
        try:
            yield link
            await asyncio.sleep(fault.for_s)
        finally:
            link.faults = NO_FAULTS

    async def _cut(self, fault: Fault) -> None:
        link = self._link(fault)
        if not fault.how.startswith("after"):
            link.cut(Cut.RESET if fault.how == "reset" else Cut.FIN)
            return
        more = int(fault.how.split()[1])
        for each in link.connections:
            up, down = each.up_bytes + more, each.down_bytes + more
            each.faults = Faults(up=Way(reset_after=up), down=Way(reset_after=down))

    async def _half_open(self, fault: Fault) -> None:
        agent_told = fault.how == "agent told"
        self._link(fault).half_open(Side.CLIENT if agent_told else Side.SERVER)

    async def _stall(self, fault: Fault) -> None:
        async with self._with(fault, _STALLS[fault.how]):
            pass

    async def _swallow(self, fault: Fault) -> None:
        async with self._with(fault, BLACK_HOLE):
            pass

    async def _slow(self, fault: Fault) -> None:
        async with self._with(fault, _SLOW[fault.how]):
            pass

    async def _refuse(self, fault: Fault) -> None:
        async with self._with(fault, Faults(refuse=True)) as link:
            link.cut()

    async def _replay(self, fault: Fault) -> None:
        """Send what an agent sent first, its secret included, on a connection of our own."""
        link = self._link(fault)
        sent = [bytes(each.beginning) for each in link.connections if each.beginning]
        if not sent:
            raise Skipped("there is nothing to replay")
        try:
            async with asyncio.timeout(fault.for_s):
                reader, writer = await asyncio.open_connection(*link.to)
        except (OSError, TimeoutError) as exc:
            raise Skipped("nobody hears it") from exc
        welcomed = False
        try:
            async with asyncio.timeout(fault.for_s):
                writer.write(sent[-1][:HELLO_BYTES])
                await reader.readexactly(WELCOME_BYTES)
                welcomed = True
                writer.write(sent[-1][HELLO_BYTES:])
                while await reader.read(1 << 16):
                    pass
        except (asyncio.IncompleteReadError, TimeoutError, OSError) as exc:
            if not welcomed:
                raise Skipped("it was not let in") from exc
        finally:
            writer.transport.abort()

    # --- recovery -------------------------------------------------------------------------

    async def _recover(self, fault: Fault, begun: int, began: float) -> None:
        lifted = time.monotonic()
        if fault.target == "people":
            recovery = Recovery(fault, 0)
            while not recovery.all_s and time.monotonic() < lifted + RECOVERY_S:
                later = [at for at in self.people.answered if at > lifted]
                recovery.first_s = recovery.all_s = later[0] - lifted if later else None
                await asyncio.sleep(LOOK_S)
        else:
            names = [fault.target] if fault.target in self.estate.agents else self.estate.agents
            since = began if fault.kind in _NEW_STREAM else 0.0
            recovery = await self._until_moving(fault, list(names), since, lifted)
        recovery.disturbed = self._begun != begun
        if recovery.all_s is None:
            self.problems.append(f"nothing moved within {RECOVERY_S:g} s of {fault}")
        self.recoveries.append(recovery)

    async def _until_moving(
        self, fault: Fault, names: list[str], since: float, lifted: float
    ) -> Recovery:
        """Wait until the agents *names* have streams, and their runs of before run or ended."""
        runs = {
            run: agent
            for asked in self.people.asked
            for run, agent in asked.runs.items()
            if agent in names
        }
        recovery = Recovery(fault, sum(run in self.auditor.open for run in runs))
        while time.monotonic() < lifted + RECOVERY_S:
            await asyncio.sleep(LOOK_S)
            if self.auditor.looked_at < lifted:
                continue
            here = [
                name
                for name in names
                if name in self.auditor.online
                and any(t >= since for t in self.estate.sessions[name])
            ]
            waiting = {
                agent
                for run, agent in runs.items()
                if self.auditor.open.get(run, "running") != "running"
            }
            moving = [name for name in here if name not in waiting]
            passed = self.auditor.looked_at - lifted
            if here and recovery.first_s is None:
                recovery.first_s = passed
            if len(moving) == len(names):
                recovery.all_s = passed
                break
        return recovery


_HOW: Final[Mapping[Kind, Callable[[Inflicter, Fault], Coroutine[None, None, None]]]] = {
    Kind.CONTROLLER_KILLED: Inflicter._kill,
    Kind.CONTROLLER_RESTARTED: Inflicter._restart,
    Kind.CONTROLLER_STOPPED: Inflicter._freeze,
    Kind.CONTROLLER_DISK_FULL: Inflicter._fill,
    Kind.AGENT_KILLED: Inflicter._kill,
    Kind.AGENT_RESTARTED: Inflicter._restart,
    Kind.AGENT_STOPPED: Inflicter._freeze,
    Kind.AGENT_DISK_FULL: Inflicter._fill,
    Kind.AGENT_DOUBLED: Inflicter._double,
    Kind.LINK_CUT: Inflicter._cut,
    Kind.LINK_HALF_OPEN: Inflicter._half_open,
    Kind.LINK_STALLED: Inflicter._stall,
    Kind.LINK_SWALLOWED: Inflicter._swallow,
    Kind.LINK_SLOW: Inflicter._slow,
    Kind.LINK_REFUSED: Inflicter._refuse,
    Kind.LINK_REPLAYED: Inflicter._replay,
    Kind.PEOPLE_CUT: Inflicter._cut,
    Kind.PEOPLE_STALLED: Inflicter._stall,
    Kind.PEOPLE_SLOW: Inflicter._slow,
}
