"""Configuration: who wins, what is refused, and what may not be bound."""

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.boot.config import (
    AgentConfig,
    ControllerConfig,
    bind_address,
    is_loopback,
    labels,
    load,
    networks,
)
from farhand.domain.limits import AGENT_DEFAULTS, DEFAULTS
from farhand.errors import ConfigError, FarhandError, UnsafeBinding
from farhand.ports import Durability


def agent(
    file: Path | None = None, env: Mapping[str, str] | None = None, **given_options: Any
) -> AgentConfig:
    return load(AgentConfig, prefix="FARHAND_AGENT_", env=env or {}, given=given_options, file=file)


def controller(
    file: Path | None = None, env: Mapping[str, str] | None = None, **given_options: Any
) -> ControllerConfig:
    return load(
        ControllerConfig,
        prefix="FARHAND_CONTROLLER_",
        env=env or {},
        given=given_options,
        file=file,
    )


def bound(**options: Any) -> ControllerConfig:
    return ControllerConfig(**options).checked()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "farhand.toml"


def refused(file: Path, text: str, kind: Any = agent) -> str:
    file.write_text(text)
    with pytest.raises(ConfigError) as found:
        kind(file)
    assert "invalid-config" == found.value.code
    return str(found.value)


# --- who wins -----------------------------------------------------------------------------


def test_without_anything_there_are_the_defaults() -> None:
    assert ControllerConfig() == controller()
    assert AgentConfig() == agent()


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(file: Path) -> None:
    file.write_text('name = "file"\nproxy = "file"\nstate = "file"')
    env = {"FARHAND_AGENT_PROXY": "env", "FARHAND_AGENT_STATE": "env"}
    found = agent(file, env, state=Path("given"))

    assert ("file", "env", Path("given")) == (found.name, found.proxy, found.state)


def test_an_option_that_was_not_given_wins_over_nothing(file: Path) -> None:
    file.write_text('name = "file"\ntls = true')
    found = agent(file, name=None, tls=None)

    assert ("file", True) == (found.name, found.tls)


def test_an_option_can_take_back_what_a_file_turned_on(file: Path) -> None:
    file.write_text("insecure = true")

    assert not agent(file, insecure=False).insecure


def test_everything_of_a_controller_can_stand_in_a_file(file: Path) -> None:
    file.write_text(
        'data = "/d"\nhttp = "[::1]:1"\nagents = ":2"\ntls_cert = "c"\ntls_key = "k"\n'
        'insecure = true\nlog_level = "debug"\ndurability = "process"\n'
        'deepflow_agents = true\ndeepflow_api = true\ndeepflow_trusted_front = ["10.2.0.7"]\n'
        "[limits]\nheartbeat_s = 7\nrequests = 3.0\n"
    )
    found = controller(file)

    assert {
        "data": Path("/d"),
        "http": "[::1]:1",
        "agents": ":2",
        "tls_cert": Path("c"),
        "tls_key": Path("k"),
        "insecure": True,
        "deepflow_agents": True,
        "deepflow_api": True,
        "deepflow_trusted_front": ("10.2.0.7",),
        "durability": Durability.PROCESS,
        "log_level": "debug",
    } == {item.name: getattr(found, item.name) for item in fields(found) if item.name != "limits"}
    assert (7.0, 3) == (found.limits.heartbeat_s, found.limits.requests)
    assert isinstance(found.limits.heartbeat_s, float)
    assert isinstance(found.limits.requests, int)
    assert DEFAULTS.lease_s == found.limits.lease_s


def test_everything_of_an_agent_can_stand_in_variables() -> None:
    texts = {
        "controller": "a:1, b:2",
        "protocol": "deepflow",
        "team_id": "t-1",
        "group_id": "g-1",
        "ca": "ca.pem",
        "tls": "yes",
        "insecure": "0",
        "join_token_file": "t",
        "state": "/s",
        "name": "web-1",
        "label": "role=web,env=a=b",
        "allow": "argv,script",
        "commands": "c.toml",
        "proxy": "http://p:3128",
        "log_level": "error",
    }
    assert texts.keys() == {item.name for item in fields(AgentConfig)} - {"limits"}

    assert agent(
        env={f"FARHAND_AGENT_{name.upper()}": text for name, text in texts.items()}
    ) == AgentConfig(
        controller=("a:1", "b:2"),
        protocol="deepflow",
        team_id="t-1",
        group_id="g-1",
        ca=Path("ca.pem"),
        tls=True,
        insecure=False,
        join_token_file=Path("t"),
        state=Path("/s"),
        name="web-1",
        label={"role": "web", "env": "a=b"},
        allow=("argv", "script"),
        commands=Path("c.toml"),
        proxy="http://p:3128",
        log_level="error",
    )


def test_lists_and_tables_of_a_file_are_read_as_they_are(file: Path) -> None:
    file.write_text('controller = ["a:1", "b:2"]\nallow = "argv, cwd"\n[label]\nrole = "web, db"')
    found = agent(file)

    assert (("a:1", "b:2"), ("argv", "cwd")) == (found.controller, found.allow)
    assert {"role": "web, db"} == found.label


def test_the_variable_that_names_the_file_is_no_setting() -> None:
    assert AgentConfig() == agent(env={"FARHAND_AGENT_CONFIG": "x.toml", "OTHER": "y"})


def test_a_configuration_is_one_value_that_nothing_changes() -> None:
    for found in (controller(), agent()):
        with pytest.raises(FrozenInstanceError):
            found.insecure = True  # type: ignore[misc]  # that is what is tried


# --- what is refused ----------------------------------------------------------------------


def test_an_unknown_name_is_refused_with_the_known_ones(file: Path) -> None:
    told = refused(file, 'nmae = "x"\nzzz = 1')

    assert told.startswith(f"{file} sets nmae, zzz, which is not known; known: allow, ca,")


@pytest.mark.parametrize("name", ["FARHAND_AGENT_NMAE", "FARHAND_AGENT_", "FARHAND_AGENT_LIMIT_S"])
def test_an_unknown_variable_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"the environment sets .*, which is not known"):
        agent(env={name: "x"})


def test_a_setting_of_the_other_process_is_not_known_here(file: Path) -> None:
    assert "which is not known" in refused(file, 'http = "127.0.0.1:1"')


@pytest.mark.parametrize(
    "line",
    [
        "name = 7",
        "name = true",
        'name = ["a"]',
        "state = 7",
        'state = ""',
        "tls = 2",
        'tls = "maybe"',
        "tls = []",
        'controller = [["a:1"]]',
        "controller = [1]",
        "controller = 8471",
        "[controller]\na = 1",
        'label = ["a=b"]',
        "label = 3",
        "[label]\nrole = 3",
        "limits = 3",
        'limits = "x"',
        "name = 2026-01-01",
        'log_level = "loud"',
        "log_level = 3",
    ],
)
def test_a_value_of_another_type_is_refused_and_named(file: Path, line: str) -> None:
    name = line.split("\n", maxsplit=1)[0].split(" ", maxsplit=1)[0].strip("[]")

    assert refused(file, line).startswith(f"{file}: {name} is ")


@pytest.mark.parametrize(
    ("name", "text"),
    [("TLS", "on"), ("TLS", ""), ("STATE", ""), ("LOG_LEVEL", "INFO"), ("LIMITS", "{}")],
)
def test_a_variable_that_cannot_be_is_refused_by_its_own_name(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"FARHAND_AGENT_{name} is {text!r}"):
        agent(env={f"FARHAND_AGENT_{name}": text})


@pytest.mark.parametrize("text", ["= 1", "name = ", 'name = "a"\nname = "b"', "\0", '"' * 3])
def test_a_file_that_is_no_toml_is_refused(file: Path, text: str) -> None:
    assert refused(file, text).startswith(f"{file} is not TOML: ")


def test_a_file_that_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match="is not TOML"):
        agent(file)


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match=f"{file} cannot be read: No such file"):
        agent(file)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        agent(file.parent)


@pytest.mark.parametrize("text", ["role", "=web", "", "role:web", "a=b,,c=d"])
def test_a_label_that_is_not_key_and_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not written key=value"):
        labels(text.split(","))


def test_labels_may_have_empty_values_and_equals_signs_in_them() -> None:
    assert {"a": "", "b": "c=d", "e": "f g"} == labels(["a=", "b=c=d", " e=f g "])


# --- limits -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("heartbeat = 1", "limits: heartbeat is not known; docs/reference/limits.md"),
        ("spool_bytes = 1", "limits: spool_bytes is not known"),  # an agent's
        ("heartbeat_s = -1", "limits: heartbeat_s is -1; it must be a number from 0"),
        ("heartbeat_s = nan", "limits: heartbeat_s is nan; it must be a number from 0"),
        ("heartbeat_s = inf", "limits: heartbeat_s is inf; it must be a number from 0"),
        ("output_bytes = inf", "limits: output_bytes is inf; it must be a number from 0"),
        ("output_bytes = 1.5", "limits: output_bytes is 1.5; it must be a whole number"),
        ('output_bytes = "1M"', "limits: output_bytes is '1M'; it must be a number from 0"),
        ("output_bytes = true", "limits: output_bytes is True; it must be a number from 0"),
        ("output_bytes = []", "limits: output_bytes is []; it must be a number from 0"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(file: Path, line: str, told: str) -> None:
    assert refused(file, f"[limits]\n{line}", controller).startswith(told)


def test_each_process_has_its_own_limits(file: Path) -> None:
    file.write_text("[limits]\nspool_bytes = 4096\nstop_s = 1")
    found = agent(file).limits

    assert (4096, 1.0, AGENT_DEFAULTS.runs) == (found.spool_bytes, found.stop_s, found.runs)


# --- addresses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8470", "127.0.0.1", 8470),
        ("localhost:0", "localhost", 0),
        ("[::1]:8470", "::1", 8470),
        ("[::]:65535", "::", 65535),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        (":8470", "0.0.0.0", 8470),
        ("web-1.example.org:80", "web-1.example.org", 80),
    ],
)
def test_an_address_to_bind_is_read(text: str, host: str, port: int) -> None:
    assert (host, port) == bind_address("--http", text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "8470", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-1", "a:+1", "a:1 "),
        *("a:65536", "a:" + "9" * 5000, "a:\u00b2", "a:\u0661", "a:8470\n", "a b:1"),
        *("::1", "::1:8470", "[::1]", "[::1:8470", "::1]:8470", "[]:8470", "[[::1]]:8470"),
    ],
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--http is .*; write HOST:PORT, as "):
        bind_address("--http", text)


@given(st.text(st.sampled_from("[]:.0123456789abc%\n ") | st.characters(), max_size=20))
def test_any_text_is_an_address_or_is_refused(text: str) -> None:
    try:
        host, port = bind_address("--http", text)
    except ConfigError:
        return
    assert host
    assert 0 <= port < 1 << 16


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_only_this_host_reaches_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "127.1", "localhost.example.org", "web-1", "*"]
)
def test_everything_else_may_be_reached_by_others(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("port", ["http", "agents"])
@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", ":1", "10.0.0.1:1", "web-1:1"])
def test_what_others_can_reach_is_not_bound_without_tls(port: str, address: str) -> None:
    with pytest.raises(UnsafeBinding) as found:
        bound(**{port: address})

    assert "unsafe-binding" == found.value.code
    assert str(found.value).startswith(f"--{port} {address} can be reached from other hosts")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"http": "localhost:1", "agents": "[::1]:2"},
        {"http": "0.0.0.0:1", "insecure": True},
        {"http": "0.0.0.0:1", "agents": ":2", "tls_cert": Path("c"), "tls_key": Path("k")},
    ],
)
def test_loopback_tls_or_the_word_of_an_operator_lets_it_be_bound(options: dict[str, Any]) -> None:
    assert ControllerConfig(**options) == bound(**options)


@pytest.mark.parametrize("option", ["tls_cert", "tls_key"])
def test_a_certificate_needs_its_key(option: str) -> None:
    with pytest.raises(ConfigError, match="--tls-cert and --tls-key go together"):
        bound(**{option: Path("x")})


@pytest.mark.parametrize("option", ["http", "agents"])
def test_an_address_that_is_none_is_found_before_anything_starts(option: str) -> None:
    with pytest.raises(FarhandError) as found:
        bound(**{option: "8470", "insecure": True})

    assert f"--{option} is '8470'; write HOST:PORT, as 127.0.0.1:8470" == str(found.value)


# --- whose headers are believed -----------------------------------------------------------


def test_a_trusted_front_is_an_address_or_a_network() -> None:
    texts = ("10.2.0.7", "10.3.0.0/24", "fd00::/8")

    assert ["10.2.0.7/32", "10.3.0.0/24", "fd00::/8"] == [
        str(network) for network in networks("--deepflow-trusted-front", texts)
    ]


@pytest.mark.parametrize("text", ["front.example.org", "10.3.0.1/24", "10.2.0", "*", "10.2.0.7:80"])
def test_a_trusted_front_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--deepflow-trusted-front"):
        controller(deepflow_api=True, deepflow_trusted_front=(text,)).checked()


def test_a_trusted_front_of_an_api_that_is_off_is_a_slip() -> None:
    with pytest.raises(ConfigError, match="--deepflow-api"):
        controller(deepflow_trusted_front=("10.2.0.7",)).checked()


def test_several_trusted_fronts_stand_in_one_variable() -> None:
    env = {"FARHAND_CONTROLLER_DEEPFLOW_TRUSTED_FRONT": "10.2.0.7, 10.3.0.0/24"}

    assert ("10.2.0.7", "10.3.0.0/24") == controller(env=env).deepflow_trusted_front


@pytest.mark.parametrize("word", ["ram", "", "DISK", "disk,process"])
def test_a_durability_that_is_not_known_is_refused_with_those_that_are(word: str) -> None:
    with pytest.raises(ConfigError, match="one of disk, process"):
        controller(env={"FARHAND_CONTROLLER_DURABILITY": word})


def test_durability_can_be_given_anywhere(file: Path) -> None:
    file.write_text('durability = "process"')

    assert Durability.PROCESS is controller(file).durability
    assert Durability.DISK is controller(file, durability=Durability.DISK).durability
