"""Let others follow what runs do and print, as it is kept.

Reads the store after a cursor and wakes on hints; a follower that is slow lags, and never makes
anything pile up. Knows nothing of HTTP.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from farhand.domain.ids import JobId, OrgId, RunId
from farhand.domain.limits import Limits
from farhand.domain.output import StreamName
from farhand.domain.run import Ending
from farhand.errors import OutputCorrupt, OverShare, UnknownJob
from farhand.ports import Bus, Event, Hint, Store

PAGE: Final = 64
POLL_S: Final = 5.0
READ_BYTES: Final = 1 << 20


class Followers:
    """Everyone who follows a job of one org, or waits for one: *count* and *waiting* of them."""

    def __init__(self, org: OrgId, store: Store, bus: Bus, limits: Limits) -> None:
        self._org = org
        self._store = store
        self._bus = bus
        self._limits = limits
        self.count = 0
        self.waiting = 0

    async def follow(self, job: JobId, *, after: int = 0) -> AsyncGenerator[Sequence[Event], None]:
        """Yield the job's events numbered above *after*, in pages, until its end.

        Raises OverShare above the limit of followers, UnknownJob.
        """
        if self.count >= (most := self._limits.followers):
            msg = f"{most} followers are connected, which is the org's share"
            raise OverShare(msg, bound="followers", limit=most)
        self.count += 1
        wake = asyncio.Event()
        stop = self._bus.subscribe(Hint(self._org, "job", job), wake.set)
        try:
            while True:
                wake.clear()
                page = await self._store.events(job, after=after, limit=PAGE)
                if page:
                    after = page[-1].seq
                    yield page
                    continue
                if await self._over(job, after):
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):  # hints may be lost
                        await wake.wait()
        finally:
            stop()
            self.count -= 1

    async def _over(self, job: JobId, after: int) -> bool:
        """Nobody waits for the job any more, and its last event was read."""
        waiting = await self._store.waiting(job)
        if waiting is None:
            raise UnknownJob(f"there is no job {job}")
        return waiting == 0 and not await self._store.events(job, after=after, limit=1)

    @contextmanager
    def seat(self) -> Iterator[None]:
        """Have a place among those who wait for a job; raises OverShare when all are taken."""
        if self.waiting >= (most := self._limits.waiting):
            msg = (
                f"{most} requests wait for their jobs, which is the org's share; follow it instead"
            )
            raise OverShare(msg, bound="waiting", limit=most)
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    async def settled(self, job: JobId, within_s: float) -> bool:
        """Wait until every run of the job came to rest; False when it takes longer."""
        wake = asyncio.Event()
        stop = self._bus.subscribe(Hint(self._org, "job", job), wake.set)
        try:
            async with asyncio.timeout(within_s):
                while True:
                    wake.clear()
                    waiting = await self._store.waiting(job)
                    if waiting is None:
                        raise UnknownJob(f"there is no job {job}")
                    if waiting == 0:
                        return True
                    with suppress(TimeoutError):
                        async with asyncio.timeout(POLL_S):
                            await wake.wait()
        except TimeoutError:
            return False
        finally:
            stop()


async def verify(store: Store, run: RunId, ending: Ending, received: dict[StreamName, str]) -> None:
    """Hold what is kept against the agent's digests; raises OutputCorrupt.

    *received* are digests of streams that came whole through one session; the others are read
    back from the store.
    """
    for name, end in ending.streams.items():
        if not end.sha256_kept:
            continue
        digest = received.get(name)
        if digest is None:
            digest = await _digest(store, run, name, end.kept)
        if digest != end.sha256_kept:
            msg = f"{name} of {run} is not what the agent printed: its SHA-256 differs"
            raise OutputCorrupt(msg)


async def _digest(store: Store, run: RunId, stream: StreamName, size: int) -> str:
    found, at = hashlib.sha256(), 0
    while at < size:
        data = await store.output(run, stream, offset=at, limit=min(READ_BYTES, size - at))
        if not data:
            break
        found.update(data)
        at += len(data)
    return found.hexdigest()
