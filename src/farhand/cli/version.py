"""`farhand version`: which versions there are on both sides."""

import argparse
import platform
from importlib.metadata import version

from farhand.cli.outcome import Exit
from farhand.cli.parser import connection
from farhand.cli.screen import json_line
from farhand.client._errors import ClientError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what `farhand version` takes."""
    parser.add_argument("--json", action="store_true", help="one JSON object")


def execute(args: argparse.Namespace) -> int:
    """Say our own version, and the controller's if it answers. Never fails."""
    found: dict[str, object] = {"version": version("farhand"), "python": platform.python_version()}
    try:
        with connection(args) as client:
            found["url"] = client.url
            found["controller"] = client.version().version
    except ClientError as exc:
        found["controller"] = None
        found["problem"] = f"{exc} [{exc.code}]"
    if args.json:
        json_line(None, found)
        return Exit.OK
    print(f"farhand {found['version']} (Python {found['python']})")
    if found["controller"]:
        print(f"controller {found['controller']} at {found['url']}")
    else:
        print(f"controller not asked: {found['problem']}")
    return Exit.OK
