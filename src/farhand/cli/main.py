"""The command line's entry: find the verb, load it and nothing else, turn errors into one line.

Errors leave no traceback: `farhand: MESSAGE [code]`, then what to do, and an exit code.
"""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from farhand.cli.outcome import Exit
from farhand.cli.parser import UsageError, add_connection, parser_for, suggested
from farhand.cli.screen import note
from farhand.client._errors import (
    ClientError,
    Conflict,
    FarhandApiError,
    NotAllowed,
    NotConfigured,
    NotFound,
    Unavailable,
    Unreachable,
)

VERBS: Final[Mapping[str, str]] = {
    "run": "run a command on one host or many, and watch it",
    "agents": "the hosts that dial home",
    "commands": "what an agent's catalogue has",
    "namespaces": "the Linux namespaces of a host",
    "jobs": "what was asked for: list, show, follow, cancel",
    "schedules": "jobs at a time, or again and again: add, list, show, pause, history",
    "groups": "selectors with a name: list, set, remove",
    "freeze": "let no job begin, and say why",
    "unfreeze": "let jobs begin again",
    "runs": "one agent doing one job: list, show, output, cancel",
    "doctor": "what is wrong with a set-up, and what to do",
    "version": "versions of this program and of the controller",
    "completion": "a completion script for bash or zsh",
}
PROCESSES: Final[Mapping[str, str]] = {
    "controller": "start a controller",
    "agent": "start an agent",
    "demo": "a controller, three agents and a job, on this machine",
}

_MODULES: Final = {"commands": "catalogue", "namespaces": "catalogue", "unfreeze": "freeze"}
_REMOTE: Final = ("run", "schedules")  # what stands behind `--` is for other hosts
_LEADING: Final = ("--url", "--ca", "--token-file")


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    with contextlib.suppress(AttributeError):  # a stand-in for stdout that cannot be told
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # it may be one
    try:
        code = int(_dispatch(words))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _forget_stdout()
        return Exit.READER_GONE
    except KeyboardInterrupt:
        note("interrupted; what was asked for before may go on, see `farhand jobs`")
        return Exit.INTERRUPTED
    except ClientError as exc:
        return _complain(exc)
    except OSError as exc:
        _forget_stdout()
        note(f"{exc.strerror or exc} [io]")
        return Exit.IO


def _dispatch(words: list[str]) -> int:
    words = _verb_first(words)
    verb = words[0] if words else ""
    if verb in PROCESSES:
        return _process(verb, words[1:])
    if verb in VERBS:
        return _verb(verb, words[1:])
    return _root(words)


def _verb_first(words: list[str]) -> list[str]:
    """Move options that say which controller behind the verb: both places are natural."""
    count = 0
    while count < len(words) and words[count].partition("=")[0] in _LEADING:
        count += 1 if "=" in words[count] else 2
    return [*words[count : count + 1], *words[:count], *words[count + 1 :]] if count else words


def _verb(verb: str, words: list[str]) -> int:
    remote: list[str] | None = None
    if verb in _REMOTE and "--" in words:
        cut = words.index("--")
        words, remote = words[:cut], words[cut + 1 :]
    help_wanted = bool({"-h", "--help"} & {*words})
    parser = parser_for(f"farhand {verb}", VERBS[verb], help_wanted=help_wanted)
    execute = configure_verb(verb, parser)
    try:
        args = parser.parse_args(words)
    except SystemExit as exc:  # --help has printed its help
        return exc.code if isinstance(exc.code, int) else Exit.INTERNAL
    args.verb, args.remote = verb, remote
    return execute(args)


def configure_verb(
    verb: str, parser: argparse.ArgumentParser
) -> Callable[[argparse.Namespace], int]:
    """Load a verb, add to *parser* what it takes, and return what carries it out."""
    module = importlib.import_module(f"farhand.cli.{_MODULES.get(verb, verb)}")
    module.configure(parser)
    add_connection(parser)
    if verb == "run":
        parser.usage = "farhand run [OPTIONS] TARGET… -- ARGV…"
    execute: Callable[[argparse.Namespace], int] = module.execute
    return execute


def _process(verb: str, words: list[str]) -> int:
    try:
        module = importlib.import_module(f"farhand.boot.{verb}")
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] == "farhand":
            raise
        extra = "agent" if verb == "agent" else "controller"
        raise NotConfigured(
            f"this installation has no {extra}: {exc.name} is missing",
            code="extra-missing",
            hint=f"install farhand[{extra}]",
        ) from exc
    start: Callable[[Sequence[str]], int] = module.main
    return start(words)


def _root(words: list[str]) -> int:
    if words and words[0] in {"--version", "-V"}:
        return _verb("version", words[1:])
    if words and not words[0].startswith("-"):
        hint = suggested(words[0], [*VERBS, *PROCESSES]) or "`farhand --help` lists the verbs"
        raise UsageError(f"{words[0]!r} is no verb of farhand", hint=hint)
    lines = [f"  {verb:<12}{said}" for verb, said in {**VERBS, **PROCESSES}.items()]
    usage = "\n".join(
        (
            "usage: farhand VERB …\n",
            "Run commands on every host that dials home, and watch their output live.\n",
            *lines,
            "\n`farhand VERB --help` says what a verb takes; begin with",
            "  farhand agents\n  farhand run web-1 -- uptime",
        )
    )
    wanted = bool({"-h", "--help"} & {*words})
    print(usage, file=sys.stdout if wanted else sys.stderr)
    return Exit.OK if wanted else Exit.USAGE


def _complain(exc: ClientError) -> int:
    note(f"{str(exc).rstrip('.')} [{exc.code}]")
    if exc.hint:
        note(exc.hint)
    return exit_for(exc)


def exit_for(exc: ClientError) -> Exit:
    """Return the exit code that an error means."""
    match exc:
        case UsageError():
            return Exit.USAGE
        case NotConfigured():
            return Exit.CONFIG
        case Unreachable():
            return Exit.UNREACHABLE
        case NotAllowed():
            return Exit.NOT_ALLOWED
        case NotFound():
            return Exit.NOT_FOUND
        case Unavailable():
            return Exit.TRY_AGAIN
        case Conflict():
            return Exit.REFUSED
        case FarhandApiError(status=status) if status < 500:
            return Exit.REFUSED
        case _:
            return Exit.INTERNAL


def _forget_stdout() -> None:
    """Leave nothing in the buffer that the interpreter would try to write at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
