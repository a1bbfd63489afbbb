"""The commands every agent has: what a person at three in the morning asks a host.

They look and change nothing, read no file of a caller's choice, and show no secrets they know
of. What needs no tool of the host runs in the agent's own interpreter (`farhand.agent.probe`).
"""

import sys
from pathlib import Path
from typing import Final

import farhand
from farhand.agent.entry import Entry, Item
from farhand.domain.command import Command, Param, ParamType

_START: Final = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from farhand.agent.probe.main import main; sys.exit(main(sys.argv[1:]))"
)
# Without site-packages and without the caller's environment or directory: nothing to slip in.
_PROBE: Final = tuple(
    text.replace("{", "{{").replace("}", "}}")
    for text in (
        *(sys.executable, "-I", "-S", "-c", _START),
        str(Path(farhand.__file__).parents[1]),
    )
)

_PID: Final = Param(
    name="pid", type=ParamType.INT, required=True, minimum=1, maximum=1 << 22, description="process"
)
_HOST: Final = Param(name="host", type=ParamType.HOST, required=True, description="name or address")
_UNIT: Final = r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,255}"
_DEVICE: Final = r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,30}"


def _number(name: str, default: int, most: int, description: str, least: int = 1) -> Param:
    return Param(
        name=name,
        type=ParamType.INT,
        default=str(default),
        minimum=least,
        maximum=most,
        description=description,
    )


def _choice(name: str, choices: str, description: str) -> Param:
    """One of the words in *choices*; the first is the default."""
    words = tuple(choices.split())
    return Param(
        name=name,
        type=ParamType.CHOICE,
        choices=words,
        default=words[0],
        description=description,
    )


def _flag(name: str, description: str) -> Param:
    return Param(name=name, type=ParamType.BOOL, default="false", description=description)


def _text(name: str, pattern: str, description: str, *, required: bool = False) -> Param:
    return Param(name=name, pattern=pattern, required=required, description=description)


def _entry(
    ident: str, description: str, *argv: Item, params: tuple[Param, ...] = (), most_s: float = 30
) -> Entry:
    command = Command(ident=ident, description=description, params=params)
    return Entry(command=command, argv=argv, timeout_s=most_s)


_PROCESSES: Final = (
    _entry(
        "ps",
        "Processes, sorted",
        *(*_PROBE, "ps", "by={by}", "limit={limit}", "user={user}"),
        params=(
            _choice("by", "cpu memory time start pid", "what to sort by"),
            _number("limit", 30, 10_000, "how many"),
            _text("user", r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", "only those of this user"),
        ),
    ),
    _entry(
        "top",
        "Load, memory, and who uses the CPU just now",
        *(*_PROBE, "top", "seconds={seconds}", "limit={limit}"),
        params=(
            _number("seconds", 1, 60, "how long to look"),
            _number("limit", 20, 1000, "how many"),
        ),
        most_s=90,
    ),
    _entry(
        "strace",
        "System calls of a process, for some seconds",
        *(*_PROBE, "strace", "pid={pid}", "seconds={seconds}"),
        params=(_PID, _number("seconds", 5, 60, "how long")),
        most_s=90,
    ),
    _entry(
        "open-files",
        "What a process has open",
        *(*_PROBE, "open-files", "pid={pid}", "limit={limit}"),
        params=(_PID, _number("limit", 1000, 100_000, "how many")),
    ),
    _entry(
        "process-limits",
        "Resource limits of a process",
        "cat",
        "/proc/{pid}/limits",
        params=(_PID,),
    ),
    _entry(
        "process-status",
        "State, memory and credentials of a process",
        *("cat", "/proc/{pid}/status"),
        params=(_PID,),
    ),
    _entry(
        "process-environment",
        "Environment of a process, secrets left out",
        *(*_PROBE, "environment", "pid={pid}"),
        params=(_PID,),
    ),
    _entry("namespaces", "Linux namespaces and whose they are", *_PROBE, "namespaces"),
)

_NETWORK: Final = (
    _entry(
        "sockets",
        "Open sockets",
        *("ss", "--numeric", "--{kind}"),
        *("{all:--all}", "{listening:--listening}", "{processes:--processes}"),
        params=(
            _choice("kind", "tcp udp unix raw", "which"),
            _flag("all", "also those that are not connected"),
            _flag("listening", "only those that listen"),
            _flag("processes", "with the processes that hold them"),
        ),
    ),
    _entry("socket-counts", "How many sockets there are of each kind", "ss", "--summary"),
    _entry(
        "addresses",
        "Addresses of the interfaces",
        *("ip", "address", "show", ("dev", "{device}")),
        params=(_text("device", _DEVICE, "only this interface"),),
    ),
    _entry(
        "interfaces",
        "Interfaces, with what they carried, dropped and failed at",
        *("ip", "-statistics", "-statistics", "link", "show", ("dev", "{device}")),
        params=(_text("device", _DEVICE, "only this interface"),),
    ),
    _entry(
        "routes",
        "Routes",
        *("ip", "-{family}", "route", "show", "table", "{table}"),
        params=(
            _choice("family", "4 6", "IP version"),
            Param(
                name="table",
                pattern=r"[A-Za-z0-9_]{1,32}",
                default="main",
                description="routing table, or all",
            ),
        ),
    ),
    _entry(
        "neighbours",
        "Hosts seen on the local networks",
        *("ip", "neighbour", "show", ("dev", "{device}")),
        params=(_text("device", _DEVICE, "only this interface"),),
    ),
    _entry(
        "ping",
        "Echo requests to a host",
        *(*_PROBE, "ping", "host={host}", "count={count}"),
        params=(_HOST, _number("count", 4, 100, "how many, one a second")),
        most_s=210,
    ),
    _entry(
        "traceroute",
        "The way to a host",
        *("traceroute", "-n", "-w", "2", "-q", "1", "-m", "{hops}", "--", "{host}"),
        params=(_HOST, _number("hops", 20, 64, "at most")),
        most_s=150,
    ),
    _entry(
        "dns-lookup",
        "Addresses of a name, or names of an address, as this host resolves them",
        *(*_PROBE, "dns-lookup", "name={name}"),
        params=(
            Param(name="name", type=ParamType.HOST, required=True, description="name or address"),
        ),
    ),
    _entry(
        "tcp-connect",
        "Whether a TCP port accepts connections",
        *(*_PROBE, "tcp-connect", "host={host}", "port={port}", "timeout_s={timeout_s}"),
        params=(
            _HOST,
            Param(
                name="port",
                type=ParamType.INT,
                required=True,
                minimum=1,
                maximum=65_535,
                description="TCP port",
            ),
            _number("timeout_s", 5, 60, "seconds to wait for each address"),
        ),
        most_s=150,
    ),
    _entry(
        "connection-tracking",
        "Tracked connections, and how many there may be",
        *("grep", "", "/proc/sys/net/netfilter/nf_conntrack_count"),
        "/proc/sys/net/netfilter/nf_conntrack_max",
    ),
    _entry("firewall", "Rules of nftables", "nft", "list", "ruleset"),
)

_STORAGE: Final = (
    _entry(
        "disks",
        "Free space of the file systems",
        *("df", "--human-readable", "--print-type", "{inodes:--inodes}", "{local:--local}"),
        params=(
            _flag("inodes", "inodes instead of bytes"),
            _flag("local", "not those on the network, which may hang"),
        ),
    ),
    _entry(
        "block-devices",
        "Block devices",
        *("lsblk", "--output", "NAME,TYPE,SIZE,RO,FSTYPE,MOUNTPOINTS,MODEL"),
    ),
    _entry("mounts", "Mounted file systems", "cat", "/proc/self/mounts"),
    _entry(
        "io",
        "What the block devices do",
        *(*_PROBE, "io", "seconds={seconds}"),
        params=(_number("seconds", 1, 60, "how long to look"),),
        most_s=90,
    ),
)

_SYSTEM: Final = (
    _entry("memory", "Where memory and swap went", *_PROBE, "memory"),
    _entry("uptime", "How long the host is up, and its load", *_PROBE, "uptime"),
    _entry("date", "Time of the host's clock", "date", "--iso-8601=ns"),
    _entry("who", "Who is logged in", "who"),
    _entry("os-release", "The distribution", "cat", "/etc/os-release"),
    _entry("kernel", "The kernel", "uname", "-a"),
    _entry("cpu", "The processors", "lscpu"),
    _entry(
        "pressure",
        "How long tasks wait for CPU, memory and disks",
        *("grep", "", "/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io"),
    ),
    _entry(
        "kernel-log",
        "Newest messages of the kernel",
        *(*_PROBE, "kernel-log", "limit={limit}", "level={level}"),
        params=(
            _number("limit", 200, 100_000, "how many"),
            _choice(
                "level", "debug info notice warning err crit alert emerg", "at least as bad as this"
            ),
        ),
    ),
    _entry(
        "journal",
        "Newest entries of a unit's journal",
        *("journalctl", "--no-pager", "--output=short-iso", "--lines={lines}"),
        *("--unit={unit}", "--since=-{minutes}min"),
        params=(
            _text("unit", _UNIT, "a systemd unit; all units without it"),
            _number("lines", 200, 100_000, "how many"),
            Param(
                name="minutes",
                type=ParamType.INT,
                minimum=1,
                maximum=525_600,
                description="only of the last minutes",
            ),
        ),
    ),
    _entry(
        "failed-units",
        "Units of systemd that failed",
        *("systemctl", "--no-pager", "--plain", "--full", "list-units", "--failed"),
    ),
    _entry(
        "unit-status",
        "State of a unit of systemd",
        *("systemctl", "--no-pager", "--full", "--lines=20", "status", "--", "{unit}"),
        params=(_text("unit", _UNIT, "such as nginx.service", required=True),),
    ),
)

ENTRIES: Final = (*_PROCESSES, *_NETWORK, *_STORAGE, *_SYSTEM)
