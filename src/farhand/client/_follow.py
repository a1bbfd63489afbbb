"""Follow a job, or fetch a run's output, across any number of connections.

Does no I/O: it says what to ask next and what the received bytes mean. No byte is told twice, none
is left out, and after a cut the next request asks for just what is missing.
"""

import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar, cast

from farhand.client._calls import Answer, Call, path_of, problem_error, refusal
from farhand.client._errors import AnswerLost, UnexpectedAnswer
from farhand.client._events import End, Event, Output, RunChanged, StreamName
from farhand.client._resume import Patience
from farhand.client._shapes import entries, read_run, text
from farhand.client._sse import EventReader, Sent

T_co = TypeVar("T_co", covariant=True)

SILENCE_S: Final = 45.0  # a controller says something every 15 s
STREAMED: Final = (200, 206)  # answers whose body is read as it comes


def _nothing(answer: Answer) -> None:
    del answer


class Reading(Protocol[T_co]):
    """Something read from a stream that may be cut.

    For each attempt: `call`, then `answered`, then `feed` what arrives, and b"" when the
    connection ended; `over` tells when to stop. Between attempts *patience* knows how long to wait.
    Both raise ClientErrors.
    """

    over: bool
    patience: Patience

    def call(self) -> Call[None]:
        """Return the next request."""
        ...

    def answered(self, answer: Answer) -> bool:
        """Whether there is something to read; *answer* has its body unless it is streamed."""
        ...

    def feed(self, received: bytes) -> Sequence[T_co]:
        """Take the next bytes; return what they tell that was not told before."""
        ...


def _cut() -> AnswerLost:
    return AnswerLost("the stream ended early")


class Following:
    """The events of one job, from behind *after*: a Reading[Event]."""

    __slots__ = ("_after", "_job", "_names", "_next", "_reader", "_whole", "over", "patience")

    def __init__(
        self, job: str, patience: Patience, *, names: Mapping[str, str], after: int = 0
    ) -> None:
        self.over = False
        self.patience = patience
        self._job = job
        self._after = after
        self._whole = after == 0  # from the first event on
        self._names = dict(names)  # what each run's agent is called
        self._next: dict[tuple[str, str], int] = {}
        self._reader = EventReader()

    def call(self) -> Call[None]:
        """Return the next request."""
        self._reader = EventReader()
        headers = {"Accept": "text/event-stream"}
        if self._after:
            headers["Last-Event-ID"] = str(self._after)
        path = path_of("jobs", self._job, "events")
        return Call(method="GET", path=path, read=_nothing, headers=headers)

    def answered(self, answer: Answer) -> bool:
        """Whether there is a stream to read now. Raises the error that the answer is."""
        if answer.status >= 400:
            raise refusal(answer)
        if answer.status == 204:
            self.over = True
            return False
        kind = answer.headers.get("content-type", "")
        if answer.status != 200 or not kind.startswith("text/event-stream"):
            raise UnexpectedAnswer(
                f"events came as status {answer.status}, {kind or 'no type'}; "
                "is this a farhand controller?"
            )
        self.patience.connected()
        return True

    def feed(self, received: bytes) -> Sequence[Event]:
        """Take the next bytes; return what they tell that was not told before."""
        if not received:
            raise _cut()
        self.patience.heard()
        found: list[Event] = []
        for sent in self._reader.feed(received):
            event = self._event(sent)
            if sent.id.isdecimal() and int(sent.id) != self._after:
                self._after = int(sent.id)  # lower than before when a store was restored
                self.patience.progressed()
            if event is not None:
                found.append(event)
            if self.over:
                break
        return found

    def _event(self, sent: Sent) -> Event | None:
        try:
            data = entries(json.loads(sent.data))
            match sent.event:
                case "output":
                    return self._output(data)
                case "run":
                    run = read_run(data, "run")
                    self._names[run.id] = run.agent
                    return RunChanged(run)
                case "end":
                    self.over = True
                    return End(counts=data.get("counts") or {}, raw=data)
        except (ValueError, TypeError, KeyError) as exc:
            raise UnexpectedAnswer(f"an event of kind {sent.event!r} cannot be read") from exc
        if sent.event == "error":
            status = data.get("status")
            raise problem_error(data, status if isinstance(status, int) else 500)
        return None  # a kind that a later version knows

    def _output(self, data: Mapping[str, Any]) -> Output | None:
        run, stream, offset = text(data, "run"), text(data, "stream"), int(data["offset"])
        try:
            printed = binascii.a2b_base64(data["bytes"], strict_mode=True)
        except binascii.Error as exc:
            raise UnexpectedAnswer("output that is no base64") from exc
        expected = self._next.get((run, stream), 0 if self._whole else offset)
        if offset > expected and self._after and self._whole:
            self._after = 0  # what was told is known by its offset: ask for all of it again
            raise AnswerLost(f"{stream} of {run} went on behind its place")
        if offset > expected:
            raise UnexpectedAnswer(
                f"{offset - expected} bytes of {stream} of {run} are missing in the stream",
                code="output-gap",
                hint=f"`farhand runs output {run}` fetches what is kept",
            )
        fresh = printed[expected - offset :]
        if not fresh:
            return None
        self._next[run, stream] = expected + len(fresh)
        return Output(
            run=run,
            agent=self._names.get(run, run),
            stream=cast("StreamName", stream),
            offset=expected,
            data=fresh,
        )


_RANGE: Final = re.compile(r"bytes (\d+)-")


class Fetching:
    """The bytes stored of one stream of a run now, from *offset*: a Reading[bytes]."""

    __slots__ = ("_end", "_offset", "_run", "_skip", "_stream", "over", "patience")

    def __init__(self, run: str, stream: StreamName, patience: Patience, offset: int = 0) -> None:
        self.over = False
        self.patience = patience
        self._run = run
        self._stream = stream
        self._offset = offset
        self._end: int | None = None  # where this answer ends, if it says so
        self._skip = 0

    def call(self) -> Call[None]:
        """Return the next request."""
        headers = {"Range": f"bytes={self._offset}-"} if self._offset else {}
        path = path_of("runs", self._run, "output", stream=self._stream)
        return Call(method="GET", path=path, read=_nothing, headers=headers)

    def answered(self, answer: Answer) -> bool:
        """Whether there are bytes to read now. Raises the error that the answer is."""
        self._skip, self._end = 0, None
        match answer.status:
            case 416:
                self.over = True  # nothing lies behind what we have
                return False
            case 206:
                begun = _RANGE.match(answer.headers.get("content-range", ""))
                if begun is None or int(begun[1]) != self._offset:
                    raise UnexpectedAnswer("output came from another place than asked for")
            case 200:
                self._skip = self._offset
            case status if status >= 400:
                raise refusal(answer)
            case status:
                raise UnexpectedAnswer(
                    f"output answered with status {status}; is this a farhand controller?"
                )
        length = answer.headers.get("content-length", "")
        if length.isdecimal():
            self._end = self._offset - self._skip + int(length)
        self.patience.connected()
        return True

    def feed(self, received: bytes) -> Sequence[bytes]:
        """Take the next bytes; return those that were not told before."""
        if not received:
            if self._end is not None and self._offset < self._end:
                raise _cut()
            self.over = True
            return ()
        self.patience.heard()
        self.patience.progressed()
        fresh = received[self._skip :]
        self._skip -= min(self._skip, len(received))
        self._offset += len(fresh)
        self.over = self._offset == self._end
        return (fresh,) if fresh else ()
