"""Tell the history from the newest job on, a little of it at a time.

Holds a few jobs and one page of runs for each reader, however long the history is. Writes nothing.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from farhand.domain.history import JobFilter
from farhand.domain.job import Job
from farhand.domain.limits import Limits
from farhand.domain.output import StreamName
from farhand.domain.run import Run
from farhand.errors import OverShare
from farhand.ports import RunFilter, Store

_RUNS: Final = 100  # read at once
_JOBS: Final = 4  # read at once: each may hold a script and stdin

Head = tuple[bytes, int]  # the beginning of a stream, and how many bytes are kept of it


@dataclass(frozen=True, slots=True)
class Told:
    """A run, with the beginnings of its streams if they were asked for."""

    run: Run
    heads: Mapping[StreamName, Head]


class Exports:
    """Everyone who exports from one org: *count* of them."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self.count = 0

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Have a place among those who export; raises OverShare when all are taken."""
        if self.count >= (most := self._limits.exports):
            msg = f"{most} exports are under way, which is the org's share"
            raise OverShare(msg, bound="exports", limit=most)
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1

    async def read(
        self, which: JobFilter, output_bytes: int
    ) -> AsyncGenerator[Job | Told | None, None]:
        """Yield each job of *which*, newest first, and behind it its runs.

        With at most *output_bytes* of each stream. None is yielded now and then where nothing was
        found, for whoever must do something else meanwhile.
        """
        cursor: str | None = None
        while True:
            page = await self._store.jobs(which, cursor=cursor, limit=_JOBS)
            for job in page.items:
                yield job
                async for told in self._runs(job, output_bytes):
                    yield told
            if not page.items:
                yield None
            if (cursor := page.next) is None:
                return

    async def _runs(self, job: Job, output_bytes: int) -> AsyncGenerator[Told, None]:
        cursor: str | None = None
        while True:
            page = await self._store.runs(RunFilter(job=job.id), cursor=cursor, limit=_RUNS)
            for run in page.items:
                yield await self._with_heads(run, output_bytes) if output_bytes else Told(run, {})
            if (cursor := page.next) is None:
                return

    async def _with_heads(self, run: Run, most: int) -> Told:
        stored = await self._store.offsets(run.id)
        if not run.whole(stored):
            run = await self._store.run(run.id) or run
        heads: dict[StreamName, Head] = {}
        for stream, kept in stored.items():
            data = b""
            if kept:
                data = await self._store.output(run.id, stream, offset=0, limit=min(kept, most))
            heads[stream] = (data, kept)
        return Told(run, heads)
