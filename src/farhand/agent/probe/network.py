"""Ask the network from this host: names, TCP ports, echoes.

Sends what a person would send by hand, to one host, a bounded number of times.
"""

# ruff: noqa: T201  # printing is its work

import errno
import ipaddress
import os
import re
import socket
import struct
import time
from pathlib import Path
from typing import Final

from farhand.agent.probe.main import ProbeFailed

_ECHO: Final = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # request and reply
_PERIOD_S: Final = 1.0


def dns_lookup(*, name: str) -> None:
    """Print the addresses of a name, or the names of an address, as this host resolves them."""
    servers = re.findall(r"^nameserver\s+(\S+)", _text("/etc/resolv.conf"), re.MULTILINE)
    print(f"servers    {', '.join(servers) or 'none in /etc/resolv.conf'}")
    began = time.perf_counter()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        print(f"name       {name}")
        found = [f"address    {address[0]}" for _, address in _addresses(name, 0)]
    else:
        print(f"address    {name}")
        found = [f"name       {each}" for each in _names(name)]
    print(*dict.fromkeys(found), sep="\n")
    print(f"took       {(time.perf_counter() - began) * 1000:.1f} ms")


def tcp_connect(*, host: str, port: str, timeout_s: str) -> None:
    """Connect to every address of *host* in turn; fail when none accepts."""
    accepted = False
    for family, address in _addresses(host, int(port)):
        shown = f"{address[0]} port {port}"
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(float(timeout_s))
            began = time.perf_counter()
            try:
                connection.connect(address)
            except OSError as exc:
                print(f"{shown}: {exc.strerror or exc} {_ms_since(began)}")
            else:
                accepted = True
                print(f"{shown}: connected {_ms_since(began)}, from {connection.getsockname()[0]}")
    if not accepted:
        raise ProbeFailed(f"{host} does not accept connections to port {port}")


def ping(*, host: str, count: str) -> None:
    """Send *count* echo requests, one a second; fail when none is answered."""
    family, address = _addresses(host, 0)[0]
    times: list[float] = []
    with _echo_socket(family) as link:
        for sequence in range(1, int(count) + 1):
            began = time.perf_counter()
            took = _echo(link, family, address, sequence)
            if took is None:
                print(f"no answer from {address[0]}: seq={sequence}")
            else:
                times.append(took * 1000)
                print(f"answer from {address[0]}: seq={sequence} time={took * 1000:.2f} ms")
            if sequence < int(count):
                time.sleep(max(0.0, _PERIOD_S - (time.perf_counter() - began)))
    lost = 100 * (int(count) - len(times)) / int(count)
    print(f"{count} sent, {len(times)} answered, {lost:.0f}% lost")
    if not times:
        raise ProbeFailed(f"{host} does not answer; a firewall on the way may drop echoes")
    mean = sum(times) / len(times)
    print(f"min/mean/max = {min(times):.2f}/{mean:.2f}/{max(times):.2f} ms")


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as exc:
        raise ProbeFailed(f"{host} cannot be resolved: it is not a host name") from exc
    except OSError as exc:
        raise ProbeFailed(f"{host} cannot be resolved: {exc.strerror or exc}") from exc
    return [(family, address) for family, _, _, _, address in found]


def _names(address: str) -> list[str]:
    try:
        name, aliases, _ = socket.gethostbyaddr(address)
    except OSError as exc:
        raise ProbeFailed(f"{address} has no name: {exc.strerror or exc}") from exc
    return [name, *aliases]


def _echo_socket(family: socket.AddressFamily) -> socket.socket:
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):  # the first for all, the second for root
        try:
            return socket.socket(family, kind, protocol)
        except OSError as exc:
            if exc.errno not in {errno.EACCES, errno.EPERM, errno.EPROTONOSUPPORT}:
                raise
    raise ProbeFailed("this user may not send echoes; see net.ipv4.ping_group_range")


def _echo(
    link: socket.socket, family: socket.AddressFamily, address: tuple[object, ...], sequence: int
) -> float | None:
    """Send one request; return the seconds until its answer, or None after a while."""
    request, reply = _ECHO[family]
    token = os.urandom(16)
    head = struct.pack("!BBHHH", request, 0, 0, os.getpid() & 0xFFFF, sequence)
    checksum = _checksum(head + token)
    began = time.perf_counter()
    try:
        link.sendto(head[:2] + struct.pack("!H", checksum) + head[4:] + token, address)
        while (left := began + _PERIOD_S - time.perf_counter()) > 0:
            link.settimeout(left)
            packet = link.recv(2048)
            if packet.endswith(token) and packet[-len(token) - 8] == reply:
                return time.perf_counter() - began
    except TimeoutError:
        return None
    except OSError as exc:
        print(f"{address[0]}: {exc.strerror or exc}")
    return None


def _checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071); the kernel replaces it where it knows better."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ms_since(began: float) -> str:
    return f"after {(time.perf_counter() - began) * 1000:.1f} ms"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
