"""`farhand doctor`: each thing that can be wrong, and what to do about it."""

import json
import os
import socket
from pathlib import Path

import pytest

from farhand.cli import checks
from farhand.client._calls import Answer
from farhand.client._transport import origin_of
from tests.integration.client.certificates import certificate
from tests.integration.client.shell import Said, Shell
from tests.integration.client.stub import Reply, Stub, problem, stub_server, told


@pytest.fixture
def healthy(stub: Stub) -> Stub:
    make_healthy(stub)
    return stub


def make_healthy(stub: Stub) -> None:
    stub.on("GET", "/healthz", told({"status": "ok"}))
    stub.on("GET", "/readyz", told({"status": "ok"}))
    stub.on("GET", "/api/v1/version", told({"version": "0.1.0", "caller": "admin"}))
    stub.on("GET", "/api/v1/freeze", told({"frozen": False}))
    stub.on("GET", "/api/v1/agents", told({"items": [agent("web-1", "online")], "next": None}))


def agent(name: str, liveness: str) -> dict[str, str]:
    return {"id": f"agt_{name}", "name": name, "liveness": liveness}


def found(said: Said) -> dict[str, tuple[str, str]]:
    """What each check found: its level, and its words with what to do."""
    told_lines = [json.loads(line) for line in said.out.splitlines()]
    return {one["check"]: (one["level"], f"{one['said']} {one['todo']}") for one in told_lines}


def test_a_healthy_set_up_is_ok_in_all_points(farhand: Shell, healthy: Stub) -> None:
    said = farhand("doctor")

    assert (0, "") == (said.code, said.err)
    assert {b"ok"} == {line.split()[0] for line in said.out.splitlines()}
    assert b"token: taken as admin" in said.out


def test_json_tells_the_same(farhand: Shell, healthy: Stub) -> None:
    levels = {level for level, _ in found(farhand("doctor", "--json")).values()}

    assert {"ok"} == levels


def test_a_port_where_nothing_listens(farhand: Shell) -> None:
    farhand.env["FARHAND_URL"] = "http://127.0.0.1:1"
    said = farhand("doctor", "--json")

    assert 1 == said.code
    assert ("fail", True) == ((got := found(said)["reach"])[0], "nothing listens" in got[1])


def test_no_controller_known(farhand: Shell) -> None:
    del farhand.env["FARHAND_URL"]

    assert "fail" == found(farhand("doctor", "--json"))["address"][0]


def test_a_url_that_is_none(farhand: Shell) -> None:
    farhand.env["FARHAND_URL"] = "controller:80"

    assert b"is not the URL of a controller" in farhand("doctor").out


def test_another_server(farhand: Shell, stub: Stub) -> None:
    stub.on("GET", "/healthz", Reply(body=b"<html>"))

    assert "is this a farhand controller?" in found(farhand("doctor", "--json"))["reach"][1]


def test_a_peer_that_speaks_no_http(farhand: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        farhand.env["FARHAND_URL"] = f"https://127.0.0.1:{server.getsockname()[1]}"
        server.close()

        assert "fail" == found(farhand("doctor", "--json"))["reach"][0]


def test_a_token_that_is_wrong_or_missing(farhand: Shell, healthy: Stub) -> None:
    healthy.on("GET", "/api/v1/version", problem(401, "unauthenticated"))
    wrong = found(farhand("doctor", "--json"))["token"]
    del farhand.env["FARHAND_TOKEN"]
    missing = found(farhand("doctor", "--json"))["token"]

    assert ("fail", "fail") == (wrong[0], missing[0])
    assert "copy the controller's admin.token" in wrong[1]
    assert "set FARHAND_TOKEN" in missing[1]


def test_a_controller_that_cannot_serve(farhand: Shell, healthy: Stub) -> None:
    healthy.on("GET", "/readyz", problem(503, "store-unavailable", "the disk is full"))

    assert "the disk is full" in found(farhand("doctor", "--json"))["ready"][1]


def test_versions_that_do_not_fit(farhand: Shell, healthy: Stub) -> None:
    healthy.on("GET", "/api/v1/version", told({"version": "9.0.0"}))
    said = farhand("doctor", "--json")

    assert ("warn", 0) == (found(said)["versions"][0], said.code)


def test_agents_that_are_away(farhand: Shell, healthy: Stub) -> None:
    some = [agent("web-1", "online"), agent("db", "offline"), agent("x", "suspect")]
    healthy.on("GET", "/api/v1/agents", told({"items": some, "next": None}))
    away = found(farhand("doctor", "--json"))["agents"]
    healthy.on("GET", "/api/v1/agents", told({"items": [], "next": None}))
    none = found(farhand("doctor", "--json"))["agents"]

    assert ("warn", True) == (away[0], "1 online, 2 away: db, x" in away[1])
    assert ("warn", True) == (none[0], "none has joined" in none[1])


def test_a_freeze_is_told_with_who_and_why(farhand: Shell, healthy: Stub) -> None:
    frozen = {"frozen": True, "by": "eve", "reason": "incident", "at": "2026-12-01T12:00:00.000Z"}
    healthy.on("GET", "/api/v1/freeze", told(frozen))
    level, said = found(farhand("doctor", "--json"))["freeze"]

    assert "warn" == level
    assert "no job begins since 2026-12-01 12:00 UTC: eve froze all jobs: incident" in said
    assert "farhand unfreeze" in said


def test_a_controller_without_a_freeze_is_no_failure(farhand: Shell, healthy: Stub) -> None:
    healthy.on("GET", "/api/v1/freeze", problem(404, "not-found"))
    said = farhand("doctor", "--json")

    assert ("warn", 0) == (found(said)["freeze"][0], said.code)


@pytest.mark.parametrize(("days", "level"), [(90, "ok"), (3, "warn")])
def test_a_certificate_is_looked_at(farhand: Shell, tmp_path: Path, days: int, level: str) -> None:
    made = certificate(tmp_path, days=days)
    with stub_server(tls=made) as stub:
        make_healthy(stub)
        farhand.env |= {"FARHAND_URL": stub.url, "FARHAND_CA": str(made.chain)}
        trusted = found(farhand("doctor", "--json"))
        del farhand.env["FARHAND_CA"]
        strange = found(farhand("doctor", "--json"))

    assert level == trusted["certificate"][0]
    assert ("fail", True) == (strange["tls"][0], "not trusted" in strange["tls"][1])


def test_an_expired_certificate_is_named_as_such(farhand: Shell, tmp_path: Path) -> None:
    made = certificate(tmp_path, days=0)
    with stub_server(tls=made) as stub:
        farhand.env |= {"FARHAND_URL": stub.url, "FARHAND_CA": str(made.chain)}

        assert "expired" in found(farhand("doctor", "--json"))["tls"][1]


@pytest.mark.parametrize(
    ("date", "level"),
    [("Mon, 01 Jan 2001 00:00:00 GMT", "warn"), ("", "warn"), ("soon", "warn")],
)
def test_a_clock_that_is_off(date: str, level: str) -> None:
    assert level == checks.clock(Answer(200, {"date": date} if date else {})).level


def test_a_token_in_the_clear_is_a_warning_beyond_this_machine() -> None:
    levels = [
        [finding.level for finding in checks.privacy(origin_of(url))]
        for url in (
            "http://127.0.0.1",
            "http://localhost",
            "http://[::1]",
            "https://far",
            "http://far",
        )
    ]

    assert [[], [], [], [], ["warn"]] == levels


def test_directories_of_this_machine(farhand: Shell, healthy: Stub, tmp_path: Path) -> None:
    data, state = tmp_path / "data", tmp_path / "state"
    data.mkdir()
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    (data / "admin.token").touch(mode=0o600)
    (data / "join.token").touch(mode=0o644)
    said = farhand("doctor", "--json", "--data", str(data), "--state", str(state))
    got = found(said)

    assert 1 == said.code
    assert "ok" == got["data"][0]
    assert ("ok", "fail") == (got["admin.token"][0], got["join.token"][0])
    assert f"chmod 700 {state}" in got["state"][1]
    assert {"ip", "ss", "lsblk", "strace"} <= {*got}


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert ["fail"] == [f.level for f in checks.directory("data", str(tmp_path / "nowhere"))]
    assert ["fail"] == [f.level for f in checks.directory("data", str(tmp_path / "file"))]
    assert ["warn", "warn"] == [f.level for f in checks.secrets(str(tmp_path))]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    assert "fail" == next(iter(checks.directory("data", str(tmp_path)))).level


def test_tools_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert {"warn"} == {finding.level for finding in checks.tools()}
