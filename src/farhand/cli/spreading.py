"""How `farhand run` is told to spread a job: not all hosts at once, and when to stop.

Shares are checked by the controller, which knows how many hosts there are.
"""

import argparse
import shlex

from farhand.cli.parser import UsageError
from farhand.cli.tables import at
from farhand.cli.units import duration
from farhand.client._calls import SpreadOptions
from farhand.client._shapes import Job, Rollout

BY_HAND = "hold"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options that spread a job."""
    group = parser.add_argument_group("how fast it spreads; a SHARE is 50 hosts or 10% of them")
    group.add_argument("--concurrency", metavar="SHARE", help="under way at once, at most")
    group.add_argument("--waves", metavar="SHARES", help="one after the other: 1,10%%,rest")
    group.add_argument(
        "--pause",
        type=_pause,
        metavar="TIME",
        help="between waves: 30s, 5m, or `hold` for `farhand jobs resume`",
    )
    group.add_argument(
        "--abort-after", metavar="SHARE", help="of failures; then nothing more is begun"
    )
    group.add_argument("--gate", metavar="COMMAND", help="run between waves; it must succeed")
    group.add_argument("--gate-on", metavar="SELECTOR", help="where the gate runs")
    group.add_argument("--retries", type=int, metavar="N", help="of what failed; --rerunnable")
    group.add_argument("--retry-delay", type=duration, metavar="TIME", help="before each: 10s")
    group.add_argument("--rerunnable", action="store_true", help="it may be run again on a host")


def options(args: argparse.Namespace) -> SpreadOptions | None:
    """Return what was asked for; None without any of it. Raises UsageError."""
    asked = SpreadOptions()
    if args.concurrency is not None:
        asked["concurrency"] = args.concurrency
    if args.waves is not None:
        asked["waves"] = args.waves.split(",")
    match args.pause:
        case None:
            pass
        case str():
            asked["by_hand"] = True
        case seconds:
            asked["pause_s"] = seconds
    if args.abort_after is not None:
        asked["abort_after"] = args.abort_after
    if (gate := _gate(args.gate, args.gate_on)) is not None:
        asked["gate"] = gate
    if args.retries is not None:
        asked["retries"] = args.retries
    if args.retry_delay is not None:
        asked["retry_delay_s"] = args.retry_delay
    return asked or None


def _pause(text: str) -> float | str:
    return BY_HAND if text == BY_HAND else duration(text)


def _gate(command: str | None, where: str | None) -> dict[str, object] | None:
    if (command is None) != (where is None):
        hint = "--gate 'curl -fsS http://web.example/healthz' --gate-on role=probe"
        raise UsageError("--gate and --gate-on go together", hint=hint)
    if command is None:
        return None
    try:
        return {"argv": shlex.split(command), "selector": where}
    except ValueError as exc:
        raise UsageError(f"--gate: {command!r} cannot be read: {exc}") from exc


# --- what is shown ------------------------------------------------------------------------


def told(job: Job) -> dict[str, str]:
    """Say how far a job that is spread has come, for a page about it; nothing for another."""
    rollout = job.rollout
    if rollout is None:
        return {}
    waves = "+".join(map(str, rollout.sizes))
    rows = {"rollout": f"{_phase(rollout)}, wave {place(rollout)} ({waves} hosts)"}
    if rollout.message:
        rows["because"] = rollout.message
    if rollout.gate is not None:
        rows["gate"] = rollout.gate
    return rows


def stand(rollout: Rollout) -> str:
    """Say `2 of 3, pausing until 12:00:05`."""
    return place(rollout) if rollout.phase == "rolling" else f"{place(rollout)}, {_phase(rollout)}"


def place(rollout: Rollout) -> str:
    """Say `2 of 3`."""
    return f"{rollout.wave} of {len(rollout.sizes)}"


def _phase(rollout: Rollout) -> str:
    match rollout.phase:
        case "pausing" | "retrying":
            return f"{rollout.phase} until {at(rollout.until)}"
        case "held":
            return f"held by {rollout.by}; `farhand jobs resume` goes on"
        case "done" | "aborting":
            return f"{rollout.phase} ({(rollout.why or '').replace('_', ' ')})"
        case phase:
            return phase
