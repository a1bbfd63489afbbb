"""A farhand agent of this host that speaks to DeepFlow servers; its programs are real processes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from farhand.agent.catalogue import Catalogue
from farhand.agent.deepflow.daemon import DeepFlowAgent, DeepFlowSetup
from farhand.agent.diagnosis import ENTRIES
from farhand.agent.entry import Entry
from farhand.agent.link import Address, Dial
from farhand.agent.namespaces import list_namespaces
from farhand.agent.process import PosixLauncher
from farhand.boot.clock import SystemClock
from farhand.domain.command import Command, Param
from farhand.domain.limits import AGENT_DEFAULTS
from farhand.wire.grpc import LinkLimits

KEY = "127.0.0.1-00:00:00:00:00:00"  # of whoever dials over loopback
QUICK = replace(
    AGENT_DEFAULTS,
    backoff_first_s=0.01,
    backoff_cap_s=0.05,
    kill_grace_s=0.5,
    drain_s=0.5,
    stop_s=2.0,
    deepflow_run_s=20.0,
)
_LARGE = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 4096 * 3 + b'end')"


def _entry(ident: str, *argv: str, params: tuple[Param, ...] = ()) -> Entry:
    return Entry(command=Command(ident=ident, params=params), argv=argv)


OWN = (
    _entry("say", "echo", "{word}", params=(Param(name="word", required=True),)),
    _entry("silent", "true"),
    _entry("fail", "sh", "-c", "echo out; echo err >&2; exit 3"),
    _entry("fail-silently", "false"),
    _entry("kill-itself", "sh", "-c", "echo out; kill -9 $$"),
    _entry("large", sys.executable, "-c", _LARGE),
    _entry("sleep", "sleep", "{mark}", params=(Param(name="mark", required=True),)),
    _entry("missing", "no-such-program-here"),
    _entry("net", "readlink", "/proc/self/ns/net"),
)


@asynccontextmanager
async def running(*ports: int, **changes: Any) -> AsyncIterator[DeepFlowAgent]:
    """A DeepFlow-mode agent of this host."""
    setup = DeepFlowSetup(
        dial=Dial(
            addresses=tuple(Address("127.0.0.1", port) for port in ports),
            limits=LinkLimits(queued_bytes_per_call=64 << 20),
        ),
        env={"PATH": os.environ["PATH"]},
        limits=QUICK,
        launcher=PosixLauncher(),
        catalogue=Catalogue((*ENTRIES, *OWN)),
        namespaces=list_namespaces,
    )
    agent = DeepFlowAgent(replace(setup, **changes), SystemClock())
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(agent.serve())
        try:
            yield agent
        finally:
            agent.stop()
            await task
