"""What a DeepFlow agent answers, in which order: requests in, responses out, no I/O.

Reproduces its quirks on purpose: one run slot, in which a second run orphans the first; a batch
size that sticks; errno 0 for a signal; a trace that travels in errmsg; an empty list of namespaces
that looks like a heartbeat; nothing but the batches of a result while there are any.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from farhand.domain.deepflow import texts
from farhand.domain.deepflow.batches import batch_bytes, batches, failure
from farhand.domain.deepflow.catalogue import OFFERS, Offer, argv_of, look_up, problem_with
from farhand.domain.deepflow.messages import (
    BATCH_BYTES,
    DataChunk,
    ExecType,
    LinuxNamespace,
    Request,
    Response,
    Sender,
    heartbeat,
)

SENDER: Final = Sender("10.0.0.1", "00:00:00:00:00:01", team_id="", group_id="")
INIT: Final = LinuxNamespace(id=4026531840, ns_type="net", user="root", pid=1, cmd="/sbin/init")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command does. *code* None: a signal ends it. *held*: it runs until `finish`.

    *not_started*: it cannot be started, and why; *trouble*: the whole error text, for the rest.
    """

    stdout: bytes = b""
    stderr: bytes = b""
    code: int | None = 0
    held: bool = False
    not_started: str = ""
    trouble: str = ""


Behaviour = Callable[[list[str]], Outcome]
"""Says what a command does, by its words."""


def print_out(stdout: bytes = b"", stderr: bytes = b"", *, code: int | None = 0) -> Behaviour:
    """Every command does this."""
    return lambda _: Outcome(stdout=stdout, stderr=stderr, code=code)


def hold(stdout: bytes = b"") -> Behaviour:
    """Every command runs until `Responder.finish`, prints this and succeeds."""
    return lambda _: Outcome(stdout=stdout, held=True)


@dataclass(slots=True)
class _Command:
    """The command in the run slot."""

    request: Request
    cmdline: str
    outcome: Outcome
    done: bool


@dataclass(eq=False)
class Responder:
    """An agent's side of one stream. Change the public fields to script it.

    `receive` takes a request, `poll` gives the next message in the order in which a real agent
    sends them; None means that nothing is ready. Make a new one for each stream.
    """

    sender: Sender = SENDER
    behaviour: Behaviour = field(default_factory=print_out)
    offers: tuple[Offer, ...] = OFFERS
    namespaces: tuple[LinuxNamespace, ...] | str = (INIT,)  # a text: why they cannot be listed
    pids: frozenset[int] = frozenset({1})  # processes that are there, besides the agent's own
    own_pid: int = 4242
    answers_unknown: bool = True  # agents before April 2026 say nothing to an unknown type
    holds_lists: bool = False  # namespaces are listed when `list_now` is called
    received: list[Request] = field(default_factory=list)
    orphans: list[Request] = field(default_factory=list)  # of these nobody will ever hear
    batch_bytes: int = BATCH_BYTES
    beats: int = 1  # heartbeats that are due; the first one at once
    _inbox: deque[Request] = field(default_factory=deque)
    _remaining: deque[Response] = field(default_factory=deque)
    _command: _Command | None = None
    _list: Request | None = None

    @property
    def running(self) -> Request | None:
        """The request whose command has the run slot."""
        return self._command.request if self._command else None

    def receive(self, request: Request) -> None:
        """Take a request; `poll` answers."""
        self.received.append(request)
        if request.exec_type is not None:  # else it answers a heartbeat
            self._inbox.append(request)

    def beat(self) -> None:
        """30 s have passed."""
        self.beats += 1

    def finish(self, outcome: Outcome | None = None) -> None:
        """The command in the slot ends, as it was to or with another *outcome*."""
        if self._command is not None:
            self._command.outcome = outcome or self._command.outcome
            self._command.done = True

    def list_now(self) -> None:
        """The list of namespaces is there."""
        self.holds_lists = False

    def poll(self) -> Response | None:
        """The next message: batches first, then results, then what is new, then a heartbeat."""
        while not self._remaining:
            if self._command is not None and self._command.done:
                command, self._command = self._command, None
                self._remaining.extend(self._result(command))
            elif self._list is not None and not self.holds_lists:
                request, self._list = self._list, None
                self._remaining.append(self._listed(request))
            elif self._inbox:
                self._take(self._inbox.popleft())
            elif self.beats:
                self.beats -= 1
                return heartbeat(self.sender)
            else:
                return None
        return self._remaining.popleft()

    def poll_all(self) -> list[Response]:
        """All messages that are ready."""
        return list(iter(self.poll, None))

    # --- requests -------------------------------------------------------------------------

    def _take(self, request: Request) -> None:
        match request.exec_type:
            case ExecType.LIST_COMMAND:
                self._remaining.append(
                    Response(
                        sender=self.sender,
                        request_id=request.request_id,
                        commands=tuple(each.command for each in self.offers),
                    )
                )
            case ExecType.LIST_NAMESPACE:
                if self._list is not None:
                    self.orphans.append(self._list)
                self._list = request
            case ExecType.RUN_COMMAND:
                self._run(request)
            case unknown if self.answers_unknown and unknown is not None:
                replay = unknown == ExecType.DRY_REPLAY_PCAP
                self._fail(request, texts.unsupported(texts.REPLAY if replay else unknown))

    def _run(self, request: Request) -> None:
        self.batch_bytes = batch_bytes(request.batch_len, self.batch_bytes)
        if request.ident is None:
            self._fail(request, texts.NO_IDENT)
            return
        found = look_up(request.ident, self.offers)
        if found is None:
            self._fail(request, texts.unknown_ident(request.ident))
            return
        most = max((len(each.command.params) for each in self.offers), default=0)
        given = request.params[:most]
        if (problem := problem_with(found.command.params, given)) is not None:
            self._fail(request, texts.rejected(found.cmdline, problem))
            return
        pid = request.linux_ns_pid
        if pid is not None and pid != self.own_pid and pid not in self.pids:
            self._fail(request, texts.no_namespace(pid))
            return
        if self._command is not None:
            self.orphans.append(self._command.request)
        outcome = self.behaviour(argv_of(found.cmdline, given))
        self._command = _Command(request, found.cmdline, outcome, done=not outcome.held)

    # --- responses ------------------------------------------------------------------------

    def _fail(self, request: Request, errmsg: str, errno: int | None = None) -> None:
        self._remaining.append(failure(self.sender, request.request_id, errmsg, errno=errno))

    def _listed(self, request: Request) -> Response:
        if isinstance(self.namespaces, str):
            return Response(
                sender=self.sender, request_id=request.request_id, errmsg=self.namespaces
            )
        return Response(
            sender=self.sender, request_id=request.request_id, namespaces=self.namespaces
        )

    def _result(self, command: _Command) -> Iterable[Response]:
        outcome, request_id = command.outcome, command.request.request_id
        own = outcome.trouble or (
            texts.not_started(command.cmdline, outcome.not_started) if outcome.not_started else ""
        )
        if own:
            yield failure(self.sender, request_id, own)
            return
        errmsg = None if outcome.code == 0 else _error_text(outcome.stderr, command.cmdline)
        if not outcome.stdout:
            chunk = DataChunk(errno=outcome.code if errmsg is not None else None)
            yield Response(sender=self.sender, request_id=request_id, errmsg=errmsg, result=chunk)
            return
        for chunk in batches(outcome.stdout, self.batch_bytes, errno=outcome.code or 0):
            yield Response(
                sender=self.sender,
                request_id=request_id,
                errmsg=errmsg if chunk.md5 is not None else None,
                result=chunk,
            )


def _error_text(stderr: bytes, cmdline: str) -> str:
    try:
        return stderr.decode() or texts.failed(cmdline)
    except UnicodeDecodeError:
        return texts.failed(cmdline)
