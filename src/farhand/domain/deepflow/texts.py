"""The error texts of DeepFlow agents: how they are written, and what one that arrived means.

Their words are all that tells a refusal from what a program printed to stderr. Decides nothing
about runs.
"""

from dataclasses import dataclass
from typing import Final

from farhand.domain.run import Why

NO_IDENT: Final = "command_ident not specified in run command request"
SYSTEM_CALL: Final = "transparent"  # all that an agent says when a system call of its own failed
NOT_FOUND: Final = "No such file or directory (os error 2)"
NO_PERMISSION: Final = "Permission denied (os error 13)"
REPLAY: Final = "DryReplayPcap"


def unknown_ident(ident: str) -> str:
    """No command has this ident."""
    return f"command not found for id {ident}"


def rejected(cmdline: str, problem: str) -> str:
    """A parameter is not as it must be (`catalogue.problem_with`)."""
    return f"rejected run command '{cmdline}' with invalid params: {problem}"


def no_namespace(pid: int, problem: str = NOT_FOUND) -> str:
    """The namespaces of a process cannot be opened."""
    return f"open namespace file /proc/{pid}/ns/net failed: {problem}"


def not_started(cmdline: str, problem: str = NOT_FOUND) -> str:
    """The program could not be started."""
    return f"command '{cmdline}' execute failed: command execution failed with {problem}"


def not_run(cmdline: str, problem: str) -> str:
    """The agent had a reason of its own to run nothing."""
    return f"command '{cmdline}' execute failed: {problem}"


def failed(cmdline: str) -> str:
    """A program failed and its stderr is empty or no text."""
    return f"command '{cmdline}' failed"


def unsupported(exec_type: int | str) -> str:
    """The execution type, by number or by name, is not offered."""
    return f"unsupported execution type: {exec_type}"


# --- reading ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trouble:
    """What an agent's own error text means. *refused*: nothing was started."""

    why: Why
    refused: bool


_OWN: Final = (
    # How a text begins, what it has behind that, what it means, and that nothing was started.
    (NO_IDENT, "", Trouble(Why.UNKNOWN_COMMAND, refused=True)),
    ("command not found for id ", "", Trouble(Why.UNKNOWN_COMMAND, refused=True)),
    (
        "rejected run command '",
        "' with invalid params: param `",
        Trouble(Why.INVALID_PARAMETER, refused=True),
    ),
    ("open namespace file /proc/", "/ns/", Trouble(Why.NAMESPACES, refused=True)),
    ("unsupported execution type: ", "", Trouble(Why.UNSUPPORTED, refused=True)),
    (
        "command '",
        f"' execute failed: command execution failed with {NOT_FOUND}",
        Trouble(Why.PROGRAM_NOT_FOUND, refused=False),
    ),
    (
        "command '",
        f"' execute failed: command execution failed with {NO_PERMISSION}",
        Trouble(Why.NOT_EXECUTABLE, refused=False),
    ),
    (
        "command '",
        "' execute failed: command execution failed with ",
        Trouble(Why.SPAWN_FAILED, refused=False),
    ),
    ("command '", "' execute failed: ", Trouble(Why.AGENT_FAILED, refused=False)),
)
_LONGEST: Final = 8 * 1024  # of an agent's own texts; what is longer was printed by a program


def trouble(errmsg: str) -> Trouble | None:
    """What *errmsg* means if it is the agent's own; None if a program printed it to stderr."""
    if errmsg == SYSTEM_CALL:
        return Trouble(Why.AGENT_FAILED, refused=False)
    if len(errmsg) > _LONGEST:
        return None
    for begin, then, meaning in _OWN:
        if errmsg.startswith(begin) and then in errmsg[len(begin) :]:
            return meaning
    return None


def brief(errmsg: str) -> str:
    """As much of a text as stands in a message of one's own; agents may send megabytes."""
    return errmsg if len(errmsg) <= _LONGEST else f"{errmsg[:_LONGEST]}…"


def stderr_of(errmsg: str) -> bytes:
    """What of *errmsg* a program printed: nothing, when the agent only says that it failed."""
    if errmsg.startswith("command '") and errmsg.endswith("' failed"):
        return b""
    return errmsg.encode()
