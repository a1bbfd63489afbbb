"""What a connection's core needs from whatever carries its bytes and its time.

Only contracts and small values; aio.py is the implementation that ships.
"""

import enum
from dataclasses import dataclass
from typing import Protocol

from farhand.wire.grpc.call import Factory
from farhand.wire.grpc.status import CallEnd, Peer


class Role(enum.Enum):
    """Which end of the connection this is."""

    SERVER = enum.auto()
    CLIENT = enum.auto()


@dataclass(frozen=True, slots=True)
class Route:
    """How a server takes a call."""

    factory: Factory
    needs_identity: bool = True


class Budget:
    """Bytes that several connections share."""

    __slots__ = ("left",)

    def __init__(self, amount: int) -> None:
        self.left = amount

    def reserve(self, amount: int) -> bool:
        """Take a share; False when not enough is left."""
        if amount > self.left:
            return False
        self.left -= amount
        return True

    def release(self, amount: int) -> None:
        """Give a share back."""
        self.left += amount


class Shell(Protocol):
    """The connection around a core. None of its methods may call back into the core."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        ...

    def wake(self) -> None:
        """There is something to `take`: do it soon, outside of this call."""

    def schedule(self, due: float) -> None:
        """Call `tick` at this time or a little later; never, if it is infinity."""

    def route(self, path: str) -> Route | CallEnd:
        """Server: who takes a call of this path, or the status that refuses it."""
        ...

    def identified(self) -> None:
        """Server: a call of this connection was identified for the first time."""
