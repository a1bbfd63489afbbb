"""`farhand groups`: selectors with a name, `@name` in others."""

import argparse
from typing import Any, Final

from farhand.cli import tables
from farhand.cli.outcome import Exit
from farhand.cli.parser import add_connection, connection
from farhand.client._targets import SavedGroup

EXAMPLES: Final = """\
examples:
  farhand groups set front 'role=web & !web-9*'
  farhand run '@front & kernel<5.10' -- uname -r
  farhand groups remove front
"""

COLUMNS: tables.Columns[SavedGroup] = {
    "group": lambda group: f"@{group.name}",
    "selector": lambda group: group.selector,
    "by": lambda group: group.by,
    "changed": lambda group: tables.ago(group.at),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what `farhand groups` takes."""
    parser.epilog = EXAMPLES
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    verbs = parser.add_subparsers(dest="action", metavar="ACTION")
    _action(verbs, "list", "all of them")
    put = _action(verbs, "set", "let a name stand for a selector, whatever it stood for")
    put.add_argument("group", metavar="NAME")
    put.add_argument("selector", metavar="SELECTOR")
    _action(verbs, "remove", "forget one").add_argument("group", metavar="NAME")


def _action(verbs: Any, name: str, said: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = verbs.add_parser(name, help=said, description=said)
    added.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    add_connection(added, again=True)
    return added


def execute(args: argparse.Namespace) -> int:
    """List the saved groups, or do to one what was asked."""
    with connection(args) as client:
        match args.action:
            case "set":
                group = client.save_group(args.group.removeprefix("@"), args.selector)
                tables.show([group], COLUMNS, lambda found: found.raw, as_json=args.json, empty="")
            case "remove":
                client.remove_group(args.group.removeprefix("@"))
            case _:
                tables.show(
                    client.saved_groups(),
                    COLUMNS,
                    lambda group: group.raw,
                    as_json=args.json,
                    empty="no group is saved yet; `farhand groups set NAME SELECTOR` saves one",
                )
    return Exit.OK
