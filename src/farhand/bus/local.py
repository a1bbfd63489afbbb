"""The bus of one process: who publishes wakes who listens, on the loop they share.

Carries nothing and keeps nothing: a hint that nobody listens for is gone.
"""

import asyncio
from collections.abc import Callable

from farhand.ports import Hint

Wake = Callable[[], None]


class LocalBus:
    """A Bus within one event loop.

    Equal hints of one turn of the loop are one wake-up for each subscriber. What waits is
    bounded by the number of subscribers. A subscriber that raises is reported to the loop's
    exception handler; the others are woken all the same.
    """

    def __init__(self) -> None:
        self._listening: dict[Hint, dict[object, Wake]] = {}
        self._due: dict[Hint, None] = {}

    def publish(self, hint: Hint) -> None:
        """Wake the subscribers of *hint* in the loop's next turn."""
        if hint not in self._listening:
            return
        if not self._due:
            asyncio.get_running_loop().call_soon(self._wake_all)
        self._due[hint] = None

    def subscribe(self, hint: Hint, wake: Wake) -> Callable[[], None]:
        """Call *wake* after each equal hint, until the returned function is called."""
        place = object()
        self._listening.setdefault(hint, {})[place] = wake

        def unsubscribe() -> None:
            wakes = self._listening.get(hint, {})
            wakes.pop(place, None)
            if not wakes:
                self._listening.pop(hint, None)

        return unsubscribe

    def _wake_all(self) -> None:
        due, self._due = self._due, {}
        for hint in due:
            for place, wake in list(self._listening.get(hint, {}).items()):
                if place in self._listening.get(hint, {}):  # not gone meanwhile
                    self._wake(wake, hint)

    def _wake(self, wake: Wake, hint: Hint) -> None:
        try:
            wake()
        except Exception as exc:  # noqa: BLE001 one bad subscriber must not stop the others
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"a subscriber of {hint} raised", "exception": exc}
            )
