"""How farhand reads its command line: argparse, with suggestions, and 64 for a usage error.

Builds only the parser of the verb that was typed.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from farhand.cli.screen import note
from farhand.client._blocking import Client
from farhand.client._errors import ClientError, NotConfigured


class UsageError(ClientError):
    """What was typed cannot be meant."""

    code = "usage"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError with a suggestion instead of exiting with 2."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError; never returns."""
        hint = f"`{self.prog} --help` shows what it takes"
        if found := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            message = f"{message.partition(':')[0]}: {found[1]!r} is not known"
            hint = suggested(found[1], re.findall(r"[\w-]+", found[2])) or hint
        elif found := re.match(r"unrecognized arguments: (\S+)", message):
            options = [name for name in self._option_string_actions if name.startswith("--")]
            hint = suggested(found[1].partition("=")[0], options) or hint
            message = f"{found[1]!r} is not known here"
        raise UsageError(message, hint=hint)


def suggested(word: str, known: Iterable[str]) -> str:
    """Return `did you mean …?` for what looks like *word*, or an empty text."""
    close = difflib.get_close_matches(word, list(known), n=3)
    return f"did you mean {' or '.join(close)}?" if close else ""


def parser_for(prog: str, description: str, *, help_wanted: bool) -> Parser:
    """Return a parser with what every verb takes; rich formats its help on a terminal."""
    formatter: type[argparse.HelpFormatter] = argparse.RawDescriptionHelpFormatter
    if help_wanted and sys.stdout.isatty():
        from rich_argparse import RawDescriptionRichHelpFormatter  # noqa: PLC0415 - slow to load

        formatter = RawDescriptionRichHelpFormatter
    return Parser(prog=prog, description=description, formatter_class=formatter, allow_abbrev=False)


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which controller to ask."""
    group = parser.add_argument_group("which controller")
    group.add_argument("--url", help="default: FARHAND_URL, then the local controller's")
    group.add_argument("--token-file", metavar="FILE", help="default: FARHAND_TOKEN, then local")
    group.add_argument("--ca", metavar="FILE", help="default: FARHAND_CA, then the system's")


def connection(args: argparse.Namespace) -> Client:
    """Return a client of the controller that *args* name, which tells its notices on stderr."""
    token = token_in(args.token_file) if args.token_file else None
    return Client(args.url, token, ca=args.ca, notice=note)


def token_in(name: str) -> str:
    """Return the token in a file; raise NotConfigured."""
    try:
        return Path(name).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as exc:
        raise NotConfigured(
            f"the token file {name} cannot be read", code="token-file-unreadable"
        ) from exc


def flat(lists: Sequence[Sequence[str]]) -> list[str]:
    """Return the items of all lists in order, each once."""
    return list(dict.fromkeys(item for found in lists for item in found))
