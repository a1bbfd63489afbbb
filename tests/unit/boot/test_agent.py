"""The agent's composition: what it is made of, whom it dials and how, and what it refuses."""

import io
import os
import socket
import ssl
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farhand import __version__
from farhand.agent.link import Address
from farhand.boot.agent import (
    PATH,
    configuration,
    deepflow_setup_of,
    main,
    parser,
    setup_of,
)
from farhand.boot.config import AgentConfig
from farhand.domain.limits import AGENT_DEFAULTS
from farhand.domain.policy import Permission
from farhand.errors import ConfigError, InvalidName, UnsafeBinding
from farhand.wire.grpc import HttpProxy

TOKEN = "fhj_abc"


@pytest.fixture
def config(tmp_path: Path) -> AgentConfig:
    token = tmp_path / "join.token"
    token.write_text(f"{TOKEN}\n")
    return AgentConfig(
        controller=("127.0.0.1:8471",), join_token_file=token, state=tmp_path, name="web-1"
    )


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """Authorities that Python itself trusts, as a file of ours."""
    file = tmp_path / "ca.pem"
    found = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not found:
        pytest.skip("this host trusts nobody")
    file.write_text("".join(map(ssl.DER_cert_to_PEM_cert, found[:1])))
    return file


def asked(*argv: str, env: Mapping[str, str] | None = None) -> AgentConfig:
    return configuration(vars(parser().parse_args(argv)), env or {})


# --- what it is made of -------------------------------------------------------------------


def test_an_agent_is_made_of_its_configuration(config: AgentConfig) -> None:
    setup = setup_of(replace(config, label={"role": "web"}, allow=("argv", "user")), {})

    assert ("web-1", config.state, {"role": "web"}) == (setup.name, setup.state, setup.labels)
    assert (TOKEN, AGENT_DEFAULTS) == (setup.join_token, setup.limits)
    assert (Address("127.0.0.1", 8471),) == setup.dial.addresses
    assert AGENT_DEFAULTS.connect_s == setup.dial.limits.connect_deadline_s
    assert {Permission.ARGV, Permission.USER} == setup.policy.allowed
    assert f"farhand/{__version__}" == setup.software
    assert "uptime" in {command.ident for command in setup.catalogue.commands}
    assert TOKEN not in repr(setup)


def test_an_agent_without_a_name_bears_its_hosts(config: AgentConfig) -> None:
    assert socket.gethostname() == setup_of(replace(config, name=""), {}).name


def test_nothing_is_allowed_unless_it_was_asked_for(config: AgentConfig) -> None:
    assert frozenset() == setup_of(config, {}).policy.allowed


def test_runs_see_of_the_agents_environment_what_every_program_needs(config: AgentConfig) -> None:
    env = {"PATH": "/bin", "HOME": "/root", "LANG": "C", "AWS_SECRET": "x", "HTTPS_PROXY": "y"}

    assert {
        "PATH": "/bin",
        "HOME": "/root",
        "LANG": "C",
        "FARHAND_AGENT_NAME": "web-1",
    } == setup_of(config, env).env
    assert (PATH, "/", "C.UTF-8") == tuple(
        setup_of(config, {}).env[name] for name in ("PATH", "HOME", "LANG")
    )


@pytest.mark.parametrize("name", ["-web", "web 1", "agt_01h455vb4pex5vsknk084sn02q", "w" * 129])
def test_a_name_that_cannot_be_is_refused(config: AgentConfig, name: str) -> None:
    with pytest.raises(InvalidName):
        setup_of(replace(config, name=name), {})


def test_a_word_of_allow_that_is_not_known_is_refused(config: AgentConfig) -> None:
    with pytest.raises(ConfigError, match="--allow knows argv, cwd, script, user; not root"):
        setup_of(replace(config, allow=("root",)), {})


def test_commands_of_an_operator_that_cannot_be_read_are_refused(config: AgentConfig) -> None:
    with pytest.raises(ConfigError):
        setup_of(replace(config, commands=config.state / "none.toml"), {})


# --- whom it dials ------------------------------------------------------------------------


def test_several_controllers_are_dialled_in_turn(config: AgentConfig) -> None:
    several = ("127.0.0.1:1, localhost:2", "[::1]:3")

    assert (Address("127.0.0.1", 1), Address("localhost", 2), Address("::1", 3)) == setup_of(
        replace(config, controller=several), {}
    ).dial.addresses


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8471",
        "localhost",
        "localhost:",
        "localhost:x",
        "localhost:0",
        "a:65536",
        ":1",
        "a:1,",
        "a:\u00b2",
        "a:" + "9" * 5000,
    ],
)
def test_an_address_that_is_none_is_refused(config: AgentConfig, text: str) -> None:
    with pytest.raises(ConfigError, match=r"--controller: .*; write HOST:PORT"):
        setup_of(replace(config, controller=(text,)), {})


def test_secrets_do_not_go_to_other_hosts_in_the_clear(config: AgentConfig) -> None:
    mixed = replace(config, controller=("127.0.0.1:1", "web-1:2", "[2001:db8::1]:3"))
    with pytest.raises(UnsafeBinding, match=r"^web-1:2, \[2001:db8::1\]:3 would be spoken to"):
        setup_of(mixed, {})

    assert setup_of(replace(mixed, insecure=True), {}).dial.tls is None


def test_loopback_needs_no_tls(config: AgentConfig) -> None:
    assert setup_of(replace(config, controller=("localhost:1", "[::1]:2")), {}).dial.tls is None


def test_given_authorities_are_the_only_ones_that_count(config: AgentConfig, ca: Path) -> None:
    away = replace(config, controller=("web-1:1",), ca=ca)
    found = setup_of(away, {}).dial.tls

    assert found is not None
    assert 1 == len(found.get_ca_certs())
    assert (ssl.CERT_REQUIRED, True) == (found.verify_mode, found.check_hostname)


def test_tls_can_trust_the_systems_authorities(config: AgentConfig) -> None:
    found = setup_of(replace(config, controller=("web-1:1",), tls=True), {}).dial.tls

    assert found is not None
    assert ssl.CERT_REQUIRED is found.verify_mode


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_authorities_that_cannot_be_used_are_named(
    config: AgentConfig, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"--ca {file} cannot be used"):
        setup_of(replace(config, ca=file), {})


# --- through a proxy ----------------------------------------------------------------------


def proxy_of(config: AgentConfig, env: Mapping[str, str], *hosts: str) -> HttpProxy | None:
    controllers = tuple(f"{host}:1" for host in hosts or ("web-1.example.org",))
    return setup_of(replace(config, controller=controllers, insecure=True), env).dial.proxy


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy:8080", HttpProxy("proxy", 8080)),
        ("http://proxy:8080/", HttpProxy("proxy", 8080)),
        ("proxy:8080", HttpProxy("proxy", 8080)),
        ("http://proxy", HttpProxy("proxy", 3128)),
        ("http://[::1]:8080", HttpProxy("::1", 8080)),
        ("http://u:p%40ss@proxy:8080", HttpProxy("proxy", 8080, "u", "p@ss")),
        ("http://u%3A1@proxy", HttpProxy("proxy", 3128, "u:1", "")),
    ],
)
def test_a_proxys_address_is_read(config: AgentConfig, text: str, proxy: HttpProxy) -> None:
    assert proxy == proxy_of(replace(config, proxy=text), {})
    assert proxy == proxy_of(config, {"HTTPS_PROXY": text})
    assert proxy == proxy_of(config, {"https_proxy": text})


@pytest.mark.parametrize(
    "text",
    [
        "https://u:hush@proxy:1",
        "socks5://u:hush@proxy:1",
        "http://u:hush@",
        "http://",
        "http://u:hush",
        "http://u:hush@proxy:99999",
        "http://u:hush@[::1",
        "//",
    ],
)
def test_a_proxys_address_that_cannot_be_is_refused_without_its_password(
    config: AgentConfig, text: str
) -> None:
    with pytest.raises(ConfigError, match="http://HOST:PORT") as found:
        proxy_of(replace(config, proxy=text), {})

    assert "hush" not in str(found.value)
    assert found.value.__cause__ is None


def test_the_proxy_of_the_configuration_wins_over_the_environments(config: AgentConfig) -> None:
    env = {"HTTPS_PROXY": "http://other:1", "NO_PROXY": "*"}

    assert HttpProxy("proxy", 3128) == proxy_of(replace(config, proxy="proxy"), env)


def test_a_proxy_for_plain_http_is_not_for_agents(config: AgentConfig) -> None:
    assert proxy_of(config, {"HTTP_PROXY": "http://proxy:1", "http_proxy": "http://p:1"}) is None


@pytest.mark.parametrize(
    ("no_proxy", "spared"),
    [
        ("", False),
        (",", False),
        ("*", True),
        ("other, *", True),
        ("web-1.example.org", True),
        ("WEB-1.Example.ORG", True),
        ("example.org", True),
        (".example.org", True),
        ("*.example.org", True),
        ("other.org, example.org", True),
        ("1.example.org", False),
        ("ample.org", False),
        ("web-1", False),
        ("org.example", False),
    ],
)
def test_no_proxy_spares_hosts_and_domains(
    config: AgentConfig, no_proxy: str, *, spared: bool
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        found = proxy_of(config, {"HTTPS_PROXY": "http://proxy:1", name: no_proxy})
        assert spared == (found is None)


def test_a_proxy_is_left_out_only_when_every_controller_is_spared(config: AgentConfig) -> None:
    env = {"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "a.example.org"}

    assert proxy_of(config, env, "a.example.org", "localhost", "127.0.0.1") is None
    assert HttpProxy("proxy", 1) == proxy_of(config, env, "a.example.org", "b.example.org")


# --- the join token -----------------------------------------------------------------------


def joined(config: AgentConfig) -> AgentConfig:
    (config.state / "identity.json").write_text("{}")
    return config


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"two words", b"\xff", "tökén".encode(), b"a\0b", b"a\nb"]
)
def test_a_file_that_holds_no_token_is_refused(config: AgentConfig, content: bytes) -> None:
    assert config.join_token_file is not None
    config.join_token_file.write_bytes(content)
    with pytest.raises(ConfigError, match="--join-token-file"):
        setup_of(config, {})


def test_a_token_file_that_is_not_there_is_named(config: AgentConfig, tmp_path: Path) -> None:
    gone = replace(config, join_token_file=tmp_path / "gone")
    with pytest.raises(ConfigError, match=f"{tmp_path / 'gone'} cannot be read"):
        setup_of(gone, {})

    assert "" == setup_of(joined(gone), {}).join_token  # not needed any more


def test_an_agent_that_has_not_joined_needs_a_token(config: AgentConfig) -> None:
    without = replace(config, join_token_file=None)
    with pytest.raises(ConfigError, match="has not joined yet; give --join-token-file"):
        setup_of(without, {})

    assert "" == setup_of(joined(without), {}).join_token


# --- options ------------------------------------------------------------------------------


def test_options_may_be_repeated_and_lists_may_be_written_as_one() -> None:
    found = asked(
        *("--controller", "a:1", "--controller", "b:2,c:3", "--label", "role=web"),
        *("--label", "env=prod", "--allow", "argv,script", "--allow", "cwd", "--tls"),
    )

    assert ("a:1", "b:2,c:3") == found.controller
    assert {"role": "web", "env": "prod"} == found.label
    assert (("argv", "script", "cwd"), True) == (found.allow, found.tls)


def test_a_file_is_named_by_option_or_variable(tmp_path: Path) -> None:
    file, other = tmp_path / "a.toml", tmp_path / "b.toml"
    file.write_text('controller = ["a:1"]')
    other.write_text('controller = ["b:1"]')
    env = {"FARHAND_AGENT_CONFIG": str(other)}

    assert ("b:1",) == asked(env=env).controller
    assert ("a:1",) == asked("--config", str(file), env=env).controller


def test_an_agent_needs_a_controller() -> None:
    with pytest.raises(ConfigError, match="no controller is named; give --controller HOST:PORT"):
        asked()


@pytest.mark.usefixtures("quiet_again")
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--controller", "web-1:1"], "[unsafe-binding]"),
        (["--controller", "localhost"], "[invalid-config]"),
        (["--controller", "localhost:1", "--label", "role"], "[invalid-config]"),
        (["--config", "/nowhere/at/all.toml"], "/nowhere/at/all.toml cannot be read"),
        ([], "no controller is named"),
    ],
)
def test_a_mistake_is_one_line_and_the_status_for_configurations(
    config: AgentConfig, options: list[str], told: str
) -> None:
    files: list[Any] = ["--state", config.state, "--join-token-file", config.join_token_file]
    with redirect_stderr(io.StringIO()) as told_here:
        status = main([*map(str, files), *options])

    assert (os.EX_CONFIG, 1) == (status, told_here.getvalue().count("\n"))
    assert told in told_here.getvalue()


# --- on a DeepFlow server -----------------------------------------------------------------


def test_an_agent_on_a_deepflow_server_speaks_plaintext_unless_it_is_told_otherwise() -> None:
    config = asked("--protocol", "deepflow", "--controller", "10.1.0.9:30035", "--team-id", "t")
    setup = deepflow_setup_of(config, {"KUBECONFIG": "/k", "SECRET": "x"})

    assert (None, ("t", "")) == (setup.dial.tls, (setup.team_id, setup.group_id))
    assert ("/k", None) == (setup.env["KUBECONFIG"], setup.env.get("SECRET"))
    encrypted = deepflow_setup_of(replace(config, tls=True), {})
    assert encrypted.dial.tls is not None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--join-token-file", "join.token"),
        ("--state", "/var/lib/other"),
        ("--name", "web-1"),
        ("--label", "role=web"),
        ("--allow", "argv"),
    ],
)
def test_what_means_nothing_to_a_deepflow_server_is_refused(option: str, value: str) -> None:
    config = asked("--protocol", "deepflow", "--controller", "a:1", option, value)
    with pytest.raises(ConfigError) as refused:
        deepflow_setup_of(config, {})

    assert f"{option} has no meaning for a DeepFlow server; leave it out" == str(refused.value)


def test_what_is_deepflows_alone_is_refused_by_a_native_agent(config: AgentConfig) -> None:
    with pytest.raises(ConfigError) as refused:
        setup_of(replace(config, group_id="g"), {})

    assert "--group-id is for --protocol deepflow alone" == str(refused.value)
