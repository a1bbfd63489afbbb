import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from farhand.agent.probe.main import ProbeFailed
from farhand.agent.probe.network import _checksum, dns_lookup, ping, tcp_connect


@pytest.fixture
def port() -> Iterator[int]:
    """A port that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_name_is_resolved(capsys: pytest.CaptureFixture[str]) -> None:
    dns_lookup(name="localhost")

    assert {"127.0.0.1", "::1"} & set(capsys.readouterr().out.split())


def test_a_name_that_nobody_has_is_a_failure() -> None:
    with pytest.raises(ProbeFailed, match="cannot be resolved"):
        dns_lookup(name="no..such")


def test_a_port_that_accepts_says_how_fast(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    tcp_connect(host="127.0.0.1", port=str(port), timeout_s="5")

    assert f"127.0.0.1 port {port}: connected after" in capsys.readouterr().out


def test_a_port_that_refuses_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        port = taken.getsockname()[1]
        with pytest.raises(ProbeFailed, match="does not accept"):
            tcp_connect(host="127.0.0.1", port=str(port), timeout_s="5")

    assert "refused" in capsys.readouterr().out


def may_ping() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    except OSError:
        low, high = Path("/proc/sys/net/ipv4/ping_group_range").read_text().split()
        group = int(subprocess.run(["id", "-g"], check=True, capture_output=True).stdout)
        return int(low) <= group <= int(high)
    return True


@pytest.mark.skipif(not may_ping(), reason="this user may not send echoes")
def test_this_host_answers(capsys: pytest.CaptureFixture[str]) -> None:
    ping(host="127.0.0.1", count="1")
    said = capsys.readouterr().out

    assert "answer from 127.0.0.1: seq=1" in said
    assert "1 sent, 1 answered, 0% lost" in said


@pytest.mark.skipif(may_ping(), reason="this user may send echoes")
def test_who_may_not_ping_is_told_why() -> None:
    with pytest.raises(ProbeFailed, match="ping_group_range"):
        ping(host="127.0.0.1", count="1")


def test_the_checksum_is_that_of_rfc_1071() -> None:
    data = bytes.fromhex("0001f203f4f5f6f7")

    assert 0x220D == _checksum(data)
    assert 0 == _checksum(data + bytes.fromhex("220d"))
