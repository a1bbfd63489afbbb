"""`farhand jobs --by …` and `farhand jobs export`: what was run before, found and taken along."""

import argparse
from collections.abc import Callable
from itertools import islice
from typing import Final

from farhand.cli import tables
from farhand.cli.screen import json_line, note
from farhand.cli.units import moment, size
from farhand.client._blocking import Client
from farhand.client._history import JobSearch
from farhand.client._shapes import Job

STANDINGS: Final = ("running", "done", "succeeded", "failed")

COLUMNS: tables.Columns[Job] = {
    "job": lambda job: job.id,
    "state": lambda job: job.state,
    "runs": lambda job: tables.assignments(job.counts),
    "made": lambda job: tables.ago(job.created_at),
    "by": lambda job: job.by,
    "targets": lambda job: job.targets,
    "what": lambda job: job.summary,
}


def add_times(add: Callable[..., argparse.Action], *, again: bool = False) -> None:
    """Add when something was made; *again* below a parser that has these options."""
    default = argparse.SUPPRESS if again else None
    for option, said in (("--since", "made since then"), ("--until", "made before then")):
        add(
            option,
            type=moment,
            metavar="TIME",
            default=default,
            help=f"{said}: 2h ago, or 2026-01-31T12:00",
        )


def add_search(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """Add which jobs; *again* below a parser that has these options."""
    group = parser.add_argument_group("which of them")
    default = argparse.SUPPRESS if again else None
    for option, metavar, said in (
        ("--by", "NAME", "asked for by this caller"),
        ("--target", "TEXT", "this stands in what its targets were"),
        ("--agent", "AGENT", "it has a run on this agent: name or id"),
        ("--command", "TEXT", "this stands in its command or script"),
        ("--schedule", "SCHEDULE", "made by this schedule: name or id"),
        ("--rerun-of", "JOB", "it repeats this job"),
    ):
        group.add_argument(option, metavar=metavar, help=said, default=default)
    said = "succeeded is done, and every run did"
    group.add_argument("--state", choices=STANDINGS, help=said, default=default)
    add_times(group.add_argument, again=again)


def configure_export(parser: argparse.ArgumentParser) -> None:
    """Add what `farhand jobs export` takes."""
    add_search(parser, again=True)
    said = "with so much of each stream of each run: 4K"
    parser.add_argument("--output", type=size, metavar="SIZE", default=0, help=said)


def asked(args: argparse.Namespace) -> JobSearch:
    """Return the search that the options say."""
    return JobSearch(
        by=args.by,
        target=args.target,
        agent=args.agent,
        command=args.command,
        state=args.state,
        since=args.since,
        until=args.until,
        schedule=args.schedule,
        rerun_of=args.rerun_of,
    )


def show(client: Client, args: argparse.Namespace) -> None:
    """List the jobs of a search, newest first."""
    which = asked(args)
    searched = any(value is not None for value in which.values())
    empty = "no job is like that" if searched else "no job yet; `farhand run --help` shows how"
    tables.show(
        islice(client.jobs(**which), max(0, args.limit)),
        COLUMNS,
        lambda job: job.raw,
        as_json=args.json,
        empty=empty,
    )


def export(client: Client, args: argparse.Namespace) -> None:
    """Write the jobs of a search, and behind each its runs, a JSON object a line."""
    jobs = runs = 0
    for told in client.export(output_bytes=args.output, **asked(args)):
        json_line(None, told)
        jobs += told.get("type") == "job"
        runs += told.get("type") == "run"
    note(f"exported: jobs={jobs} runs={runs}")
