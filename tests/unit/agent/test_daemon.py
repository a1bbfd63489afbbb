"""Who an agent is, and the directory that makes it so."""

import json
import stat
from pathlib import Path

import pytest

from farhand.agent.daemon import StateDir, facts, local_address
from farhand.agent.link import Address, addresses
from farhand.domain.ids import AgentId
from farhand.errors import ConfigError, DataDirInUse, DataDirUnwritable

AGENT = AgentId("agt_01h455vb4pex5vsknk084sn02q")


def test_an_identity_is_kept_for_its_owner_only_and_found_again(tmp_path: Path) -> None:
    state = StateDir.open(tmp_path / "state")
    state.keep(AGENT, "fh_agent_secret")
    state.close()
    again = StateDir.open(tmp_path / "state")
    again.close()

    assert (AGENT, "fh_agent_secret") == (again.agent, again.secret)
    assert 0o600 == stat.S_IMODE((tmp_path / "state" / "identity.json").stat().st_mode)
    assert 0o700 == stat.S_IMODE((tmp_path / "state").stat().st_mode)


def test_a_state_directory_belongs_to_one_process(tmp_path: Path) -> None:
    first = StateDir.open(tmp_path)
    with pytest.raises(DataDirInUse):
        StateDir.open(tmp_path)
    first.close()
    StateDir.open(tmp_path).close()


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(DataDirUnwritable, match="file"):
        StateDir.open(tmp_path / "file" / "state")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({"agent": "x", "secret": "y"})])
def test_an_identity_that_cannot_be_read_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "identity.json").write_text(text)

    with pytest.raises(ConfigError, match="joins anew"):
        StateDir.open(tmp_path)


def test_a_machine_id_is_the_hosts_or_made_once(tmp_path: Path) -> None:
    state = StateDir.open(tmp_path)
    first, second = state.machine_id(), state.machine_id()
    state.close()

    assert first == second
    assert len(first) >= 32


def test_the_facts_that_selectors_ask_for_are_there() -> None:
    found = facts()

    assert "linux" == found["os"]
    assert {"arch", "kernel", "hostname", "cpus", "memory_mb"} <= found.keys()
    assert int(found["memory_mb"]) > 0


def test_the_address_towards_a_controller_is_the_interfaces_own() -> None:
    ip, mac = local_address(Address("127.0.0.1", 1))

    assert "127.0.0.1" == ip
    assert "00:00:00:00:00:00" == mac


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a:1", [("a", 1)]),
        ("a:1,b:2", [("a", 1), ("b", 2)]),
        ("[::1]:8471", [("::1", 8471)]),
    ],
)
def test_controllers_are_read_in_turn(text: str, found: list[tuple[str, int]]) -> None:
    assert found == [(each.host, each.port) for each in addresses([text])]


@pytest.mark.parametrize("text", ["", "a", "a:", ":1", "a:0", "a:65536", "a:x", "a:1,,b:2"])
def test_an_address_that_cannot_be_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        addresses([text])


def test_a_copy_of_a_state_directory_is_refused_while_the_agent_runs(tmp_path: Path) -> None:
    first = StateDir.open(tmp_path / "state")
    first.keep(AgentId("agt_01h455vb4pex5vsknk084sn02z"), "secret")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "identity.json").write_bytes(
        (tmp_path / "state" / "identity.json").read_bytes()
    )
    with pytest.raises(DataDirInUse, match=r"on this host already.*remove identity\.json"):
        StateDir.open(tmp_path / "copy")
    first.close()
    StateDir.open(tmp_path / "copy").close()
