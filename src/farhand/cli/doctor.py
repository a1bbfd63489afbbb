"""`farhand doctor`: look at a set-up, say what is wrong with it, and what to do.

Changes nothing. Each check stands alone: one that cannot be made says so and the next goes on.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from contextlib import closing

from farhand.cli import checks
from farhand.cli.checks import Finding
from farhand.cli.outcome import Exit
from farhand.cli.parser import token_in
from farhand.cli.screen import colourful, json_line
from farhand.cli.tables import clean
from farhand.client._errors import NotConfigured
from farhand.client._local import Address, address
from farhand.client._transport import Transport

_SIGNS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}
_COLOURS = {"ok": "32", "warn": "33", "fail": "31"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what `farhand doctor` takes."""
    parser.add_argument("--data", metavar="DIR", help="also look at a controller's data directory")
    parser.add_argument("--state", metavar="DIR", help="also look at an agent's state directory")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def execute(args: argparse.Namespace) -> int:
    """Make all checks; return 0 unless one failed."""
    failed = False
    for finding in _findings(args):
        failed |= finding.level == "fail"
        if args.json:
            json_line(None, finding.as_json())
        else:
            _say(finding)
    return Exit.SOME_FAILED if failed else Exit.OK


def _findings(args: argparse.Namespace) -> Iterable[Finding]:
    yield checks.python()
    try:
        token = token_in(args.token_file) if args.token_file else None
        found = address(os.environ, args.url, token, args.ca)
    except NotConfigured as exc:
        yield Finding("address", "fail", str(exc), exc.hint)
    else:
        yield from _of_controller(found)
    if args.data:
        yield from checks.directory("data", args.data)
        yield from checks.secrets(args.data)
    if args.state:
        yield from checks.directory("state", args.state)
        yield from checks.tools()


def _of_controller(found: Address) -> Iterable[Finding]:
    yield Finding("address", "ok", f"{found.url} (from {found.source})")
    transport, trouble = checks.transport(found)
    if transport is None:
        yield trouble
        return
    with closing(transport):
        yield from _of_reached(transport, found)


def _of_reached(transport: Transport, found: Address) -> Iterable[Finding]:
    yield from checks.privacy(transport.origin)
    head, reached = checks.reach(transport)
    yield reached
    if head is None:
        return
    yield from checks.certificate(transport.origin, found.ca)
    yield checks.clock(head)
    yield checks.ready(transport)
    known = checks.token(transport, found)
    yield from known
    if all(finding.level == "ok" for finding in known):
        yield checks.freeze(transport)
        yield checks.agents(transport)


def _say(finding: Finding) -> None:
    sign = _SIGNS[finding.level]
    if colourful(os.environ):
        sign = f"\x1b[{_COLOURS[finding.level]}m{sign}\x1b[0m"
    sys.stdout.write(f"{sign}  {finding.check}: {clean(finding.said)}\n")
    if finding.todo:
        sys.stdout.write(f"      → {clean(finding.todo)}\n")
    sys.stdout.flush()
