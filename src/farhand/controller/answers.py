"""Read what runs printed, as little of it as tells them apart and shows them.

Reads the beginning of a stream, or its end, never the whole; what equal runs printed is read once.
"""

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from farhand.domain.difference import difference
from farhand.domain.grouping import (
    Answer,
    Content,
    Group,
    cause_of,
    digest_of,
    last_line_of,
    printed,
)
from farhand.domain.ids import RunId
from farhand.domain.limits import Limits
from farhand.domain.normalise import Normaliser, normalising, text_of
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import Run
from farhand.ports import Store

TAIL_BYTES: Final = 2 * 1024  # of stderr, for its last line
VIEW_BYTES: Final = 2 * 1024 * 1024  # of all outputs in one view


@dataclass(frozen=True, slots=True)
class Digest:
    """What tells one output from another; *partial* when only its beginning was looked at."""

    value: str
    partial: bool = False


class Answers:
    """Reads for one job and one set of normalisers, of which *shown* groups are shown.

    Keeps a digest for each distinct output that was normalised and a line for each distinct stderr
    of a failure: some 200 bytes each.
    """

    def __init__(
        self, store: Store, limits: Limits, normalise: Collection[Normaliser], *, shown: int
    ) -> None:
        self._store = store
        self._read_bytes = limits.group_read_bytes
        self._shown_bytes = min(limits.group_bytes, VIEW_BYTES // (2 * shown))
        self._normalise = frozenset(normalise)
        self._shared = Normaliser.HOSTNAME not in self._normalise  # equal before, equal after
        self._normal: dict[str, Digest] = {}
        self._lines: dict[str, str] = {}

    async def answer(self, run: Run) -> Answer | None:
        """What *run* came to; None while somebody waits for it."""
        if not run.state.resting:
            return None
        out, err = [await self._digest(run, stream) for stream in StreamName]
        return Answer(
            cause=cause_of(run),
            stdout=out.value,
            stderr=err.value,
            partial=out.partial or err.partial,
        )

    async def _digest(self, run: Run, stream: StreamName) -> Digest:
        end = printed(run, stream)
        raw = digest_of(end)
        if end is None or (raw is not None and (not self._normalise or run.output_pruned)):
            return Digest(raw or "")
        known = self._normal.get(raw) if raw is not None else None
        if known is None:
            known = await self._read_digest(run, stream, end, raw)
            if raw is not None and self._shared:
                self._normal[raw] = known
        return known

    async def _read_digest(
        self, run: Run, stream: StreamName, end: StreamEnd, raw: str | None
    ) -> Digest:
        data = await self._head(run.id, stream, end, self._read_bytes)
        await asyncio.sleep(0)  # a thousand in turn must not hold up everybody else
        partial = end.kept > len(data) or end.cut_bytes > 0
        text = text_of(data, cut=end.kept > len(data)) if self._normalise else None
        if text is not None:
            data = normalising(self._normalise, run.agent_name)(text).encode()
        elif raw is not None:
            return Digest(raw)  # binary: only equal bytes are the same
        kind = "read" if text is None else "normal"
        return Digest(f"{kind}:{hashlib.sha256(data).hexdigest()}", partial)

    async def _head(self, run: RunId, stream: StreamName, end: StreamEnd, most: int) -> bytes:
        return await self._store.output(run, stream, offset=0, limit=min(end.kept, most))

    async def content(self, run: Run, stream: StreamName) -> Content | None:
        """The beginning of what a run printed; None for nothing, or when it is not kept."""
        end = printed(run, stream)
        if end is None or run.output_pruned:
            return None
        head = await self._head(run.id, stream, end, self._shown_bytes)
        return Content(head=head, kept=end.kept, cut_bytes=end.cut_bytes)

    def line_known(self, group: Group) -> str | None:
        """The last line of a group's stderr, normalised; None when it was not read yet."""
        return self._lines.get(group.answer.stderr) if group.answer.stderr else ""

    async def read_line(self, group: Group) -> None:
        """Read the last line of a group's stderr, for `line_known`."""
        run = group.example
        kept = (await self._store.offsets(run)).get(StreamName.STDERR, 0)
        if kept == 0:
            return  # it was deleted since, and nobody knows
        tail = await self._store.output(
            run, StreamName.STDERR, offset=max(0, kept - TAIL_BYTES), limit=TAIL_BYTES
        )
        host = group.members[run]
        normal = normalising(self._normalise, host)
        line = last_line_of(normal(tail.decode("utf-8", "replace")))
        self._lines[group.answer.stderr] = line

    async def diff(
        self, before: Content | None, after: Content | None, *, hosts: tuple[str, str]
    ) -> Sequence[str] | None:
        """How one content differs from another, as their *hosts* printed it.

        None where it cannot be said in short: binary, too long, too unlike.
        """
        old, new = _text(before), _text(after)
        if old is None or new is None:
            return None
        return await asyncio.to_thread(
            difference,
            old,
            new,
            normal_before=normalising(self._normalise, hosts[0]),
            normal_after=normalising(self._normalise, hosts[1]),
        )


def _text(content: Content | None) -> str | None:
    if content is None:
        return ""
    return text_of(content.head, cut=content.kept > len(content.head))
