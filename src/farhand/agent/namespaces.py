"""List the Linux namespaces of a host, and tell whose they are.

Reads /proc in one pass and enters nothing. What vanishes meanwhile, or may not be looked at, is
left out. A namespace that no process lives in yet (`pid_for_children`) is not listed: it cannot
be entered by way of a process.
"""

import os
import pwd
import re
from collections import Counter
from typing import Final

from farhand.agent import procfs
from farhand.agent.procfs import PROC
from farhand.domain.job import NamespaceKind
from farhand.domain.messages import Namespace

_COMMAND_LENGTH: Final = 200

# Docker, containerd, CRI-O, Podman and nerdctl, by a bare id or by systemd's names. Their
# monitors (`crio-conmon-…`, `libpod-conmon-…`) are no containers.
_CONTAINER: Final = re.compile(
    r"(?:(?:docker|cri-containerd|crio|libpod|nerdctl)-)?([0-9a-f]{64})(?:\.scope)?"
)
_LXC: Final = re.compile(r"lxc\.payload\.([A-Za-z0-9_.-]+)")
_POD: Final = re.compile(
    r"(?:kubepods(?:-(?:besteffort|burstable|guaranteed))?-)?"
    r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?"
)


def belongs_to(cgroups: str) -> tuple[str, str]:
    """Return the container id and the pod uid that the text of /proc/PID/cgroup tells, or "".

    Of nested containers the innermost counts.
    """
    container = pod = ""
    for line in cgroups.splitlines():
        for segment in re.split("[/:]", line):
            if found := _CONTAINER.fullmatch(segment) or _LXC.fullmatch(segment):
                container = found[1]
            elif found := _POD.fullmatch(segment):
                pod = found[1].replace("_", "-")
    return container, pod


def list_namespaces(root: str = PROC) -> tuple[Namespace, ...]:
    """Return all namespaces that this user may see, by kind and id. Raises OSError without /proc.

    Each is shown by the oldest of its processes, by a thread of the kernel only if it has no other.
    """
    counts: Counter[tuple[NamespaceKind, int]] = Counter()
    oldest: dict[tuple[NamespaceKind, int], tuple[bool, int, int]] = {}
    for pid in procfs.pids(root):
        one = procfs.stat(pid, root)
        if one is None:
            continue
        for kind in NamespaceKind:
            if (number := _namespace(root, pid, kind)) is not None:
                key, age = (kind, number), (one.kernel, one.started, pid)
                counts[key] += 1
                oldest[key] = min(oldest.get(key, age), age)
    shown = _Shown(root)
    listed = (
        shown.namespace(kind, number, oldest[kind, number][-1], count)
        for (kind, number), count in counts.items()
    )
    return tuple(sorted(listed, key=lambda each: (each.kind, each.id)))


def _namespace(root: str, pid: int, kind: NamespaceKind) -> int | None:
    """The inode number in `net:[4026531840]`."""
    try:
        link = os.readlink(f"{root}/{pid}/ns/{kind.value}")  # noqa: PTH115  # once for each of many
    except OSError:
        return None
    number = link.partition("[")[2].rstrip("]")
    return int(number) if number.isdecimal() else None


class _Shown:
    """What is told of the processes that show a namespace; each is looked at once."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[int, tuple[str, str, str, str]] = {}

    def namespace(self, kind: NamespaceKind, number: int, pid: int, processes: int) -> Namespace:
        if pid not in self._known:
            self._known[pid] = (
                self._owner(pid),
                self._command(pid),
                *belongs_to(self._text(pid, "cgroup")),
            )
        owner, command, container, pod = self._known[pid]
        return Namespace(
            id=number,
            kind=kind,
            pid=pid,
            owner=owner,
            command=command,
            processes=processes,
            container=container,
            pod=pod,
        )

    def _text(self, pid: int, name: str) -> str:
        try:
            return procfs.read(f"{self._root}/{pid}/{name}").decode(errors="replace")
        except OSError:
            return ""

    def _owner(self, pid: int) -> str:
        found = re.search(r"^Uid:\s+\d+\s+(\d+)", self._text(pid, "status"), re.MULTILINE)
        if found is None:
            return ""
        try:
            return pwd.getpwuid(int(found[1])).pw_name
        except KeyError:
            return found[1]

    def _command(self, pid: int) -> str:
        words = self._text(pid, "cmdline").rstrip("\0").replace("\0", " ").strip()
        if not words:
            one = procfs.stat(pid, self._root)
            words = f"[{one.comm}]" if one is not None else ""
        return "".join(c if c.isprintable() else "?" for c in words[:_COMMAND_LENGTH])
