"""`farhand freeze` and `farhand unfreeze`: the switch that lets no job begin."""

import argparse

from farhand.cli import tables
from farhand.cli.outcome import Exit
from farhand.cli.parser import UsageError, connection
from farhand.cli.screen import json_line, note
from farhand.client._targets import Freeze


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what both verbs take."""
    parser.add_argument("reason", nargs="?", metavar="REASON", help="why; without it: show it")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def execute(args: argparse.Namespace) -> int:
    """Freeze, unfreeze, or tell whether it is frozen."""
    if args.verb == "unfreeze" and args.reason is not None:
        raise UsageError("`farhand unfreeze` takes no reason")
    with connection(args) as client:
        if args.verb == "unfreeze":
            client.unfreeze()
            note("jobs may begin again")
            return Exit.OK
        found = client.get_freeze() if args.reason is None else client.freeze(args.reason)
    if args.json:
        json_line(None, found.raw)
    else:
        _show(found)
    return Exit.OK


def _show(found: Freeze) -> None:
    if not found.frozen:
        note("jobs may begin; `farhand freeze REASON` stops that")
        return
    tables.facts(
        {
            "frozen": "no job begins; what runs goes on; `farhand unfreeze` lifts it",
            "reason": found.reason,
            "by": found.by,
            "since": f"{tables.at(found.at)} ({tables.ago(found.at)})",
        }
    )
