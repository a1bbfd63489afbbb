"""Show a job's events as they come: raw, line by line with the host in front, or as JSON.

Bytes are written as they are and flushed at once; only the prefixes and the notes are farhand's.
"""

import base64
import json
import sys
from collections.abc import Mapping
from typing import Protocol

from farhand.cli.lines import Prefixer
from farhand.client._events import End, Output
from farhand.client._shapes import Job, Run


class Screen(Protocol):
    """Where events go. Writing may raise OSError, BrokenPipeError above all."""

    def submitted(self, job: Job) -> None: ...

    def printed(self, output: Output) -> None: ...

    def changed(self, run: Run) -> None: ...

    def ended(self, end: End) -> None: ...


def write(stream: str, data: bytes) -> None:
    """Write bytes to this process's stream of that name, now."""
    file = sys.stderr if stream == "stderr" else sys.stdout
    file.flush()
    file.buffer.write(data)
    file.buffer.flush()


class Raw:
    """Exactly what is printed, stdout to stdout and stderr to stderr."""

    def submitted(self, job: Job) -> None:
        """Nothing to show."""

    def printed(self, output: Output) -> None:
        write(output.stream, output.data)

    def changed(self, run: Run) -> None:
        """Nothing to show."""

    def ended(self, end: End) -> None:
        """Nothing to show."""


class Prefixed:
    """Each line with its host in front; lines of different hosts never mix."""

    def __init__(self, names: Mapping[str, str], *, colour: bool) -> None:
        self._prefixer = Prefixer(names, colour=colour)
        self._runs = dict.fromkeys(names)

    def submitted(self, job: Job) -> None:
        """Nothing to show."""

    def printed(self, output: Output) -> None:
        if lines := self._prefixer.feed(output.run, output.stream, output.data):
            write(output.stream, lines)

    def changed(self, run: Run) -> None:
        if run.retry_of is not None:
            self._prefixer.know(run.id, run.agent)
            self._runs[run.id] = None
        if run.resting:
            self._finish(run.id)

    def ended(self, end: End) -> None:
        del end
        for run in self._runs:
            self._finish(run)

    def _finish(self, run: str) -> None:
        for stream in ("stdout", "stderr"):
            if line := self._prefixer.finish(run, stream):
                write(stream, line)


class JsonLines:
    """One JSON object a line on stdout: `job`, then `output` and `run` as they come, then `end`."""

    def submitted(self, job: Job) -> None:
        json_line("job", job.raw)

    def printed(self, output: Output) -> None:
        told = {"run": output.run, "agent": output.agent, "stream": output.stream}
        json_line("output", {**told, "offset": output.offset, **encoded(output.data)})

    def changed(self, run: Run) -> None:
        json_line("run", run.raw)

    def ended(self, end: End) -> None:
        json_line("end", end.raw)


def json_line(kind: str | None, value: Mapping[str, object]) -> None:
    """Write one JSON object on a line of its own, its kind first under `type`."""
    whole = value if kind is None else {"type": kind, **value}
    line = json.dumps(whole, ensure_ascii=False, default=str)
    write("stdout", line.encode(errors="backslashreplace") + b"\n")


def encoded(data: bytes) -> dict[str, str]:
    """Return bytes as JSON can have them: `text` when they are UTF-8, else `base64`."""
    try:
        return {"text": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def colourful(env: Mapping[str, str]) -> bool:
    """Whether colours are wanted: on a terminal that has them, unless NO_COLOR says no."""
    return not env.get("NO_COLOR") and env.get("TERM") != "dumb" and sys.stdout.isatty()


def note(text: str) -> None:
    """Tell the person something, on stderr; never fails."""
    try:
        sys.stderr.write(f"farhand: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return
