"""What a DeepFlow server may ask this host to run, and what one request for it means here.

Starts nothing. DeepFlow's own commands come first, in its order and with its rules; then this
host's catalogue, under the idents it has.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from farhand.agent.executor import Resolver
from farhand.domain.command import Command, OutputFormat, Param, ParamType
from farhand.domain.deepflow import texts
from farhand.domain.deepflow.catalogue import (
    OFFERS,
    Offer,
    argv_of,
    look_up,
    problem_with,
    value_of,
)
from farhand.domain.deepflow.messages import (
    CommandParam,
    OutputKind,
    Parameter,
    ParamKind,
    RemoteCommand,
)
from farhand.domain.job import CommandCall
from farhand.errors import InvalidParameter

TYPE_NAME: Final = "farhand"  # of the host's own commands
_KUBECTL: Final = "kubectl"


class Catalogue(Resolver, Protocol):
    """The commands of this host."""

    @property
    def commands(self) -> tuple[Command, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What one request runs. *cmdline* is its name in error texts.

    Without *argv* it is the table of namespaces, which needs no program.
    """

    cmdline: str
    argv: tuple[str, ...] = ()
    timeout_s: float | None = None
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request runs nothing, in the words of a DeepFlow agent."""

    errmsg: str


class Offers:
    """All that can be asked for. *has* tells whether a program is on this host's PATH."""

    def __init__(self, catalogue: Catalogue, has: Callable[[str], bool]) -> None:
        self._catalogue = catalogue
        self._has = has

    def listed(self) -> tuple[RemoteCommand, ...]:
        """The commands as a server shows them; those of kubectl only where it is."""
        has_kubectl = self._has(_KUBECTL)
        return (
            *(o.command for o in OFFERS if has_kubectl or not o.cmdline.startswith(_KUBECTL)),
            *map(_shown, self._catalogue.commands),
        )

    def resolve(self, ident: str, given: Iterable[Parameter]) -> Errand | Refusal:
        """What *ident* runs with the values *given*; what nobody declared is passed over."""
        given = tuple(given)
        if (found := look_up(ident)) is not None:
            return _deepflows(found, given)
        for command in self._catalogue.commands:
            if command.ident == ident:
                return self._own(command, given)
        return Refusal(texts.unknown_ident(ident))

    def _own(self, command: Command, given: tuple[Parameter, ...]) -> Errand | Refusal:
        values: dict[str, str] = {}
        for param in command.params:
            value = value_of(param.name, given)
            if value is None and param.required:
                return _rejected(command.ident, f"param `{param.name}` not found")
            if value or (value is not None and param.required):
                values[param.name] = value
        try:
            found = self._catalogue.resolve(CommandCall(command.ident, values))
        except InvalidParameter as exc:
            name = exc.details.get("parameter", "")
            return _rejected(command.ident, f"param `{name}` is invalid")
        return Errand(
            cmdline=command.ident, argv=found.argv, timeout_s=found.timeout_s, env=found.env
        )


def _deepflows(found: Offer, given: tuple[Parameter, ...]) -> Errand | Refusal:
    if problem := problem_with(found.command.params, given) or _option(found, given):
        return _rejected(found.cmdline, problem)
    if found.cmdline == "lsns":
        return Errand(cmdline=found.cmdline)
    return Errand(cmdline=found.cmdline, argv=tuple(argv_of(found.cmdline, given)))


def _option(found: Offer, given: tuple[Parameter, ...]) -> str | None:
    """A pod's pattern lets `--all-namespaces` through, which a program takes for an option."""
    for param in found.command.params:
        name = param.name or ""
        if (value_of(name, given) or "").startswith("-"):
            return f"param `{name}` is invalid"
    return None


def _rejected(cmdline: str, problem: str) -> Refusal:
    return Refusal(texts.rejected(cmdline, problem))


def _shown(command: Command) -> RemoteCommand:
    binary = command.output is OutputFormat.BINARY
    return RemoteCommand(
        cmd=command.label or command.ident,
        output=OutputKind.BINARY if binary else OutputKind.TEXT,
        ident=command.ident,
        params=tuple(map(_param, command.params)),
        type_name=command.group or TYPE_NAME,
    )


def _param(param: Param) -> CommandParam:
    return CommandParam(
        name=param.name,
        regex=param.regex,
        required=param.required,
        kind=ParamKind.BOOLEAN if param.type is ParamType.BOOL else ParamKind.TEXT,
        description=param.description or None,
    )
