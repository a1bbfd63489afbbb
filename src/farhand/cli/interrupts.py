"""What Ctrl-C does while a job is followed: the first cancels it, the second leaves.

Handlers do next to nothing; asking the controller happens in a thread, and output goes on.
"""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Final, Self

from farhand.cli.screen import note
from farhand.client._errors import ClientError

WAITING_S: Final = 2.0
_LEAVE_S: Final = 1.0  # for a cancel that is on its way when the second SIGINT comes

Handler = Callable[[int, FrameType | None], object]


class Interrupts:
    """While inside: the first SIGINT calls *cancel*, the second raises KeyboardInterrupt.

    *cancel* is as patient as it likes, in a thread of its own.
    After WAITING_S seconds without `arrived`, *waiting* is called once: it says what is waited
    for. What a person should know is told by *say*, from any thread. Outside the main thread, where
    Python delivers no signals, it does nothing.
    """

    def __init__(
        self,
        cancel: Callable[[], object],
        *,
        waiting: Callable[[], str | None] = lambda: None,
        say: Callable[[str], None] = note,
    ) -> None:
        self.seen = False
        self.heard = False  # the controller was told
        self._cancel = cancel
        self._waiting = waiting
        self._say = say
        self._timer = 0.0
        self._before: dict[signal.Signals, Handler | int | None] = {}
        self._asking: threading.Thread | None = None

    def __enter__(self) -> Self:
        handlers: dict[signal.Signals, Handler] = {
            signal.SIGINT: self._interrupted,
            signal.SIGALRM: self._waited,
        }
        with suppress(ValueError):  # not the main thread
            for number, handler in handlers.items():
                self._before[number] = signal.signal(number, handler)
            self._timer, _ = signal.setitimer(signal.ITIMER_REAL, WAITING_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.arrived()
        if self._asking is not None:
            self._asking.join(_LEAVE_S)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._timer:  # somebody else's, which we held up
            signal.setitimer(signal.ITIMER_REAL, self._timer)

    def arrived(self) -> None:
        """Something happened: there is no need to say what is waited for."""
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.seen = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._asking = threading.Thread(target=self._ask, name="cancel", daemon=True)
        self._asking.start()

    def _ask(self) -> None:
        self._say("cancelling; Ctrl-C again leaves without waiting")
        try:
            self._cancel()
        except ClientError as exc:
            self._say(f"could not cancel: {exc} [{exc.code}]")
        else:
            self.heard = True

    def _waited(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if said := self._waiting():
            # Not by `note`: this may have interrupted a write to the very same buffer.
            os.write(2, f"farhand: {said}\n".encode())
