"""`farhand schedules`: jobs at a time, or again and again."""

import argparse
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from farhand.cli import run, tables
from farhand.cli.outcome import Exit
from farhand.cli.parser import Parser, UsageError, add_connection, connection
from farhand.cli.screen import json_line
from farhand.cli.units import patience
from farhand.client._blocking import Client
from farhand.client._schedules import Due, Firing, Schedule, ScheduleOptions, When

EXAMPLES: Final = """\
examples:
  farhand schedules add nightly --cron '0 3 * * *' --tz Europe/Berlin --all -- apt-get update
  farhand schedules add once --at 2026-12-01T03:00 web-1 -- reboot
  farhand schedules show nightly
  farhand schedules history nightly
"""


def _when(schedule: Schedule) -> str:
    if schedule.cron is not None:
        return f"{schedule.cron} {schedule.tz}"
    return f"at {_utc(schedule)}"


def _utc(schedule: Schedule) -> str:
    return f"{schedule.at:%Y-%m-%d %H:%M:%S} UTC" if schedule.at else ""


COLUMNS: tables.Columns[Schedule] = {
    "name": lambda schedule: schedule.name,
    "state": lambda schedule: schedule.state,
    "when": _when,
    "next": lambda schedule: tables.at(schedule.next_at),
    "last": lambda schedule: schedule.last_outcome or "",
    "by": lambda schedule: schedule.by,
    "targets": lambda schedule: schedule.targets,
    "what": lambda schedule: schedule.summary,
}
NEXT: tables.Columns[Due] = {
    "next": lambda due: due.local.isoformat(sep=" ", timespec="seconds"),
    "in utc": lambda due: f"{due.at:%Y-%m-%d %H:%M:%S}",
}
HISTORY: tables.Columns[Firing] = {
    "due": lambda firing: tables.at(firing.due),
    "outcome": lambda firing: firing.outcome,
    "job": lambda firing: firing.job or "",
    "left out": lambda firing: str(firing.passed or ""),
    "why": lambda firing: " ".join(filter(None, (firing.code, firing.message))),
}


class _Mixed(Parser):
    """Takes its words before, between and behind its options."""

    _mixing = False

    def parse_known_args(  # type: ignore[override]  # the overloads of the base are for callers
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what `farhand schedules` takes."""
    parser.epilog = EXAMPLES
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", parser_class=_Mixed)
    added = _action(verbs, "add", "run a job at a time, or again and again")
    added.usage = "farhand schedules add NAME (--cron CRON | --at TIME) TARGET… -- ARGV…"
    _rules(added)
    run.add_job(added)
    _action(verbs, "list", "all of them", named=False)
    _action(verbs, "show", "one, and when it is due next")
    _rules(_action(verbs, "edit", "change when it is due, or its rules"))
    _action(verbs, "pause", "let it not be due")
    _action(verbs, "resume", "let it be due again; nothing was missed")
    _action(verbs, "remove", "forget it; its jobs stay")
    history = _action(verbs, "history", "what came of its due times, newest first")
    history.add_argument("-n", "--limit", type=int, default=20, help="newest first (20)")


def _action(verbs: Any, name: str, said: str, *, named: bool = True) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = verbs.add_parser(
        name, help=said, description=said, allow_abbrev=False
    )
    if named:
        added.add_argument("schedule", metavar="NAME", help="a name, or an id")
    added.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    add_connection(added, again=True)
    return added


def _rules(parser: argparse.ArgumentParser) -> None:
    when = parser.add_argument_group("when")
    when.add_argument("--cron", metavar="CRON", help="'0 3 * * MON-FRI', @daily, …")
    when.add_argument("--at", metavar="TIME", help="2026-12-01T03:00, on the clock of --tz")
    when.add_argument("--tz", metavar="ZONE", help="Europe/Berlin, …; default: UTC")
    rules = parser.add_argument_group("rules")
    rules.add_argument(
        "--overlap",
        choices=("skip", "allow", "cancel"),
        help="while the job before is not over: leave this one out (default), run both, end it",
    )
    rules.add_argument(
        "--missed",
        choices=("skip", "once"),
        help="what nobody looked at in time: nothing (default), or one job for all of it",
    )
    rules.add_argument(
        "--grace", type=patience, metavar="TIME", help="how late is in time; default: 5m"
    )


def execute(args: argparse.Namespace) -> int:
    """List the schedules, or do to one what was asked."""
    _check(args)
    with connection(args) as client:
        match args.action:
            case None | "list":
                tables.show(
                    client.schedules(),
                    COLUMNS,
                    lambda schedule: schedule.raw,
                    as_json=args.json,
                    empty="no schedule yet; `farhand schedules add --help` shows how to add one",
                )
            case "history":
                tables.show(
                    islice(client.firings(args.schedule), max(0, args.limit)),
                    HISTORY,
                    lambda firing: firing.raw,
                    as_json=args.json,
                    empty="it was not due yet",
                )
            case "remove":
                client.remove_schedule(args.schedule)
            case _:
                _show(_changed(client, args), as_json=args.json)
    return Exit.OK


def _check(args: argparse.Namespace) -> None:
    if args.action != "add" and args.remote is not None:
        raise UsageError("what stands behind `--` is for `farhand schedules add`")
    if args.action == "add" and (args.cron is None) == (args.at is None):
        raise UsageError("say when: one of --cron and --at", hint="--cron '0 3 * * *'")


def _changed(client: Client, args: argparse.Namespace) -> Schedule:
    match args.action:
        case "add":
            options: ScheduleOptions = {**run.asked(args), **_asked_when(args)}
            return client.add_schedule(args.schedule, args.remote, **options)
        case "edit":
            return client.edit_schedule(args.schedule, **_asked_when(args))
        case "pause":
            return client.pause_schedule(args.schedule)
        case "resume":
            return client.resume_schedule(args.schedule)
        case _:
            return client.get_schedule(args.schedule)


def _asked_when(args: argparse.Namespace) -> When:
    return When(
        cron=args.cron,
        at=args.at,
        tz=args.tz,
        overlap=args.overlap,
        missed=args.missed,
        grace_s=args.grace,
    )


def _show(schedule: Schedule, *, as_json: bool) -> None:
    if as_json:
        json_line(None, schedule.raw)
        return
    tables.facts(
        {
            "name": schedule.name,
            "id": schedule.id,
            "state": schedule.state + (f", {schedule.why}" if schedule.why else ""),
            "when": _when(schedule),
            "what": schedule.summary,
            "targets": schedule.targets,
            "by": schedule.by,
            "overlap": schedule.overlap,
            "missed": f"{schedule.missed}, after {schedule.grace_s:g} s",
            "last due": tables.at(schedule.last_due),
            "outcome": schedule.last_outcome or "",
            "last job": schedule.last_job or "",
        }
    )
    if schedule.next:
        tables.show(schedule.next, NEXT, lambda due: due._asdict(), as_json=False, empty="")
