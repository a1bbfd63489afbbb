"""Read the operator's own commands from a TOML file on the host.

Strict: a key that is not known, a file that others may write or a command that could fail only
when it is needed is a ConfigError that names the file and the place.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from farhand.agent.entry import Entry, Item
from farhand.domain.command import Command, OutputFormat, Param, ParamType
from farhand.errors import ConfigError

_COMMAND_KEYS: Final = {"ident", "description", "argv", "output", "timeout_s", "param"}
_PARAM_KEYS: Final[Mapping[str, tuple[type, ...]]] = {
    "name": (str,),
    "type": (str,),
    "required": (bool,),
    "default": (str, int, bool),
    "description": (str,),
    "choices": (list,),
    "minimum": (int,),
    "maximum": (int,),
    "pattern": (str,),
}
_CALLED: Final = {str: "a string", bool: "true or false", int: "a whole number", list: "a list"}


def read_commands(path: Path) -> tuple[Entry, ...]:
    """Return the commands of *path*, in its order. Raises ConfigError."""
    import tomllib  # noqa: PLC0415  # most agents have no such file

    try:
        document = tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path}: {exc}") from exc
    tables = document.pop("command", [])
    if document or not _is_tables(tables):
        raise ConfigError(f"{path}: takes only [[command]] tables; not {_names(document)}")
    entries: dict[str, Entry] = {}
    for number, table in enumerate(tables, 1):
        place = f"{path}: command {number}"
        if isinstance(ident := table.get("ident"), str):
            place += f" ({ident})"
        try:
            entry = _entry(table)
        except ConfigError as exc:
            raise ConfigError(f"{place}: {exc}") from exc
        if entry.command.ident in entries:
            raise ConfigError(f"{place}: this ident is there twice")
        entries[entry.command.ident] = entry
    return tuple(entries.values())


def _text(path: Path) -> str:
    """The file's text, if nobody but root and this user could have written it."""
    try:
        with path.open(encoding="utf-8") as file:
            found = os.fstat(file.fileno())
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                msg = f"{path} may be written by others, who could run anything; chmod go-w it"
                raise ConfigError(msg)
            if found.st_uid not in {0, os.geteuid()}:
                msg = f"{path} belongs to user {found.st_uid}, who could run anything; chown it"
                raise ConfigError(msg)
            return file.read()
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path} is not UTF-8: {exc.reason} at byte {exc.start}") from exc


def _entry(table: Mapping[str, Any]) -> Entry:
    if unknown := table.keys() - _COMMAND_KEYS:
        raise ConfigError(f"takes {_names(_COMMAND_KEYS)}; not {_names(unknown)}")
    for name in ("ident", "argv"):
        if name not in table:
            _wrong(name, "is missing")
    params = table.get("param", [])
    if not _is_tables(params):
        _wrong("param", "must be [[command.param]] tables")
    output = _word(table, "output", OutputFormat.TEXT)
    if output not in set(OutputFormat):
        _wrong("output", f"must be {_names(OutputFormat)}")
    timeout_s = table.get("timeout_s")
    if timeout_s is not None and type(timeout_s) not in {int, float}:
        _wrong("timeout_s", "must be a number of seconds")
    return Entry(
        command=Command(
            ident=_word(table, "ident"),
            description=_word(table, "description"),
            params=tuple(_param(number, param) for number, param in enumerate(params, 1)),
            output=OutputFormat(output),
        ),
        argv=_argv(table["argv"]),
        timeout_s=timeout_s,
    )


def _argv(value: object) -> tuple[Item, ...]:
    if not isinstance(value, list):
        _wrong("argv", "must be a list")
    items: list[Item] = []
    for item in value:
        if isinstance(item, str):
            items.append(item)
        elif isinstance(item, list) and item and all(isinstance(text, str) for text in item):
            items.append(tuple(item))
        else:
            _wrong("argv", "must hold strings, or lists of strings that belong together")
    return tuple(items)


def _param(number: int, table: Mapping[str, Any]) -> Param:
    place = f"param {number}"
    if unknown := table.keys() - _PARAM_KEYS.keys():
        _wrong(place, f"takes {_names(_PARAM_KEYS)}; not {_names(unknown)}")
    if "name" not in table:
        _wrong(place, "has no name")
    for key, value in table.items():
        if type(value) not in _PARAM_KEYS[key]:
            taken = " or ".join(_CALLED[kind] for kind in _PARAM_KEYS[key])
            _wrong(f"{place}: {key}", f"must be {taken}")
    values = dict(table)
    kind = values.pop("type", ParamType.TEXT)
    if kind not in set(ParamType):
        _wrong(f"{place}: type", f"must be {_names(ParamType)}")
    choices = values.pop("choices", [])
    if not all(isinstance(choice, str) for choice in choices):
        _wrong(f"{place}: choices", "must be strings")
    if type(default := values.get("default")) is bool:
        values["default"] = "true" if default else "false"
    elif type(default) is int:
        values["default"] = str(default)
    return Param(type=ParamType(kind), choices=tuple(choices), **values)


def _word(table: Mapping[str, Any], name: str, default: str = "") -> str:
    value = table.get(name, default)
    if not isinstance(value, str):
        _wrong(name, "must be a string")
    return value


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _names(names: Any) -> str:
    return ", ".join(sorted(map(str, names))) or "other things"


def _wrong(place: str, what: str) -> NoReturn:
    raise ConfigError(f"{place} {what}")
