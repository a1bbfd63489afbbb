"""Look again at jobs whose last change may have been written though nobody was told so.

A store can commit and fail to answer, and whoever asked can hang up while it commits. Writes
nothing: what the store says is passed on to the agents that are connected.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from farhand.controller.paging import pages
from farhand.domain.ids import JobId
from farhand.domain.job import Job
from farhand.domain.run import Run, RunState
from farhand.ports import Clock, RunFilter, Store

MOST: Final = 1_000  # jobs in doubt; beyond it the oldest wait until their agents come back
# What was written as sent with its job was not, if nobody was told that it was written.
_UNSENT: Final = frozenset({RunState.QUEUED, RunState.SENT})
AGAIN_S: Final = 30.0  # a write that was under way at the first look has been made by then


class Work(Protocol):
    """The sessions of an org, as far as they are needed here."""

    store: Store
    clock: Clock

    async def job(self, job: JobId) -> Job | None: ...
    def deliver(self, job: Job, runs: Iterable[Run]) -> None: ...
    def cancel(self, run: Run) -> None: ...
    def hint(self, jobs: Iterable[JobId]) -> None: ...


class Doubts:
    """The jobs in doubt of one org."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._due: dict[JobId, tuple[float, ...]] = {}  # when each is looked at

    def __len__(self) -> int:
        """How many jobs are in doubt."""
        return len(self._due)

    @contextmanager
    def about(self, job: JobId) -> Iterator[None]:
        """Change a job inside the block; if that fails or is cancelled, the job is in doubt."""
        try:
            yield
        except BaseException:
            self._due.pop(job, None)
            now = self._work.clock.now()
            self._due[job] = (now, now + AGAIN_S)
            if len(self._due) > MOST:
                del self._due[next(iter(self._due))]
            raise

    async def look(self) -> None:
        """Read the jobs that are due, and pass on what waits. Raises StoreUnavailable."""
        for job, due in list(self._due.items()):
            if self._work.clock.now() < due[0]:
                continue
            await self._pass_on(job)
            if self._due.get(job) == due:
                del self._due[job]
                if due[1:]:
                    self._due[job] = due[1:]

    async def _pass_on(self, job: JobId) -> None:
        text, store = await self._work.job(job), self._work.store
        if text is None:
            return
        which = RunFilter(job=job)
        async for page in pages(lambda cursor: store.runs(which, cursor=cursor, limit=1000)):
            self._work.deliver(text, (run for run in page if run.state in _UNSENT))
            for run in page:
                if run.cancel_requested and not run.state.final:
                    self._work.cancel(run)
        self._work.hint([job])
