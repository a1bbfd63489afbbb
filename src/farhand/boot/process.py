"""What every farhand process does around its work: signals, logs, and one line for an error.

Decides nothing about the work itself.
"""

import asyncio
import contextlib
import importlib
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from farhand.errors import FarhandError

_KEPT_BYTES: Final = 4 * 1024 * 1024  # of freed memory, at the end of the heap
_MAPPED_BYTES: Final = 1024 * 1024  # buffers of this size are the kernel's own, and go back at once

EXIT_OK: Final = 0
EXIT_ERROR: Final = 1
EXIT_CONFIG: Final = 78  # EX_CONFIG of sysexits(3)

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def set_up_logging(level: str) -> None:
    """Write the standard library's log records to stderr, a line each."""
    logging.basicConfig(
        level=LEVELS.get(level, logging.INFO),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        force=True,
    )


def allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: each agent is a connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pass_on_no_ignored_signals() -> None:
    """Let programs that are started begin with every signal at its default.

    What a process ignores its children ignore too: an agent behind `nohup` or `&` would give runs
    that no SIGHUP and no SIGINT ends. A handler that does nothing is not passed on.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, _unheeded)


def _unheeded(number: int, frame: object) -> None:
    """Do nothing, as if the signal were ignored."""


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call *stop* on SIGTERM and SIGINT; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    wanted = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in wanted]

    def first() -> None:
        for number in wanted:
            loop.remove_signal_handler(number)
            signal.signal(number, lambda got, _: os._exit(128 + got))
        stop()

    for number in wanted:
        loop.add_signal_handler(number, first)
    try:
        yield
    finally:
        for number, handler in zip(wanted, before, strict=True):
            with contextlib.suppress(ValueError, RuntimeError):
                loop.remove_signal_handler(number)
            signal.signal(number, handler)


def keep_freed_memory() -> None:
    """Let the C library keep a few MiB that were freed, for the next buffer of the same size.

    By itself glibc gives them back and fetches them again with every quarter of a MiB of output: a
    third of what an agent's CPU did for long output was to clear these pages (mallopt(3)).
    """
    import ctypes  # noqa: PLC0415  # for those who serve

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc's
        m_trim_threshold, m_mmap_threshold = -1, -3
        mallopt(m_trim_threshold, _KEPT_BYTES)
        mallopt(m_mmap_threshold, _MAPPED_BYTES)


def run(work: Coroutine[Any, Any, int], *, fast_loop: bool) -> int:
    """Run *work* to its exit status; an error that a person can be told is one line on stderr.

    *fast_loop* takes uvloop where it is installed (the controller); agents stay on asyncio's.
    """
    keep_freed_memory()
    factory = None
    if fast_loop:
        with contextlib.suppress(ImportError):
            factory = importlib.import_module("uvloop").new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(work)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except FarhandError as exc:
        return complain(exc)
    except BaseExceptionGroup as group:
        errors = _told(group)
        if errors is None:
            raise
        return complain(errors)


def complain(error: FarhandError) -> int:
    """Say what is wrong in one line and return the exit status for it."""
    sys.stderr.write(f"farhand: {error} [{error.code}]\n")
    return EXIT_CONFIG if error.code in {"invalid-config", "unsafe-binding"} else EXIT_ERROR


def _told(group: BaseExceptionGroup[BaseException]) -> FarhandError | None:
    """The first error of a group that can be told, if every part of it can."""
    first: FarhandError | None = None
    for exc in group.exceptions:
        found = _told(exc) if isinstance(exc, BaseExceptionGroup) else exc
        if not isinstance(found, FarhandError):
            return None
        first = first or found
    return first
