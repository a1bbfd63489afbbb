"""Makes what was written safe, as far as an operator wants it, and counts what that takes.

Writes nothing itself. SQLite flushes its own log; it is told how in sqlite.py.
"""

import os
from pathlib import Path

from farhand.ports import Durability


class Disk:
    """The flushes of one store's files and directories. Raises OSError. Not for threads."""

    def __init__(self, durability: Durability = Durability.DISK) -> None:
        self.durability = durability
        self.flushes = 0

    def keep_file(self, fd: int) -> None:
        """Make the bytes of a file safe, and its length."""
        if self.durability is Durability.DISK:
            os.fdatasync(fd)
            self.flushes += 1

    def keep_names(self, directory: Path) -> None:
        """Make the names in a directory safe."""
        if self.durability is Durability.DISK:
            sync_directory(directory)
            self.flushes += 1


def sync_directory(path: Path) -> None:
    """Make the names in a directory safe, whatever an operator wants."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
