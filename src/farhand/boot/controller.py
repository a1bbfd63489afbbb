"""The controller process: everything it is made of, started in order and stopped in reverse.

Wires and nothing else; what the parts do is theirs.
"""

import argparse
import asyncio
import gc
import logging
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from farhand import __version__
from farhand.boot.clock import SteadyClock, SystemClock
from farhand.boot.config import ControllerConfig, bind_address, is_loopback, listed, load, networks
from farhand.boot.process import (
    EXIT_OK,
    LEVELS,
    allow_many_connections,
    complain,
    run,
    stopping_on_signals,
)
from farhand.bus.local import LocalBus
from farhand.client._local import remove_local, write_local
from farhand.controller.enrolment import Enrolment
from farhand.controller.tenants import Tenants
from farhand.errors import ConfigError, FarhandError
from farhand.gateway.admission import Admissions
from farhand.gateway.server import FrontDoor, Gateway, serving_agents
from farhand.http.app import build_app
from farhand.http.deepflow.rights import Front
from farhand.http.metrics import AgentsDoor, Elsewhere
from farhand.http.server import Address, serving_http
from farhand.ports import Clock, Durability
from farhand.storage import open_storage
from farhand.wire.grpc import server_context

log = structlog.get_logger()

AT_RISK = (
    "nothing is flushed before it is acknowledged: if this host loses power or its kernel stops, "
    "jobs, states and output of the last seconds before may be missing although they were "
    "acknowledged; the end of this process alone, however it comes, loses nothing"
)
UNPROVED = (
    "DeepFlow agents prove no identity and speak plaintext: whoever reaches the agents' port can "
    "say to be any of them, gets the runs that are meant for it, and tells their results"
)


@dataclass(frozen=True, slots=True)
class Controller:
    """A running controller, as its process sees it."""

    http: Address
    gateway: Gateway
    tenants: Tenants


@asynccontextmanager
async def running_controller(
    config: ControllerConfig, *, clock: Clock | None = None
) -> AsyncIterator[Controller]:
    """Everything a controller is made of. Raises ConfigError, PortInUse, DataDirInUse.

    Leaving stops in order: say goodbye to agents, end the doors, end the work, close the store.
    """
    clock = SteadyClock(clock or SystemClock(), _wall_clock_jumped)
    limits = config.limits
    tls = _tls(config)
    if config.deepflow_agents:
        log.warning("deepflow.agents_served", at_risk=UNPROVED)
    if config.durability is not Durability.DISK:
        log.warning("store.relaxed", durability=config.durability.value, at_risk=AT_RISK)
    opening = open_storage(
        config.data, inline_bytes=limits.inline_bytes, durability=config.durability
    )
    async with opening as storage:
        enrolment = Enrolment(storage.control, clock)
        org = await enrolment.begin(config.data)
        async with Tenants(
            name=f"{socket.gethostname()}:{config.data.resolve()}",
            open_store=storage.store,
            bus=LocalBus(),
            enrolment=enrolment,
            clock=clock,
            limits=limits,
        ) as tenants:
            await tenants.open(org)
            host, port = bind_address("--agents", config.agents)
            door = FrontDoor(enrolment, tenants, Admissions(limits, clock))
            elsewhere = Elsewhere(
                stores=storage.counters,
                agents=lambda: gateway.server.connections,  # which is open before anybody can ask
                outbox_bytes=lambda: gateway.server.queued_bytes,
                door=lambda: _agents_door(gateway),
            )
            app = build_app(
                tenants,
                enrolment,
                limits,
                version=__version__,
                deepflow=_front(config),
                elsewhere=elsewhere,
            )
            files = (str(config.tls_cert), str(config.tls_key)) if config.tls_cert else None

            def farewell() -> None:
                for tenant in tenants.all:
                    tenant.sessions.say_goodbye(limits.goodbye_spread_s)

            async with (
                serving_agents(
                    host,
                    port,
                    door=door,
                    limits=limits,
                    tls=tls,
                    deepflow=config.deepflow_agents,
                    farewell=farewell,
                ) as gateway,
                serving_http(app, config.http, tls=files, limits=limits) as http,
            ):
                yield Controller(http, gateway, tenants)


def _agents_door(gateway: Gateway) -> AgentsDoor:
    admissions, seen = gateway.admissions, gateway.admissions.counters
    return AgentsDoor(
        strangers=gateway.server.unidentified,
        entering=admissions.at_once,
        waiting=admissions.waiting,
        most_entering=seen.most_at_once,
        most_waiting=seen.most_waiting,
        begun=seen.begun,
        sent_away=seen.turned_away,
        refused=gateway.server.refused,
    )


def _front(config: ControllerConfig) -> Front | None:
    if not config.deepflow_api:
        return None
    return Front(networks("--deepflow-trusted-front", config.deepflow_trusted_front))


def _wall_clock_jumped(by_s: float) -> None:
    log.warning(
        "clock.jumped",
        by_s=round(by_s, 1),
        meaning="the wall clock was set; deadlines go on as they were, and times that are told "
        "near the new one by 6 s a minute, or at once with the next start",
    )


def _tls(config: ControllerConfig) -> ssl.SSLContext | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    try:
        return server_context(str(config.tls_cert), str(config.tls_key))
    except (OSError, ssl.SSLError) as exc:
        msg = f"--tls-cert {config.tls_cert} and --tls-key {config.tls_key} cannot be used: {exc}"
        raise ConfigError(msg) from exc


async def serve(config: ControllerConfig, env: Mapping[str, str]) -> int:
    """Run a controller until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    with stopping_on_signals(stop.set):
        async with running_controller(config) as controller:
            http, (host, port) = controller.http, controller.gateway.address
            log.info("controller.ready", http=http.url, agents=f"{host}:{port}")
            token_file = (config.data / "admin.token").resolve()
            try:
                write_local(env, _own_url(http), token_file, config.tls_cert)
            except OSError as exc:  # a service without a home: its users set FARHAND_URL
                log.warning("controller.no_local_file", error=str(exc))
            try:
                await stop.wait()
                log.info("controller.stopping")
            finally:
                remove_local(env, _own_url(http))
    log.info("controller.stopped")
    return EXIT_OK


def _own_url(http: Address) -> str:
    """How this host's own user reaches the API."""
    host = http.host if is_loopback(http.host) else "127.0.0.1"
    return Address(host, http.port, http.tls).url


def set_up_logging(level: str) -> None:
    """One line for each change of state: an event name, then fields; to stderr."""
    number = LEVELS.get(level, logging.INFO)
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr, force=True)
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=terminal)
            if terminal
            else structlog.processors.KeyValueRenderer(
                key_order=["timestamp", "level", "event"], sort_keys=False
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def parser() -> argparse.ArgumentParser:
    """The options of `farhand controller`."""
    options = argparse.ArgumentParser(
        prog="farhand controller",
        description="Run a controller: agents dial in at one port, people ask at the other.",
        epilog="Options may stand in a TOML file (--config) or as FARHAND_CONTROLLER_* variables.",
        allow_abbrev=False,
    )
    options.add_argument("--config", type=Path, metavar="FILE", help="a TOML file with settings")
    options.add_argument("--data", type=Path, metavar="DIR", help="where everything is kept")
    options.add_argument("--http", metavar="HOST:PORT", help="where the API listens")
    options.add_argument("--agents", metavar="HOST:PORT", help="where agents dial in")
    options.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain (PEM)")
    options.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key (PEM)")
    options.add_argument(
        "--insecure",
        action=argparse.BooleanOptionalAction,
        help="allow addresses beyond loopback without TLS",
    )
    options.add_argument(
        "--deepflow-agents",
        action=argparse.BooleanOptionalAction,
        help="let DeepFlow agents dial in as well, though they prove no identity",
    )
    options.add_argument(
        "--deepflow-api",
        action=argparse.BooleanOptionalAction,
        help="serve DeepFlow's HTTP API as well, below /v1/agent",
    )
    options.add_argument(
        "--deepflow-trusted-front",
        type=listed,
        metavar="ADDRESS[,…]",
        help="where X-User-* and X-Org-Id are believed: addresses or networks (10.0.0.0/8)",
    )
    options.add_argument(
        "--durability",
        type=Durability,
        choices=list(Durability),
        help="what an acknowledged write survives: a power cut (disk, the default), "
        "or the end of this process only (process)",
    )
    options.add_argument("--log-level", choices=sorted(LEVELS), help="how much is logged")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `farhand controller`."""
    given: dict[str, Any] = vars(parser().parse_args(argv))
    env = dict(os.environ)
    file = given.pop("config") or env.get("FARHAND_CONTROLLER_CONFIG")
    try:
        config = load(
            ControllerConfig,
            prefix="FARHAND_CONTROLLER_",
            env=env,
            given=given,
            file=Path(file) if file else None,
        ).checked()
    except FarhandError as exc:
        return complain(exc)
    set_up_logging(config.log_level)
    allow_many_connections()
    # Agents and runs live long: looking at all of them often costs a tenth of the CPU or more.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    return run(serve(config, env), fast_loop=True)


if __name__ == "__main__":
    sys.exit(main())
