"""What an agent allows on its host. The agent has the last word, whatever a controller says.

Catalogue commands are always allowed; everything else only where the host's own configuration
says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from farhand.domain.job import Argv, CommandCall, JobSpec, Script
from farhand.errors import ConfigError

_TELLS: Final = "policy"
_ALLOWS: Final = "allow:"


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

    @property
    def told(self) -> tuple[str, ...]:
        """Itself as capabilities that an agent tells: `policy`, and `allow:WORD` for each."""
        return (_TELLS, *(f"{_ALLOWS}{each.value}" for each in Permission if each in self.allowed))

    @classmethod
    def told_by(cls, capabilities: Iterable[str]) -> Self | None:
        """The policy that an agent told; None when it told none, as older ones do."""
        words = [*capabilities]
        if _TELLS not in words:
            return None
        allowed = {word.removeprefix(_ALLOWS) for word in words if word.startswith(_ALLOWS)}
        return cls(frozenset(each for each in Permission if each.value in allowed))

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
