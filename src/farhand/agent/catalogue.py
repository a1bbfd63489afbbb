"""The commands of this host: farhand's own for diagnosis, and those of its operator.

Only what stands here can be asked for by name; values are matched again, whatever a controller
has matched already.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from farhand.agent.commandfile import read_commands
from farhand.agent.diagnosis import ENTRIES
from farhand.agent.entry import Entry
from farhand.agent.executor import Resolved
from farhand.domain.command import Command
from farhand.domain.job import CommandCall
from farhand.errors import UnknownCommand


def load_catalogue(path: Path | None) -> "Catalogue":
    """Return farhand's own commands and those in the operator's file. Raises ConfigError."""
    return Catalogue((*ENTRIES, *(read_commands(path) if path is not None else ())))


class Catalogue:
    """What this host can be asked for by name."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Take *entries*; of two with the same ident the later one counts."""
        found = {entry.command.ident: entry for entry in entries}
        self._entries = dict(sorted(found.items()))

    @property
    def commands(self) -> tuple[Command, ...]:
        """All commands as everybody may see them, by ident."""
        return tuple(entry.command for entry in self._entries.values())

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex over all that a command is; another catalogue has another."""
        shape = [asdict(entry) for entry in self._entries.values()]
        return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()

    def resolve(self, call: CommandCall) -> Resolved:
        """Say what to run. Raises UnknownCommand or InvalidParameter."""
        entry = self._entries.get(call.ident)
        if entry is None:
            msg = f"this agent has no command {call.ident!r}; look at `farhand commands AGENT`"
            raise UnknownCommand(msg)
        values = entry.command.checked(call.params)
        return Resolved(argv=entry.filled(values), timeout_s=entry.timeout_s)
