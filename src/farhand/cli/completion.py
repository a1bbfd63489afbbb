"""`farhand completion`: a script that lets a shell complete farhand's verbs and options."""

import argparse

from farhand.cli.outcome import Exit


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what `farhand completion` takes."""
    parser.add_argument("shell", choices=("bash", "zsh"))


def execute(args: argparse.Namespace) -> int:
    """Print the script for the shell."""
    import shtab  # noqa: PLC0415 - needed here alone

    print(shtab.complete(whole(), shell=args.shell))
    return Exit.OK


def whole() -> argparse.ArgumentParser:
    """Return one parser with every verb in it, as only a completion script needs it."""
    from farhand.cli.main import PROCESSES, VERBS, configure_verb  # noqa: PLC0415 - it loads us

    parser = argparse.ArgumentParser(prog="farhand")
    verbs = parser.add_subparsers()
    for verb, said in VERBS.items():
        configure_verb(verb, verbs.add_parser(verb, help=said))
    for verb, said in PROCESSES.items():
        verbs.add_parser(verb, help=said)
    return parser
