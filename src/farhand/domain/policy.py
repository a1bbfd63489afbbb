"""What an agent allows on its host. The agent has the last word, whatever a controller says.

Catalogue commands are always allowed; everything else only where the host's own configuration
says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from farhand.domain.job import Argv, CommandCall, JobSpec, Script
from farhand.errors import ConfigError


class Permission(StrEnum):
    """What `--allow` can name."""

    ARGV = "argv"
    SCRIPT = "script"
    CWD = "cwd"
    USER = "user"


@dataclass(frozen=True, slots=True)
class AgentPolicy:
    """The permissions of one host."""

    allowed: frozenset[Permission] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """Read the words of `--allow`; raise ConfigError for an unknown one."""
        words = [name.strip() for name in names if name.strip()]
        known = {permission.value for permission in Permission}
        if unknown := [word for word in words if word not in known]:
            raise ConfigError(f"--allow knows {', '.join(sorted(known))}; not {', '.join(unknown)}")
        return cls(frozenset(map(Permission, words)))

    def refusal(self, spec: JobSpec) -> str | None:
        """Say why *spec* may not run here, or None when it may."""
        if isinstance(spec.what, CommandCall) and spec.env and Permission.ARGV not in self.allowed:
            # PATH or LD_PRELOAD would turn a catalogue command into any program.
            return (
                "a catalogue command takes no environment from the job on this agent; "
                "start it with --allow argv if it should"
            )
        for permission, wanted in (
            (Permission.ARGV, isinstance(spec.what, Argv)),
            (Permission.SCRIPT, isinstance(spec.what, Script)),
            (Permission.CWD, spec.cwd is not None),
            (Permission.USER, spec.user is not None),
        ):
            if wanted and permission not in self.allowed:
                return (
                    f"this agent does not allow {permission.value}; "
                    f"start it with --allow {permission.value} if it should"
                )
        return None
