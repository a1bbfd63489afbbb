"""An event loop whose time moves when it is told to, and in which processes can be killed.

Nothing in it happens by chance: work for threads is done at once, in order, and two runs of the
same program take the same steps. Waits for no socket and no signal.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_LIFE: Final[ContextVar["Life"]] = ContextVar("life")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop with time of its own, in seconds from 0. Close it when done.

    `run_for` lets everything happen that is due within some seconds; `turn` goes on by single
    rounds of the loop. Waiting with `run_until_complete` for what needs time raises RuntimeError.
    """

    def __init__(self) -> None:
        self._instant = 0.0
        self._end = 0.0
        super().__init__(_Idle(self._idle))

    def time(self) -> float:
        """Seconds since the loop was made, by its own count."""
        return self._instant

    def run_for(self, seconds: float = 0.0) -> None:
        """Let everything happen that is due, and move time on by *seconds*."""
        self._end = self._instant + seconds
        self.run_forever()

    def turn(self, rounds: int) -> None:
        """Let the loop go round this often; time stands still."""
        self._end = self._instant
        for _ in range(rounds):
            super().call_soon(self.stop)
            self.run_forever()

    def _idle(self, timeout: float | None) -> None:
        """Nothing is ready: go to the next timer, or stop where time was to go."""
        due = self._end if timeout is None else min(self._instant + timeout, self._end)
        if timeout is None or self._instant + timeout > self._end:
            self.stop()
        self._instant = due

    # --- lives ----------------------------------------------------------------------------

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call it in the next round, if its process lives then."""
        context = copy_context() if context is None else context
        life = context.get(_LIFE)
        if life is None:
            return super().call_soon(callback, *args, context=context)
        return super().call_soon(life.call_if_alive, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call it at that time, if its process lives then."""
        context = copy_context() if context is None else context
        life = context.get(_LIFE)
        if life is None:
            return super().call_at(when, callback, *args, context=context)
        return super().call_at(when, life.call_if_alive, callback, *args, context=context)

    def create_task(  # type: ignore[override]  # typeshed knows none of the newer parameters
        self, coro: Coroutine[Any, Any, T], *, context: Context | None = None, **options: Any
    ) -> asyncio.Task[T]:
        """Begin a task; it belongs to the process that begins it."""
        context = copy_context() if context is None else context
        task = super().create_task(coro, context=context, **options)
        life = context.get(_LIFE)
        if life is not None:
            life.tasks.add(task)
            task.add_done_callback(life.tasks.discard)
        return task

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> "asyncio.Future[T]":
        """Do work for a thread now; its process waits for it while its disk is slow."""
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                done = func(*args) if executor is None else executor.submit(func, *args).result()
            except Exception as exc:  # noqa: BLE001  # it is the caller's
                future.set_exception(exc)
            else:
                future.set_result(done)

        life = copy_context().get(_LIFE)
        if life is None or life.waiting is None:
            work()
        else:
            life.waiting.append(work)
        return future


class _Idle(selectors.DefaultSelector):
    """Watches nothing: whoever has nothing to do tells the loop."""

    def __init__(self, idle: Callable[[float | None], None]) -> None:
        super().__init__()
        self._idle = idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._idle(timeout)
        return []


class Life:
    """A process in a loop. After `kill` nothing of it runs any more, not even its `finally`.

    *tasks* are those it has. When it is dead they stay as they are until `bury`.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        self.alive = True
        self.tasks: set[asyncio.Task[Any]] = set()
        self.waiting: list[Callable[[], None]] | None = None  # for a disk that is slow
        self._loop = loop
        self._context = Context()
        self._context.run(_LIFE.set, self)
        self._missed: list[Callable[[], object]] = []

    def create_task(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Begin a task of this process; every task and callback that it makes is one too."""
        return self._loop.create_task(work, name=name, context=self._context.copy())

    def start(self, work: Coroutine[Any, Any, object], *, name: str) -> None:
        """Begin a task that nobody asks about."""
        self.tasks.add(self.create_task(work, name=name))

    def call(self, callback: Callable[[*Ts], T], *args: *Ts) -> T | None:
        """Call something of this process, now; None when it is dead."""
        return self._context.copy().run(callback, *args) if self.alive else None

    def soon(self, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Call something of this process in the next round."""
        self._loop.call_soon(callback, *args, context=self._context.copy())

    def call_if_alive(self, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """What stands in for every callback of this process."""
        if self.alive:
            callback(*args)
        else:
            self._missed.append(partial(copy_context().run, callback, *args))

    def slow_down(self) -> None:
        """From now on what its threads do takes until `speed_up`."""
        self.waiting = [] if self.waiting is None else self.waiting

    def speed_up(self) -> None:
        """Do what waits, in order, and be quick again."""
        waiting, self.waiting = self.waiting or [], None
        for work in waiting:
            self.call(work)

    def kill(self) -> None:
        """End it as SIGKILL does."""
        self.alive = False
        self.waiting = None

    def bury(self) -> None:
        """At the very end: let what is left of it finish, so that nothing is left open."""
        self.alive = True
        missed, self._missed = self._missed, []
        for task in list(self.tasks):
            task.cancel()
        for callback in missed:
            self._loop.call_soon(callback)


class LoopClock:
    """The Clock of a virtual loop. `jump` moves its wall time alone."""

    def __init__(self, loop: VirtualLoop, wall: float = 1_800_000_000.0) -> None:
        self._loop = loop
        self._offset = wall

    def now(self) -> float:
        """Monotonic seconds."""
        return self._loop.time()

    def wall(self) -> float:
        """Wall-clock seconds."""
        return self._offset + self._loop.time()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back."""
        self._offset += seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until the loop's time was moved this far."""
        await asyncio.sleep(seconds)
