"""Simulated agents: everything an agent is, link, executor, journal and spool, but for the host.

Its programs are coroutines (`farhand.testing.launcher`); one process holds many agents. Says
`ready`, dials at the first line on stdin, and answers each line with a line of JSON; ends with its
stdin. The line `stop` lets programs that wait or count come to their end, `printed` asks how many
lines each run has counted, any other who is connected.
"""

import argparse
import asyncio
import json
import os
import ssl
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
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
from farhand.testing.launcher import PIPE_BYTES, FakeLauncher, FakeProcess, Program
from farhand.wire.grpc import LinkLimits, client_context

# A thousand journals of the usual size would fill a disk.
LIMITS: Final = replace(AGENT_DEFAULTS, journal_bytes=64 * KIB)
LINE: Final = b"%09d %019d\n"  # its number, and when it was printed
PAUSE_S: Final = 0.2  # between two lines
TICK_S: Final = 0.03  # between two that only tell the time


class CountingClock(SystemClock):
    """The system's time, which counts how often somebody had to wait: only links do, to redial."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    async def sleep(self, seconds: float) -> None:
        self.waits += 1
        await super().sleep(seconds)


class Programs:
    """What a simulated host can run, and what it has printed."""

    def __init__(self) -> None:
        self.printed: dict[str, int] = {}  # lines, by run
        self.stop = asyncio.Event()

    @property
    def by_name(self) -> dict[str, Program]:
        return {
            "stamp": stamp,
            "pour": pour,
            "wait": self.wait,
            "count": self.count,
            "tick": self.tick,
        }

    async def wait(self, process: FakeProcess) -> int:
        """Print nothing until it is told to stop."""
        del process
        await self.stop.wait()
        return 0

    async def count(self, process: FakeProcess) -> int:
        """Print a numbered line with the time, a few times a second, until it is told to stop."""
        run = process.launch.run
        self.printed[run] = 0
        while not self.stop.is_set():
            await process.print(LINE % (self.printed[run], time.monotonic_ns()))
            self.printed[run] += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_S):
                    await self.stop.wait()
        return 0

    async def tick(self, process: FakeProcess) -> int:
        """Print the time now and then, until it is told to stop."""
        while not self.stop.is_set():
            await process.print(b"%d\n" % time.monotonic_ns())
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self.stop.wait()
        return 0


async def pour(process: FakeProcess) -> int:
    """Print so many bytes of noise, as fast as they are read."""
    left, piece = int(process.launch.argv[1]), os.urandom(PIPE_BYTES)
    while left > 0:
        await process.print(piece[:left])
        left -= len(piece)
    return 0


async def stamp(process: FakeProcess) -> int:
    """Print when it was started, in nanoseconds of the clock that all processes share."""
    await process.print(b"%d" % time.monotonic_ns())
    return 0


def setup_of(
    number: int,
    asked: argparse.Namespace,
    token: str,
    tls: ssl.SSLContext | None,
    launcher: FakeLauncher,
) -> AgentSetup:
    name = f"sim-{number}"
    return AgentSetup(
        name=name,
        state=asked.state / name,
        dial=Dial(
            addresses=addresses([asked.controller]),
            tls=tls,
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
        programs = Programs()
        tls = client_context(ca=str(asked.ca)) if asked.ca else None
        launcher = await stack.enter_async_context(FakeLauncher(programs.by_name))
        agents: list[Agent] = []
        for number in range(asked.first, asked.first + asked.count):
            setup = setup_of(number, asked, token, tls, launcher)
            agents.append(await stack.enter_async_context(open_agent(setup, clock)))
        say("ready")
        if not (asked_for := await stdin.readline()):
            return
        async with asyncio.TaskGroup() as tasks:
            serving = [tasks.create_task(agent.serve(), name="serve") for agent in agents]
            while asked_for:
                if asked_for == b"stop\n":
                    programs.stop.set()
                if asked_for == b"printed\n":
                    say(json.dumps(programs.printed))
                else:
                    online = sum(agent.connected.is_set() for agent in agents)
                    say(json.dumps({"online": online, "lost": clock.waits}))
                asked_for = await stdin.readline()
            for task in serving:
                task.cancel()


def main(argv: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m bench.agents", description=__doc__)
    options.add_argument("--controller", required=True, metavar="HOST:PORT")
    options.add_argument("--join-token-file", required=True, type=Path, metavar="FILE")
    options.add_argument("--state", required=True, type=Path, metavar="DIR")
    options.add_argument("--first", type=int, default=0, metavar="N")
    options.add_argument("--count", type=int, default=1, metavar="N")
    options.add_argument("--ca", type=Path, metavar="FILE", help="dial in TLS")
    set_up_logging("error")  # that a controller is away is what is measured
    asyncio.run(simulate(options.parse_args(argv)))


if __name__ == "__main__":
    main()
