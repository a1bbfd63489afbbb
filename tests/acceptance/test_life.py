"""Processes start closed, stop politely, and survive each other's deaths."""

import datetime as dt
import ipaddress
import signal
import socket
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.acceptance.plant import alive, plant, until

pytestmark = pytest.mark.acceptance


def test_the_first_start_makes_tokens_that_only_their_owner_can_read(
    installed: Path, tmp_path: Path
) -> None:
    with plant(installed, tmp_path) as here:
        here.controller()
        modes = {
            name: stat.S_IMODE((here.data / name).stat().st_mode)
            for name in ("admin.token", "join.token")
        }

        assert {"admin.token": 0o600, "join.token": 0o600} == modes
        stored = [p for p in here.data.rglob("*") if p.is_file() and p.name != "admin.token"]
        assert not any(here.token.encode() in path.read_bytes() for path in stored)


@pytest.mark.parametrize("option", ["--http", "--agents"])
def test_an_open_address_without_tls_is_refused(
    installed: Path, tmp_path: Path, option: str
) -> None:
    with plant(installed, tmp_path) as here:
        done = here.spawn("c", ["farhand", "controller", "--data", "d", option, "0.0.0.0:0"])

        assert 78 == done.popen.wait(20)
        assert "--insecure" in done.log.read_text()


def test_a_port_in_use_and_a_data_directory_in_use_are_named(
    installed: Path, tmp_path: Path
) -> None:
    with plant(installed, tmp_path) as here:
        here.controller()
        twin = here.spawn("twin", ["farhand", "controller", "--data", str(here.data)])
        assert 0 != twin.popen.wait(20)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            argv = ["farhand", "controller", "--data", str(tmp_path / "other")]
            other = here.spawn("other", [*argv, "--http", address, "--agents", "127.0.0.1:0"])
            assert 0 != other.popen.wait(20)

        assert "data-dir-in-use" in twin.log.read_text()
        assert "port-in-use" in other.log.read_text()


def test_a_configuration_with_an_unknown_name_is_refused(installed: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('htpp = "127.0.0.1:0"\n')
    with plant(installed, tmp_path) as here:
        done = here.spawn("c", ["farhand", "controller", "--config", str(config)])

        assert 78 == done.popen.wait(20)
        assert "htpp" in done.log.read_text()


def test_a_controller_stops_on_sigterm_and_says_goodbye(installed: Path, tmp_path: Path) -> None:
    with plant(installed, tmp_path) as here:
        controller = here.controller()
        agent = here.agent("web-1")

        assert 0 == controller.stop()
        agent.says("the controller is stopping")


def test_an_agent_stops_on_sigterm_with_its_runs_and_tells_how_they_ended(
    installed: Path, tmp_path: Path
) -> None:
    with plant(installed, tmp_path) as here:
        here.controller()
        agent = here.agent("web-1")
        follower = here.popen("run", "web-1", "--", "sleep", "31562")
        until(lambda: alive("31562"), "it runs")
        assert 0 == agent.stop()
        _, err = follower.communicate(timeout=30)

        assert [] == alive("31562")
        assert b"agent_stopped" in err or b"agent" in err
        assert 0 != follower.returncode


def test_a_job_survives_the_controllers_death(installed: Path, tmp_path: Path) -> None:
    with plant(installed, tmp_path) as here:
        controller = here.controller()
        here.agent("web-1")
        gate = tmp_path / "gate"
        wait = f"echo one; while [ ! -e {gate} ]; do sleep 0.05; done; echo two"
        job = here.farhand("run", "--detach", "web-1", "--", "sh", "-c", wait)
        name = job.stdout.decode().strip()
        until(lambda: here.lines("runs", "--job", name)[0]["state"] == "running", "it runs")
        http = here.url.rsplit("/", 1)[1]
        controller.stop(signal.SIGKILL)
        gate.touch()
        here.controller(http=http, agents=here.agents_at)
        until(lambda: here.lines("runs", "--job", name)[0]["state"] == "succeeded", "it ends")
        run = here.lines("runs", "--job", name)[0]["id"]

        assert b"one\ntwo\n" == here.farhand("runs", "output", run).stdout


def test_an_agents_death_is_told_as_a_restart_and_leaves_nothing_behind(
    installed: Path, tmp_path: Path
) -> None:
    with plant(installed, tmp_path) as here:
        here.controller()
        agent = here.agent("web-1")
        job = here.farhand("run", "--detach", "web-1", "--", "sleep", "31563")
        name = job.stdout.decode().strip()
        until(lambda: alive("31563"), "it runs")
        agent.stop(signal.SIGKILL)
        here.agent("web-1")
        until(lambda: here.lines("runs", "--job", name)[0]["state"] == "failed", "it is told")

        assert "agent_restarted" == here.lines("runs", "--job", name)[0]["why"]
        until(lambda: not alive("31563"), "nothing is left")


def test_a_frozen_agent_is_let_go_by_the_controllers_own_timer(
    installed: Path, tmp_path: Path
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        "[limits]\ninactivity_s = 1.0\nheartbeat_s = 0.2\nlease_s = 2\nsweep_s = 0.1\n"
    )
    with plant(installed, tmp_path, options=("--config", str(config))) as here:
        controller = here.controller()
        agent = here.agent("web-1")
        job = here.farhand("run", "--detach", "web-1", "--", "sleep", "31564")
        name = job.stdout.decode().strip()
        until(lambda: alive("31564"), "it runs")
        agent.popen.send_signal(signal.SIGSTOP)
        controller.says("session.inactive", 20)
        until(lambda: here.lines("runs", "--job", name)[0]["state"] == "lost", "it is lost")
        agent.popen.send_signal(signal.SIGCONT)
        until(lambda: here.lines("runs", "--job", name)[0]["state"] == "running", "it heals")
        here.farhand("jobs", "cancel", name)
        until(lambda: here.lines("runs", "--job", name)[0]["state"] == "cancelled", "it ends")

        assert [] == alive("31564")


def _pem(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _certificate(home: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "farhand test")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    return (
        _pem(home / "cert.pem", certificate.public_bytes(serialization.Encoding.PEM)),
        _pem(home / "key.pem", key.private_bytes(serialization.Encoding.PEM, form, plain)),
    )


def test_both_ports_speak_tls(installed: Path, tmp_path: Path) -> None:
    cert, key = _certificate(tmp_path)
    with plant(
        installed,
        tmp_path,
        options=("--tls-cert", str(cert), "--tls-key", str(key)),
        agent_options=("--allow", "argv", "--ca", str(cert)),
    ) as here:
        here.controller()
        here.agent("web-1")
        # What the controller left for its own user knows the authority too.
        argv = ("run", "web-1", "--", "echo", "sealed")
        done = here.farhand(*argv, FARHAND_URL="", FARHAND_TOKEN="")

        assert here.url.startswith("https://")
        assert b"sealed\n" == done.stdout, done.stderr


def test_an_agent_does_not_trust_another_authority(installed: Path, tmp_path: Path) -> None:
    cert, key = _certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other, _ = _certificate(tmp_path / "other")
    with plant(
        installed, tmp_path, options=("--tls-cert", str(cert), "--tls-key", str(key))
    ) as here:
        here.controller()
        argv = ["farhand-agent", "--controller", here.agents_at, "--name", "web-1"]
        argv += ["--join-token-file", str(here.data / "join.token"), "--ca", str(other)]
        agent = here.spawn("web-1", [*argv, "--state", str(tmp_path / "web-1")])

        assert "certificate" == agent.says("(?i)certificate")[0].lower()
