"""Find everything a run started, wherever it went, and end it.

Trusts no process id alone: a process is known by its id and its start time, and is signalled
through a pidfd where the kernel has them. What clears its environment, leaves the session *and*
outlives its parent escapes where the host allows no control groups.
"""

import asyncio
import errno
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from farhand.agent import procfs
from farhand.agent.cgroup import Cgroup
from farhand.agent.procfs import Stat
from farhand.domain.ids import RunId

MARK: Final = "FARHAND_RUN"  # in the environment of all that a run starts

_FEW: Final = 256  # process ids that are asked one by one, without listing /proc
_IDS_PER_S: Final = 200_000  # faster than any kernel hands process ids out
_LOOKS: Final = 3  # at processes that are just beginning, before they are believed to be others
_SETTLE_S: Final = 0.0005  # after which a process that is being made can be seen
_CHASE_S: Final = 0.1  # after processes that come about as fast as they are looked at
_PASS_FIRST_S: Final = 0.002  # between two looks, growing to
_PASS_CAP_S: Final = 0.1
_RESCAN_S: Final = 0.5  # while the known ones still live
_KILL_S: Final = 10.0  # a process inside the kernel may need longer to die; it will


@dataclass(slots=True)
class _Seen:
    """What one look found. *last* is the newest process id there was; *unsure*: look again."""

    found: list[Stat] = field(default_factory=list)
    others: list[Stat] = field(default_factory=list)
    unsure: bool = False
    last: int | None = None
    inside: frozenset[int] = frozenset()  # in the run's control group


class Trace:
    """How the processes of one run are recognised.

    By the run's control group, by its mark in their environment, by the session or group of the
    *leader*, and by a parent or a session that belongs to one of these. Never the agent itself,
    never process 1.
    """

    def __init__(
        self,
        run: RunId,
        leader: Stat | None = None,
        *,
        cgroup: Cgroup | None = None,
        root: str = procfs.PROC,
    ) -> None:
        self._leader = leader
        self._cgroup = cgroup
        self._root = root
        self._mark = f"\0{MARK}={run}\0".encode()
        self._spared = {0, 1, os.getpid()}

    async def living(
        self, *, age_s: float | None = None, strike: signal.Signals | None = None
    ) -> list[Stat]:
        """Return the live processes of the run; *age_s* is how long ago the leader began.

        Young runs are looked up among the process ids that were given out since, which costs
        microseconds; others cost a walk over /proc in a thread. With *strike*, each is sent that
        signal at sight: what forks and ends all the time cannot be hit any later.
        """
        if self._cgroup is not None and strike is signal.SIGKILL:
            self._cgroup.kill()
        before: int | None = None
        for _ in range(_LOOKS):
            since = None if age_s is None else self._ids_since(age_s)
            if since is None:
                seen = await asyncio.to_thread(self._look, None, before, strike)
            else:
                seen = self._look(since, before, strike)
            if not seen.unsure:
                break
            before = seen.last
            await asyncio.sleep(_SETTLE_S)
        return _with_kin(seen.found, seen.others)

    def forget(self) -> None:
        """Take the run's control group away, if nobody is in it."""
        if self._cgroup is not None:
            self._cgroup.remove()

    def still(self, known: Iterable[Stat]) -> list[Stat]:
        """Return those of *known* that still live."""
        return [one for one in known if self._same(one)]

    def tell(self, target: Stat, *signals: signal.Signals) -> None:
        """Send *signals* to exactly this process; it may be gone or not ours to signal."""
        with suppress(OSError), _handle(target.pid) as send:
            if self._same(target):
                for each in signals:
                    send(each)

    def _same(self, known: Stat) -> bool:
        now = procfs.stat(known.pid, self._root)
        return now is not None and now.alive and now.started == known.started

    def _last_id(self) -> int | None:
        """The newest process id, where the kernel tells; lxcfs fakes loadavg, not this."""
        try:
            return int(procfs.read(f"{self._root}/sys/kernel/ns_last_pid"))
        except (OSError, ValueError):
            return None

    def _ids_since(self, age_s: float) -> range | None:
        """The leader and every id given out since, when they are few and cannot have wrapped."""
        last = self._last_id()
        if self._leader is None or last is None:
            return None
        first, most = self._leader.pid, int(procfs.read(f"{self._root}/sys/kernel/pid_max"))
        if age_s * _IDS_PER_S > most or not first <= last < first + _FEW:
            return None
        return range(first, last + 1)

    def _look(self, pids: range | None, before: int | None, strike: signal.Signals | None) -> _Seen:
        """Look at *pids* (None: at all), and at those given out meanwhile if none was found.

        An id that is newer than *before* and not there may belong to a process that is only just
        being made; after a moment the next look knows.
        """
        seen = _Seen(last=self._last_id() if pids is None else pids[-1])
        if self._cgroup is not None:
            seen.inside = self._cgroup.pids()
        fresh = (seen.last or 0) if before is None else before + 1
        few = procfs.pids(self._root) if pids is None else seen.inside.union(pids)
        self._sift(few, fresh, strike, seen)
        give_up = time.monotonic() + _CHASE_S
        while strike is not None or not seen.found:
            now = self._last_id()
            if now is None or seen.last is None or now == seen.last:
                break
            if time.monotonic() > give_up:
                seen.unsure = True
                break
            wrapped = now < seen.last
            more = procfs.pids(self._root) if wrapped else range(seen.last + 1, now + 1)
            self._sift(more, fresh, strike, seen)
            seen.last = now
        return seen

    def _sift(
        self, pids: Iterable[int], fresh: int, strike: signal.Signals | None, seen: _Seen
    ) -> None:
        sessions = self._sessions()
        for pid in pids:
            one = procfs.stat(pid, self._root)
            if one is None:
                gone = self._leader is not None and pid == self._leader.pid
                seen.unsure = seen.unsure or (pid >= fresh > 0 and not gone)
                continue
            if not one.alive or one.kernel or pid in self._spared:
                continue
            if self._leader is not None and one.started < self._leader.started:
                continue
            known = pid in seen.inside or one.sid in sessions or one.pgid in sessions
            if not known:
                environ = procfs.environ(pid, self._root)
                seen.unsure = seen.unsure or environ == b""  # its program is just beginning
                if environ is None or self._mark not in b"\0" + environ:
                    seen.others.append(one)
                    continue
            seen.found.append(one)
            if strike is not None:
                self.tell(one, strike)

    def _sessions(self) -> set[int]:
        """The session the leader made, unless its id belongs to another process by now."""
        if self._leader is None:
            return set()
        now = procfs.stat(self._leader.pid, self._root)
        reused = now is not None and now.started != self._leader.started
        return set() if reused else {self._leader.pid}


def _with_kin(found: list[Stat], others: list[Stat]) -> list[Stat]:
    """Add those that have a found one as their parent or share its session."""
    own = os.getsid(0)
    while others:
        parents = {one.pid for one in found}
        sessions = {one.sid for one in found} - {own}
        kin = [one for one in others if one.ppid in parents or one.sid in sessions]
        if not kin:
            break
        found = found + kin
        others = [one for one in others if one not in kin]
    return found


@contextmanager
def _handle(pid: int) -> Iterator[Callable[[signal.Signals], None]]:
    """Hold the process *pid* so that a signal cannot reach a later one of the same id."""
    try:
        fd = os.pidfd_open(pid)
    except OSError as exc:
        if exc.errno != errno.ENOSYS:
            raise
        yield lambda number: os.kill(pid, number)  # a kernel before 5.3 has nothing better
        return
    try:
        yield lambda number: signal.pidfd_send_signal(fd, number)
    finally:
        os.close(fd)


async def end(
    trace: Trace,
    *,
    grace_s: float,
    age_s: Callable[[], float] | None = None,
    kill_s: float = _KILL_S,
) -> None:
    """End the run's processes: SIGTERM, SIGKILL after *grace_s*; return when there are none.

    Looks again until a look finds none, so that what is started meanwhile is ended too. Gives up
    after *kill_s* of SIGKILL: what is then left hangs inside the kernel and dies when it comes out.
    """
    loop = asyncio.get_running_loop()
    kill_at, give_up = loop.time() + grace_s, loop.time() + grace_s + kill_s
    told: set[tuple[int, int]] = set()
    pause = _PASS_FIRST_S
    while True:
        now = loop.time()
        strike = signal.SIGKILL if now >= kill_at else None
        living = await trace.living(age_s=age_s() if age_s else None, strike=strike)
        if not living or now >= give_up:
            trace.forget()
            return
        if strike is not None:
            for one in living:  # also the kin, which is known only when all are
                trace.tell(one, strike)
            await asyncio.sleep(pause)
        else:
            for one in living:
                if (one.pid, one.started) not in told:
                    trace.tell(one, signal.SIGTERM, signal.SIGCONT)
            told = {(one.pid, one.started) for one in living}
            await _until_gone(trace, living, until=min(kill_at, now + _RESCAN_S))
        pause = min(pause * 2, _PASS_CAP_S)


async def _until_gone(trace: Trace, known: list[Stat], *, until: float) -> None:
    loop = asyncio.get_running_loop()
    pause = _PASS_FIRST_S
    while trace.still(known) and (left := until - loop.time()) > 0:
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 2, _PASS_CAP_S)
