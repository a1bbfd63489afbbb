"""`farhand run`: a command on one host or on many, its output live, its exit code ours.

Everything that is asked for is checked by the controller; here only what could not be sent is.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from farhand.cli import following, preview, spreading, watching
from farhand.cli.outcome import Exit
from farhand.cli.parser import UsageError, connection, flat
from farhand.cli.region import Region
from farhand.cli.screen import JsonLines, colourful
from farhand.cli.units import duration, is_selector, names, normalisers, pair, size
from farhand.client._blocking import Client, JobHandle
from farhand.client._calls import JobOptions
from farhand.client._groups import Wanted
from farhand.client._shapes import Job

_INPUT_BYTES: Final = 4 * 1024 * 1024  # read of --stdin and --script; a controller takes less

EXAMPLES: Final = """\
examples:
  farhand run web-1 -- uptime
  farhand run web-1,web-2 -- df -h /
  farhand run 'web[1-40,52] & !@staging' -- systemctl status nginx
  farhand run -l 'role=web & kernel<5.10' --preview -- reboot
  farhand run --all --script check.sh --timeout 30s
  farhand run -l role=web --waves 1,10%,rest --abort-after 5% -- apt-get upgrade -y
  farhand run web-1 --command ping -p host=10.0.0.1
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what `farhand run` takes, but for what stands behind `--`."""
    parser.epilog = EXAMPLES
    add_job(parser)
    how = parser.add_argument_group("how it is asked")
    how.add_argument("--preview", action="store_true", help="tell whom it is for, start nothing")
    how.add_argument("--idempotency-key", metavar="KEY", help="the same key is the same job")
    how.add_argument("--hold", action="store_true", help="as --detach; `jobs release` sends it")
    how.add_argument("--json", action="store_true", help="one JSON object a line")
    add_shown(parser)


def add_shown(parser: argparse.ArgumentParser) -> None:
    """Add what says how a new job is followed, but for `--json`."""
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--detach", action="store_true", help="print the job's id and leave")
    shown.add_argument("--no-prefix", action="store_true", help="no host in front of lines")
    shown.add_argument(
        "--group",
        action=argparse.BooleanOptionalAction,
        help="equal answers once, at the end; by default on a terminal, for more than ten hosts",
    )
    shown.add_argument(
        "--normalise", type=normalisers, metavar="KINDS", help="group without numbers,times,…"
    )
    shown.add_argument("-q", "--quiet", action="store_true", help="output alone, no notes")


def add_job(parser: argparse.ArgumentParser) -> None:
    """Add what says which job: where, what and how, but for what stands behind `--`."""
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="a name, an agent id, IP-MAC, or a selector: 'web[1-40]', '@front & kernel<5.10'",
    )
    where = parser.add_argument_group("where")
    where.add_argument("-l", "--selector", help="agents by what they are: 'role=web & os=linux'")
    where.add_argument("--all", action="store_true", help="every agent that takes runs")
    where.add_argument("--bind", metavar="PREVIEW", help="exactly the agents that --preview showed")
    where.add_argument("--expect", type=int, metavar="N", help="refuse any other number of agents")
    what = parser.add_argument_group("what, instead of -- ARGV…")
    what.add_argument("--script", metavar="FILE", help="a script; - reads stdin")
    what.add_argument("--command", metavar="IDENT", help="a command of the agents' catalogue")
    what.add_argument(
        "-p", "--param", type=pair, action="append", default=[], metavar="K=V", help="for --command"
    )
    how = parser.add_argument_group("how")
    how.add_argument("--stdin", metavar="FILE", help="what it reads; - passes our own stdin on")
    how.add_argument(
        "--env",
        type=pair,
        action="append",
        default=[],
        metavar="K=V",
        help="set in its environment",
    )
    how.add_argument("--cwd", metavar="DIR", help="where it starts, if the agent allows that")
    how.add_argument("--user", help="as whom it runs, if the agent allows that")
    how.add_argument("--ns-pid", type=int, metavar="PID", help="enter this process's namespaces")
    how.add_argument(
        "--ns", metavar="KINDS", help="which of them: net,mnt,pid,uts,ipc,user,cgroup,time"
    )
    how.add_argument("--timeout", type=duration, metavar="TIME", help="30s, 5m, 2h: then killed")
    how.add_argument("--queue-ttl", type=duration, metavar="TIME", help="waits for an absent agent")
    how.add_argument("--output-limit", type=size, metavar="SIZE", help="kept of each stream: 10M")
    how.add_argument("--nice", type=int, metavar="N", help="-20 to 19")
    how.add_argument(
        "--rlimit", type=pair, action="append", default=[], metavar="K=N", help="nofile=1024, …"
    )
    how.add_argument("--keep-children", action="store_true", help="leave what it leaves behind")
    spreading.configure(parser)


def execute(args: argparse.Namespace) -> int:
    """Submit the job, follow it, and return the exit code."""
    options = asked(args)
    options["idempotency_key"] = args.idempotency_key
    if args.hold:
        options["hold"] = True
    argv: list[str] | None = args.remote
    region = Region(os.environ, wanted=not (args.quiet or args.json))
    with connection(args, patience_s=following.PATIENCE_S, notice=region.note) as client:
        if args.preview:
            preview.show(client.preview(argv, **options), as_json=args.json)
            return Exit.OK
        job = client.submit(argv, **options)
        return shown(args, client, job, region, detached=args.hold)


def shown(
    args: argparse.Namespace, client: Client, job: Job, region: Region, *, detached: bool = False
) -> int:
    """Follow a new job as `add_shown`'s options say, or leave it; return the exit code."""
    if args.detach or detached:
        if args.json:
            JsonLines().submitted(job)
        else:
            print(job.id)
        return Exit.OK
    colour = colourful(os.environ)
    handle = JobHandle(client, job.id, job.runs)
    quiet = args.quiet or args.json
    asked = args.group if args.group is not None or args.normalise is None else True
    if watching.grouping_wanted(asked, len(job.runs), raw=args.json or args.no_prefix):
        if args.json:
            JsonLines().submitted(job)
        wanted = Wanted(args.normalise or (), diff=True)
        return watching.show(
            client, handle, wanted, region, colour=colour, as_json=args.json, quiet=quiet
        )
    screen = following.choose(
        job.runs, as_json=args.json, prefixed=not args.no_prefix, colour=colour
    )
    screen.submitted(job)
    return following.show(client, handle, screen, quiet=quiet)


def asked(args: argparse.Namespace) -> JobOptions:
    """Return the job that `add_job`'s options say; raise UsageError."""
    targets: list[str] = args.targets
    _check(args, targets)
    options = JobOptions(
        command=args.command,
        selector=args.selector,
        all_agents=args.all,
        cwd=args.cwd,
        user=args.user,
        timeout_s=args.timeout,
        queue_ttl_s=args.queue_ttl,
        output_limit_bytes=args.output_limit,
        nice=args.nice,
    )
    if args.bind is not None:
        options["preview"] = args.bind
    if any(map(is_selector, targets)):
        options["selector"] = targets[0] if len(targets) == 1 else _either(targets)
    elif targets:
        options["names"] = flat([_names(target) for target in targets])
    if args.expect is not None:
        options["expect"] = args.expect
    if args.param:
        options["params"] = dict(args.param)
    if args.env:
        options["env"] = dict(args.env)
    if args.rerunnable:
        options["rerunnable"] = True
    if (spread := spreading.options(args)) is not None:
        options["spread"] = spread
    if args.keep_children:
        options["keep_children"] = True
    if args.rlimit:
        options["rlimits"] = {name: _number(name, value) for name, value in args.rlimit}
    if args.ns_pid is not None:
        options["namespaces_of"] = args.ns_pid, args.ns.split(",")
    if args.script is not None:
        options["script"] = _script(args.script)
    if args.stdin is not None:
        options["stdin"] = _read(args.stdin, "--stdin")
    return options


def _either(targets: Sequence[str]) -> str:
    return " | ".join(f"({target})" for target in targets)


def _names(target: str) -> list[str]:
    try:
        return names(target)
    except argparse.ArgumentTypeError as exc:
        raise UsageError(f"argument TARGET: {exc}") from exc


def _check(args: argparse.Namespace, targets: list[str]) -> None:
    where = [bool(targets), args.selector is not None, args.all, args.bind is not None]
    if sum(where) != 1:
        hint = "" if args.remote else "what to run stands behind `--`: farhand run web-1 -- ls -l"
        raise UsageError("say where: one of TARGET…, --selector, --all or --bind", hint=hint)
    what = [args.remote is not None, args.script is not None, args.command is not None]
    if sum(what) == 0 and len(targets) > 1:
        raise UsageError(
            "say what to run, behind `--`",
            hint=f"farhand run {targets[0]} -- {' '.join(targets[1:])}",
        )
    if sum(what) != 1:
        raise UsageError("say what: one of -- ARGV…, --script or --command")
    if args.param and args.command is None:
        raise UsageError("-p goes with --command")
    if (args.ns_pid is None) != (args.ns is None):
        raise UsageError("--ns-pid and --ns go together", hint="--ns-pid 4711 --ns net,mnt")
    if args.script == "-" and args.stdin == "-":
        raise UsageError("--script and --stdin cannot both read from -")


def _number(name: str, value: str) -> int:
    if not value.isdecimal():
        raise UsageError(f"--rlimit {name}={value} is not a number")
    return int(value)


def _script(name: str) -> str:
    try:
        return _read(name, "--script").decode("utf-8")
    except UnicodeDecodeError as exc:
        raise UsageError(f"{name} is not a text in UTF-8: {exc.reason} at {exc.start}") from exc


def _read(name: str, option: str) -> bytes:
    try:
        if name == "-":
            found = sys.stdin.buffer.read(_INPUT_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                found = file.read(_INPUT_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"{option}: {name} cannot be read: {exc.strerror}") from exc
    if len(found) > _INPUT_BYTES:
        raise UsageError(f"{option}: {name} has more than {_INPUT_BYTES} bytes; copy it there")
    return found
