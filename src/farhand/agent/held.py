"""One run that an agent has taken and the controller has not settled.

Says what is still to be told of it, in order: states before output, the end behind all of it.
"""

import asyncio
from collections import deque
from dataclasses import replace

from farhand.agent.spool import Spool
from farhand.domain.ids import RunId
from farhand.domain.job import JobSpec
from farhand.domain.messages import (
    FromAgent,
    HeldRun,
    HeldState,
    Output,
    Resume,
    RunEnded,
    RunRefused,
    RunStarted,
)
from farhand.domain.output import StreamName
from farhand.domain.run import Ending, Why


class HeldEntry:
    """A run that is not settled: where it stands, and what is still to be told of it."""

    def __init__(self, run: RunId) -> None:
        self.run = run
        self.state = HeldState.ACCEPTED
        self.spec: JobSpec | None = None
        self.spools: dict[StreamName, Spool] = {}
        self.pid = 0
        self.refusal: RunRefused | None = None
        self.ending: Ending | None = None
        self.untold: deque[FromAgent] = deque()
        self.muted = False  # a new connection has not asked for it yet
        self.end_told = False
        self.cause: Why | None = None  # why it is to end, the first one that was journalled
        self.grace_s = 0.0
        self.stop = asyncio.Event()
        self.unknown = False  # to the controller: nobody will settle it

    def ask_to_end(self, cause: Why, grace_s: float) -> None:
        """End the run for *cause*, unless it is ending already."""
        if self.cause is None and self.ending is None:
            self.cause, self.grace_s = cause, grace_s
        self.stop.set()

    def held(self) -> HeldRun:
        """What `Held` tells of it."""
        offsets = {name: spool.next_offset for name, spool in self.spools.items()}
        return HeldRun(run=self.run, state=self.state, next_offsets=offsets)

    def mute(self) -> None:
        """The connection is gone; everything will be told again when the controller asks."""
        self.muted, self.end_told = True, False
        self.untold.clear()
        for spool in self.spools.values():
            spool.mute()

    def tell_again(self, resume: Resume) -> None:
        """The controller asked: tell the state, and each stream from its offset."""
        self.muted, self.end_told = False, False
        self.untold.clear()
        if self.refusal is not None:
            self.untold.append(self.refusal)
        elif self.pid:
            self.untold.append(RunStarted(self.run, self.pid))
        for name, spool in self.spools.items():
            spool.resume(resume.from_offsets[name], resume.up_to[name])

    def next_frame(self, most: int) -> FromAgent | None:
        """The next frame that may go out: states before output, the end behind all of it."""
        if self.muted:
            return None
        if self.untold:
            return self.untold.popleft()
        for spool in self.spools.values():
            if (chunk := spool.take(most)) is not None:
                return Output(chunk)
        told = all(spool.told for spool in self.spools.values())
        if self.ending is not None and told and not self.end_told:
            self.end_told = True
            ends = {name: spool.end for name, spool in self.spools.items() if spool.end}
            return RunEnded(self.run, replace(self.ending, streams=ends))
        return None

    def drop(self) -> None:
        """Forget what it printed."""
        for spool in self.spools.values():
            spool.drop()
