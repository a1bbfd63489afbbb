"""The blocking client: every verb as a plain call, output as an iterator.

Holds no rule of the protocol: calls, events and resuming are shared with the asynchronous client.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from farhand.client import _calls as calls
from farhand.client import _history, _schedules, _targets
from farhand.client._calls import Call, JobOptions
from farhand.client._errors import ClientError, TimedOut
from farhand.client._events import KEEP_BYTES, Event, Gathering, Result, StreamName
from farhand.client._follow import SILENCE_S, STREAMED, Fetching, Following, Reading
from farhand.client._groups import GroupFollowing, Groups, Wanted
from farhand.client._groups import groups as groups_of
from farhand.client._history import JobSearch, RunSearch
from farhand.client._local import address_here
from farhand.client._resume import (
    ASKED,
    FETCHED,
    FOLLOWED,
    PATIENCE_S,
    Notice,
    Patience,
    Words,
    ignored,
)
from farhand.client._schedules import Firing, Schedule, ScheduleOptions, When
from farhand.client._shapes import Agent, Command, Job, Namespace, Page, Run, Version
from farhand.client._targets import Explanation, Freeze, Preview, SavedGroup
from farhand.client._transport import CONNECT_S, READ_S, Transport

T = TypeVar("T")


class JobHandle:
    """A job that was submitted. Iterate it for its events; each iteration begins at the first."""

    def __init__(self, client: "Client", job: str, runs: tuple[Run, ...] = ()) -> None:
        self.id = job
        self.runs = runs
        self._client = client

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    def events(self, *, after: int = 0) -> Iterator[Event]:
        """Tell what happens to the job until nobody waits for a run of it any more.

        Taken up again after a cut, for as long as the client is patient; then StreamLost.
        """
        names = {run.id: run.agent for run in self.runs}
        patience = self._client.patience(FOLLOWED, known=bool(names))
        return self._client.read(Following(self.id, patience, names=names, after=after))

    def groups(
        self, *, normalise: Sequence[str] = (), diff: bool = False, limit: int | None = None
    ) -> Iterator[Groups]:
        """Tell the job's answers in groups, again whenever they have changed, to its end.

        Takes what `Client.groups` takes; a view may be left out, the last never is.
        """
        patience = self._client.patience(FOLLOWED, known=bool(self.runs))
        wanted = Wanted(normalise, diff, limit)
        return self._client.read(GroupFollowing(self.id, patience, wanted))

    def wait(self, timeout_s: float | None = None) -> Job:
        """Return the job when nobody waits for a run of it any more; raise TimedOut before.

        Asks now and then, and transfers no output.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        pause, call = 0.05, calls.get_job(self.id)
        while not (job := self._client.send(call, until=until)).done:
            if until is not None:
                pause = min(pause, until - time.monotonic())
            if pause <= 0:
                raise TimedOut(f"{self.id} was not over within {timeout_s:g} s")
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)
        return job

    def result(self, *, keep_bytes: int = KEEP_BYTES) -> Result:
        """Follow the job to its end; return each run with *keep_bytes* of each stream at most."""
        gathering = Gathering(self.id, self.runs, keep_bytes=keep_bytes)
        for event in self:
            gathering.take(event)
        return gathering.result()

    def cancel(self) -> Job:
        """Ask that every run that is not over be ended."""
        return self._client.cancel_job(self.id)


class Client:
    """A user of one controller. Close it, by `with`. May be used from several threads.

    *url*, *token* and *ca* default to FARHAND_URL, FARHAND_TOKEN and FARHAND_CA, then to what a
    controller on this machine left for its own user. *connect_timeout_s* bounds connecting,
    *read_timeout_s* each wait for an answer. *patience_s* is how long a controller that is away,
    having answered before, or that is busy, is asked again, and a stream that was cut taken up
    again; *notice* is told of it. Every verb may raise Unreachable, NotAllowed, Unavailable and
    UnexpectedAnswer.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        ca: str | None = None,
        connect_timeout_s: float = CONNECT_S,
        read_timeout_s: float = READ_S,
        patience_s: float = PATIENCE_S,
        notice: Notice = ignored,
    ) -> None:
        found = address_here(url, token, ca)
        self.url = found.url
        self._patience_s = patience_s
        self._notice = notice
        self._transport = Transport(
            found.url, found.token, ca=found.ca, connect_s=connect_timeout_s, read_s=read_timeout_s
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        self._transport.close()

    # --- Jobs and runs

    def run(self, argv: Sequence[str] | None = None, /, **options: Unpack[JobOptions]) -> JobHandle:
        """Submit a job and return a handle to follow it with.

        Raises BadRequest (`no-targets`, `ambiguous-name`, …), NotFound (`unknown-agent`), Conflict.
        """
        job = self.submit(argv, **options)
        return JobHandle(self, job.id, job.runs)

    def submit(self, argv: Sequence[str] | None = None, /, **options: Unpack[JobOptions]) -> Job:
        """Submit a job and return it with all its runs as they were made. Raises as `run`."""
        return self.send(calls.submit(argv, options))

    def follow(self, job: str) -> JobHandle:
        """Return a handle to a job that was submitted before. Asks nothing yet."""
        return JobHandle(self, job)

    def rerun_job(
        self,
        job: str,
        *,
        failed_only: bool = False,
        skip_removed: bool = False,
        idempotency_key: str | None = None,
    ) -> Job:
        """Submit a job again, on the agents that it ran on; return the new job with all its runs.

        With *failed_only* on those whose last run failed, timed out, was lost, expired or was
        refused; with *skip_removed* without agents that were removed since. Raises NotFound, and
        Conflict for agents that were removed, or when there is nothing to run again.
        """
        return self.send(calls.rerun_job(job, failed_only, skip_removed, idempotency_key))

    def get_job(self, job: str) -> Job:
        """Return a job with its first hundred runs; raise NotFound."""
        return self.send(calls.get_job(job))

    def jobs(self, **which: Unpack[JobSearch]) -> Iterator[Job]:
        """Yield all jobs, or those of a search, newest first; raise BadRequest, NotFound."""
        return self._pages(lambda at: _history.jobs(at, which))

    def export(
        self, *, output_bytes: int = 0, **which: Unpack[JobSearch]
    ) -> Iterator[Mapping[str, Any]]:
        """Yield jobs as JSON objects, newest first, and behind each its runs: see their `type`.

        With the first *output_bytes* of each stream. Raises UnexpectedAnswer when it is cut.
        """
        return self.read(_history.Exporting(which, output_bytes, self.patience(ASKED)))

    def release_job(self, job: str) -> Job:
        """Send the runs of a job that was submitted with `hold`; raise NotFound."""
        return self.send(calls.release_job(job))

    def cancel_job(self, job: str) -> Job:
        """Ask that every run of a job that is not over be ended; raise NotFound."""
        return self.send(calls.cancel_job(job))

    def hold_job(self, job: str) -> Job:
        """Begin no further run of a job that is spread; raise Conflict when that is over."""
        return self.send(calls.hold_job(job))

    def resume_job(self, job: str) -> Job:
        """Go on with a job that is held; raise Conflict when it is over."""
        return self.send(calls.resume_job(job))

    def abort_job(self, job: str) -> Job:
        """Begin nothing of a job that is spread any more; what runs goes on."""
        return self.send(calls.abort_job(job))

    def get_run(self, run: str) -> Run:
        """Return a run; raise NotFound."""
        return self.send(calls.get_run(run))

    def runs(self, **which: Unpack[RunSearch]) -> Iterator[Run]:
        """Yield the runs of a job in the order they were made, or any runs, newest first."""
        return self._pages(lambda at: _history.runs(at, which))

    def groups(
        self,
        job: str,
        *,
        normalise: Sequence[str] = (),
        diff: bool = False,
        limit: int | None = None,
    ) -> Groups:
        """Return what the runs of a job came to, equal answers once; raise NotFound.

        *normalise* names what outputs are compared without: `numbers`, `times`, `addresses`,
        `hex`, `uuids`, `hostname`. With *diff* each group is told by how it differs from the
        majority. At most *limit* groups (1 to 100; 20).
        """
        return self.send(groups_of(job, Wanted(normalise, diff, limit)))

    def cancel_run(self, run: str) -> Run:
        """Ask that a run be ended; raise NotFound."""
        return self.send(calls.cancel_run(run))

    def output(
        self, run: str, stream: StreamName = "stdout", *, offset: int = 0
    ) -> Iterator[bytes]:
        """Return the bytes that are stored of one stream now, from *offset*; raise NotFound."""
        return self.read(Fetching(run, stream, self.patience(FETCHED), offset))

    # --- Agents

    def agents(self, selector: str | None = None) -> Iterator[Agent]:
        """Yield all agents that *selector* takes; raise BadRequest for one that is wrong."""
        return self._pages(lambda at: calls.agents(at, selector=selector))

    def get_agent(self, agent: str) -> Agent:
        """Return an agent by name, id or `IP-MAC`; raise NotFound, or BadRequest for two."""
        return self.send(calls.get_agent(agent))

    def rename(self, agent: str, name: str | None) -> Agent:
        """Give an agent a name; None gives its own back. Raises BadRequest, NotFound."""
        return self.send(calls.rename(agent, name))

    def relabel(self, agent: str, labels: Mapping[str, str | None]) -> Agent:
        """Merge *labels* into the given ones; None hides the agent's own."""
        return self.send(calls.relabel(agent, labels))

    def drain(self, agent: str) -> Agent:
        """Give an agent no new runs; those it has go on."""
        return self.send(calls.drain(agent))

    def undrain(self, agent: str) -> Agent:
        """Give an agent runs again."""
        return self.send(calls.undrain(agent))

    def remove(self, agent: str) -> None:
        """Forget an agent; its open runs come to rest."""
        self.send(calls.remove(agent))

    def commands(self, agent: str) -> Sequence[Command]:
        """Return the agent's catalogue, asked of the agent; raise Unavailable when it is away."""
        return self.send(calls.commands(agent)).items

    def namespaces(self, agent: str) -> Sequence[Namespace]:
        """Return the namespaces of the agent's host; raise Unavailable when it is away."""
        return self.send(calls.namespaces(agent)).items

    # --- Whom a job is for

    def preview(
        self, argv: Sequence[str] | None = None, /, **options: Unpack[JobOptions]
    ) -> Preview:
        """Return whom a job would be for; start nothing. Raises as `run`."""
        return self.send(_targets.preview(argv, options))

    def explain(self, job: str, agent: str) -> Explanation:
        """Return why an agent is in a job or not; raise NotFound."""
        return self.send(_targets.explain(job, agent))

    def saved_groups(self) -> Sequence[SavedGroup]:
        """Return the saved groups, by name."""
        return self.send(_targets.saved_groups())

    def save_group(self, name: str, selector: str) -> SavedGroup:
        """Let `@name` stand for a selector, in the place of what it stood for."""
        return self.send(_targets.save_group(name, selector))

    def remove_group(self, name: str) -> None:
        """Forget a saved group; raise NotFound, or BadRequest while others use it."""
        self.send(_targets.remove_group(name))

    def get_freeze(self) -> Freeze:
        """Return whether jobs may begin."""
        return self.send(_targets.get_freeze())

    def freeze(self, reason: str) -> Freeze:
        """Let no job begin; what runs goes on."""
        return self.send(_targets.freeze(reason))

    def unfreeze(self) -> None:
        """Let jobs begin again."""
        self.send(_targets.unfreeze())

    # --- Schedules

    def add_schedule(
        self, name: str, argv: Sequence[str] | None = None, /, **options: Unpack[ScheduleOptions]
    ) -> Schedule:
        """Run a job at a time, or again and again. Raises BadRequest, Conflict for a taken name."""
        return self.send(_schedules.add_schedule(name, argv, options))

    def schedules(self) -> Iterator[Schedule]:
        """Yield all schedules, in the order they were added."""
        return self._pages(_schedules.schedules)

    def get_schedule(self, schedule: str) -> Schedule:
        """Return a schedule by name or id, with its next due times; raise NotFound."""
        return self.send(_schedules.get_schedule(schedule))

    def edit_schedule(self, schedule: str, /, **changes: Unpack[When]) -> Schedule:
        """Change when a schedule is due, or its rules; raise NotFound, BadRequest."""
        return self.send(_schedules.edit_schedule(schedule, changes))

    def pause_schedule(self, schedule: str) -> Schedule:
        """Let a schedule not be due; raise NotFound."""
        return self.send(_schedules.pause_schedule(schedule))

    def resume_schedule(self, schedule: str) -> Schedule:
        """Let a paused schedule be due again; raise NotFound, or BadRequest if its time passed."""
        return self.send(_schedules.resume_schedule(schedule))

    def remove_schedule(self, schedule: str) -> None:
        """Forget a schedule and its history; its jobs stay. Raises NotFound."""
        self.send(_schedules.remove_schedule(schedule))

    def firings(self, schedule: str) -> Iterator[Firing]:
        """Yield what came of a schedule's due times, newest first."""
        return self._pages(lambda at: _schedules.firings(schedule, at))

    # --- The controller

    def version(self) -> Version:
        """Return who answers, and as whom the token is known."""
        return self.send(calls.version())

    def health(self) -> str:
        """Return `ok`; raise Unavailable while the controller cannot serve. Needs no token."""
        return self.send(calls.health())

    # --- How

    def send(self, call: Call[T], *, until: float | None = None, notice: Notice | None = None) -> T:
        """Send *call*, again while that may help, and return what the answer says.

        *until* is when patience ends at the latest (monotonic seconds); *notice* stands in for
        the client's own.
        """
        patience = self.patience(ASKED, notice=notice, until=until)
        while True:
            try:
                found = self._transport.send(call)
            except ClientError as exc:
                if not (call.patient and call.repeatable):
                    raise
                time.sleep(patience.pause(exc, time.monotonic()))
            else:
                patience.connected()
                return found

    def _pages(self, page: Callable[[str | None], Call[Page[T]]]) -> Iterator[T]:
        cursor: str | None = None
        while True:
            found = self.send(page(cursor))
            yield from found.items
            cursor = found.next
            if cursor is None:
                return

    def patience(
        self,
        words: Words,
        *,
        known: bool = False,
        notice: Notice | None = None,
        until: float | None = None,
    ) -> Patience:
        """Return how patient this client is with a controller that it knows, or that it has met."""
        limit_s = self._patience_s
        if until is not None:
            limit_s = max(0.0, min(limit_s, until - time.monotonic()))
        return Patience(
            limit_s=limit_s,
            notice=notice or self._notice,
            known=known or self._transport.met,
            words=words,
        )

    def read(self, reading: Reading[T]) -> Iterator[T]:
        """Yield what *reading* makes of the bytes it asks for, over any number of connections."""
        while not reading.over:
            try:
                yield from self._attempt(reading)
            except ClientError as exc:
                pause = reading.patience.pause(exc, time.monotonic())
                time.sleep(pause)

    def _attempt(self, reading: Reading[T]) -> Iterator[T]:
        """Yield what one connection has; raise when more must follow on another."""
        with self._transport.open(reading.call()) as stream:
            head = stream.head if stream.head.status in STREAMED else stream.whole()
            if not reading.answered(head):
                return
            stream.patient(SILENCE_S)
            while not reading.over:
                received = stream.read()
                yield from reading.feed(received)
