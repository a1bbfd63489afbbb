"""What a DeepFlow server makes of its streams and messages: no I/O, and its faults on purpose.

The manager of an agent is found anew by the identity in each message, so one stream can complete
another's command. Request ids count from 2. A result is complete at an MD5 or at an error without
content, never at silence; sizes and digests are not looked at. Whatever stream of an identity ends
takes the manager along.
"""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final

from farhand.domain.deepflow.messages import (
    HEARTBEAT_REPLY,
    ExecType,
    LinuxNamespace,
    Parameter,
    RemoteCommand,
    Request,
    Response,
)

FIRST_ID: Final = 2


class CommandFailed(Exception):
    """What the server tells whoever asked: the agent's error, or that there is no agent."""

    def __init__(self, message: str, content: bytes = b"") -> None:
        super().__init__(message)
        self.content = content


@dataclass(eq=False)
class Waiting:
    """A request and what has come for it. *done* is called once, when it is complete."""

    request: Request
    done: Callable[[], None]
    complete: bool = False
    content: bytes = b""
    errmsg: str | None = None
    commands: tuple[RemoteCommand, ...] = ()
    namespaces: tuple[LinuxNamespace, ...] = ()

    def finish(self) -> None:
        """Somebody may go on."""
        if not self.complete:
            self.complete = True
            self.done()


@dataclass(eq=False)
class _Manager:
    key: str
    streams: deque[Hashable] = field(default_factory=deque)
    waiting: dict[int, Waiting] = field(default_factory=dict)
    latest_id: int = FIRST_ID - 1


class Managers:
    """The commands of all agents that are connected to one server, by identity.

    *send* writes a request to a stream. Streams are whatever tells one from another.
    """

    def __init__(self, send: Callable[[Hashable, Request], None]) -> None:
        self.strays: list[Response] = []  # answers to nothing, which it only logs
        self._send = send
        self._managers: dict[str, _Manager] = {}
        self._keys: dict[Hashable, str] = {}  # by the latest message of each stream
        self._deaf: set[Hashable] = set()

    @property
    def keys(self) -> list[str]:
        """The agents that can be asked."""
        return list(self._managers)

    # --- streams --------------------------------------------------------------------------

    def receive(self, stream: Hashable, response: Response) -> None:
        """A message of a stream. One without identity makes the stream deaf for ever."""
        if stream in self._deaf:
            return
        if response.sender is None:
            self._deaf.add(stream)
            return
        key = f"{response.sender.ip or ''}-{response.sender.mac or ''}"
        manager = self._managers.setdefault(key, _Manager(key))
        if stream not in manager.streams:
            manager.streams.append(stream)
        self._keys[stream] = key
        if response.empty:  # whatever its request_id: an empty list is taken for a heartbeat
            self._send(stream, HEARTBEAT_REPLY)
            return
        waiting = manager.waiting.get(response.request_id or 0)
        if waiting is None:
            self.strays.append(response)
            return
        _take(waiting, response)

    def ended(self, stream: Hashable) -> None:
        """A stream is over, and with it the manager of its latest identity."""
        self._deaf.discard(stream)
        manager = self._managers.pop(self._keys.pop(stream, ""), None)
        if manager is not None:
            for waiting in manager.waiting.values():
                waiting.errmsg = f"agent(key: {manager.key}) command manager is lost"
                waiting.finish()

    # --- whoever asks ---------------------------------------------------------------------

    def ask(
        self,
        key: str,
        exec_type: int,
        done: Callable[[], None],
        *,
        ident: str | None = None,
        params: tuple[Parameter, ...] = (),
        linux_ns_pid: int | None = None,
        request_id: int | None = None,
    ) -> Waiting:
        """Send a request to one of the streams of *key*, in turn. Raises CommandFailed.

        A new *request_id* is counted unless one is given, as for the second half of a listing.
        """
        manager = self._managers.get(key)
        if manager is None:
            raise CommandFailed(f"agent(key: {key}) is not connected")
        if request_id is None:
            manager.latest_id += 1
            request_id = manager.latest_id
        run = exec_type == ExecType.RUN_COMMAND
        request = Request(
            request_id=request_id,
            exec_type=exec_type,
            params=params,
            linux_ns_pid=linux_ns_pid,
            ident=ident if run else None,
        )
        waiting = manager.waiting[request_id] = Waiting(request, done)
        manager.streams.rotate(-1)
        self._send(manager.streams[-1], request)
        return waiting

    def forget(self, key: str, waiting: Waiting) -> None:
        """Nobody waits for it any more; what still comes is an answer to nothing."""
        manager = self._managers.get(key)
        if manager is not None:
            manager.waiting.pop(waiting.request.request_id or 0, None)


def _take(waiting: Waiting, response: Response) -> None:
    """What a message does to the request that it answers, in the order the server looks."""
    chunk = response.result
    content = chunk.content if chunk is not None else None
    if response.errmsg is not None:
        waiting.errmsg = response.errmsg
        waiting.content += content or b""
        if content is None or (chunk is not None and chunk.md5 is not None):
            waiting.finish()
    elif response.namespaces:
        waiting.namespaces = response.namespaces
        waiting.finish()
    elif response.commands:
        waiting.commands = response.commands
        waiting.finish()
    elif chunk is not None:
        waiting.content += content or b""
        if chunk.md5 is not None:
            waiting.finish()
