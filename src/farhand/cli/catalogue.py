"""`farhand commands` and `farhand namespaces`: what a host can be asked, and what it holds.

Both ask the agent itself; it must be connected.
"""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Final

from farhand.cli import tables
from farhand.cli.outcome import Exit
from farhand.cli.parser import connection, suggested
from farhand.cli.screen import json_line
from farhand.client._blocking import Client
from farhand.client._errors import NotFound, Unavailable
from farhand.client._shapes import Command, Namespace, Param

COMMAND_CHARS: Final = 60  # of a process's command line; --json has all

COMMANDS: dict[str, Callable[[Command], str]] = {
    "command": lambda command: command.ident,
    "parameters": lambda command: " ".join(map(_in_short, command.params)),
    "what it does": lambda command: command.description,
}
GROUP: Final = {"group": lambda command: command.group}  # where an agent has groups
PARAMS: tables.Columns[Param] = {
    "parameter": lambda param: param.name,
    "type": lambda param: "|".join(param.choices) or param.type,
    "default": lambda param: "required" if param.required else param.default or "",
    "what it is": lambda param: param.description,
}
NAMESPACES: tables.Columns[Namespace] = {
    "kind": lambda found: found.kind,
    "id": lambda found: str(found.id),
    "pid": lambda found: str(found.pid),
    "processes": lambda found: str(found.processes),
    "owner": lambda found: found.owner,
    "container": lambda found: found.container[:12],
    "pod": lambda found: found.pod,
    "command": lambda found: _cut(found.command),
}


def _cut(text: str) -> str:
    return text if len(text) <= COMMAND_CHARS else text[: COMMAND_CHARS - 1] + "…"


def _in_short(param: Param) -> str:
    return param.name if param.required else f"[{param.name}]"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what both verbs take."""
    namespaces = parser.prog.endswith("namespaces")
    parser.add_argument(
        "agent",
        nargs=None if namespaces else "?",
        metavar="AGENT",
        help="a name, an id or IP-MAC" + ("" if namespaces else "; else the first that is online"),
    )
    if namespaces:
        parser.add_argument("--kind", help="only this kind: net, mnt, pid, …")
    else:
        parser.add_argument("ident", nargs="?", metavar="IDENT", help="show its parameters")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def execute(args: argparse.Namespace) -> int:
    """Ask the agent and show its answer."""
    with connection(args) as client:
        if args.verb == "namespaces":
            tables.show(
                [one for one in client.namespaces(args.agent) if args.kind in {None, one.kind}],
                NAMESPACES,
                lambda found: found.raw,
                as_json=args.json,
                empty="no namespace of this kind",
            )
            return Exit.OK
        commands = client.commands(args.agent or _anyone(client))
        if args.ident is None:
            grouped = any(command.group for command in commands)
            tables.show(
                commands,
                COMMANDS | GROUP if grouped else COMMANDS,
                lambda command: command.raw,
                as_json=args.json,
                empty="its catalogue is empty",
            )
            return Exit.OK
    return _one(commands, args)


def _anyone(client: Client) -> str:
    for agent in client.agents():
        if agent.liveness == "online":
            return agent.id
    raise Unavailable("no agent is online; see `farhand agents`", status=503, code="agent-gone")


def _one(commands: Iterable[Command], args: argparse.Namespace) -> int:
    known = {command.ident: command for command in commands}
    command = known.get(args.ident)
    if command is None:
        missing = NotFound(
            f"{args.agent} has no command {args.ident!r}", status=404, code="unknown-command"
        )
        missing.hint = suggested(args.ident, known) or "`farhand commands AGENT` lists them"
        raise missing
    if args.json:
        json_line(None, command.raw)
        return Exit.OK
    tables.facts(
        {
            "command": command.ident,
            "label": command.label,
            "group": command.group,
            "what": command.description,
            "prints": command.output,
        }
    )
    tables.show(command.params, PARAMS, asdict, as_json=False, empty="it takes no parameters")
    return Exit.OK
