"""What must happen because time passed: expire, lose, prune, look after sessions.

Decides by the controller's own clock, and counts no absence of its own against anybody.
"""

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from farhand.controller.sessions import Sessions
from farhand.domain.ids import JobId
from farhand.domain.limits import Limits
from farhand.domain.run import Run, RunState, Why
from farhand.domain.targets import Chosen, Preview
from farhand.errors import Unavailable
from farhand.ports import (
    Change,
    Clock,
    Document,
    Drop,
    Freed,
    Moved,
    MoveRun,
    Prune,
    Pruned,
    PruneOutput,
    Store,
)

log = structlog.get_logger()

LATE_FACTOR = 2.0  # a round that comes later than this many intervals judges nobody
PRUNE_EVERY_S = 3600.0
FREE_EVERY_S = 60.0  # output comes by the gigabyte
FREED_RUNS: Final = 200  # in one transaction: 25 MiB of rows at most, beside the files
FREED_BITES: Final = 25  # of a round
FORGOTTEN: Final[tuple[type[Document], ...]] = (Preview, Chosen)


class Sweeper:
    """The clockwork of one org. Each round begins with *ticks*, for those who look themselves."""

    def __init__(
        self,
        sessions: Sessions,
        store: Store,
        clock: Clock,
        limits: Limits,
        *,
        ticks: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._ticks = ticks
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._limits = limits
        self._began = clock.now()
        self._outage = False  # of the store, at the last look
        self._pruned_at = clock.now() - PRUNE_EVERY_S
        self._freed_at = clock.now() - FREE_EVERY_S

    async def run(self) -> None:
        """Sweep until cancelled."""
        before = self._clock.now()
        while True:
            await self._clock.sleep(self._limits.sweep_s)
            now = self._clock.now()
            passed, before = now - before, now
            if passed > LATE_FACTOR * self._limits.sweep_s + 1.0:
                self._was_away(passed)
                continue
            try:
                await self.sweep()
                self._outage = False
            except Unavailable as exc:
                if not self._outage:
                    log.warning("sweep.store_unavailable", error=str(exc))
                self._outage = True
                self._began = self._clock.now()  # nobody could come in and be written meanwhile
            except Exception:  # one bad row must not stop the clockwork
                log.exception("sweep.failed")

    def _was_away(self, passed_s: float) -> None:
        """The loop or the host stood still: news that came meanwhile was not heard yet."""
        log.warning("sweep.late", by_s=round(passed_s - self._limits.sweep_s, 1))
        if passed_s > self._limits.heartbeat_s:  # agents may have given this controller up
            self._began = self._clock.now()

    async def sweep(self) -> None:
        """One round."""
        for tick in self._ticks:
            tick()
        self._sessions.sweep()
        await self._sessions.note_partings()
        await self._sessions.doubts.look()
        await self._expire()
        await self._lose()
        await self._sessions.note_liveness()
        if self._clock.now() - self._pruned_at >= PRUNE_EVERY_S:
            await self._prune()
        if self._clock.now() - self._freed_at >= FREE_EVERY_S:
            await self._free()

    async def _prune(self) -> None:
        """Delete what is older than its retention; what is left after one bite waits a round."""
        wall = self._clock.wall()
        prune = Prune(
            before=wall - self._limits.retention_s,
            at=wall,
            audit_before=wall - self._limits.audit_retention_s,
        )
        (outcome,) = await self._store.apply([prune])
        if outcome == Pruned(0):
            self._pruned_at = self._clock.now()
            await self._sessions.forget_strangers()
            for kind in FORGOTTEN:
                await self._forget(kind)

    async def _free(self) -> None:
        """Delete output that is too old or too much, in bites between which others write.

        What is left then waits a round.
        """
        prune = PruneOutput(
            before=self._clock.wall() - self._limits.output_retention_s,
            most_bytes=self._limits.output_total_bytes or None,
            limit=FREED_RUNS,
        )
        runs = size = 0
        for _ in range(FREED_BITES):
            (outcome,) = await self._store.apply([prune])
            if not isinstance(outcome, Freed) or outcome.runs == 0:
                self._freed_at = self._clock.now()
                break
            runs, size = runs + outcome.runs, size + outcome.bytes
        if runs:
            log.info("sweep.freed", runs=runs, bytes=size)

    async def _forget(self, kind: type[Document]) -> None:
        """Delete documents whose time is over."""
        while due := await self._store.documents_due(kind, self._clock.wall()):
            await self._store.apply([Drop(kind, old.id) for old in due])

    async def _expire(self) -> None:
        """Queued too long: never started."""
        now = self._clock.wall()
        told = "the agent did not take it within its queue TTL; it was never started"
        due = await self._store.due(now)
        await self._move(due, RunState.QUEUED, RunState.EXPIRED, Why.QUEUE_TTL, told)

    async def _lose(self) -> None:
        """Contact gone past the lease, counted from this controller's return at the earliest."""
        if self._clock.now() - self._began < self._limits.lease_s:
            return
        silent = await self._store.silent(self._clock.wall() - self._limits.lease_s)
        told = "contact with the agent was lost; this heals when it comes back"
        for state in (RunState.SENT, RunState.RUNNING):
            runs = [run for run in silent if run.state is state]
            await self._move(runs, state, RunState.LOST, Why.CONTACT_LOST, told)

    async def _move(
        self, runs: Sequence[Run], state: RunState, to: RunState, why: Why, told: str
    ) -> None:
        if not runs:
            return
        now = self._clock.wall()
        changes: list[Change] = [
            MoveRun(run=run.id, expect=frozenset({state}), to=to, at=now, why=why, message=told)
            for run in runs
        ]
        outcomes = await self._store.apply(changes)
        jobs: set[JobId] = {o.run.job for o in outcomes if isinstance(o, Moved)}
        self._sessions.hint(jobs)
        log.info("sweep.moved", to=to.value, runs=len(jobs))
