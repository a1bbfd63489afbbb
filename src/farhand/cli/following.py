"""Follow a job on the screen to its end, and say what came of it.

Shared by `run` and `jobs follow`. Decides nothing about exit codes: that is outcome's table.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from farhand.cli.interrupts import Interrupts
from farhand.cli.outcome import Exit, exit_code, last_tries, notes
from farhand.cli.screen import JsonLines, Prefixed, Raw, Screen, note
from farhand.client._blocking import Client, JobHandle
from farhand.client._calls import cancel_job
from farhand.client._errors import ClientError, StreamLost
from farhand.client._events import End, Event, Output, RunChanged
from farhand.client._resume import ignored
from farhand.client._shapes import Run

T = TypeVar("T")

PATIENCE_S: Final = 600.0  # a restart of the controller's host fits into it
UNREAD_S: Final = 5.0  # for the cancel of a job that nobody reads
_NAMED: Final = 5  # hosts named in one note


class Progress:
    """What is known of the runs of a job so far."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = {run.id: run for run in runs}

    def waiting(self) -> str | None:
        """Say which hosts have not begun; None when all have."""
        away = [
            run.agent
            for run in self.runs.values()
            if run.state == "queued" or (run.state == "held" and not run.wave)
        ]
        if not away:
            return self._later()
        named = ", ".join(away[:_NAMED]) + (", …" if len(away) > _NAMED else "")
        whom = named if len(self.runs) == 1 else f"{len(away)} of {len(self.runs)} hosts: {named}"
        return f"waiting for {whom} (not connected, or busy)"

    def _later(self) -> str | None:
        """Say which wave is under way; None when no other comes."""
        waves = sorted({run.wave for run in self.runs.values()})
        later = [run for run in self.runs.values() if run.state == "held"]
        if not later:
            return None
        wave = min(run.wave for run in later)
        told = f"{len(later)} of {len(self.runs)} hosts wait for their turn"
        return f"{told}; next is wave {wave} of {waves[-1]}"


def choose(runs: Sequence[Run], *, as_json: bool, prefixed: bool, colour: bool) -> Screen:
    """Return where the events of these runs go."""
    if as_json:
        return JsonLines()
    if prefixed and len(runs) > 1:
        return Prefixed({run.id: run.agent for run in runs}, colour=colour)
    return Raw()


def show(client: Client, job: JobHandle, screen: Screen, *, quiet: bool = False) -> int:
    """Show the job to its end; return the exit code. Interrupted or unread, it is cancelled."""
    progress = Progress(job.runs)
    silent = quiet or isinstance(screen, JsonLines)

    def take(event: Event) -> bool:
        match event:
            case Output():
                screen.printed(event)
                return True
            case RunChanged(run):
                progress.runs[run.id] = run
                screen.changed(run)
            case End():
                screen.ended(event)
        return False

    waiting = nobody if silent else progress.waiting
    ended = attend(client, job, job, take, waiting=waiting, quiet=quiet)
    if ended.left:
        return Exit.INTERRUPTED
    runs = last_tries(_settled(client, job, list(progress.runs.values())))
    if not quiet:
        for line in notes(job.id, runs):
            note(line)
    return exit_code(runs, interrupted=ended.interrupted)


def nobody() -> None:
    """Nobody is waited for, as far as anybody should be told."""


@dataclass(frozen=True, slots=True)
class Attended:
    """How it was to follow a job: *interrupted* by a person, who may have *left* before its end."""

    interrupted: bool
    left: bool


def attend(
    client: Client,
    job: JobHandle,
    told: Iterable[T],
    take: Callable[[T], bool],
    *,
    waiting: Callable[[], str | None],
    say: Callable[[str], None] = note,
    quiet: bool = False,
) -> Attended:
    """Give *take* all that is *told* of a job; a first Ctrl-C cancels it, a second leaves.

    *take* returns whether something came that a person waits for; before that, *waiting* says once
    what is waited for. Notes are said by *say*. A reader that went away cancels the job.
    """
    ask = cancel_job(job.id)

    def cancel() -> None:
        client.send(ask, notice=ignored)  # the stream tells of a controller that is away

    left = False
    with Interrupts(cancel, waiting=waiting, say=say) as interrupts:
        try:
            for event in told:
                if take(event):
                    interrupts.arrived()
        except BrokenPipeError:
            cancel_unread(client, job)
            raise
        except KeyboardInterrupt:
            left = True
        except StreamLost as exc:
            exc.hint = _later(job, asked=interrupts.seen, heard=interrupts.heard)
            raise
    if left:
        if not quiet:
            say(f"left; `farhand jobs follow {job.id}` comes back to it")
        if not interrupts.heard:
            say(f"the cancel was not heard; `farhand jobs cancel {job.id}` asks again")
    return Attended(interrupts.seen, left)


def _later(job: JobHandle, *, asked: bool, heard: bool) -> str:
    """Say what may be done when the controller is back."""
    if asked and not heard:
        return f"the cancel was not heard; `farhand jobs cancel {job.id}` asks again"
    return f"the job goes on without this program; `farhand jobs follow {job.id}` comes back to it"


def cancel_unread(client: Client, job: JobHandle) -> None:
    """Cancel a job whose output nobody reads any more: a pipe's writer ends with its reader."""
    try:
        client.send(cancel_job(job.id), until=time.monotonic() + UNREAD_S, notice=ignored)
    except ClientError as exc:
        note(f"could not cancel {job.id}: {exc} [{exc.code}]")


def _settled(client: Client, job: JobHandle, runs: list[Run]) -> list[Run]:
    """Return the runs as they are in the end, asked for where the events did not tell."""
    if all(run.resting for run in runs):
        return runs
    return list(client.runs(job=job.id))
