"""Simulated agents: everything an agent is, link, executor, journal and spool, but for the host.

Its programs are coroutines (`farhand.testing.launcher`); one process holds many agents. Says
`ready`, dials at the first line on stdin, and answers each line with who is connected; ends with
its stdin.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from farhand.agent.catalogue import Catalogue
from farhand.agent.daemon import Agent, AgentSetup, open_agent
from farhand.agent.link import Dial, addresses
from farhand.boot.clock import SystemClock
from farhand.boot.process import set_up_logging
from farhand.domain.limits import AGENT_DEFAULTS, KIB, MIB
from farhand.domain.messages import Namespace
from farhand.domain.policy import AgentPolicy, Permission
from farhand.testing.launcher import FakeLauncher, FakeProcess
from farhand.wire.grpc import LinkLimits

# A thousand journals of the usual size would fill a disk.
LIMITS: Final = replace(AGENT_DEFAULTS, journal_bytes=64 * KIB)


class CountingClock(SystemClock):
    """The system's time, which counts how often somebody had to wait: only links do, to redial."""

    def __init__(self) -> None:
        self.waits = 0

    async def sleep(self, seconds: float) -> None:
        self.waits += 1
        await super().sleep(seconds)


async def stamp(process: FakeProcess) -> int:
    """Print when it was started, in nanoseconds of the clock that all processes share."""
    await process.print(b"%d" % time.monotonic_ns())
    return 0


def setup_of(
    number: int, asked: argparse.Namespace, token: str, launcher: FakeLauncher
) -> AgentSetup:
    name = f"sim-{number}"
    return AgentSetup(
        name=name,
        state=asked.state / name,
        dial=Dial(
            addresses=addresses([asked.controller]),
            limits=LinkLimits(connect_deadline_s=LIMITS.connect_s, message_bytes=8 * MIB),
        ),
        join_token=token,
        labels={"role": "simulated"},
        policy=AgentPolicy(frozenset({Permission.ARGV})),
        machine_id=f"bench-{number}",
        software="farhand/bench",
        limits=LIMITS,
        launcher=launcher,
        catalogue=Catalogue(()),
        namespaces=no_namespaces,
    )


def no_namespaces() -> tuple[Namespace, ...]:
    return ()


async def lines(of: object) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), of)
    return reader


def say(text: str) -> None:
    print(text, flush=True)


async def simulate(asked: argparse.Namespace) -> None:
    """Be all agents until stdin ends."""
    token, clock, stdin = (
        asked.join_token_file.read_text().strip(),
        CountingClock(),
        await lines(sys.stdin),
    )
    async with AsyncExitStack() as stack:
        launcher = await stack.enter_async_context(FakeLauncher({"stamp": stamp}))
        agents: list[Agent] = []
        for number in range(asked.first, asked.first + asked.count):
            setup = setup_of(number, asked, token, launcher)
            agents.append(await stack.enter_async_context(open_agent(setup, clock)))
        say("ready")
        if not await stdin.readline():
            return
        async with asyncio.TaskGroup() as tasks:
            serving = [tasks.create_task(agent.serve(), name="serve") for agent in agents]
            while True:
                online = sum(agent.connected.is_set() for agent in agents)
                say(json.dumps({"online": online, "lost": clock.waits}))
                if not await stdin.readline():
                    break
            for task in serving:
                task.cancel()


def main(argv: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m bench.agents", description=__doc__)
    options.add_argument("--controller", required=True, metavar="HOST:PORT")
    options.add_argument("--join-token-file", required=True, type=Path, metavar="FILE")
    options.add_argument("--state", required=True, type=Path, metavar="DIR")
    options.add_argument("--first", type=int, default=0, metavar="N")
    options.add_argument("--count", type=int, default=1, metavar="N")
    set_up_logging("warning")
    asyncio.run(simulate(options.parse_args(argv)))


if __name__ == "__main__":
    main()
