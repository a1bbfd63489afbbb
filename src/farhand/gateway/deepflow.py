"""DeepFlow agents' calls: bytes to messages and back, their time, their coming and going.

Takes them at their word, so nobody serves this unless an operator said so. What the messages mean
is `domain.deepflow`; what the controller is told of it, `gateway.interpreter`.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from enum import Enum, auto
from functools import partial
from typing import Final, Protocol

import structlog

from farhand.controller.session import Session
from farhand.domain.deepflow.abilities import identity_of
from farhand.domain.deepflow.effects import HoldBack, OtherSender, ReadOn, Send, Stray, StreamLimits
from farhand.domain.deepflow.messages import RESPONSE_BYTES, Request, Response, Sender
from farhand.domain.deepflow.outlet import Room
from farhand.domain.deepflow.session import DeepFlowSession, sender_of
from farhand.domain.limits import Limits
from farhand.domain.messages import FromController, Goodbye, Held, Hello, Parting
from farhand.errors import AgentGone, BadRequest, FarhandError, NotAllowed, ProtocolError
from farhand.gateway.admission import ComeLater
from farhand.gateway.interpreter import Done, Interpreter, Said, Unanswered
from farhand.gateway.stream import STATUS, Spawn
from farhand.ports import AgentChannel
from farhand.wire.deepflow import METHOD, OLD_METHOD, decode_response, encode_request
from farhand.wire.grpc import Call, CallEnd, CallEnded, Handler, Status

log = structlog.get_logger()

METHODS: Final = (METHOD, OLD_METHOD)
HANDOVER_S: Final = 5.0  # an older stream's results have so long to be stored
LOOK_S: Final = 0.05  # between looks whether they are
TELL: Final = frozenset({1, 10, 100, 1_000, 10_000, 100_000})  # of many alike, these are logged


class Door(Protocol):
    """The controller, as a stream sees it."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait until it is this stream's turn to be let in, or raise ComeLater."""
        ...

    async def open_unproved(self, hello: Hello, channel: AgentChannel) -> Session:
        """Let an agent in that proves nothing, or raise."""
        ...

    async def ended(self, session: Session) -> None:
        """The agent's stream is over."""
        ...


class DeepFlowAgents:
    """What the streams of all DeepFlow agents share: the room for results, and who is there."""

    def __init__(self, door: Door, spawn: Spawn, limits: Limits) -> None:
        self.door = door
        self.spawn = spawn
        self.limits = limits
        self.room = Room(limits.deepflow_results_bytes)
        self.newest: dict[str, DeepFlowStream] = {}  # by `IP-MAC`

    def stream(self, call: Call) -> "DeepFlowStream":
        """Take a call."""
        return DeepFlowStream(call, self)


class _Stage(Enum):
    GREETING = auto()  # nothing was said
    ADMITTING = auto()
    OPEN = auto()
    OVER = auto()  # the call has ended; what it brought is being stored
    GONE = auto()


class DeepFlowStream(Handler):
    """The server side of `agent.Synchronizer/RemoteExecute`, and the way to that agent.

    As an `AgentChannel` it never waits: what it holds for the agent is bounded by its lanes. It
    takes orders a little longer than the call lives, because results that an agent sent are known
    here alone, and because whoever cannot be served any more is to be told so.
    """

    __slots__ = (
        "_agents",
        "_call",
        "_gone",
        "_held_back",
        "_inbox",
        "_interpreter",
        "_news",
        "_patience_until",
        "_sender",
        "_session",
        "_stage",
        "_strays",
        "_timer",
    )

    def __init__(self, call: Call, agents: DeepFlowAgents) -> None:
        self._call = call
        self._agents = agents
        self._stage = _Stage.GREETING
        self._sender = Sender()
        self._session: Session | None = None
        self._interpreter: Interpreter | None = None
        self._inbox: list[FromController] = []
        self._timer: asyncio.TimerHandle | None = None
        self._held_back = False
        self._strays = 0
        self._patience_until = float("inf")
        self._news = asyncio.Event()
        self._gone = asyncio.Event()

    # --- Handler --------------------------------------------------------------------------

    def on_message(self, message: bytes) -> None:
        """The first one tells who dials; the machine takes the rest."""
        try:
            response = decode_response(message)
            if self._stage is _Stage.GREETING:
                self._greet(response)
                return
        except ProtocolError as exc:
            log.warning("agent.protocol", peer=str(self._call.peer), error=str(exc))
            self._end(Status.INVALID_ARGUMENT, str(exc))
            return
        if self._stage is _Stage.OPEN:
            self._guarded(partial(self._hear, response))

    def on_half_close(self) -> None:
        """The agent said all it has to say: nothing that runs will be answered."""
        self._end(Status.OK, "")

    def on_closed(self, end: CallEnd) -> None:  # noqa: ARG002  # a lost stream is as good as an ended one
        """The stream is over, however it ended."""
        self._over()

    # --- coming ---------------------------------------------------------------------------

    def _greet(self, first: Response) -> None:
        self._sender = sender_of(first)
        self._stage = _Stage.ADMITTING
        self._call.pause_reading()  # until it is let in
        self._agents.spawn(self._admit(first), "admit-deepflow-agent")

    async def _admit(self, first: Response) -> None:
        agents, key = self._agents, self._sender.key
        older = agents.newest.get(key)
        agents.newest[key] = self
        if older is not None:
            await older.give_way()
        session = await self._let_in()
        if session is None:
            self._leave_registry()
            return
        self._session = session
        limits = agents.limits
        machine = DeepFlowSession(
            self._sender,
            agents.room,
            numbers=lambda: secrets.randbits(63),
            limits=StreamLimits(runs_waiting=limits.deepflow_runs_waiting, list_s=limits.request_s),
        )
        self._interpreter = Interpreter(machine)
        if self._stage is not _Stage.ADMITTING:
            await self._leave(session)
            return
        self._stage = _Stage.OPEN
        self._call.identified(message_bytes=RESPONSE_BYTES)
        session.take([Held((), last=True)])  # such an agent remembers nothing
        self._guarded(partial(self._hear, first))
        if not self._call.ended:
            self._call.resume_reading()

    async def _let_in(self) -> Session | None:
        """Wait for a turn and open a session; None when there is none, and whoever asks is told."""
        door, peer = self._agents.door, str(self._call.peer)
        hello = Hello(
            protocols=(1,), identity=identity_of(self._sender, stream=secrets.token_hex(8))
        )
        try:
            async with door.turn():
                if self._stage is not _Stage.ADMITTING or not self._is_newest:
                    self._end(Status.ABORTED, _FENCED)
                    return None
                return await door.open_unproved(hello, self)
        except AgentGone:
            pass
        except ComeLater as exc:
            self._end(Status.RESOURCE_EXHAUSTED, str(exc))
        except (NotAllowed, BadRequest) as exc:
            log.warning("agent.refused", peer=peer, code=exc.code, error=str(exc))
            self._end(Status.UNAUTHENTICATED, str(exc))
        except FarhandError as exc:
            log.warning("agent.not_admitted", peer=peer, code=exc.code, error=str(exc))
            self._end(Status.UNAVAILABLE, str(exc))
        except Exception:  # one agent's greeting must not end the gateway
            log.exception("agent.admission_failed", peer=peer)
            self._end(Status.UNAVAILABLE, "the controller failed; try again")
        return None

    @property
    def _is_newest(self) -> bool:
        return self._agents.newest.get(self._sender.key) is self

    # --- going ----------------------------------------------------------------------------

    async def give_way(self) -> None:
        """A newer stream of the agent is there: end, and return when what came is stored."""
        self._patience_until = min(self._patience_until, _now() + HANDOVER_S)
        self._end(Status.ABORTED, _FENCED)
        with suppress(TimeoutError):
            async with asyncio.timeout(HANDOVER_S + 1):
                await self._gone.wait()

    def _end(self, status: Status, message: str) -> None:
        """End the call, and with it the stream."""
        if not self._call.ended:
            self._call.finish(status, message)
        self._over()

    def _over(self) -> None:
        """The call has ended: from now on only what came is looked after."""
        before = self._stage
        if before in {_Stage.OVER, _Stage.GONE}:
            return
        self._stage = _Stage.OVER
        self._patience_until = min(self._patience_until, _now() + self._agents.limits.inactivity_s)
        if self._timer is not None:
            self._timer.cancel()
        if self._session is not None and self._interpreter is not None:
            interpreter = self._interpreter
            self._guarded(lambda: self._carry_out(interpreter.over()))
            self._agents.spawn(self._leave(self._session), "deepflow-agent-ended")
        elif before is _Stage.GREETING:
            self._leave_registry()

    async def _leave(self, session: Session) -> None:
        """Wait until all that the agent said is stored, then end the session."""
        interpreter = self._interpreter
        while interpreter and (interpreter.open or session.busy) and _now() < self._patience_until:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()
        self._stage = _Stage.GONE
        try:
            await self._agents.door.ended(session)
        finally:
            if interpreter is not None:
                if interpreter.open:
                    session.log.warning("session.results_lost", runs=len(interpreter.open))
                interpreter.machine.close()
            self._leave_registry()

    def _leave_registry(self) -> None:
        if self._is_newest:
            del self._agents.newest[self._sender.key]
        self._stage = _Stage.GONE
        self._gone.set()

    # --- AgentChannel ---------------------------------------------------------------------

    async def send(self, *orders: FromController) -> None:
        """Take *orders*. Raises AgentGone."""
        if not self.offer(*orders):
            raise AgentGone("the agent's stream has ended")

    def offer(self, *orders: FromController) -> bool:
        """Take *orders* unless all is over."""
        if self._stage is _Stage.GONE:
            return False
        if not self._inbox:
            asyncio.get_running_loop().call_soon(self._pump)
        self._inbox += orders
        return True

    def close(self, parting: Goodbye) -> None:
        """End the call; the protocol has no goodbye, only a status."""
        patience = self._agents.limits.stop_s / 2 if parting.reason in _WHILE_STORING else 0.0
        self._patience_until = min(self._patience_until, _now() + patience)
        self._end(STATUS.get(parting.reason, Status.UNAVAILABLE), parting.message)
        self._news.set()

    def _pump(self) -> None:
        """Carry out what was ordered, in order."""
        interpreter = self._interpreter
        orders, self._inbox = self._inbox, []
        if interpreter is None:  # only a Welcome can be this early, and it says nothing here
            return
        for order in orders:
            self._guarded(partial(self._obey, interpreter, order))
        self._news.set()

    # --- work -----------------------------------------------------------------------------

    def _obey(self, interpreter: Interpreter, order: FromController) -> None:
        self._carry_out(interpreter.order(order, _now()))

    def _hear(self, response: Response) -> None:
        if self._session is None or self._interpreter is None:
            return
        self._session.receive(())
        self._carry_out(self._interpreter.hear(response, _now()))

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do something outside a callback of the call. A fault ends this stream only."""
        try:
            work()
        except ProtocolError as exc:
            log.warning("agent.protocol", peer=str(self._call.peer), error=str(exc))
            self.close(Goodbye(Parting.PROTOCOL, str(exc)))
        except Exception:  # one agent's stream must not end the gateway
            log.exception("agent.stream_failed", peer=str(self._call.peer))
            self.close(Goodbye(Parting.PROTOCOL, "the controller failed to handle this stream"))

    def _carry_out(self, effects: Iterable[Said | Done]) -> None:
        """Write to the agent what is for it, and tell the controller the rest."""
        session = self._session
        if session is None:
            return
        for effect in effects:
            match effect:
                case Send(request):
                    self._write(request)
                case HoldBack():
                    self._held_back = True
                    self._call.pause_reading()
                case ReadOn():
                    self._held_back = False
                    self._call.resume_reading()
                case Unanswered(request, why):
                    session.unanswered(request, why)
                case Stray(request_id):
                    self._strays += 1
                    if self._strays in TELL:
                        session.log.warning(
                            "deepflow.stray_answer", request=request_id, count=self._strays
                        )
                case OtherSender(sender):
                    session.log.warning(
                        "deepflow.other_sender", told=sender.key, known=self._sender.key
                    )
                case _:
                    session.take((effect,))
        self._set_timer()

    def _write(self, request: Request) -> None:
        if not self._call.ended:
            with suppress(CallEnded):
                self._call.send(encode_request(request))

    def _set_timer(self) -> None:
        """Wake up when something is due; and while the agent cannot be heard, now and then."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stage is not _Stage.OPEN or self._interpreter is None:
            return
        dues = [self._interpreter.machine.due]
        if self._held_back:
            dues.append(_now() + self._agents.limits.inactivity_s / 3)
        due = min((each for each in dues if each is not None), default=None)
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self._tick)

    def _tick(self) -> None:
        interpreter, session = self._interpreter, self._session
        if interpreter is None or session is None:
            return
        if self._held_back:  # silent because it is not read; the link's own PING looks after it
            session.receive(())
        self._guarded(lambda: self._carry_out(interpreter.tick(_now())))


_FENCED: Final = "a newer stream of this agent has taken over"
_WHILE_STORING: Final = frozenset({Parting.STOPPING, Parting.INACTIVE, Parting.OVERLOADED})


def _now() -> float:
    return asyncio.get_running_loop().time()
