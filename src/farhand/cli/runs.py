"""`farhand runs`: one agent doing one job, and what it printed."""

import argparse
from itertools import islice
from typing import Any, Final

from farhand.cli import history, tables
from farhand.cli.outcome import Exit, what_happened
from farhand.cli.parser import add_connection, connection
from farhand.cli.screen import encoded, json_line, write
from farhand.cli.units import in_words
from farhand.client._blocking import Client
from farhand.client._history import RunSearch
from farhand.client._shapes import Run

STATES: Final = (
    *("held", "queued", "sent", "running", "lost"),
    *("succeeded", "failed", "timed_out", "cancelled", "refused", "expired"),
)
COLUMNS: tables.Columns[Run] = {
    "run": lambda run: run.id,
    "agent": lambda run: run.agent,
    "state": lambda run: run.state,
    "exit": lambda run: "" if run.exit_code is None else str(run.exit_code),
    "took": lambda run: "" if run.duration_s is None else f"{run.duration_s:.2f} s",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what `farhand runs` takes."""
    parser.add_argument("--job", help="only the runs of this job")
    parser.add_argument("--agent", help="only the runs of this agent")
    parser.add_argument(
        "--state", action="append", default=[], choices=STATES, help="only these; may be repeated"
    )
    history.add_times(parser.add_argument)
    parser.add_argument("-n", "--limit", type=int, help="at most so many (20; all with --job)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    verbs = parser.add_subparsers(dest="action", metavar="ACTION")
    _action(verbs, "show", "what is known of one")
    output = _action(verbs, "output", "what is stored of its output now")
    output.add_argument("--stderr", action="store_true", help="what went to stderr")
    _action(verbs, "cancel", "end it, with all that it started")


def _action(verbs: Any, name: str, said: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = verbs.add_parser(name, help=said, description=said)
    added.add_argument("run", metavar="RUN")
    added.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    add_connection(added, again=True)
    return added


def execute(args: argparse.Namespace) -> int:
    """List runs, or do to one what was asked."""
    with connection(args) as client:
        match args.action:
            case None:
                _list(client, args)
            case "output":
                stream = "stderr" if args.stderr else "stdout"
                for data in client.output(args.run, "stderr" if args.stderr else "stdout"):
                    if args.json:
                        json_line("output", {"run": args.run, "stream": stream, **encoded(data)})
                    else:
                        write("stdout", data)
            case "cancel":
                _show(client.cancel_run(args.run), as_json=args.json)
            case _:
                _show(client.get_run(args.run), as_json=args.json)
    return Exit.OK


def _list(client: Client, args: argparse.Namespace) -> None:
    limit = args.limit if args.limit is not None else None if args.job else 20
    which = RunSearch(
        job=args.job, agent=args.agent, state=args.state, since=args.since, until=args.until
    )
    tables.show(
        islice(client.runs(**which), limit),
        COLUMNS,
        lambda run: run.raw,
        as_json=args.json,
        empty="no run like this",
    )


def _show(run: Run, *, as_json: bool) -> None:
    if as_json:
        json_line(None, run.raw)
        return
    tables.facts(
        {
            "run": run.id,
            "job": run.job,
            "agent": run.agent,
            "state": run.state,
            "how": what_happened(run) if run.resting else "",
            "started": tables.at(run.started_at),
            "took": "" if run.duration_s is None else f"{run.duration_s:.3f} s",
            **{
                stream: f"{in_words(end.total)} printed, "
                + (
                    "not kept any more"
                    if run.output_pruned and end.kept
                    else f"{in_words(end.kept)} kept"
                )
                for stream, end in run.streams.items()
            },
        }
    )
