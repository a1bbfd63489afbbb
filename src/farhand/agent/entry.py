"""One command of a host and the arguments it runs, with places for its parameters' values.

A value stands in one argument and never meets a shell; nothing in a request can name a program
or become an option.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from farhand.domain.command import Command, Param, ParamType
from farhand.errors import ConfigError, InvalidParameter

IDENT: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?")
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")

_PIECE: Final = re.compile(r"\{\{|\}\}|\{(?P<name>[a-z][a-z0-9_]*)(?::(?P<text>[^{}]*))?\}|[{}]")

Item = str | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A command and the arguments it runs. *timeout_s* caps the time limit of a job.

    An argument may hold `{name}` for a parameter's value, or `{name:text}` for *text* where the
    parameter (a bool) is true; `{{` and `}}` are braces. An argument whose parameter has no
    value, or is false, is left out; of a tuple of arguments all or none.
    """

    command: Command
    argv: tuple[Item, ...]
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse, with ConfigError, what could fail only when somebody needs it."""
        _check(self)

    def filled(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """Return the arguments with *values* in their places."""
        argv: list[str] = []
        for item in self.argv:
            group = [self._argument(text, values) for text in _group(item)]
            argv += [text for text in group if text is not None] if None not in group else []
        return tuple(argv)

    def _argument(self, template: str, values: Mapping[str, str]) -> str | None:
        """One argument, or None where a value is missing."""
        parts, at = [], 0
        for piece in _PIECE.finditer(template):
            parts.append(template[at : piece.start()])
            at = piece.end()
            name = piece["name"]
            if name is None:
                parts.append(piece[0][0])
                continue
            value = values.get(name)
            if piece["text"] is not None:
                value = piece["text"] if value == "true" else None
            elif value is not None:
                self._refuse_option(name, value, first=piece.start() == 0)
            if value is None:
                return None
            parts.append(value)
        return "".join((*parts, template[at:]))

    def _refuse_option(self, name: str, value: str, *, first: bool) -> None:
        """A value at the start of an argument must not be read as an option."""
        free = {param.name for param in self.command.params if param.type in _FREE}
        if first and name in free and value.startswith("-"):
            msg = f"{name}={value!r} begins with a dash and would be taken for an option"
            raise InvalidParameter(msg, parameter=name)


_FREE: Final = frozenset({ParamType.TEXT, ParamType.HOST})


def _group(item: Item) -> tuple[str, ...]:
    return (item,) if isinstance(item, str) else item


def _check(entry: Entry) -> None:
    command = entry.command
    if IDENT.fullmatch(command.ident) is None:
        msg = f"ident {command.ident!r} must be 1 to 64 of a-z, 0-9, dots and dashes"
        raise ConfigError(msg)
    used = _used(entry)
    known = [param.name for param in command.params]
    for name in known:
        if NAME.fullmatch(name) is None:
            raise ConfigError(f"param name {name!r} must be 1 to 32 of a-z, 0-9 and _")
        if known.count(name) > 1:
            raise ConfigError(f"param {name!r} is there twice")
        if name not in used:
            raise ConfigError(f"param {name!r} is never used in argv")
    for name, whens in used.items():
        if name not in known:
            raise ConfigError(f"argv uses {{{name}}}, which is no param")
        flag = next(param for param in command.params if param.name == name).type
        if any((flag is ParamType.BOOL) != when for when in whens):
            raise ConfigError(f"argv: {{{name}:TEXT}} is for a bool, {{{name}}} for all others")
    for param in command.params:
        _check_param(param)
    if entry.timeout_s is not None and not 0 < entry.timeout_s <= 7 * 86_400:
        raise ConfigError("timeout_s must be above 0 and at most 604800")


def _used(entry: Entry) -> dict[str, list[bool]]:
    """The parameters that argv names, and for each place whether it is of the form for bools."""
    texts = [text for item in entry.argv for text in _group(item)]
    if not texts or not texts[0] or _PIECE.search(texts[0]) or not isinstance(entry.argv[0], str):
        raise ConfigError("argv must begin with a program, without a placeholder")
    used: dict[str, list[bool]] = {}
    for text in texts:
        if "\0" in text:
            raise ConfigError("argv has a NUL byte; no program can be given one")
        for piece in _PIECE.finditer(text):
            if piece["name"] is not None:
                used.setdefault(piece["name"], []).append(piece["text"] is not None)
            elif len(piece[0]) == 1:
                raise ConfigError(f"argv: a lone {piece[0]} in {text!r}; write it twice")
    return used


def _check_param(param: Param) -> None:
    name = param.name
    if param.pattern is not None:
        try:
            re.compile(param.pattern)
        except re.error as exc:
            raise ConfigError(f"param {name!r}: pattern {param.pattern!r}: {exc}") from exc
    if (param.type is ParamType.CHOICE) != bool(param.choices):
        raise ConfigError(f"param {name!r}: choices are for type choice, which needs some")
    ranged = param.minimum is not None or param.maximum is not None
    if ranged and param.type is not ParamType.INT:
        raise ConfigError(f"param {name!r}: minimum and maximum are for type int")
    if param.required and param.default is not None:
        raise ConfigError(f"param {name!r}: what has a default is not required")
    if param.default is not None:
        try:
            param.checked(param.default)
        except InvalidParameter as exc:
            raise ConfigError(f"param {name!r}: its default: {exc}") from exc
