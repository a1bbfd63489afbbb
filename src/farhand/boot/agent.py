"""The agent process: read its configuration, take its state directory, stay connected.

Loads no web framework, no database driver and no validation library; a test looks.
"""

import argparse
import logging
import os
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from farhand import __version__
from farhand.agent.catalogue import load_catalogue
from farhand.agent.daemon import AgentSetup, open_agent
from farhand.agent.link import Address, Dial, addresses
from farhand.agent.namespaces import list_namespaces
from farhand.agent.process import PosixLauncher
from farhand.boot.clock import SystemClock
from farhand.boot.config import AgentConfig, is_loopback, labels, load
from farhand.boot.process import (
    EXIT_OK,
    LEVELS,
    complain,
    pass_on_no_ignored_signals,
    run,
    set_up_logging,
    stopping_on_signals,
)
from farhand.domain.ids import check_name
from farhand.domain.limits import MIB
from farhand.domain.policy import AgentPolicy
from farhand.errors import ConfigError, FarhandError, UnsafeBinding
from farhand.wire.grpc import HttpProxy, LinkLimits, client_context

if TYPE_CHECKING:
    from farhand.agent.deepflow.daemon import DeepFlowSetup

log = logging.getLogger(__name__)

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def setup_of(config: AgentConfig, env: Mapping[str, str]) -> AgentSetup:
    """What an agent is made of. Raises ConfigError, UnsafeBinding, InvalidName."""
    _refuse(config, _DEEPFLOWS_OWN, "is for --protocol deepflow alone")
    return AgentSetup(
        name=check_name(config.name or socket.gethostname()),
        state=config.state,
        dial=_dial(config, env),
        join_token=_join_token(config),
        labels=config.label,
        policy=AgentPolicy.of(config.allow),
        env=_env(config, env),
        software=f"farhand/{__version__}",
        limits=config.limits,
        launcher=PosixLauncher(),
        catalogue=load_catalogue(config.commands),
        namespaces=partial(list_namespaces),
    )


def deepflow_setup_of(config: AgentConfig, env: Mapping[str, str]) -> "DeepFlowSetup":
    """What an agent on a DeepFlow server is made of. Raises ConfigError."""
    from farhand.agent.deepflow.daemon import DeepFlowSetup  # noqa: PLC0415  # others never need it

    _refuse(config, _NATIVES_OWN, "has no meaning for a DeepFlow server; leave it out")
    return DeepFlowSetup(
        dial=_dial(config, env),
        team_id=config.team_id,
        group_id=config.group_id,
        env={**_env(config, env), **{name: env[name] for name in _KUBERNETES if name in env}},
        limits=config.limits,
        launcher=PosixLauncher(),
        catalogue=load_catalogue(config.commands),
        namespaces=partial(list_namespaces),
    )


_DEEPFLOWS_OWN: Final = ("team_id", "group_id")
_NATIVES_OWN: Final = ("join_token_file", "state", "name", "label", "allow")
_KUBERNETES: Final = ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")


def _refuse(config: AgentConfig, names: Sequence[str], why: str) -> None:
    """Refuse settings that would be passed over in silence. Raises ConfigError."""
    unset = AgentConfig()
    for name in names:
        if getattr(config, name) != getattr(unset, name):
            raise ConfigError(f"--{name.replace('_', '-')} {why}", names=[name])


def _env(config: AgentConfig, env: Mapping[str, str]) -> dict[str, str]:
    """What programs are started with."""
    return {
        "PATH": env.get("PATH", PATH),
        "HOME": env.get("HOME", "/"),
        "LANG": env.get("LANG", "C.UTF-8"),
        "FARHAND_AGENT_NAME": config.name or socket.gethostname(),
    }


def _dial(config: AgentConfig, env: Mapping[str, str]) -> Dial:
    try:
        controllers = addresses(config.controller)
    except ValueError as exc:
        raise ConfigError(f"--controller: {exc}; write HOST:PORT[,HOST:PORT…]") from exc
    # A result for a DeepFlow server may be one single message, if the server asks for that.
    result = config.limits.deepflow_output_bytes if config.protocol == "deepflow" else 0
    return Dial(
        addresses=controllers,
        tls=_tls(config, controllers),
        proxy=_proxy(config, env, controllers),
        limits=LinkLimits(
            connect_deadline_s=config.limits.connect_s,
            message_bytes=8 * MIB,
            queued_bytes_per_call=16 * MIB + result,
        ),
    )


def _tls(config: AgentConfig, controllers: Sequence[Address]) -> ssl.SSLContext | None:
    if config.ca is None and not config.tls:
        away = [str(each) for each in controllers if not is_loopback(each.host)]
        native = config.protocol == "native"  # DeepFlow's servers speak no TLS of their own accord
        if away and native and not config.insecure:
            msg = (
                f"{', '.join(away)} would be spoken to without TLS, secrets included; give --ca "
                "FILE or --tls, or --insecure if the network is yours alone"
            )
            raise UnsafeBinding(msg)
        return None
    try:
        return client_context(ca=str(config.ca) if config.ca else None)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"--ca {config.ca} cannot be used: {exc}") from exc


def _proxy(
    config: AgentConfig, env: Mapping[str, str], controllers: Sequence[Address]
) -> HttpProxy | None:
    """The HTTP proxy: --proxy, or HTTPS_PROXY unless NO_PROXY names every controller."""
    text = config.proxy
    if not text:
        text = env.get("HTTPS_PROXY") or env.get("https_proxy") or ""
        spared = (env.get("NO_PROXY") or env.get("no_proxy") or "").split(",")
        if all(_spared(each.host, spared) for each in controllers):
            return None
    if not text:
        return None
    try:
        parts = urlsplit(text if "//" in text else f"http://{text}")
        port = parts.port or 3128
    except ValueError:  # its text may show a password
        raise ConfigError("the proxy's address cannot be read; write http://HOST:PORT") from None
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigError(f"the proxy {parts.scheme}://{parts.hostname} is not http://HOST:PORT")
    return HttpProxy(
        parts.hostname,
        port,
        unquote(parts.username) if parts.username else None,
        unquote(parts.password or ""),
    )


def _spared(host: str, patterns: Sequence[str]) -> bool:
    if is_loopback(host):
        return True
    cleaned = [pattern.strip().lower() for pattern in patterns]
    domains = [pattern.lstrip("*").lstrip(".") for pattern in cleaned]
    return "*" in cleaned or any(d and f".{host.lower()}".endswith(f".{d}") for d in domains)


def _join_token(config: AgentConfig) -> str:
    file = config.join_token_file
    if file is None:
        if not (config.state / "identity.json").exists():
            msg = "this agent has not joined yet; give --join-token-file"
            raise ConfigError(msg)
        return ""
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        if (config.state / "identity.json").exists():
            return ""  # it has joined; the token is not needed any more
        raise ConfigError(f"--join-token-file {file} cannot be read: {exc}") from exc
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"--join-token-file {file} does not hold a token")
    return token


async def serve(config: AgentConfig, env: Mapping[str, str]) -> int:
    """Run an agent until SIGTERM or SIGINT."""
    if config.protocol == "deepflow":
        return await _serve_deepflow(deepflow_setup_of(config, env))
    async with open_agent(setup_of(config, env), SystemClock()) as agent:
        with stopping_on_signals(agent.stop):
            await agent.serve()
    return EXIT_OK


async def _serve_deepflow(setup: "DeepFlowSetup") -> int:
    from farhand.agent.deepflow.daemon import DeepFlowAgent  # noqa: PLC0415  # see above

    if setup.dial.tls is None:
        log.warning("without TLS nothing proves that the server is the one that was meant")
    agent = DeepFlowAgent(setup, SystemClock())
    with stopping_on_signals(agent.stop):
        await agent.serve()
    return EXIT_OK


def parser() -> argparse.ArgumentParser:
    """The options of `farhand agent`."""
    options = argparse.ArgumentParser(
        prog="farhand agent",
        description="Run an agent: dial a controller and run what it sends, as policy allows.",
        epilog="Options may stand in a TOML file (--config) or as FARHAND_AGENT_* variables.",
        allow_abbrev=False,
    )
    add = options.add_argument
    add("--config", type=Path, metavar="FILE", help="a TOML file with settings")
    add("--controller", action="append", metavar="HOST:PORT[,…]", help="where to dial, in turn")
    add("--protocol", choices=("native", "deepflow"), help="deepflow: dial a DeepFlow server")
    add("--team-id", metavar="ID", help="DeepFlow's team, for --protocol deepflow")
    add("--group-id", metavar="ID", help="DeepFlow's agent group, for --protocol deepflow")
    add("--ca", type=Path, metavar="FILE", help="authorities of the controller's certificate")
    add("--tls", action=argparse.BooleanOptionalAction, help="TLS with the system's authorities")
    add("--insecure", action=argparse.BooleanOptionalAction, help="allow plaintext to other hosts")
    add("--join-token-file", type=Path, metavar="FILE", help="what buys this agent its secret")
    add("--state", type=Path, metavar="DIR", help="identity and journal; one agent each")
    add("--name", metavar="NAME", help="what people call it; the host name unless given")
    add("--label", action="append", metavar="KEY=VALUE", help="may be repeated")
    add("--allow", action="append", metavar="argv,script,cwd,user", help="beyond the catalogue")
    add("--commands", type=Path, metavar="FILE", help="a TOML file with commands of your own")
    add("--proxy", metavar="http://HOST:PORT", help="an HTTP proxy; HTTPS_PROXY unless given")
    add("--log-level", choices=sorted(LEVELS), help="how much is logged")
    return options


def configuration(given: dict[str, Any], env: Mapping[str, str]) -> AgentConfig:
    """Read a configuration from options and variables. Raises ConfigError."""
    file = given.pop("config") or env.get("FARHAND_AGENT_CONFIG")
    if given["label"] is not None:
        given["label"] = labels(given["label"])
    if given["allow"] is not None:
        given["allow"] = tuple(word for text in given["allow"] for word in text.split(","))
    if given["controller"] is not None:
        given["controller"] = tuple(given["controller"])
    config = load(
        AgentConfig,
        prefix="FARHAND_AGENT_",
        env=env,
        given=given,
        file=Path(file) if file else None,
    )
    if not config.controller:
        raise ConfigError("no controller is named; give --controller HOST:PORT")
    return config


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `farhand agent` and of `farhand-agent`."""
    given = vars(parser().parse_args(argv))
    env = dict(os.environ)
    try:
        config = configuration(given, env)
        set_up_logging(config.log_level)
        pass_on_no_ignored_signals()
        return run(serve(config, env), fast_loop=False)
    except FarhandError as exc:
        return complain(exc)


if __name__ == "__main__":
    sys.exit(main())
