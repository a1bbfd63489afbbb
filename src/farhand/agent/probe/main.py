"""Run one probe as a program: `main(["ping", "host=db-1", "count=3"])`.

Looks at this host and changes nothing on it. Exit code 0, or 1 and a sentence on stderr.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

PROBES: Final = {
    "dns-lookup": "network",
    "environment": "processes",
    "io": "host",
    "kernel-log": "host",
    "memory": "host",
    "namespaces": "processes",
    "open-files": "processes",
    "ping": "network",
    "ps": "processes",
    "strace": "processes",
    "tcp-connect": "network",
    "top": "processes",
    "uptime": "host",
}


class ProbeFailed(Exception):
    """What was asked for cannot be told, and why."""


def main(argv: Sequence[str]) -> int:
    """Run the probe *argv[0]* with the parameters `name=value`, and return the exit code."""
    what, *given = argv
    sys.stdout.reconfigure(line_buffering=True, errors="replace")  # type: ignore[union-attr]  # a text stream
    function = getattr(import_module(f"farhand.agent.probe.{PROBES[what]}"), what.replace("-", "_"))
    try:
        function(**{name: value for name, _, value in (item.partition("=") for item in given)})
    except BrokenPipeError:  # nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except (ProbeFailed, OSError) as exc:
        sys.stderr.write(f"{what}: {exc}\n")
        return 1
    return 0
