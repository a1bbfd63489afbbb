"""The commands that DeepFlow agents offer, how their idents come about, and what values they take.

Knows nothing of how a program is started. Patterns that arrive over the wire are foreign input:
whoever checks against those passes a `Matches` that runs in linear time.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from farhand.domain.deepflow.messages import (
    CommandParam,
    OutputKind,
    Parameter,
    ParamKind,
    RemoteCommand,
)

DEFAULT_PATTERN: Final = "^[A-Za-z0-9-_]+$"

Matches = Callable[[str, str], bool]
"""Whether all of a value (second) is what a pattern (first) says. As in Rust `$` is the very end:
a trailing newline is never let through."""


def ident_of(type_name: str, cmdline: str) -> str:
    """The ident that an agent gives to *cmdline*.

    Lengths count characters; for ASCII, which is all that agents survive, these are bytes.
    """
    return "_".join([type_name, *(_shortened(word) for word in cmdline.split())])


def _shortened(word: str) -> str:
    prefix = next((p for p in ("--", "-", "$") if word.startswith(p)), "")
    rest = word.removeprefix(prefix)
    if len(rest) > 3:
        rest = f"{rest[0]}{len(rest) - 2}{rest[-1]}"
    return prefix + rest


# --- parameters ---------------------------------------------------------------------------


def fullmatch(pattern: str, value: str) -> bool:
    """The `Matches` for patterns of one's own; never give it one that came over the wire."""
    return re.fullmatch(pattern, value) is not None


def value_of(name: str, given: Iterable[Parameter]) -> str | None:
    """The value given for *name*: the first entry counts, also when it has no value."""
    return next((param.value for param in given if param.key == name), None)


def problem_with(
    params: Iterable[CommandParam], given: Iterable[Parameter], *, matches: Matches = fullmatch
) -> str | None:
    """What is wrong with the values, in the agent's words, or None. What nobody declared passes.

    An optional parameter may be left out or empty; a required one may not.
    """
    given = tuple(given)
    for param in params:
        name = param.name or ""
        value = value_of(name, given)
        if value is None and param.required:
            return f"param `{name}` not found"
        if not value and not param.required:
            continue
        if not value or not matches(param.regex or DEFAULT_PATTERN, value):
            return f"param `{name}` is invalid"
    return None


def argv_of(cmdline: str, given: Iterable[Parameter]) -> list[str]:
    """The words of *cmdline*, each `$name` replaced as a whole; one without a value goes."""
    given = tuple(given)
    words = (value_of(w[1:], given) if w.startswith("$") else w for w in cmdline.split())
    return [word for word in words if word is not None]


# --- the commands -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offer:
    """A command of an agent: what its list shows, and the words it runs or, built in, imitates."""

    cmdline: str
    command: RemoteCommand
    built_in: bool = False


def offer(
    type_name: str,
    cmdline: str,
    params: Mapping[str, tuple[str, str]] | None = None,
    *,
    shown: str = "",
    built_in: bool = False,
) -> Offer:
    """An agent's command; *params* have a pattern and a description each, and are required."""
    return Offer(
        cmdline,
        RemoteCommand(
            cmd=shown or cmdline,
            output=OutputKind.TEXT,
            ident=ident_of(type_name, cmdline),
            params=tuple(
                CommandParam(
                    name=name,
                    regex=pattern,
                    required=True,
                    kind=ParamKind.TEXT,
                    description=description or None,
                )
                for name, (pattern, description) in (params or {}).items()
            ),
            type_name=type_name,
        ),
        built_in,
    )


_POD: Final = {"ns": (r"^[\-0-9a-z]{1,64}$", ""), "pod": (r"^[\-.0-9a-z]{1,256}$", "")}

OFFERS: Final = (
    offer("system", "lsns", built_in=True),
    offer("system", "top -b -n 1 -c -w 512", shown="top"),
    offer("system", "ps auxf", shown="ps"),
    offer("system", "ip address"),
    offer("system", "date"),
    offer("system", "netstat -tunp", shown="netstat"),
    offer(
        "system",
        "timeout --signal=KILL --preserve-status $timeout strace -f -p $pid",
        {
            "timeout": ("^[0-9]+s$", "The period to run strace"),
            "pid": ("^[0-9]+$", "The PID to run strace on"),
        },
        shown="strace",
    ),
    offer("kubernetes", "kubectl -n $ns describe pod $pod", _POD, built_in=True),
    offer("kubernetes", "kubectl -n $ns logs --tail=10000 $pod", _POD, built_in=True),
    offer("kubernetes", "kubectl -n $ns logs --tail=10000 -p $pod", _POD, built_in=True),
)
"""What an agent of the open source edition lists, in its order."""


def look_up(ident: str, offers: Iterable[Offer] = OFFERS) -> Offer | None:
    """The command that a request with *ident* runs: the first, where several have the same."""
    return next((each for each in offers if each.command.ident == ident), None)
