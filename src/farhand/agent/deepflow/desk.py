"""What each request of a DeepFlow server means to this host, and what is answered.

Holds no connection: answers go through the `reply` that comes with a request. Every kind of
request is one branch; what has none is answered as not supported.
"""

import asyncio
import codecs
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from farhand.agent.deepflow.errand import STDERR_BYTES, Outcome, carry_out, fresh_run
from farhand.agent.deepflow.offers import Errand, Offers, Refusal
from farhand.domain.deepflow import batches, texts
from farhand.domain.deepflow.messages import (
    BATCH_BYTES,
    ExecType,
    LinuxNamespace,
    Request,
    Response,
    Sender,
)
from farhand.domain.job import NamespaceKind, NamespacesOf
from farhand.domain.limits import AgentLimits
from farhand.domain.messages import Namespace
from farhand.domain.run import Why
from farhand.errors import LaunchFailed
from farhand.ports import Launch, Launcher

log = logging.getLogger(__name__)

Reply = Callable[[Iterable[Response]], Awaitable[None]]
"""Sends the whole answer to one request, and returns when it is on its way."""

_KINDS: Final = (
    *(NamespaceKind.MNT, NamespaceKind.NET, NamespaceKind.PID, NamespaceKind.UTS),
    *(NamespaceKind.IPC, NamespaceKind.USER, NamespaceKind.CGROUP, NamespaceKind.TIME),
)


class NamespaceLister(Protocol):
    """Lists the host's namespaces; runs in a thread. Raises OSError."""

    def __call__(self) -> tuple[Namespace, ...]: ...


@dataclass(slots=True)
class Asked:
    """A request on its stream. *batch_bytes* is what results are cut into."""

    request: Request
    sender: Sender
    send: Reply
    batch_bytes: int
    answered: bool = False

    async def reply(self, responses: Iterable[Response]) -> None:
        """Send the answer. A second one would be taken for the answer to another request."""
        if not self.answered:
            await self.send(responses)
            self.answered = True

    async def fail(self, errmsg: str) -> None:
        """Answer that nothing was run, and why."""
        await self.reply([batches.failure(self.sender, self.request.request_id, errmsg)])


Branch = Callable[[Asked], Awaitable[None]]
"""Answers one kind of request: exactly one reply, whatever happens."""


class Desk:
    """Where the requests of one stream arrive: an execution type is one of its branches.

    The size of batches that a RUN_COMMAND asks for holds for the rest of the stream.
    """

    def __init__(self, sender: Sender, branches: Mapping[int, Branch]) -> None:
        self.sender = sender
        self._branches = branches
        self._batch_bytes = BATCH_BYTES

    async def answer(self, request: Request, reply: Reply) -> None:
        """Answer *request*, which has an exec_type."""
        kind = request.exec_type
        if kind == ExecType.RUN_COMMAND:
            self._batch_bytes = batches.batch_bytes(request.batch_len, self._batch_bytes)
        asked = Asked(request, self.sender, reply, self._batch_bytes)
        branch = None if kind is None else self._branches.get(kind)
        if branch is None:
            named = texts.REPLAY if kind == ExecType.DRY_REPLAY_PCAP else str(kind)
            await asked.fail(texts.unsupported(named))
            return
        try:
            await branch(asked)
        except Exception:  # one request that fails must not end the stream
            log.exception("request %s could not be answered", request.request_id)
            await asked.fail(texts.SYSTEM_CALL)


class Host:
    """What this host can do for a server: the branches of all its streams.

    Runs at most `AgentLimits.deepflow_runs` commands at once; one more is answered with an error.
    An answer counts as running until it is sent. Namespaces are listed for one request at a time.
    """

    def __init__(
        self,
        *,
        offers: Offers,
        launcher: Launcher,
        namespaces: NamespaceLister,
        env: Mapping[str, str],
        limits: AgentLimits,
    ) -> None:
        self.stop = asyncio.Event()
        """Set: end what runs, and run nothing more."""
        self._offers = offers
        self._launcher = launcher
        self._namespaces = namespaces
        self._env = env
        self._limits = limits
        self._running = 0
        self._listing = asyncio.Lock()

    @property
    def branches(self) -> Mapping[int, Branch]:
        """What is offered, by execution type."""
        return {
            ExecType.LIST_COMMAND: self.list_commands,
            ExecType.LIST_NAMESPACE: self.list_namespaces,
            ExecType.RUN_COMMAND: self.run_command,
        }

    async def list_commands(self, asked: Asked) -> None:
        """LIST_COMMAND."""
        listed = self._offers.listed()
        number = asked.request.request_id
        await asked.reply([Response(sender=asked.sender, request_id=number, commands=listed)])

    async def list_namespaces(self, asked: Asked) -> None:
        """LIST_NAMESPACE: those of the network, which are what a run can enter."""
        number = asked.request.request_id
        try:
            found = await self._all_namespaces()
        except OSError as exc:
            told = f"the namespaces cannot be read: {exc.strerror}"
            await asked.reply([Response(sender=asked.sender, request_id=number, errmsg=told)])
            return
        listed = (_shown(each) for each in found if each.kind is NamespaceKind.NET)
        await asked.reply([batches.namespaces(asked.sender, number, listed)])

    async def run_command(self, asked: Asked) -> None:
        """RUN_COMMAND."""
        ident = asked.request.ident
        if ident is None:
            await asked.fail(texts.NO_IDENT)
            return
        found = self._offers.resolve(ident, asked.request.params)
        if isinstance(found, Refusal):
            await asked.fail(found.errmsg)
            return
        most = self._limits.deepflow_runs
        if self._running >= most or self.stop.is_set():
            full = f"this agent runs {most} commands at once, which is its limit"
            told = "the agent is stopping" if self.stop.is_set() else full
            await asked.fail(texts.not_run(found.cmdline, told))
            return
        self._running += 1
        try:
            await asked.reply(await self._result(asked, found))
        finally:
            self._running -= 1

    async def _result(self, asked: Asked, errand: Errand) -> Iterable[Response]:
        """Run it; return the answer."""
        number, pid = asked.request.request_id, asked.request.linux_ns_pid
        if pid == os.getpid():
            pid = None  # our own namespace
        try:
            if errand.argv:
                outcome = await self._run(errand, pid)
            else:
                return await self._table(asked, pid)
        except LaunchFailed as exc:
            told = _unstarted(errand.cmdline, pid, exc)
            return [batches.failure(asked.sender, number, told)]
        ended = outcome.exit
        code = ended.code
        if code is None and outcome.stdout:
            code = 0  # as DeepFlow's agents tell a signal beside output; without any there is none
        return batches.result(
            asked.sender,
            number,
            stdout=outcome.stdout,
            errno=code,
            errmsg=self._errmsg(errand, outcome),
            size=asked.batch_bytes,
        )

    async def _run(self, errand: Errand, pid: int | None) -> Outcome:
        launch = Launch(
            run=fresh_run(),
            argv=errand.argv,
            env={**self._env, **errand.env},
            namespaces=None if pid is None else NamespacesOf(pid, (NamespaceKind.NET,)),
        )
        return await carry_out(
            self._launcher,
            launch,
            limit_s=self._limit_s(errand),
            limits=self._limits,
            stop=self.stop,
        )

    async def _table(self, asked: Asked, pid: int | None) -> Iterable[Response]:
        """What lsns shows is the same in every network namespace, but *pid* must be there."""
        number, sender = asked.request.request_id, asked.sender
        if pid is not None and (told := _no_namespace(pid)) is not None:
            return [batches.failure(sender, number, told)]
        try:
            found = await self._all_namespaces()
        except OSError:
            return [batches.failure(sender, number, texts.SYSTEM_CALL)]
        return batches.result(sender, number, stdout=lsns(found).encode(), size=asked.batch_bytes)

    async def _all_namespaces(self) -> tuple[Namespace, ...]:
        async with self._listing:
            return await asyncio.to_thread(self._namespaces)

    def _limit_s(self, errand: Errand) -> float:
        own, most = errand.timeout_s, self._limits.deepflow_run_s
        return most if own is None else min(own, most)

    def _errmsg(self, errand: Errand, outcome: Outcome) -> str | None:
        """None for a success; what a success printed to stderr has no place in the protocol."""
        notes: list[str] = []
        if outcome.cause is Why.TIME_LIMIT:
            notes.append(f"farhand: killed after {self._limit_s(errand):g} s, its time limit")
        elif outcome.cause is not None:
            notes.append("farhand: killed, because the agent stops")
        if outcome.cut:
            kept = len(outcome.stdout)
            notes.append(f"farhand: stdout is cut after {kept} bytes; {outcome.cut} are missing")
        if outcome.stderr_cut:
            notes.append(f"farhand: {outcome.stderr_cut} bytes of stderr are missing")
        if outcome.exit.code == 0 and not outcome.cause and not outcome.cut:
            return None
        printed = _text(outcome.stderr)
        if not notes:
            return printed or texts.failed(errand.cmdline)
        return "\n".join([*filter(None, [printed.removesuffix("\n")]), *notes])


def lsns(found: Iterable[Namespace]) -> str:
    """The table of all namespaces, as a DeepFlow agent prints it."""
    rows = [each for each in found if each.kind in _KINDS]
    width = max([len("USER"), *(len(each.owner) for each in rows)])
    head = f"        NS TYPE   NPROCS   PID {'USER':<{width}} COMMAND\n"
    return head + "".join(
        f"{each.id:>10} {each.kind.value:<6} {each.processes:>6} {each.pid:>5} "
        f"{each.owner:<{width}} {each.command}\n"
        for each in sorted(rows, key=lambda each: (each.id, _KINDS.index(each.kind)))
    )


def _no_namespace(pid: int) -> str | None:
    """Why the network namespace of a process cannot be looked at, or None."""
    try:
        Path(f"/proc/{pid}/ns/net").stat()
    except OSError as exc:
        return texts.no_namespace(pid, _problem(exc))
    return None


def _shown(each: Namespace) -> LinuxNamespace:
    return LinuxNamespace(
        id=each.id, ns_type=each.kind.value, user=each.owner, pid=each.pid, cmd=each.command
    )


def _text(stderr: bytes) -> str:
    """What a program printed, if that is text; nothing otherwise, as with DeepFlow's agents.

    What was cut may end within a character.
    """
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(stderr, len(stderr) < STDERR_BYTES)
    except UnicodeDecodeError:
        return ""


def _unstarted(cmdline: str, pid: int | None, failed: LaunchFailed) -> str:
    """A launcher's refusal, in the words of a DeepFlow agent where it has some."""
    match failed.why:
        case Why.PROGRAM_NOT_FOUND:
            return texts.not_started(cmdline)
        case Why.NOT_EXECUTABLE:
            return texts.not_started(cmdline, texts.NO_PERMISSION)
        case Why.NAMESPACES if pid is not None:
            cause = failed.__cause__
            problem = _problem(cause) if isinstance(cause, OSError) else str(failed)
            return texts.no_namespace(pid, problem)
    return texts.not_started(cmdline, str(failed))


def _problem(error: OSError) -> str:
    match error:
        case FileNotFoundError() | ProcessLookupError():
            return texts.NOT_FOUND
        case PermissionError():
            return texts.NO_PERMISSION
    return os.strerror(error.errno or 0)
