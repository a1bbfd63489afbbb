"""One frozen value per process from a TOML file, the environment and the command line.

The command line wins over the environment, which wins over the file; unknown names are errors.
No other module reads the environment.
"""

import dataclasses
import ipaddress
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Self, TypeVar, get_type_hints

from farhand.boot.process import LEVELS
from farhand.domain.limits import AGENT_DEFAULTS, DEFAULTS, AgentLimits, Limits
from farhand.errors import ConfigError, UnsafeBinding
from farhand.ports import Durability

_CHOICES = {
    "log_level": tuple(LEVELS),
    "durability": tuple(it.value for it in Durability),
    "protocol": ("native", "deepflow"),
}

Config = TypeVar("Config", "ControllerConfig", "AgentConfig")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerConfig:
    """Everything an operator can set of a controller."""

    data: Path = Path("farhand-data")
    http: str = "127.0.0.1:8470"
    agents: str = "127.0.0.1:8471"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    deepflow_agents: bool = False
    deepflow_api: bool = False
    deepflow_trusted_front: tuple[str, ...] = ()
    durability: Durability = Durability.DISK
    log_level: str = "info"
    limits: Limits = field(default=DEFAULTS)

    def checked(self) -> Self:
        """Refuse to start open. Raises ConfigError, UnsafeBinding."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("--tls-cert and --tls-key go together; one of them is missing")
        for option, text in (("--http", self.http), ("--agents", self.agents)):
            host, _ = bind_address(option, text)
            if self.tls_cert is None and not self.insecure and not is_loopback(host):
                msg = (
                    f"{option} {text} can be reached from other hosts and there is no TLS; "
                    "give --tls-cert and --tls-key, or --insecure if the network is yours alone"
                )
                raise UnsafeBinding(msg)
        if self.deepflow_trusted_front and not self.deepflow_api:
            raise ConfigError("--deepflow-trusted-front is of no use without --deepflow-api")
        networks("--deepflow-trusted-front", self.deepflow_trusted_front)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Everything an operator can set of an agent."""

    controller: tuple[str, ...] = ()
    protocol: str = "native"  # or "deepflow": the controllers are DeepFlow servers
    team_id: str = ""  # for them
    group_id: str = ""
    ca: Path | None = None
    tls: bool = False  # with the system's certificate authorities
    insecure: bool = False
    join_token_file: Path | None = None
    state: Path = Path("farhand-agent")
    name: str = ""
    label: Mapping[str, str] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    commands: Path | None = None
    proxy: str = ""
    log_level: str = "info"
    limits: AgentLimits = field(default=AGENT_DEFAULTS)


def load(
    kind: type[Config],
    *,
    prefix: str,
    env: Mapping[str, str],
    given: Mapping[str, Any],
    file: Path | None,
) -> Config:
    """Read a configuration; raises ConfigError that names what is wrong and where.

    *prefix* is the variables' (`FARHAND_AGENT_`); *given* are options of the command line, where
    None means that one was not given.
    """
    values: dict[str, Any] = {}
    if file is not None:
        values |= _from_file(kind, file)
    values |= _from_env(kind, prefix, env)
    values |= {name: value for name, value in given.items() if value is not None}
    limits = values.pop("limits", {})
    if limits:
        values["limits"] = _limits(kind, limits)
    return kind(**values)


def _from_file(kind: type[Any], file: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  # most agents have no such file

    try:
        with file.open("rb") as opened:
            table = tomllib.load(opened)
    except OSError as exc:
        raise ConfigError(f"{file} cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{file} is not TOML: {exc}") from exc
    return {
        name: _value(kind, name, value, f"{file}: {name}")
        for name, value in _known(kind, table, str(file)).items()
    }


def _from_env(kind: type[Any], prefix: str, env: Mapping[str, str]) -> dict[str, Any]:
    table = {
        name.removeprefix(prefix).lower(): value
        for name, value in env.items()
        if name.startswith(prefix)
    }
    table.pop("config", None)  # names the file
    return {
        name: _value(kind, name, value, prefix + name.upper())
        for name, value in _known(kind, table, "the environment").items()
    }


def _known(kind: type[Any], table: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    known = {item.name for item in fields(kind)}
    if unknown := sorted(table.keys() - known):
        names, listed = ", ".join(unknown), ", ".join(sorted(known))
        msg = f"{where} sets {names}, which is not known; known: {listed}"
        raise ConfigError(msg, names=unknown)
    return table


def _value(kind: type[Any], name: str, value: Any, where: str) -> Any:
    """Turn a text or a TOML value into what the field holds."""
    hint = str(get_type_hints(kind)[name])
    wrong = ConfigError(f"{where} is {value!r}, which it cannot be")
    if "Limits" in hint:
        if not isinstance(value, dict):
            raise wrong
        return value
    if "Mapping" in hint:
        if isinstance(value, str):
            return labels(value.split(","))
        if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
            return value
        raise wrong
    if "tuple" in hint:
        if isinstance(value, str):
            return listed(value)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise wrong
        return tuple(item.strip() for item in value if item.strip())
    if "bool" in hint:
        if isinstance(value, bool):
            return value
        if str(value).lower() in {"1", "true", "yes", "0", "false", "no"}:
            return str(value).lower() in {"1", "true", "yes"}
        raise wrong
    if not isinstance(value, str) or ("Path" in hint and not value):
        raise wrong
    for choice, known in _CHOICES.items():
        if name == choice and value not in known:
            raise ConfigError(f"{where} is {value!r}; it is one of {', '.join(known)}")
    if "Durability" in hint:
        return Durability(value)
    return Path(value) if "Path" in hint else value


def _limits(kind: type[Any], table: Mapping[str, Any]) -> Limits | AgentLimits:
    limits: Limits | AgentLimits = DEFAULTS if kind is ControllerConfig else AGENT_DEFAULTS
    known = {item.name: item for item in fields(limits)}
    if unknown := sorted(table.keys() - known.keys()):
        raise ConfigError(f"limits: {', '.join(unknown)} is not known; docs/reference/limits.md")
    for name, value in table.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:
            raise ConfigError(f"limits: {name} is {value!r}; it must be a number from 0")
        if isinstance(getattr(limits, name), int) and value != int(value):
            raise ConfigError(f"limits: {name} is {value!r}; it must be a whole number")
    changes = {name: type(getattr(limits, name))(value) for name, value in table.items()}
    return dataclasses.replace(limits, **changes)


def listed(text: str) -> tuple[str, ...]:
    """Read `a,b`."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def labels(texts: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Read `key=value` labels; raises ConfigError."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.strip().partition("=")
        if not key or not equals:
            raise ConfigError(f"the label {text!r} is not written key=value")
        found[key] = value
    return found


_BIND = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:\s]*)):([0-9]{1,5})")


def bind_address(option: str, text: str) -> tuple[str, int]:
    """Read `HOST:PORT`, `[V6]:PORT` or `:PORT`; port 0 takes a free one. Raises ConfigError."""
    found = _BIND.fullmatch(text)
    if found is None or int(found[3]) >= 1 << 16:
        raise ConfigError(f"{option} is {text!r}; write HOST:PORT, as 127.0.0.1:8470")
    return found[1] or found[2] or "0.0.0.0", int(found[3])  # noqa: S104  # what `:8470` says


def networks(option: str, texts: Iterable[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Read addresses and networks such as 10.0.0.0/8; raises ConfigError."""
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as exc:
        raise ConfigError(f"{option}: {exc}; write ADDRESS or ADDRESS/BITS") from exc


def is_loopback(host: str) -> bool:
    """Tell whether only this host can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
