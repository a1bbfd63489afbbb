"""`farhand agents`: list the hosts, show one, name it, label it, drain it, remove it."""

import argparse
from typing import Any

from farhand.cli import tables
from farhand.cli.outcome import Exit
from farhand.cli.parser import add_connection, connection
from farhand.cli.screen import json_line
from farhand.cli.units import label
from farhand.client._blocking import Client
from farhand.client._shapes import Agent


def _seen(agent: Agent) -> str:
    return "now" if agent.liveness == "online" else tables.ago(agent.last_seen_at)


COLUMNS: tables.Columns[Agent] = {
    "name": lambda agent: agent.name,
    "state": lambda agent: agent.liveness,
    "": lambda agent: "drained" if agent.drained else "",
    "ip": lambda agent: agent.ip,
    "seen": _seen,
    "labels": lambda agent: tables.assignments(agent.labels),
    "id": lambda agent: agent.id,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what `farhand agents` takes."""
    parser.add_argument("-l", "--selector", help="only these: 'role=web & os=linux'")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    verbs = parser.add_subparsers(dest="action", metavar="ACTION")
    _action(verbs, "show", "what is known of one")
    rename = _action(verbs, "rename", "give it a name")
    rename.add_argument("name", nargs="?", help="none gives its own name back")
    labels = _action(verbs, "label", "give it labels")
    labels.add_argument("labels", nargs="+", type=label, metavar="KEY=VALUE|KEY-")
    _action(verbs, "drain", "let it take no new runs")
    _action(verbs, "undrain", "let it take runs again")
    _action(verbs, "remove", "forget it")


def _action(verbs: Any, name: str, said: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = verbs.add_parser(name, help=said, description=said)
    added.add_argument("agent", metavar="AGENT", help="a name, an id or IP-MAC")
    added.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    add_connection(added, again=True)
    return added


def execute(args: argparse.Namespace) -> int:
    """List the agents, or do to one what was asked."""
    with connection(args) as client:
        if args.action is None:
            tables.show(
                client.agents(args.selector),
                COLUMNS,
                lambda agent: agent.raw,
                as_json=args.json,
                empty="no agent here; `farhand agent --help` says how one joins",
            )
        elif args.action == "remove":
            client.remove(args.agent)
        else:
            agent = _changed(client, args)
            if args.json:
                json_line(None, agent.raw)
            else:
                _show(agent)
    return Exit.OK


def _changed(client: Client, args: argparse.Namespace) -> Agent:
    match args.action:
        case "rename":
            return client.rename(args.agent, args.name)
        case "label":
            return client.relabel(args.agent, dict(args.labels))
        case "drain":
            return client.drain(args.agent)
        case "undrain":
            return client.undrain(args.agent)
        case _:
            return client.get_agent(args.agent)


def _show(agent: Agent) -> None:
    tables.facts(
        {
            "name": agent.name,
            "id": agent.id,
            "state": agent.liveness + (", drained" if agent.drained else ""),
            "last seen": _seen(agent),
            "joined": tables.at(agent.joined_at),
            "address": " ".join(filter(None, (agent.ip, agent.mac))),
            "software": agent.software,
            "labels": tables.assignments(agent.labels),
            "facts": tables.assignments(agent.facts),
        }
    )
