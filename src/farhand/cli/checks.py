"""The checks of `farhand doctor`: each looks at one thing and returns what it found.

Changes nothing, and raises nothing that a sick set-up could cause.
"""

import os
import platform
import shutil
import socket
import ssl
import stat
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from farhand.cli.units import in_words
from farhand.client import _calls as calls
from farhand.client import _targets
from farhand.client._calls import Answer, Call
from farhand.client._errors import ClientError, NotAllowed, TimedOut, TlsFailed
from farhand.client._local import Address
from farhand.client._shapes import entries
from farhand.client._transport import CONNECT_S, READ_S, Origin, Transport, tls_context

Level = Literal["ok", "warn", "fail"]

SKEW_S: Final = 5.0
EXPIRY_S: Final = 14 * 86_400.0
FREE_BYTES: Final = 1024**3
TESTED_UP_TO: Final = (3, 14)
TOOLS: Final = {
    "ip": "the catalogue cannot show addresses, routes and neighbours",
    "ss": "the catalogue cannot show sockets",
    "lsblk": "the catalogue cannot show block devices",
    "strace": "the catalogue cannot trace a process",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, and what to do about it."""

    check: str
    level: Level
    said: str
    todo: str = ""

    def as_json(self) -> dict[str, object]:
        """Return it for programs."""
        return asdict(self)


def python() -> Finding:
    """Look at the interpreter."""
    said = f"Python {platform.python_version()}, farhand {version('farhand')}"
    if sys.version_info[:2] > TESTED_UP_TO:
        return Finding("python", "warn", said, "farhand is tested with Python 3.11 to 3.14")
    return Finding("python", "ok", said)


def transport(found: Address) -> tuple[Transport | None, Finding]:
    """Look at the URL and the CA; return what speaks to the controller, if anything can."""
    try:
        made = Transport(found.url, found.token, ca=found.ca, connect_s=CONNECT_S, read_s=READ_S)
    except ClientError as exc:
        return None, Finding("address", "fail", str(exc), exc.hint)
    return made, Finding("address", "ok", found.url)


def privacy(origin: Origin) -> Iterable[Finding]:
    """Look whether the token would travel in the clear."""
    if origin.scheme == "http" and not _loopback(origin.host):
        yield Finding(
            "privacy",
            "warn",
            f"the token travels to {origin.host} unencrypted",
            "start the controller with --tls-cert and --tls-key, and use https://",
        )


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def reach(transport: Transport) -> tuple[Answer | None, Finding]:
    """Look whether anybody answers, and whether it is farhand."""
    netloc = transport.origin.netloc
    try:
        with transport.open(_asking("/healthz")) as stream:
            answer = stream.whole()
        entries(_asking("/healthz").answered(answer))
    except TlsFailed as exc:
        return None, Finding("tls", "fail", str(exc), exc.hint)
    except TimedOut:
        todo = "is the address right, and does a firewall drop the packets?"
        return None, Finding("reach", "fail", f"{netloc} does not answer", todo)
    except ClientError as exc:
        todo = exc.hint or "is the port right, and is it https:// rather than http://?"
        return None, Finding("reach", "fail", str(exc), todo)
    return answer, Finding("reach", "ok", f"{netloc} answers")


def _asking(path: str) -> Call[object]:
    return Call(method="GET", path=path, read=calls.parsed)


def certificate(origin: Origin, ca: str | None) -> Iterable[Finding]:
    """Look how long the controller's certificate is good for. Its trust and name were checked."""
    if origin.scheme != "https":
        return
    try:
        with (
            socket.create_connection((origin.host, origin.port), CONNECT_S) as plain,
            tls_context(ca).wrap_socket(plain, server_hostname=origin.host) as sock,
        ):
            told = sock.getpeercert() or {}
    except (OSError, ClientError) as exc:
        yield Finding("certificate", "warn", f"could not be looked at: {exc}")
        return
    ends = str(told.get("notAfter", ""))
    left_s = ssl.cert_time_to_seconds(ends) - time.time()
    said = f"good until {ends}"
    if left_s < EXPIRY_S:
        todo = "renew it; the controller reads it anew when it starts"
        yield Finding("certificate", "warn", said, todo)
    else:
        yield Finding("certificate", "ok", said)


def clock(head: Answer) -> Finding:
    """Look how far this clock is from the controller's."""
    try:
        theirs = parsedate_to_datetime(head.headers.get("date", "")).timestamp()
    except ValueError:
        return Finding("clock", "warn", "the controller does not tell its time")
    skew_s = time.time() - theirs
    said = f"{abs(skew_s):.0f} s from the controller's"
    if abs(skew_s) > SKEW_S:
        todo = "set both by NTP; farhand itself does not rely on it, certificates and logs do"
        return Finding("clock", "warn", said, todo)
    return Finding("clock", "ok", said)


def ready(transport: Transport) -> Finding:
    """Look whether the controller can serve."""
    try:
        transport.send(calls.health())
    except ClientError as exc:
        todo = "look at the controller's log, its disk and its data directory"
        return Finding("ready", "fail", f"the controller cannot serve: {exc}", todo)
    return Finding("ready", "ok", "the controller can serve")


def token(transport: Transport, found: Address) -> Sequence[Finding]:
    """Look whether the token is taken, and whether the versions fit."""
    if found.token is None:
        todo = "set FARHAND_TOKEN to the content of the controller's admin.token"
        return [Finding("token", "fail", "no token is known", todo)]
    try:
        told = transport.send(calls.version())
    except NotAllowed:
        todo = "copy the controller's admin.token again; is it the token of this controller?"
        return [Finding("token", "fail", "the controller does not take the token", todo)]
    except ClientError as exc:
        return [Finding("token", "fail", f"could not be tried: {exc}", exc.hint)]
    who = f" as {told.caller}" if told.caller else ""
    findings = [Finding("token", "ok", f"taken{who}")]
    ours = version("farhand")
    if ours.split(".")[:2] == told.version.split(".")[:2]:
        return [*findings, Finding("versions", "ok", f"both sides have {told.version}")]
    said = f"the controller has {told.version}, this program {ours}"
    return [*findings, Finding("versions", "warn", said, "install the same version on both")]


def freeze(transport: Transport) -> Finding:
    """Look whether jobs may begin."""
    try:
        told = transport.send(_targets.get_freeze())
    except ClientError as exc:
        return Finding("freeze", "warn", f"could not be asked: {exc}", exc.hint)
    if not told.frozen:
        return Finding("freeze", "ok", "jobs may begin")
    since = f" since {told.at:%Y-%m-%d %H:%M} UTC" if told.at is not None else ""
    said = f"no job begins{since}: {told.by} froze all jobs: {told.reason}"
    return Finding("freeze", "warn", said, "`farhand unfreeze` lets jobs begin again")


def agents(transport: Transport) -> Finding:
    """Look how many agents are there."""
    away: list[str] = []
    online = 0
    cursor: str | None = None
    try:
        while True:
            page = transport.send(calls.agents(cursor))
            online += sum(agent.liveness == "online" for agent in page.items)
            away += (agent.name for agent in page.items if agent.liveness != "online")
            cursor = page.next
            if cursor is None:
                break
    except ClientError as exc:
        return Finding("agents", "fail", f"could not be listed: {exc}", exc.hint)
    return _counted(online, away)


def _counted(online: int, away: Sequence[str]) -> Finding:
    if not online and not away:
        todo = "start one: `farhand agent --controller HOST:PORT --join-token-file FILE …`"
        return Finding("agents", "warn", "none has joined", todo)
    if away:
        named = ", ".join(islice(away, 5)) + (", …" if len(away) > 5 else "")
        said = f"{online} online, {len(away)} away: {named}"
        return Finding("agents", "warn", said, "look at the agent's log on such a host")
    return Finding("agents", "ok", f"{online} online")


def directory(check: str, name: str) -> Iterable[Finding]:
    """Look at a directory that a process keeps things in: there, writable, private, with room."""
    path = Path(name)
    try:
        status = path.stat()
    except OSError as exc:
        todo = "give the directory that the process was started with"
        yield Finding(check, "fail", f"{name} cannot be looked at: {exc.strerror}", todo)
        return
    if not stat.S_ISDIR(status.st_mode):
        yield Finding(check, "fail", f"{name} is no directory")
        return
    if not os.access(path, os.W_OK | os.X_OK):
        todo = "run this as the user of that process, or mend its owner and mode"
        yield Finding(check, "fail", f"{name} cannot be written", todo)
    else:
        yield Finding(check, "ok", f"{name} can be written")
    if stat.S_IMODE(status.st_mode) & stat.S_IWOTH:
        yield Finding(check, "fail", f"{name} can be written by anybody", f"chmod 700 {name}")
    free = shutil.disk_usage(path).free
    said = f"{in_words(free)} free below {name}"
    if free < FREE_BYTES:
        yield Finding("disk", "warn", said, "make room: what is printed is kept there")
    else:
        yield Finding("disk", "ok", said)


def secrets(data: str) -> Iterable[Finding]:
    """Look at the tokens that a controller left in its data directory."""
    for name in ("admin.token", "join.token"):
        path = Path(data) / name
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as exc:
            yield Finding(name, "warn", f"{path}: {exc.strerror}", "has a controller started here?")
            continue
        if mode & 0o077:
            yield Finding(name, "fail", f"{path} can be read by others", f"chmod 600 {path}")
        else:
            yield Finding(name, "ok", f"{path} is private")


def tools() -> Iterable[Finding]:
    """Look for the host's tools that an agent uses."""
    for name, without in TOOLS.items():
        if found := shutil.which(name):
            yield Finding(name, "ok", found)
        else:
            yield Finding(
                name, "warn", f"not on PATH: {without}", "install iproute2, util-linux, strace"
            )
