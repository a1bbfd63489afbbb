"""Send queued runs in the commit that queues them, where their agents are ready for them.

A second commit for each run would be the larger part of a job on a fleet. Who is not ready, or was
overtaken by a newer stream, is left to `Sessions.deliver`.
"""

from collections.abc import Iterable, Sequence

from farhand.controller.session import Session
from farhand.controller.sessions import Sessions
from farhand.domain.ids import RunId
from farhand.domain.job import Job
from farhand.domain.run import Run
from farhand.ports import Change, Moved, Outcome


class Sending:
    """The runs of one job that are about to be queued. *changes* go behind what queues them."""

    def __init__(self, sessions: Sessions, runs: Iterable[Run]) -> None:
        self.changes: list[Change] = []
        self._sessions = sessions
        self._ready: dict[RunId, Session] = {}
        for run in runs:
            session = sessions.get(run.agent)
            change = session.sending(run) if session is not None else None
            if session is not None and change is not None:
                self._ready[run.id] = session
                self.changes.append(change)

    def over(self, job: Job, queued: Iterable[Run], outcomes: Sequence[Outcome]) -> None:
        """Send what was written as sent; deliver the rest of the *queued* runs as usual.

        *outcomes* are those of the changes.
        """
        sent = {
            run
            for run, outcome in zip(self._ready, outcomes, strict=True)
            if isinstance(outcome, Moved)
        }
        self._sessions.remember(job)
        rest: list[Run] = []
        for run in queued:
            if run.id in sent:
                self._ready[run.id].sent(job, run.id)
            else:
                rest.append(run)
        self._sessions.deliver(job, rest)
