import asyncio
import os
import re
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop

from farhand.agent import procfs
from farhand.agent.cgroup import Cgroups
from farhand.agent.leftovers import MARK
from farhand.agent.process import PosixLaunched, PosixLauncher
from farhand.domain.job import NamespaceKind, NamespacesOf
from farhand.domain.output import StreamName
from farhand.domain.run import Why
from farhand.errors import LaunchFailed
from farhand.ports import Exit, Launch
from tests.runs import new_run

RUN: Final = new_run()
PATH: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
ROOT: Final = os.geteuid() == 0
NR_OPEN: Final = int(Path("/proc/sys/fs/nr_open").read_text())
STATUS: Final = Path("/proc/self/status").read_text()

needs_root = pytest.mark.skipif(not ROOT, reason="only root may become another user")


def can_unshare(*options: str) -> bool:
    tried = subprocess.run(["unshare", *options, "true"], check=False, capture_output=True)
    return tried.returncode == 0


needs_namespaces = pytest.mark.skipif(
    not can_unshare("--net", "--mount"), reason="only root may make these namespaces"
)
needs_user_namespaces = pytest.mark.skipif(
    not can_unshare("--user", "--map-root-user", "--net"),
    reason="this host gives nobody user namespaces",
)
needs_raising = pytest.mark.skipif(
    not ROOT or not int(re.findall(r"CapEff:\s*(\w+)", STATUS)[0], 16) >> 24 & 1,
    reason="this root may not raise limits (CAP_SYS_RESOURCE)",
)
only_plain = pytest.mark.skipif(ROOT, reason="root may do what this test is refused")


def descriptors() -> int:
    """How many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def namespace(pid: int | str, kind: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{kind}").readlink())


def child(*argv: str, **env: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(argv, env={**PATH, **env})


def zombie() -> "subprocess.Popen[bytes]":
    """A child that has ended and that nobody has waited for."""
    ended = child("true")
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    return ended


def sleeping() -> list[str]:
    """The live processes of this test that sleep, marked or not."""
    wanted = f"sleep\0{LONG}\0".encode()
    found = [pid for pid in procfs.pids() if command(pid) == wanted]
    return [one.comm for one in map(procfs.stat, found) if one is not None and one.alive]


def command(pid: int) -> bytes:
    try:
        return procfs.read(f"/proc/{pid}/cmdline")
    except OSError:
        return b""


def marked() -> list[str]:
    """The commands of the live processes that bear the run's mark."""
    mark = f"{MARK}={RUN}".encode()
    stats = [procfs.stat(pid) for pid in procfs.pids() if mark in (procfs.environ(pid) or b"")]
    return [one.comm for one in stats if one is not None and one.alive]


async def start(*argv: str, **how: Any) -> PosixLaunched:
    return await PosixLauncher().launch(Launch(run=RUN, argv=argv, env=PATH, **how))


async def output(process: PosixLaunched, stream: StreamName = StreamName.STDOUT) -> bytes:
    parts = []
    while part := await process.read(stream):
        parts.append(part)
    return b"".join(parts)


async def finished(*argv: str, **how: Any) -> tuple[str, Exit]:
    """Run to the end; return what it printed and how it ended."""
    process = await start(*argv, **how)
    try:
        printed = await output(process)
        return printed.decode().strip(), await process.wait()
    finally:
        await process.kill(0)
        process.close()


async def refusal(*argv: str, **how: Any) -> tuple[Why, str]:
    """How starting fails; nothing may run after it."""
    with pytest.raises(LaunchFailed) as failed:
        await start(*argv, **how)
    assert [] == marked()
    return Why(failed.value.why), str(failed.value)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place with things that can be run and things that cannot."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()
        place.chmod(0o755)
        for file, text, mode in (
            ("plain", "text", 0o644),
            ("nothing", "\x00\x01\x02", 0o755),
            ("here", "#!/bin/sh\necho found\n", 0o755),
            ("lost", "#!/no/such/interpreter\n", 0o755),
        ):
            (place / file).write_text(text)
            (place / file).chmod(mode)
        yield place


# --- what is left behind ----------------------------------------------------------------------

# Nobody else on this host sleeps for so long: what escapes is seen without its mark.
LONG: Final = 1_000_000 + secrets.randbelow(1_000_000_000)

# Each says when it has done its worst.
CHILDREN: Final = {
    "in the background": "sleep LONG & echo; sleep LONG",
    "in a session of its own": "setsid sleep LONG & echo; sleep LONG",
    "without its mark": "env -i sleep LONG & echo; sleep LONG",
    "without its mark, elsewhere": "env -i setsid sleep LONG & sleep 0.05; echo; sleep LONG",
    "forked twice": "(setsid sh -c 'sleep LONG & sleep LONG & echo' &) ; exit",
    "of a leader that ended": "setsid sleep LONG & echo",
    "stopped": "(sleep LONG; kill -CONT $$) & echo; kill -STOP $$",
    "many": "for n in $(seq 1000); do sleep LONG & [ $n = 50 ] && echo; done; wait",
    "many sessions": "for n in $(seq 1000); do setsid sleep LONG & [ $n = 50 ] && echo; done",
    "forking and ending": "f() { [ $1 = 9 ] && echo; f $(($1 + 1)) & exit; }; f 0",
}
# A leader's very first instant is not in its control group yet.
ESCAPING: Final = "sleep 0.5; env -i setsid -f sleep LONG; echo; sleep LONG"
FLEEING: Final = """
import os
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
"""


@pytest.mark.parametrize("script", CHILDREN.values(), ids=CHILDREN)
async def test_nothing_that_a_run_started_survives_it(script: str) -> None:
    assert [] == await left_by(script, PosixLauncher(cgroups=lambda: None))


@pytest.mark.parametrize("script", [*CHILDREN.values(), ESCAPING], ids=[*CHILDREN, "orphaned"])
@pytest.mark.skipif(Cgroups.found() is None, reason="this user may not make control groups")
async def test_nothing_at_all_survives_a_run_in_a_control_group(script: str) -> None:
    assert [] == await left_by(script, PosixLauncher())


async def left_by(script: str, launcher: PosixLauncher) -> list[str]:
    """Run *script*, end it, and return what is left of it."""
    argv = "sh", "-c", script.replace("LONG", str(LONG))
    process = await launcher.launch(Launch(run=RUN, argv=argv, env=PATH))
    await process.read(StreamName.STDOUT)
    await process.kill(0.2)
    process.close()
    return [*marked(), *sleeping()]


async def test_what_leaves_its_session_with_every_fork_is_caught() -> None:
    process = await start(sys.executable, "-I", "-S", "-c", FLEEING)
    await process.wait()
    await process.kill(0)
    process.close()

    assert [] == marked()


async def test_a_mark_of_another_run_is_left_alone() -> None:
    other = child("sleep", "600", **{MARK: "run_other"})
    process = await start("true")
    await process.wait()
    await process.kill(1)
    process.close()
    await PosixLauncher().sweep(RUN)

    assert None is other.poll()
    other.kill()
    other.wait()


async def test_the_agent_itself_is_never_swept() -> None:
    """An agent that a run of another agent started bears that run's mark."""
    script = (
        "import asyncio; from farhand.agent.process import PosixLauncher; "
        f"asyncio.run(PosixLauncher().sweep({RUN!r})); print('alive')"
    )
    printed, ended = await finished(sys.executable, "-c", script)

    assert ("alive", 0) == (printed, ended.code)


async def test_descriptors_come_back() -> None:
    async def once() -> None:
        await finished("true", stdin=b"unread")
        await finished("true", nice=1)
        await refusal("no-such-program")
        await refusal("no-such-program", nice=1)
        await refusal("true", namespaces=NamespacesOf(1 << 22, (NamespaceKind.NET,)))

    await once()
    before = descriptors()
    for _ in range(3):
        await once()

    assert before == descriptors()


async def test_giving_a_start_up_leaves_nothing() -> None:
    starting = asyncio.ensure_future(start("sleep", "600", nice=1))
    await asyncio.sleep(0)  # the stage is started, and takes a while
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert [] == marked()


# --- output -----------------------------------------------------------------------------------


async def test_fifty_megabytes_come_through() -> None:
    process = await start("head", "-c", "50000000", "/dev/zero")
    size = 0
    while part := await process.read(StreamName.STDOUT):
        size += len(part)
    await process.wait()
    process.close()

    assert 50_000_000 == size


async def test_an_endless_program_does_not_keep_the_loop() -> None:
    process = await start("cat", "/dev/zero")
    ticks = 0

    async def swallow() -> None:
        while await process.read(StreamName.STDOUT):
            pass

    swallowing = asyncio.ensure_future(swallow())
    for _ in range(10):
        await asyncio.sleep(0.001)
        ticks += 1
    await process.kill(0)
    await swallowing
    process.close()

    assert 10 == ticks


# --- surroundings -----------------------------------------------------------------------------


async def test_a_program_leads_a_session_and_bears_the_mark() -> None:
    process = await start("sh", "-c", f"echo $$ ${MARK}; ps -o sid= -o pgid= -p $$ | xargs")
    printed = (await output(process)).decode().split()
    await process.wait()
    process.close()

    assert [str(process.pid), RUN, str(process.pid), str(process.pid)] == printed


def _passed_on() -> int:
    """What this process was started to ignore (make, nohup, &), as SigIgn of proc(5) has it.

    Without what Python itself ignores: that is not passed on.
    """
    text = Path("/proc/self/status").read_text()
    (ignored,) = [int(line.split()[1], 16) for line in text.splitlines() if "SigIgn" in line]
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        ignored &= ~(1 << (number - 1))
    return ignored


@pytest.mark.parametrize("how", [{}, {"nice": 1}], ids=["plain", "staged"])
async def test_signals_and_umask_are_as_a_program_expects(how: dict[str, Any]) -> None:
    old = os.umask(0o077)
    try:
        printed, _ = await finished("sh", "-c", "umask; grep SigIgn /proc/self/status", **how)
    finally:
        os.umask(old)

    umask, _, ignored = printed.split()
    ours = _passed_on()
    assert "0022" == umask
    assert 0 == int(ignored, 16) & ~ours


@pytest.mark.parametrize("how", [{}, {"nice": 1}], ids=["plain", "staged"])
async def test_the_working_directory_is_the_one_asked_for(
    how: dict[str, Any], folder: Path
) -> None:
    printed, _ = await finished("pwd", "-P", cwd=str(folder), **how)
    found, _ = await finished("./here", cwd=str(folder), **how)

    assert (str(folder), "found") == (printed, found)


async def test_niceness_and_limits_are_set() -> None:
    limits = {"nofile": 64, "core": 0, "fsize": 1 << 20, "cpu": 60, "as": 1 << 32}
    printed, _ = await finished(
        "sh", "-c", "nice; ulimit -n; ulimit -Hn; ulimit -f; ulimit -t; ulimit -v",
        nice=7, rlimits=limits,
    )  # fmt: skip

    assert ["7", "64", "64", str((1 << 20) // 512), "60", str((1 << 32) // 1024)] == printed.split()


async def test_a_limit_that_cannot_be_set_is_no_exit_code() -> None:
    why, text = await refusal("true", rlimits={"nofile": NR_OPEN + 1})

    assert Why.SPAWN_FAILED == why
    assert "nofile" in text


async def test_a_program_may_end_as_a_failing_tool_does() -> None:
    codes = [(await finished("sh", "-c", f"exit {n}", nice=1))[1].code for n in (1, 125, 126, 127)]

    assert [1, 125, 126, 127] == codes


@only_plain
async def test_an_ordinary_user_cannot_become_another() -> None:
    why, text = await refusal("id", user="root")

    assert Why.SPAWN_FAILED == why
    assert "must run as root" in text


@only_plain
async def test_an_ordinary_user_cannot_be_less_nice() -> None:
    assert Why.SPAWN_FAILED == (await refusal("true", nice=-5))[0]


@needs_root
async def test_a_user_is_taken_on_with_groups_and_home() -> None:
    script = "id -u; id -g; id -G; echo $HOME $USER $LOGNAME; grep CapEff /proc/self/status"
    printed, _ = await finished("sh", "-c", script, user="nobody")

    assert [
        *("65534", "65534", "65534", "/nonexistent", "nobody", "nobody"),
        *("CapEff:", "0000000000000000"),
    ] == printed.split()


@needs_root
async def test_the_directory_is_entered_as_the_user() -> None:
    with tempfile.TemporaryDirectory() as folder:
        why, text = await refusal("true", user="nobody", cwd=folder)

    assert Why.NO_SUCH_DIRECTORY == why
    assert "Permission denied" in text


@needs_raising
async def test_limits_above_ones_own_are_raised_before_the_user_changes() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    printed, _ = await finished(
        "sh", "-c", "ulimit -n", user="nobody", rlimits={"nofile": hard + 1}
    )

    assert str(hard + 1) == printed


async def test_an_unknown_user_is_named() -> None:
    why, text = await refusal("true", user="no-such-user")

    assert (Why.SPAWN_FAILED, "there is no user 'no-such-user' on this host") == (why, text)


async def test_what_a_program_used_is_told() -> None:
    # A child's peak is told where it is above the parent's, and this process may be a large one.
    size = 200_000_000 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    work = "import hashlib\nfor _ in range(40): hashlib.sha256(bytes(1000000))"
    burn = f"{work}\nbytearray({size})"
    _, ended = await finished(sys.executable, "-I", "-S", "-c", burn)

    assert 0.01 < ended.usage.user_s < 10
    assert size < ended.usage.max_rss_bytes < size + 200_000_000


# --- what cannot be started -------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"nice": 1}], ids=["plain", "staged"])
@pytest.mark.parametrize(
    ("program", "why", "said"),
    [
        ("no-such-program", Why.PROGRAM_NOT_FOUND, "in PATH"),
        ("/no/such/program", Why.PROGRAM_NOT_FOUND, "there is no program"),
        ("./no-such-program", Why.PROGRAM_NOT_FOUND, "there is no program"),
        ("/etc/passwd/x", Why.PROGRAM_NOT_FOUND, "there is no program"),
        ("./lost", Why.PROGRAM_NOT_FOUND, "interpreter"),
        ("./plain", Why.NOT_EXECUTABLE, "mode"),
        ("./nothing", Why.NOT_EXECUTABLE, "no program of this machine"),
        ("/tmp", Why.NOT_EXECUTABLE, "directory"),
    ],
)
async def test_what_cannot_be_executed_says_why(
    how: dict[str, Any], folder: Path, program: str, why: Why, said: str
) -> None:
    found, text = await refusal(program, cwd=str(folder), **how)

    assert why == found
    assert said in text


@pytest.mark.parametrize("how", [{}, {"nice": 1}], ids=["plain", "staged"])
@pytest.mark.parametrize("cwd", ["/no/such/directory", "/etc/passwd"])
async def test_a_working_directory_must_be_one(how: dict[str, Any], cwd: str) -> None:
    why, text = await refusal("true", cwd=cwd, **how)

    assert Why.NO_SUCH_DIRECTORY == why
    assert cwd in text


@pytest.mark.parametrize("how", [{}, {"nice": 1}], ids=["plain", "staged"])
async def test_arguments_larger_than_the_host_takes_are_refused(how: dict[str, Any]) -> None:
    why, text = await refusal("true", *["x" * 100_000] * 30, **how)

    assert Why.SPAWN_FAILED == why
    assert "larger" in text


async def test_a_nul_byte_is_refused() -> None:
    assert Why.SPAWN_FAILED == (await refusal("echo", "a\0b"))[0]


async def test_a_missing_tool_names_its_package() -> None:
    with pytest.raises(LaunchFailed, match="package iproute2"):
        await PosixLauncher().launch(Launch(run=RUN, argv=("ss",), env={"PATH": "/nowhere"}))


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process cannot open anything any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_no_descriptor_left_is_a_failure_to_start() -> None:
    with pytest.raises(LaunchFailed) as failed, no_descriptors():
        await start("true")

    assert Why.SPAWN_FAILED == failed.value.why


# --- namespaces -------------------------------------------------------------------------------


@asynccontextmanager
async def elsewhere(*options: str, script: str = "") -> AsyncIterator[int]:
    """A process in namespaces of its own; its pid."""
    target = await asyncio.create_subprocess_exec(
        *("unshare", *options, "sh", "-c", f"{script}\necho $$; exec sleep 600"),
        stdout=subprocess.PIPE,
    )
    assert target.stdout is not None
    try:
        await target.stdout.readline()
        yield _innermost(target.pid)
    finally:
        os.kill(_innermost(target.pid), signal.SIGKILL)
        if target.returncode is None:
            await target.wait()


def _innermost(pid: int) -> int:
    """`unshare --fork` is the parent of the process that is inside."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else pid


def of(pid: int, *kinds: NamespaceKind) -> NamespacesOf:
    return NamespacesOf(pid, kinds)


@needs_namespaces
async def test_a_run_enters_the_namespaces_it_names_and_no_others() -> None:
    script = "hostname inside 2>/dev/null || echo inside > /proc/sys/kernel/hostname"
    async with elsewhere("--net", "--uts", "--ipc", script=script) as pid:
        kinds = NamespaceKind.NET, NamespaceKind.UTS
        printed, _ = await finished(
            "sh", "-c", "uname -n; readlink /proc/self/ns/net /proc/self/ns/ipc",
            namespaces=of(pid, *kinds),
        )  # fmt: skip
        net, ipc = namespace(pid, "net"), namespace("self", "ipc")

    assert ["inside", net, ipc] == printed.split()


@needs_namespaces
async def test_paths_and_users_are_those_of_the_mount_namespace(folder: Path) -> None:
    (folder / "passwd").write_text("insider:x:4242:4243::/home/insider:/bin/sh\n")
    (folder / "group").write_text("insiders:x:4243:\nhelpers:x:4244:insider,other\n")
    script = (
        "mount -t tmpfs none /mnt && mkdir /mnt/inside && "
        "printf '#!/bin/sh\\npwd; id -u; id -G; echo $HOME\\n' > /mnt/inside/tell && "
        f"chmod +x /mnt/inside/tell && mount --bind {folder}/passwd /etc/passwd && "
        f"mount --bind {folder}/group /etc/group"
    )
    async with elsewhere("--mount", "--propagation", "private", script=script) as pid:
        there = of(pid, NamespaceKind.MNT)
        printed, _ = await finished("./tell", cwd="/mnt/inside", user="insider", namespaces=there)
        nobody = await refusal("true", user="no-such-user", namespaces=there)
        no_program = await refusal("/mnt/inside/nothing", namespaces=there)
        no_folder = await refusal("true", cwd="/mnt/nowhere", namespaces=there)
    outside = await refusal("/mnt/inside/tell")

    assert ["/mnt/inside", "4242", "4243", "4244", "/home/insider"] == printed.split()
    assert (Why.SPAWN_FAILED, True) == (nobody[0], "mount namespace" in nobody[1])
    assert Why.PROGRAM_NOT_FOUND == no_program[0] == outside[0]
    assert Why.NO_SUCH_DIRECTORY == no_folder[0]


@needs_namespaces
async def test_a_pid_namespace_is_entered_and_its_ends_are_told() -> None:
    async with elsewhere("--pid", "--fork", "--mount-proc") as pid:
        there = of(pid, NamespaceKind.PID, NamespaceKind.MNT)
        printed, ended = await finished("sh", "-c", "ls /proc; exit 5", namespaces=there)
        _, killed = await finished("sh", "-c", "kill -TERM $$", namespaces=there)
        trap = "trap 'exit 9' TERM; echo; while :; do sleep 0.01; done"
        process = await start("sh", "-c", trap, namespaces=there)
        await process.read(StreamName.STDOUT)
        await process.kill(10)
        polite = await process.wait()
        process.close()
        left = marked()

    assert {"1"} < {name for name in printed.split() if name.isdecimal() and int(name) < 20}
    assert (5, 15, 9) == (ended.code, killed.signal, polite.code)
    assert [] == left


@needs_user_namespaces
async def test_inside_a_user_namespace_a_run_is_its_root() -> None:
    async with elsewhere("--user", "--map-root-user", "--net", "--uts") as pid:
        kinds = NamespaceKind.USER, NamespaceKind.NET, NamespaceKind.UTS
        printed, _ = await finished(
            "sh", "-c", "id -u; readlink /proc/self/ns/user /proc/self/ns/net",
            namespaces=of(pid, *kinds),
        )  # fmt: skip
        links = [namespace(pid, kind) for kind in ("user", "net")]

    assert ["0", *links] == printed.split()


@needs_namespaces
async def test_a_cgroup_or_time_namespace_is_entered() -> None:
    async with elsewhere("--cgroup", "--time", "--fork") as pid:
        printed, _ = await finished(
            "readlink", "/proc/self/ns/cgroup", "/proc/self/ns/time",
            namespaces=of(pid, NamespaceKind.CGROUP, NamespaceKind.TIME),
        )  # fmt: skip
        links = [namespace(pid, kind) for kind in ("cgroup", "time")]

    assert links == printed.split()


async def test_namespaces_of_a_process_that_is_gone_are_refused() -> None:
    ended = zombie()
    ended.wait()
    why, text = await refusal("true", namespaces=of(ended.pid, NamespaceKind.NET))

    assert Why.NAMESPACES == why
    assert "there is no such process" in text


async def test_namespaces_of_a_zombie_are_refused() -> None:
    ended = zombie()
    why, _ = await refusal("true", namespaces=of(ended.pid, NamespaceKind.NET))
    ended.wait()

    assert Why.NAMESPACES == why


async def test_ones_own_namespaces_need_no_entering() -> None:
    kinds = NamespaceKind.USER, NamespaceKind.NET, NamespaceKind.MNT
    printed, _ = await finished("echo", "here", namespaces=of(os.getpid(), *kinds))

    assert "here" == printed


@only_plain
async def test_namespaces_that_may_not_be_entered_are_refused() -> None:
    assert Why.NAMESPACES == (await refusal("true", namespaces=of(1, NamespaceKind.NET)))[0]


# --- the loop ---------------------------------------------------------------------------------


def test_uvloop_does_as_well() -> None:
    async def main() -> tuple[str, Exit]:
        return await finished("cat", stdin=bytes(range(97, 107)) * 100_000)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        printed, ended = runner.run(main())

    assert (1_000_000, 0) == (len(printed), ended.code)
