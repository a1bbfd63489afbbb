"""What is kept about whom a job is for: saved groups, previews, and the switch that stops all jobs.

Documents of the store; deciding with them is the controller's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedGroup:
    """A selector with a name, written `@name` in others. *at* is when it was last changed."""

    KIND: ClassVar[str] = "group"

    id: str  # its name
    selector: str
    by: str
    at: float
    version: int = 0

    @property
    def due_at(self) -> float | None:
        """Never."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The agents that a job would have run on, for a job that is bound to them until *until*."""

    KIND: ClassVar[str] = "preview"

    id: str
    targets: str
    agents: tuple[str, ...]
    by: str
    made_at: float
    until: float
    version: int = 0

    @property
    def due_at(self) -> float | None:
        """When it is forgotten."""
        return self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a job's own fields do not tell of how its agents were chosen; id is the job's.

    Those passed over because they were drained, saved groups as they were then, the preview that
    the job was bound to, and whether its agents were *named* one by one.
    """

    KIND: ClassVar[str] = "chosen"

    id: str
    drained: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    preview: str = ""
    named: bool = False
    until: float | None = None
    version: int = 0

    @property
    def due_at(self) -> float | None:
        """When it is forgotten."""
        return self.until


FREEZE: Final = "freeze"  # there is one at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """Nothing begins until it is lifted: who froze, when and why."""

    KIND: ClassVar[str] = "freeze"

    id: str = FREEZE
    reason: str
    by: str
    at: float
    version: int = 0

    @property
    def due_at(self) -> float | None:
        """Never: a person lifts it."""
        return None
