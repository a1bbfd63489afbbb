"""`farhand jobs`: what was asked for, now and before."""

import argparse
import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

from farhand.cli import following, history, rerun, spreading, tables, watching
from farhand.cli.outcome import Exit, what_happened
from farhand.cli.parser import add_connection, connection
from farhand.cli.region import Region
from farhand.cli.runs import COLUMNS as RUN_COLUMNS
from farhand.cli.screen import colourful, json_line, note, write
from farhand.client._blocking import Client, JobHandle
from farhand.client._events import Output
from farhand.client._resume import PATIENCE_S
from farhand.client._shapes import Job, Run

_NAMED: Final = 5  # hosts in one note


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what `farhand jobs` takes."""
    parser.add_argument("-n", "--limit", type=int, default=20, help="newest first (20)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    history.add_search(parser)
    verbs = parser.add_subparsers(dest="action", metavar="ACTION")
    _action(verbs, "show", "a job and its runs")
    follow = _action(verbs, "follow", "its output from the beginning, live to its end")
    follow.add_argument("--no-prefix", action="store_true", help="no host in front of lines")
    follow.add_argument("-q", "--quiet", action="store_true", help="output alone, no notes")
    output = _action(verbs, "output", "what is stored of its output now")
    output.add_argument("--no-prefix", action="store_true", help="no host in front of lines")
    output.add_argument("--stderr", action="store_true", help="what went to stderr")
    watching.configure(_action(verbs, "groups", "what its runs came to, equal answers once"))
    why = _action(verbs, "why", "why a host is in a job, or is not")
    why.add_argument("agent", metavar="HOST")
    _action(verbs, "release", "send the runs of a job that is held")
    _action(verbs, "cancel", "end every run of it that is not over")
    rerun.configure(_action(verbs, "rerun", "again as it was, on the same hosts; follows it"))
    exported = _verb(verbs, "export", "jobs and their runs, a JSON object a line")
    history.configure_export(exported)
    _action(verbs, "hold", "begin no further run of a job that is spread")
    _action(verbs, "resume", "go on with a job that is held")
    _action(verbs, "abort", "begin nothing of a job that is spread any more; what runs goes on")


def _verb(verbs: Any, name: str, said: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = verbs.add_parser(name, help=said, description=said)
    added.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    add_connection(added, again=True)
    return added


def _action(verbs: Any, name: str, said: str) -> argparse.ArgumentParser:
    added = _verb(verbs, name, said)
    added.add_argument("job", metavar="JOB")
    return added


def execute(args: argparse.Namespace) -> int:
    """List jobs, or do to one what was asked."""
    if args.action == "rerun":
        return rerun.execute(args)
    watched = args.action == "groups" and args.follow
    followed = args.action == "follow" or watched
    patience_s = following.PATIENCE_S if followed else PATIENCE_S
    region = Region(os.environ, wanted=watched and not (args.quiet or args.json))
    with connection(args, patience_s=patience_s, notice=region.note) as client:
        match args.action:
            case None:
                history.show(client, args)
            case "export":
                history.export(client, args)
            case "follow":
                return _follow(client, args)
            case "groups":
                return watching.execute(client, args, region)
            case "output":
                _output(client, args)
            case "why":
                _explain(client, args)
            case "release":
                _show(client.release_job(args.job), [], as_json=args.json)
            case "cancel":
                _show(client.cancel_job(args.job), [], as_json=args.json)
            case "hold":
                _show(client.hold_job(args.job), [], as_json=args.json)
            case "resume":
                _show(client.resume_job(args.job), [], as_json=args.json)
            case "abort":
                _show(client.abort_job(args.job), [], as_json=args.json)
            case _:
                job = client.get_job(args.job)
                runs = [] if args.json else list(client.runs(job=job.id))
                _show(job, runs, as_json=args.json)
    return Exit.OK


def _explain(client: Client, args: argparse.Namespace) -> None:
    found = client.explain(args.job, args.agent)
    if args.json:
        json_line(None, found.raw)
        return
    line = f"{tables.clean(found.message)} [{found.verdict}]\n"
    write("stdout", line.encode(errors="backslashreplace"))


def _follow(client: Client, args: argparse.Namespace) -> int:
    job = client.get_job(args.job)
    runs = tuple(client.runs(job=job.id))
    if not (args.quiet or args.json):
        told_pruned(runs)
    prefixed = not args.no_prefix
    screen = following.choose(
        runs, as_json=args.json, prefixed=prefixed, colour=colourful(os.environ)
    )
    screen.submitted(job)
    handle = JobHandle(client, job.id, runs)
    return following.show(client, handle, screen, quiet=args.quiet or args.json)


def _output(client: Client, args: argparse.Namespace) -> None:
    runs = list(client.runs(job=args.job))
    told_pruned(runs)
    screen = following.choose(
        runs, as_json=args.json, prefixed=not args.no_prefix, colour=colourful(os.environ)
    )
    for run in runs:
        for output in () if run.output_pruned else stored(client, run, stderr=args.stderr):
            screen.printed(output)
        screen.changed(run)


def told_pruned(runs: Sequence[Run]) -> None:
    """Say on stderr of whom nothing is kept any more, if there are such runs."""
    pruned = [run.agent for run in runs if run.output_pruned]
    if pruned:
        more = f" and {len(pruned) - _NAMED} more" if len(pruned) > _NAMED else ""
        whom = ", ".join(pruned[:_NAMED]) + more
        note(f"{whom}: what it printed is not kept any more; `farhand jobs rerun` runs it again")


def stored(client: Client, run: Run, *, stderr: bool) -> Iterator[Output]:
    """Tell what is stored of one stream of *run*, as the output that it is; on stdout."""
    offset = 0
    for data in client.output(run.id, "stderr" if stderr else "stdout"):
        yield Output(run=run.id, agent=run.agent, stream="stdout", offset=offset, data=data)
        offset += len(data)


def _show(job: Job, runs: list[Run], *, as_json: bool) -> None:
    if as_json:
        json_line(None, job.raw)
        return
    tables.facts(
        {
            "job": job.id,
            "state": job.state + (", cancel requested" if job.cancel_requested else ""),
            "what": job.summary,
            "targets": job.targets,
            "by": job.by,
            "made": f"{tables.at(job.created_at)} ({tables.ago(job.created_at)})",
            "runs": tables.assignments(job.counts),
            "again": f"repeats {job.rerun_of}" if job.rerun_of else "",
            "schedule": job.schedule or "",
            **spreading.told(job),
        }
    )
    if runs:
        columns = {**RUN_COLUMNS, "how it ended": _ending}
        tables.show(runs, columns, lambda run: run.raw, as_json=False, empty="")


def _ending(run: Run) -> str:
    plain = not run.resting or run.state == "succeeded"
    return "" if plain else what_happened(run)
