"""Fakes for everything that farhand meets, public and complete: a clock, agents, a world.

Nothing here sleeps, opens a socket or starts a process; `farhand.testing.proxy`, a network with
faults for real processes, is apart for that reason.
"""

from farhand.testing.agent import (
    Behaviour,
    FakeAgent,
    FakeChannel,
    ended,
    hang,
    ignore,
    output,
    succeed,
)
from farhand.testing.clock import ManualClock, settle
from farhand.testing.loop import Life, LoopClock, VirtualLoop
from farhand.testing.world import World

__all__ = [
    "Behaviour",
    "FakeAgent",
    "FakeChannel",
    "Life",
    "LoopClock",
    "ManualClock",
    "VirtualLoop",
    "World",
    "ended",
    "hang",
    "ignore",
    "output",
    "settle",
    "succeed",
]
