"""Keep a script's text where its interpreter can read it, for as long as it runs.

Only the agent's own user can read the files; for others a script travels in an argument.
"""

from pathlib import Path

from farhand.domain.ids import RunId
from farhand.domain.job import JobSpec, Script
from farhand.domain.run import Why
from farhand.errors import LaunchFailed


class ScriptFiles:
    """Scripts as files that only their user can read, in a directory of the agent."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, run: RunId, spec: JobSpec) -> tuple[str, ...]:
        """Write the script; it is run by its `#!` line, else by /bin/sh."""
        assert isinstance(spec.what, Script)
        text = spec.what.text
        inside = spec.namespaces_of is not None or spec.user is not None
        if inside and not text.startswith("#!") and len(text.encode()) < 100_000:
            return ("/bin/sh", "-c", text)
        if inside:
            told = "a script with its own #! line cannot be seen by another user or namespace"
            raise LaunchFailed(Why.UNSUPPORTED, told)
        path = self._directory / f"{run}.script"
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as exc:
            msg = f"the script cannot be written to {path}: {exc.strerror}"
            raise LaunchFailed(Why.SPAWN_FAILED, msg) from exc
        first = text.split("\n", 1)[0].strip()
        interpreter = first[2:].strip().split(None, 1) if first.startswith("#!") else ["/bin/sh"]
        return (*(interpreter or ["/bin/sh"]), str(path))

    def remove(self, run: RunId) -> None:
        """Delete the script, if there is one."""
        (self._directory / f"{run}.script").unlink(missing_ok=True)
