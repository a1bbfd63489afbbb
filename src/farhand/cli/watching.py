"""Watch a job's answers in groups, as they arrive and at the end.

Shared by `run` and `jobs groups`. What is said is `grouped`'s; what is drawn over is `region`'s.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from farhand.cli import grouped
from farhand.cli.following import attend, nobody
from farhand.cli.outcome import Exit
from farhand.cli.region import Region, Size
from farhand.cli.screen import colourful, json_line, note, write
from farhand.cli.units import NORMALISERS, normalisers
from farhand.client._blocking import Client, JobHandle
from farhand.client._groups import Groups, Wanted

FEW = 10  # hosts whose output a person can read as it comes


def grouping_wanted(asked: bool | None, hosts: int, *, raw: bool) -> bool:  # noqa: FBT001  # as it was typed
    """Whether answers are shown in groups: as *asked*, else when a person watches many hosts.

    *raw*: something else was asked for that shows every line.
    """
    if asked is not None:
        return asked
    return not raw and hosts > FEW and sys.stdout.isatty()


class Watched:
    """The latest view of a job, drawn where that can be."""

    def __init__(self, region: Region, *, colour: bool, as_json: bool) -> None:
        self.view: Groups | None = None
        self._region = region
        self._colour = colour
        self._as_json = as_json

    def take(self, view: Groups) -> bool:
        """Show a view; return whether something came that is waited for."""
        self.view = view
        if self._as_json:
            told = {"job": view.job, **grouped.json_progress(view.progress)}
            json_line("progress", told)
        else:
            self._region.draw(self._lines)
        return self._region.able or bool(view.progress.done or view.progress.running)

    def _lines(self, size: Size) -> Sequence[str]:
        if self.view is None:
            return ()
        return grouped.live(self.view, width=size.columns, height=size.lines, colour=self._colour)

    def waiting(self) -> str | None:
        """Say how many hosts have not begun; None when all have."""
        progress = self.view.progress if self.view is not None else None
        if progress is None or not progress.waiting:
            return None
        return f"waiting for {progress.waiting} of {progress.total} hosts (not connected, or busy)"


def show(
    client: Client,
    job: JobHandle,
    wanted: Wanted,
    region: Region,
    *,
    colour: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Watch the job to its end, then tell its answers; return the exit code."""
    watched = Watched(region, colour=colour, as_json=as_json)
    waiting = nobody if quiet or as_json or region.able else watched.waiting
    views = job.groups(normalise=wanted.normalise, diff=wanted.diff, limit=wanted.limit)
    try:
        ended = attend(
            client, job, views, watched.take, waiting=waiting, say=region.note, quiet=quiet
        )
    finally:
        region.clear()
    if ended.left or watched.view is None:
        return Exit.INTERRUPTED
    tell(watched.view, colour=colour, as_json=as_json)
    if not quiet:
        note(grouped.summary(watched.view))
    return grouped.exit_code_of(watched.view, interrupted=ended.interrupted)


def tell(view: Groups, *, colour: bool, as_json: bool) -> None:
    """Write a whole view to stdout: text, or one JSON object a line."""
    if as_json:
        for kind, value in grouped.as_json(view):
            json_line(kind, value)
        return
    for line in grouped.report(view, colour=colour):
        write("stdout", line.encode(errors="backslashreplace") + b"\n")


# --- farhand jobs groups ------------------------------------------------------------------


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what `farhand jobs groups` takes."""
    parser.add_argument(
        "--normalise",
        type=normalisers,
        default=(),
        metavar="KINDS",
        help=f"compare outputs without these: {','.join(NORMALISERS)}",
    )
    parser.add_argument(
        "--diff",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show how each differs from the majority (yes)",
    )
    parser.add_argument("--most", type=int, metavar="N", help="groups at most, 1 to 100 (20)")
    parser.add_argument("--follow", action="store_true", help="as they arrive, to its end")
    parser.add_argument("-q", "--quiet", action="store_true", help="answers alone, no notes")


def execute(client: Client, args: argparse.Namespace, region: Region) -> int:
    """Tell a job's answers now, or follow them to its end; return the exit code."""
    colour = colourful(os.environ)
    quiet = args.quiet or args.json
    if args.follow:
        wanted = Wanted(args.normalise, args.diff, args.most)
        handle = client.follow(args.job)
        return show(client, handle, wanted, region, colour=colour, as_json=args.json, quiet=quiet)
    view = client.groups(args.job, normalise=args.normalise, diff=args.diff, limit=args.most)
    tell(view, colour=colour, as_json=args.json)
    if not quiet:
        note(grouped.progress_line(view.progress))
    return Exit.OK
