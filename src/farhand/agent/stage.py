"""The last step before a program that runs as somebody else, elsewhere or within limits.

Runs as a process of its own, does what was ordered and becomes the program, or tells through a
pipe which step failed: it never becomes the program in the wrong place, and its own failure
cannot be taken for the program's. Once it has entered another file system it imports nothing.
"""

# pathlib and contextlib would double the time that a start takes.
# ruff: noqa: PTH110, PTH112, PTH118, PTH123

import errno
import marshal
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence

READY = b"."  # the first byte of the status; without it the stage itself failed

# Codes of farhand.domain.run.Why, which is too much to import here; a test compares them.
PROGRAM_NOT_FOUND = "program_not_found"
NOT_EXECUTABLE = "not_executable"
NO_SUCH_DIRECTORY = "no_such_directory"
SPAWN_FAILED = "spawn_failed"
NAMESPACES = "namespaces"

_CLONE = {
    "cgroup": 0x02000000,
    "ipc": 0x08000000,
    "mnt": 0x00020000,
    "net": 0x40000000,
    "pid": 0x20000000,
    "time": 0x00000080,
    "user": 0x10000000,
    "uts": 0x04000000,
}
_DUMPABLE = 4  # PR_SET_DUMPABLE
_DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Failed(Exception):
    """A step failed: a `Why` code and a sentence."""

    def __init__(self, why: str, text: str) -> None:
        super().__init__(why, text)
        self.why = why
        self.text = text


class Order:
    """What to become. Bytes, because that is what the kernel takes.

    *user* is a name or a number of the file system that is entered. *namespaces* are pairs of a
    kind and an open descriptor of /proc/PID/ns/KIND. *rlimits* by name, *nice* absolute.
    """

    def __init__(
        self,
        *,
        argv: Sequence[bytes],
        env: Mapping[bytes, bytes],
        cwd: bytes | None = None,
        user: str | None = None,
        nice: int | None = None,
        rlimits: Mapping[str, int] | None = None,
        namespaces: Sequence[tuple[str, int]] = (),
    ) -> None:
        self.argv = list(argv)
        self.env = dict(env)
        self.cwd = cwd
        self.user = user
        self.nice = nice
        self.rlimits = dict(rlimits or {})
        self.namespaces = list(namespaces)

    def packed(self) -> bytes:
        """Return it for a stage of this same interpreter to read."""
        return marshal.dumps(vars(self))

    def entered(self, kind: str) -> bool:
        """Tell whether a namespace of this kind is entered."""
        return any(kind == entered for entered, _ in self.namespaces)


def explained(number: int, program: bytes, path: bytes | None) -> Failed:
    """Say what it means that the program could not be started with error *number*."""
    name = repr(program.decode(errors="replace"))
    match number:
        case errno.ENOENT | errno.ENOTDIR if b"/" not in program:
            where = (path or _DEFAULT_PATH).decode(errors="replace")
            return Failed(PROGRAM_NOT_FOUND, f"there is no program {name} in PATH ({where})")
        case errno.ENOENT if os.path.exists(program):
            return Failed(PROGRAM_NOT_FOUND, f"{name} is there; the interpreter it names is not")
        case errno.ENOENT | errno.ENOTDIR:
            return Failed(PROGRAM_NOT_FOUND, f"there is no program {name}")
        case errno.EACCES | errno.EISDIR if os.path.isdir(program):
            return Failed(NOT_EXECUTABLE, f"{name} is a directory")
        case errno.EACCES | errno.EPERM | errno.EISDIR:
            return Failed(NOT_EXECUTABLE, f"{name} may not be executed; look at its mode")
        case errno.ENOEXEC:
            return Failed(
                NOT_EXECUTABLE, f"{name} is no program of this machine, and has no #! line"
            )
        case errno.E2BIG:
            return Failed(SPAWN_FAILED, "arguments and environment are larger than the host takes")
    return Failed(SPAWN_FAILED, f"{name} could not be started: {os.strerror(number)}")


def directory_failed(number: int, cwd: bytes) -> Failed:
    """Say what it means that the working directory could not be entered."""
    text = f"the working directory {cwd.decode(errors='replace')!r}: {os.strerror(number)}"
    return Failed(NO_SUCH_DIRECTORY, text)


def main(order_fd: int, status_fd: int) -> None:
    """Carry out the order. Does not return."""
    try:
        with open(order_fd, "rb") as file:
            order = Order(**marshal.load(file))  # noqa: S302  # written by the agent
        os.set_inheritable(status_fd, False)
        _carry_out(order, status_fd)
    except Failed as failed:
        os.write(status_fd, f"{failed.why}\n{failed.text}".encode(errors="replace")[:4000])
    os._exit(126)


def _carry_out(order: Order, status_fd: int) -> None:
    sooner, later = _limits(order)
    if order.nice is not None:
        _try(f"niceness {order.nice}", os.setpriority, os.PRIO_PROCESS, 0, order.nice)
    for name, number in sooner.items():
        _limit(name, number)
    if order.namespaces:
        _enter(order)
    if order.entered("pid"):
        _go_on_in_a_child(status_fd)
    if order.user is not None:
        _become(order)
    if order.cwd is not None:
        try:
            os.chdir(order.cwd)
        except OSError as exc:
            raise directory_failed(exc.errno or 0, order.cwd) from None
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these
        signal.signal(number, signal.SIG_DFL)
    for name, limit in later.items():
        _limit(name, limit)
    _exec(order, status_fd)


def _try(what: str, function: object, *args: object) -> None:
    assert callable(function)
    try:
        function(*args)
    except (OSError, ValueError) as exc:
        reason = os.strerror(exc.errno or 0) if isinstance(exc, OSError) else str(exc)
        raise Failed(SPAWN_FAILED, f"{what} cannot be set: {reason}") from None


def _limits(order: Order) -> tuple[dict[str, int], dict[str, int]]:
    """Split the limits: raising needs privileges, so sooner; lowering would hinder us, so later."""
    sooner: dict[str, int] = {}
    later: dict[str, int] = {}
    for name, number in order.rlimits.items():
        hard = resource.getrlimit(_resource(name))[1]
        lowered = hard == resource.RLIM_INFINITY or number <= hard
        (later if lowered else sooner)[name] = number
    return sooner, later


def _resource(name: str) -> int:
    found: int | None = getattr(resource, f"RLIMIT_{name.upper()}", None)
    if found is None:
        raise Failed(SPAWN_FAILED, f"this host has no limit {name!r}")
    return found


def _limit(name: str, number: int) -> None:
    _try(f"limit {name}={number}", resource.setrlimit, _resource(name), (number, number))


def _enter(order: Order) -> None:
    """Enter all namespaces, or fail. Nothing is imported any more from here on."""
    import ctypes  # noqa: PLC0415  # 4 ms that most runs need not pay

    libc = ctypes.CDLL(None, use_errno=True)
    sys.meta_path.clear()
    sys.path.clear()
    # Whoever is in there must not reach this process's memory, files and executable.
    libc.prctl(_DUMPABLE, 0, 0, 0, 0)

    def entered(kind: str, fd: int) -> int:
        return 0 if libc.setns(fd, _CLONE[kind]) == 0 else ctypes.get_errno()

    # Outside privileges reach further than those inside: the user namespace comes last, except
    # for those that only its privileges open.
    user = [pair for pair in order.namespaces if pair[0] == "user"]
    others = [pair for pair in order.namespaces if pair[0] != "user"]
    closed = [pair for pair in others if entered(*pair) != 0]
    for kind, fd in [*user, *closed]:
        if number := entered(kind, fd):
            text = f"the {kind} namespace cannot be entered: {os.strerror(number)}"
            raise Failed(NAMESPACES, text)
    if user and order.user is None:
        _become_root_inside()


def _become_root_inside() -> None:
    try:  # noqa: SIM105
        os.setgroups([])
    except OSError:  # a namespace may deny this to keep the restrictions of groups
        pass
    try:
        os.setgid(0)
        os.setuid(0)
    except OSError as exc:
        text = f"the user namespace has no root to become: {os.strerror(exc.errno or 0)}"
        raise Failed(NAMESPACES, text) from None


def _go_on_in_a_child(status_fd: int) -> None:
    """Return in a child, which is inside the pid namespace; end as it ends."""
    child = os.fork()
    if child == 0:
        return
    for number in range(1, 32):
        if number not in {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            signal.signal(number, signal.SIG_IGN)
    os.closerange(0, max(status_fd, 255) + 1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def _become(order: Order) -> None:
    assert order.user is not None
    name, uid, gid, home, shell = _account(order.user, inside=order.entered("mnt"))
    try:
        if order.entered("mnt"):
            os.setgroups(_groups_inside(name, gid))
        elif uid != os.geteuid():
            os.initgroups(name, gid)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as exc:
        text = f"user {order.user!r} cannot be taken on: {os.strerror(exc.errno or 0)}"
        raise Failed(SPAWN_FAILED, f"{text}; the agent must run as root for that") from None
    for key, value in (("HOME", home), ("USER", name), ("LOGNAME", name), ("SHELL", shell)):
        order.env[key.encode()] = value.encode()


def _account(user: str, *, inside: bool) -> tuple[str, int, int, str, str]:
    """Look the user up: name, uid, gid, home, shell. The host asks all its directories."""
    if inside:
        for line in _lines("/etc/passwd"):
            match line.split(":"):
                case [name, _, uid, gid, _, home, shell] if user in {name, uid}:
                    return name, int(uid), int(gid), home, shell
        raise Failed(SPAWN_FAILED, f"there is no user {user!r} in the mount namespace")
    import pwd  # noqa: PLC0415

    try:
        found = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        raise Failed(SPAWN_FAILED, f"there is no user {user!r} on this host") from None
    return found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir, found.pw_shell


def _groups_inside(name: str, gid: int) -> list[int]:
    groups = {gid}
    for line in _lines("/etc/group"):
        match line.split(":"):
            case [_, _, number, members] if name in members.split(","):
                groups.add(int(number))
    return sorted(groups)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _exec(order: Order, status_fd: int) -> None:
    program, path = order.argv[0], order.env.get(b"PATH")
    if b"/" in program:
        places = [program]
    else:
        places = [os.path.join(folder, program) for folder in (path or _DEFAULT_PATH).split(b":")]
    os.write(status_fd, READY)
    worst = errno.ENOENT
    for place in places:
        try:
            os.execve(place, order.argv, order.env)  # noqa: S606  # to be that program is the point
        except OSError as exc:
            if exc.errno not in {errno.ENOENT, errno.ENOTDIR}:
                worst = exc.errno or worst
                program = place
    raise explained(worst, program, path)
