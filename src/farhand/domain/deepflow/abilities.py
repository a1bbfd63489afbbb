"""What a DeepFlow agent is in this product's own words: its identity, commands and namespaces.

Says plainly what such an agent cannot do; asks nobody and sends nothing.
"""

from collections.abc import Iterable
from typing import Final

from farhand.domain.agent import DEEPFLOW, Identity
from farhand.domain.command import Command, OutputFormat, Param, ParamType
from farhand.domain.deepflow.catalogue import DEFAULT_PATTERN
from farhand.domain.deepflow.messages import (
    CommandParam,
    LinuxNamespace,
    OutputKind,
    ParamKind,
    RemoteCommand,
    Sender,
)
from farhand.domain.job import (
    CommandCall,
    JobSpec,
    NamespaceKind,
    NamespacesOf,
)
from farhand.domain.messages import Namespace

CAPABILITIES: Final = ("namespaces",)  # those of the network; none of a native agent's others
LISTED_BYTES: Final = 1 << 20  # of all texts of a list of commands
_PID_MOST: Final = (1 << 32) - 1
_FACT_MOST: Final = 128


def identity_of(sender: Sender, *, stream: str) -> Identity:
    """Who dials, as an agent. *stream* is a tag of this stream: it has one catalogue."""
    told = {"deepflow_team": sender.team_id, "deepflow_group": sender.group_id}
    facts = {name: text[:_FACT_MOST] for name, text in told.items() if text}
    return Identity(
        name=sender.key,
        machine_id=f"{DEEPFLOW}{sender.key}",
        ip=sender.ip or "",
        mac=sender.mac or "",
        software="deepflow-agent",
        facts={"protocol": "deepflow", **facts},
        capabilities=CAPABILITIES,
        catalogue=f"{DEEPFLOW}{stream}",
    )


def unsupported(spec: JobSpec) -> str:
    """What of a job no DeepFlow agent can do, as a sentence; empty when it can do all of it."""
    asked = {
        "a program or a script of one's own": not isinstance(spec.what, CommandCall),
        "standard input": bool(spec.stdin),
        "environment variables": bool(spec.env),
        "a working directory": spec.cwd is not None,
        "a user": spec.user is not None,
        "niceness": spec.nice is not None,
        "rlimits": bool(spec.rlimits),
        "leaving children behind": spec.keep_children,
        "namespaces other than the network's": _beyond_network(spec.namespaces_of),
    }
    missing = ", ".join(what for what, wanted in asked.items() if wanted)
    if not missing:
        return ""
    return (
        f"a DeepFlow agent cannot do this: {missing}; "
        "it runs the commands of its own catalogue, as `farhand commands` lists them"
    )


def _beyond_network(of: NamespacesOf | None) -> bool:
    return of is not None and any(kind is not NamespaceKind.NET for kind in of.kinds)


def commands_of(listed: Iterable[RemoteCommand]) -> tuple[Command, ...]:
    """A list of commands: of those that share an ident the first, because that is what runs."""
    found: dict[str, Command] = {}
    for each in listed:
        if each.ident and each.ident not in found:
            found[each.ident] = Command(
                ident=each.ident,
                description=each.cmd or "",
                params=tuple(_param(param) for param in each.params if param.name),
                output=OutputFormat.BINARY
                if each.output is OutputKind.BINARY
                else OutputFormat.TEXT,
                label=each.cmd or "",
                group=each.type_name or "",
            )
    return tuple(found.values())


def _param(param: CommandParam) -> Param:
    return Param(
        name=param.name or "",
        type=ParamType.BOOL if param.kind is ParamKind.BOOLEAN else ParamType.TEXT,
        required=bool(param.required),
        description=param.description or "",
        pattern=param.regex or DEFAULT_PATTERN,
    )


def too_large(listed: Iterable[RemoteCommand]) -> bool:
    """Whether a list has more text than is kept of one agent's."""
    size = 0
    for each in listed:
        texts = [each.cmd, each.ident, each.type_name]
        for param in each.params:
            texts += [param.name, param.regex, param.description]
        size += sum(16 + len(text or "") for text in texts)
        if size > LISTED_BYTES:
            return True
    return False


def namespaces_of(listed: Iterable[LinuxNamespace]) -> tuple[Namespace, ...]:
    """A list of namespaces: those of the network that name a process."""
    return tuple(
        Namespace(
            id=each.id or 0,
            kind=NamespaceKind.NET,
            pid=each.pid,
            owner=each.user or "",
            command=each.cmd or "",
        )
        for each in listed
        if each.pid and each.pid <= _PID_MOST and each.ns_type in {"net", None}
    )
