"""Who asks through DeepFlow's API, and what their headers leave of the rights of their token.

A header never adds a right. The headers that name a user count where the front that sets them is
trusted; from anybody else they choose a key for the AES layer and nothing else.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from starlette.datastructures import Headers

from farhand.domain.command import Command
from farhand.http.deepflow.answers import Answered, OptStatus

# What users who administer nothing may run, by the names that DeepFlow's server knows.
PROFILE: Final = frozenset(
    {"ps", "java-dump-stack", "java-dump-gc", "java-dump-heap", "ebpf-dump-stack"}
)
PROBE: Final = frozenset({"ping", "tcping", "curl", "dig", "traceroute"})
KINDS: Final = {"profile": PROFILE, "probe": PROBE}

_ADMINS: Final = frozenset({1, 2})  # DeepFlow's super admin and admin
_ORGS: Final = range(1, 1025)
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Front:
    """The addresses from which headers about a user are believed; none unless told."""

    trusted: tuple[IPv4Network | IPv6Network, ...] = ()

    def trusts(self, peer: str) -> bool:
        """Tell whether *peer*, the address at the other end of the connection, is believed."""
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.trusted)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: *name* for the records, *user* and *org* for the key, and how much they may."""

    name: str
    user: int
    org: int
    admin: bool

    def may_run(self, command: Command) -> bool:
        """Tell whether this command of an agent's own list may be run, whatever was said of it."""
        return self.admin or shown(command) in PROFILE | PROBE


def asker(headers: Headers, *, peer: str, caller: str, front: Front) -> Asker:
    """Return who asks with the token of *caller*; raise Answered for headers that cannot be."""
    user = _number(headers, "X-User-Id", OptStatus.INVALID_PARAMETERS)
    org = _number(headers, "X-Org-Id", OptStatus.ORG_ID_INVALID)
    kind = _number(headers, "X-User-Type", OptStatus.INVALID_PARAMETERS)
    if org not in _ORGS:
        told = f"X-Org-Id must be from {_ORGS.start} to {_ORGS.stop - 1}"
        raise Answered(OptStatus.ORG_ID_INVALID, told)
    trusted, admin = front.trusts(peer), kind in _ADMINS
    if not (trusted or admin):
        # To pass over it would give a front that nobody listed the rights of its token.
        told = "X-User-Type other than 1 and 2 is taken from a trusted front alone; this is none"
        raise Answered(OptStatus.NO_PERMISSIONS, told)
    named = trusted and "X-User-Id" in headers
    return Asker(f"{caller}/user-{user}" if named else caller, user, org, admin)


def _number(headers: Headers, name: str, wrong: OptStatus) -> int:
    """Return the number in a header, 1 where there is none."""
    given = headers.getlist(name)
    if not given:
        return 1
    if len(given) > 1 or _NUMBER.fullmatch(given[0]) is None:
        raise Answered(wrong, f"{name} must be one whole number")
    return int(given[0])


def shown(command: Command) -> str:
    """Return the name that DeepFlow's users know a command by."""
    return command.label or command.ident


def resolved(commands: Iterable[Command], ident: str) -> Command | None:
    """Return what *ident* runs: of two with the same ident an agent runs the first."""
    return next((command for command in commands if command.ident == ident), None)


def listed(commands: Sequence[Command], who: Asker, kind: str | None) -> list[Command]:
    """Return what *who* is shown, of one *kind* or of all."""
    return [
        command
        for command in commands
        if who.may_run(resolved(commands, command.ident) or command)
        and (kind is None or shown(command) in KINDS[kind])
    ]
