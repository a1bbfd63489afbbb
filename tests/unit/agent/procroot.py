"""A /proc made of files, for what the real one shows too rarely."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Process:
    """What one process's folder tells."""

    pid: int
    comm: str = "program"
    state: str = "S"
    ppid: int = 1
    pgid: int = 0
    sid: int = 0
    flags: int = 0
    ticks: int = 0
    threads: int = 1
    started: int = 100
    environ: bytes | None = b"PATH=/bin\0"
    cmdline: bytes = b""
    cgroup: str = "0::/init.scope\n"
    uid: int = 0
    ns: dict[str, int] = field(default_factory=dict)


def write(root: Path, *processes: Process) -> None:
    """Add *processes* to the /proc at *root*."""
    for one in processes:
        folder = root / str(one.pid)
        (folder / "ns").mkdir(parents=True)
        fields = [one.state, one.ppid, one.pgid or one.pid, one.sid or one.pid, 0, -1, one.flags]
        fields += [0, 0, 0, 0, one.ticks, 0, 0, 0, 20, 0, one.threads, 0, one.started, 4096, 5]
        line = f"{one.pid} ({one.comm}) {' '.join(map(str, fields))} 0 0\n"
        (folder / "stat").write_text(line)
        (folder / "status").write_text(f"Name:\t{one.comm}\nUid:\t{one.uid}\t{one.uid}\t0\t0\n")
        (folder / "cmdline").write_bytes(one.cmdline)
        (folder / "cgroup").write_text(one.cgroup)
        if one.environ is not None:
            (folder / "environ").write_bytes(one.environ)
        for kind, number in one.ns.items():
            (folder / "ns" / kind).symlink_to(f"{kind}:[{number}]")
