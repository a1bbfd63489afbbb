"""The asynchronous client: the verbs of the blocking one, awaited, over httpx.

Holds no rule of the protocol: calls, events and resuming are shared with the blocking client.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack

import httpx

from farhand.client import _calls as calls
from farhand.client import _history, _schedules, _targets
from farhand.client._calls import ANSWER_BYTES, Answer, Call, JobOptions
from farhand.client._errors import AnswerLost, ClientError, UnexpectedAnswer
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
from farhand.client._transport import (
    CONNECT_S,
    READ_S,
    Origin,
    explained,
    headers_of,
    origin_of,
    tls_context,
)

T = TypeVar("T")

_IDLE: Final = 4  # connections kept; more are closed
_STALE: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class AsyncJobHandle:
    """A job that was submitted. Iterate it for its events; each iteration begins at the first."""

    def __init__(self, client: "AsyncClient", job: str, runs: tuple[Run, ...] = ()) -> None:
        self.id = job
        self.runs = runs
        self._client = client

    def __aiter__(self) -> AsyncIterator[Event]:
        return self.events()

    def events(self, *, after: int = 0) -> AsyncIterator[Event]:
        """Tell what happens to the job until nobody waits for a run of it any more.

        Taken up again after a cut, for as long as the client is patient; then StreamLost.
        """
        names = {run.id: run.agent for run in self.runs}
        patience = self._client.patience(FOLLOWED, known=bool(names))
        return self._client.read(Following(self.id, patience, names=names, after=after))

    def groups(
        self, *, normalise: Sequence[str] = (), diff: bool = False, limit: int | None = None
    ) -> AsyncIterator[Groups]:
        """Tell the job's answers in groups, again whenever they have changed, to its end.

        Takes what `AsyncClient.groups` takes; a view may be left out, the last never is.
        """
        patience = self._client.patience(FOLLOWED, known=bool(self.runs))
        wanted = Wanted(normalise, diff, limit)
        return self._client.read(GroupFollowing(self.id, patience, wanted))

    async def wait(self) -> Job:
        """Return the job when nobody waits for a run of it any more.

        Asks now and then, and transfers no output. Bound it with asyncio.timeout.
        """
        pause = 0.05
        while not (job := await self._client.get_job(self.id)).done:
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 1.5)
        return job

    async def result(self, *, keep_bytes: int = KEEP_BYTES) -> Result:
        """Follow the job to its end; return each run with *keep_bytes* of each stream at most."""
        gathering = Gathering(self.id, self.runs, keep_bytes=keep_bytes)
        async for event in self:
            gathering.take(event)
        return gathering.result()

    async def cancel(self) -> Job:
        """Ask that every run that is not over be ended."""
        return await self._client.cancel_job(self.id)


class AsyncClient:
    """A user of one controller. Close it, by `async with`. Belongs to one event loop.

    Takes what `Client` takes, and raises what it raises.
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
        self._origin = origin_of(found.url)
        self._timeout = httpx.Timeout(read_timeout_s, connect=connect_timeout_s, pool=None)
        self._met = False  # somebody answered
        self._http = httpx.AsyncClient(
            headers={**headers_of(found.token), "Accept-Encoding": "identity"},
            timeout=self._timeout,
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=_IDLE),
            verify=tls_context(found.ca) if self._origin.scheme == "https" else False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        await self._http.aclose()

    # --- Jobs and runs

    async def run(
        self, argv: Sequence[str] | None = None, /, **options: Unpack[JobOptions]
    ) -> AsyncJobHandle:
        """Submit a job and return a handle to follow it with."""
        job = await self.submit(argv, **options)
        return AsyncJobHandle(self, job.id, job.runs)

    async def submit(
        self, argv: Sequence[str] | None = None, /, **options: Unpack[JobOptions]
    ) -> Job:
        """Submit a job and return it with all its runs as they were made."""
        return await self.send(calls.submit(argv, options))

    def follow(self, job: str) -> AsyncJobHandle:
        """Return a handle to a job that was submitted before. Asks nothing yet."""
        return AsyncJobHandle(self, job)

    async def rerun_job(
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
        return await self.send(calls.rerun_job(job, failed_only, skip_removed, idempotency_key))

    async def get_job(self, job: str) -> Job:
        """Return a job with its first hundred runs."""
        return await self.send(calls.get_job(job))

    def jobs(self, **which: Unpack[JobSearch]) -> AsyncIterator[Job]:
        """Tell all jobs, or those of a search, newest first; raise BadRequest, NotFound."""
        return self._pages(lambda at: _history.jobs(at, which))

    def export(
        self, *, output_bytes: int = 0, **which: Unpack[JobSearch]
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Tell jobs as JSON objects, newest first, and behind each its runs: see their `type`.

        With the first *output_bytes* of each stream. Raises UnexpectedAnswer when it is cut.
        """
        return self.read(_history.Exporting(which, output_bytes, self.patience(ASKED)))

    async def release_job(self, job: str) -> Job:
        """Send the runs of a job that was submitted with `hold`; raise NotFound."""
        return await self.send(calls.release_job(job))

    async def cancel_job(self, job: str) -> Job:
        """Ask that every run of a job that is not over be ended."""
        return await self.send(calls.cancel_job(job))

    async def hold_job(self, job: str) -> Job:
        """Begin no further run of a job that is spread; raise Conflict when that is over."""
        return await self.send(calls.hold_job(job))

    async def resume_job(self, job: str) -> Job:
        """Go on with a job that is held; raise Conflict when it is over."""
        return await self.send(calls.resume_job(job))

    async def abort_job(self, job: str) -> Job:
        """Begin nothing of a job that is spread any more; what runs goes on."""
        return await self.send(calls.abort_job(job))

    async def get_run(self, run: str) -> Run:
        """Return a run."""
        return await self.send(calls.get_run(run))

    def runs(self, **which: Unpack[RunSearch]) -> AsyncIterator[Run]:
        """Tell the runs of a job in the order they were made, or any runs, newest first."""
        return self._pages(lambda at: _history.runs(at, which))

    async def groups(
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
        return await self.send(groups_of(job, Wanted(normalise, diff, limit)))

    async def cancel_run(self, run: str) -> Run:
        """Ask that a run be ended."""
        return await self.send(calls.cancel_run(run))

    def output(
        self, run: str, stream: StreamName = "stdout", *, offset: int = 0
    ) -> AsyncIterator[bytes]:
        """Return the bytes that are stored of one stream now, from *offset*."""
        return self.read(Fetching(run, stream, self.patience(FETCHED), offset))

    # --- Agents

    def agents(self, selector: str | None = None) -> AsyncIterator[Agent]:
        """Tell all agents that *selector* takes."""
        return self._pages(lambda at: calls.agents(at, selector=selector))

    async def get_agent(self, agent: str) -> Agent:
        """Return an agent by name, id or `IP-MAC`."""
        return await self.send(calls.get_agent(agent))

    async def rename(self, agent: str, name: str | None) -> Agent:
        """Give an agent a name; None gives its own back."""
        return await self.send(calls.rename(agent, name))

    async def relabel(self, agent: str, labels: Mapping[str, str | None]) -> Agent:
        """Merge *labels* into the given ones; None hides the agent's own."""
        return await self.send(calls.relabel(agent, labels))

    async def drain(self, agent: str) -> Agent:
        """Give an agent no new runs; those it has go on."""
        return await self.send(calls.drain(agent))

    async def undrain(self, agent: str) -> Agent:
        """Give an agent runs again."""
        return await self.send(calls.undrain(agent))

    async def remove(self, agent: str) -> None:
        """Forget an agent; its open runs come to rest."""
        await self.send(calls.remove(agent))

    async def commands(self, agent: str) -> Sequence[Command]:
        """Return the agent's catalogue, asked of the agent."""
        return (await self.send(calls.commands(agent))).items

    async def namespaces(self, agent: str) -> Sequence[Namespace]:
        """Return the namespaces of the agent's host."""
        return (await self.send(calls.namespaces(agent))).items

    # --- Whom a job is for

    async def preview(
        self, argv: Sequence[str] | None = None, /, **options: Unpack[JobOptions]
    ) -> Preview:
        """Return whom a job would be for; start nothing. Raises as `run`."""
        return await self.send(_targets.preview(argv, options))

    async def explain(self, job: str, agent: str) -> Explanation:
        """Return why an agent is in a job or not; raise NotFound."""
        return await self.send(_targets.explain(job, agent))

    async def saved_groups(self) -> Sequence[SavedGroup]:
        """Return the saved groups, by name."""
        return await self.send(_targets.saved_groups())

    async def save_group(self, name: str, selector: str) -> SavedGroup:
        """Let `@name` stand for a selector, in the place of what it stood for."""
        return await self.send(_targets.save_group(name, selector))

    async def remove_group(self, name: str) -> None:
        """Forget a saved group; raise NotFound, or BadRequest while others use it."""
        await self.send(_targets.remove_group(name))

    async def get_freeze(self) -> Freeze:
        """Return whether jobs may begin."""
        return await self.send(_targets.get_freeze())

    async def freeze(self, reason: str) -> Freeze:
        """Let no job begin; what runs goes on."""
        return await self.send(_targets.freeze(reason))

    async def unfreeze(self) -> None:
        """Let jobs begin again."""
        await self.send(_targets.unfreeze())

    # --- Schedules

    async def add_schedule(
        self, name: str, argv: Sequence[str] | None = None, /, **options: Unpack[ScheduleOptions]
    ) -> Schedule:
        """Run a job at a time, or again and again. Raises BadRequest, Conflict for a taken name."""
        return await self.send(_schedules.add_schedule(name, argv, options))

    def schedules(self) -> AsyncIterator[Schedule]:
        """Tell all schedules, in the order they were added."""
        return self._pages(_schedules.schedules)

    async def get_schedule(self, schedule: str) -> Schedule:
        """Return a schedule by name or id, with its next due times; raise NotFound."""
        return await self.send(_schedules.get_schedule(schedule))

    async def edit_schedule(self, schedule: str, /, **changes: Unpack[When]) -> Schedule:
        """Change when a schedule is due, or its rules; raise NotFound, BadRequest."""
        return await self.send(_schedules.edit_schedule(schedule, changes))

    async def pause_schedule(self, schedule: str) -> Schedule:
        """Let a schedule not be due; raise NotFound."""
        return await self.send(_schedules.pause_schedule(schedule))

    async def resume_schedule(self, schedule: str) -> Schedule:
        """Let a paused schedule be due again; raise NotFound, or BadRequest if its time passed."""
        return await self.send(_schedules.resume_schedule(schedule))

    async def remove_schedule(self, schedule: str) -> None:
        """Forget a schedule and its history; its jobs stay. Raises NotFound."""
        await self.send(_schedules.remove_schedule(schedule))

    def firings(self, schedule: str) -> AsyncIterator[Firing]:
        """Tell what came of a schedule's due times, newest first."""
        return self._pages(lambda at: _schedules.firings(schedule, at))

    # --- The controller

    async def version(self) -> Version:
        """Return who answers, and as whom the token is known."""
        return await self.send(calls.version())

    async def health(self) -> str:
        """Return `ok`; raise Unavailable while the controller cannot serve. Needs no token."""
        return await self.send(calls.health())

    # --- How

    async def send(self, call: Call[T]) -> T:
        """Send *call*, again while that may help, and return what the answer says."""
        patience = self.patience(ASKED)
        while True:
            try:
                found = await self._once(call)
            except ClientError as exc:
                if not (call.patient and call.repeatable):
                    raise
                await asyncio.sleep(patience.pause(exc, time.monotonic()))
            else:
                patience.connected()
                return found

    async def _once(self, call: Call[T]) -> T:
        with _errors(self._origin):
            try:
                response = await self._http.send(self._request(call), stream=True)
            except _STALE:
                if not call.repeatable:
                    raise
                response = await self._http.send(self._request(call), stream=True)
            async with aclosing(response):
                answer = await _whole(response)
        self._met = True
        return call.answered(answer)

    def _request(self, call: Call[T], *, silence_s: float | None = None) -> httpx.Request:
        origin = self._origin
        url = f"{origin.scheme}://{origin.netloc}{origin.prefix}{call.path}"
        timeout = self._timeout
        if silence_s is not None:
            timeout = httpx.Timeout(silence_s, connect=timeout.connect, pool=None)
        return self._http.build_request(
            call.method, url, content=call.body, headers=call.headers, timeout=timeout
        )

    async def _pages(self, page: Callable[[str | None], Call[Page[T]]]) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            found = await self.send(page(cursor))
            for item in found.items:
                yield item
            cursor = found.next
            if cursor is None:
                return

    def patience(self, words: Words, *, known: bool = False) -> Patience:
        """Return how patient this client is with a controller that it knows, or that it has met."""
        return Patience(
            limit_s=self._patience_s, notice=self._notice, known=known or self._met, words=words
        )

    async def read(self, reading: Reading[T]) -> AsyncIterator[T]:
        """Tell what *reading* makes of the bytes it asks for, over any number of connections."""
        while not reading.over:
            try:
                async with aclosing(self._attempt(reading)) as attempt:
                    async for found in attempt:
                        yield found
            except ClientError as exc:
                await asyncio.sleep(reading.patience.pause(exc, time.monotonic()))

    async def _attempt(self, reading: Reading[T]) -> AsyncGenerator[T, None]:
        """Tell what one connection has; raise when more must follow on another."""
        with _errors(self._origin):
            request = self._request(reading.call(), silence_s=SILENCE_S)
            response = await self._http.send(request, stream=True)
            async with aclosing(response):
                streamed = response.status_code in STREAMED
                head = _head(response) if streamed else await _whole(response)
                self._met = True
                if not reading.answered(head):
                    return
                async for received in response.aiter_raw():
                    for found in reading.feed(received) if received else ():
                        yield found
                    if reading.over:
                        return
        for found in reading.feed(b""):
            yield found


def _head(response: httpx.Response, body: bytes = b"") -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, body)


async def _whole(response: httpx.Response) -> Answer:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_raw():
        parts.append(part)
        size += len(part)
        if size >= ANSWER_BYTES:
            raise UnexpectedAnswer(f"the answer has {ANSWER_BYTES} bytes or more")
    return _head(response, b"".join(parts))


@contextmanager
def _errors(origin: Origin) -> Iterator[None]:
    """Turn what httpx raises into ClientErrors."""
    try:
        yield
    except httpx.TimeoutException as exc:
        raise explained(TimeoutError(), origin.netloc) from exc
    except httpx.NetworkError as exc:
        established = not isinstance(exc, httpx.ConnectError)
        raise explained(_cause(exc), origin.netloc, established=established) from exc
    except httpx.RemoteProtocolError as exc:
        raise AnswerLost(f"{origin.netloc} broke its answer off: {exc}") from exc
    except httpx.HTTPError as exc:
        raise UnexpectedAnswer(f"{origin.netloc} does not speak HTTP as farhand does") from exc


def _cause(exc: BaseException) -> OSError:
    """Return the operating system's own error below *exc*: the deepest that there is."""
    found = OSError(str(exc) or type(exc).__name__)
    below: BaseException | None = exc
    while below is not None:
        if isinstance(below, OSError):
            found = below
        inner = below.__cause__ or below.__context__
        if isinstance(inner, ExceptionGroup):
            inner = inner.exceptions[0]
        below = inner
    return found
