"""How farhand reads its command line: argparse, with suggestions, and 64 for a usage error.

Builds only the parser of the verb that was typed.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, NoReturn

from farhand.cli.screen import note
from farhand.cli.units import patience
from farhand.client._blocking import Client
from farhand.client._errors import ClientError, NotConfigured, NotFound
from farhand.client._resume import PATIENCE_S, Notice

_LOOKED_THROUGH: Final = 5_000  # agents, for a name that is close


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
    import difflib  # noqa: PLC0415 - only needed after a slip

    close = difflib.get_close_matches(word, list(known), n=3)
    return f"did you mean {' or '.join(close)}?" if close else ""


def parser_for(prog: str, description: str, *, help_wanted: bool) -> Parser:
    """Return a parser with what every verb takes; rich formats its help on a terminal."""
    formatter: type[argparse.HelpFormatter] = argparse.RawDescriptionHelpFormatter
    if help_wanted and sys.stdout.isatty():
        from rich_argparse import RawDescriptionRichHelpFormatter  # noqa: PLC0415 - slow to load

        formatter = RawDescriptionRichHelpFormatter
    return Parser(prog=prog, description=description, formatter_class=formatter, allow_abbrev=False)


def add_connection(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """Add the options that say which controller to ask; *again* below a parser that has them."""
    group = parser.add_argument_group("which controller")
    default = argparse.SUPPRESS if again else None
    for name, metavar, said in (
        ("--url", "URL", "default: FARHAND_URL, then the local controller's"),
        ("--token-file", "FILE", "default: FARHAND_TOKEN, then the local controller's"),
        ("--ca", "FILE", "default: FARHAND_CA, then the system's authorities"),
    ):
        group.add_argument(name, metavar=metavar, help=said, default=default)
    said = "how long it is asked again while it is away or busy: 1m, and 10m to follow a job"
    group.add_argument("--patience", type=patience, metavar="TIME", help=said, default=default)


@contextmanager
def connection(
    args: argparse.Namespace, *, patience_s: float = PATIENCE_S, notice: Notice = note
) -> Iterator[Client]:
    """Give a client of the controller that *args* name, which tells its notices to *notice*.

    *patience_s* is the default of --patience. An agent that is not known comes with the names that
    are close to what was typed.
    """
    token = token_in(args.token_file) if args.token_file else None
    if args.patience is not None:
        patience_s = args.patience
    with Client(args.url, token, ca=args.ca, patience_s=patience_s, notice=notice) as client:
        try:
            yield client
        except NotFound as exc:
            if exc.code == "unknown-agent" and not exc.hint and "did you mean" not in str(exc):
                exc.hint = _near(client, exc)
            raise


def _near(client: Client, exc: NotFound) -> str:
    wrong = exc.details.get("names")
    known = [agent.name for agent in islice(client.agents(), _LOOKED_THROUGH)]
    if not known:
        return "no agent has joined yet; `farhand agent --help` says how one does"
    for name in wrong if isinstance(wrong, list) else ():
        if found := suggested(str(name), known):
            return found
    return ""


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
