"""Answers in groups as text: for a person who reads them, and for one who watches them arrive.

Pure: takes a view and gives lines. What hosts print cannot steer the terminal: control characters
are made visible, colours are taken out.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from farhand.cli import spreading
from farhand.cli.outcome import UNREACHED, Exit, exit_code
from farhand.cli.screen import encoded
from farhand.cli.tables import clean
from farhand.cli.units import in_words
from farhand.client._groups import Content, Failures, Group, Groups, Progress
from farhand.client._shapes import Run

LIVE_GROUPS: Final = 6  # lines below the line that counts
NAMES_COLUMNS: Final = 32  # of each

_SGR: Final = re.compile(r"\x1b\[[0-9;:]{0,64}m")
_KEPT: Final = {"\n", "\t", "\N{ZERO WIDTH JOINER}", "\N{VARIATION SELECTOR-16}"}
_COLOURS: Final = {"good": "32", "bad": "31", "odd": "33", "dim": "2", "bold": "1"}


def safe(data: bytes) -> str:
    """Return output as text that cannot move a cursor, ring a bell or turn a line around."""
    text = _SGR.sub("", data.decode("utf-8", "replace")).replace("\r\n", "\n")
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(map(_safe, text))


def _safe(sign: str) -> str:
    if sign in _KEPT or sign.isprintable():
        return sign
    return " " if unicodedata.category(sign) == "Zs" else "\N{REPLACEMENT CHARACTER}"


class Paint:
    """Colours, or none."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, kind: str, text: str) -> str:
        return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if self._colour and text else text


def cause(of: Group | Failures) -> str:
    """Say in a few words how runs ended."""
    match of.state, of.why:
        case "succeeded", _:
            return "exit 0"
        case "failed", "exit":
            return f"exit {of.exit_code}"
        case "failed", "signal":
            return f"signal {of.signal or '?'}"
        case "timed_out", _:
            return "timed out"
        case "cancelled", _:
            return "cancelled"
        case state, why:
            return clean(f"{state}: {why}" if why else state).replace("_", " ")


def _kind(of: Group | Failures) -> str:
    if of.state == "succeeded":
        return "good"
    return "odd" if of.state in {*UNREACHED, "cancelled"} else "bad"


def hosts(of: Group | Failures) -> str:
    """The hosts in short."""
    return clean(of.hosts) + (",…" if of.hosts_cut else "")


def counted(number: int, one: str) -> str:
    """Write `1 host`, `41 hosts`, `5,000 hosts`."""
    return f"{number:,} {one}" + ("" if number == 1 else "s")


# --- At the end ---------------------------------------------------------------------------


def report(view: Groups, *, colour: bool) -> Iterator[str]:
    """Yield the lines that tell a whole view: groups, the largest first, then the failures."""
    paint = Paint(colour=colour)
    for group in view.groups:
        yield from _group(group, paint)
    if view.more_groups:
        runs = counted(view.more_runs, "host")
        yield (
            f"… and {counted(view.more_groups, 'more group')} with {runs}; "
            f"`farhand runs --job {view.job}` lists them"
        )
    if view.failures and (len(view.groups) > 1 or view.more_groups):
        yield paint("bold", "── failures ──")
        for cluster in view.failures:
            yield _cluster(cluster, paint)
        if view.more_failures:
            yield f"… and {counted(view.more_failures, 'more kind')} of failure"


def _group(group: Group, paint: Paint) -> Iterator[str]:
    differs = " · differs" if group.diff and any(group.diff.values()) else ""
    size = counted(group.count, "host")
    ended = paint(_kind(group), cause(group))
    yield f"{paint('bold', f'── {hosts(group)}')} ({size}) {ended}{differs} {paint('bold', '──')}"
    if group.message:
        yield clean(group.message)
    if group.partial:
        yield paint("dim", "(compared by the beginnings of what they printed)")
    if group.output_pruned:
        yield paint("dim", "(what it printed is not kept any more)")
    printed = {"stdout": group.stdout, "stderr": group.stderr}
    if group.diff is not None and not any(group.diff.values()) and len(group.diff) == len(printed):
        if group.stdout.stored or group.stderr.stored:
            yield paint("dim", "(the same output as the majority's)")
        return
    for stream, content in printed.items():
        diff = None if group.diff is None else group.diff.get(stream)
        if diff is None:
            lines = list(_content(content, stream, group.run, paint))
        else:
            lines = [_diff_line(line, paint) for line in diff]
        if lines and stream == "stderr":
            yield paint("dim", "stderr:")
        yield from lines


def _content(content: Content, stream: str, run: str, paint: Paint) -> Iterator[str]:
    if not content.stored and not content.data:
        return
    more = f"`farhand runs output {run}{' --stderr' if stream == 'stderr' else ''}`"
    if content.binary:
        yield paint("dim", f"(binary, {in_words(content.stored)}; {more} has it)")
        return
    yield from safe(content.data).removesuffix("\n").split("\n")
    if content.truncated:
        left = in_words(content.stored - len(content.data))
        yield paint("dim", f"… {left} more; {more} has it all")
    if content.cut_bytes:
        yield paint("dim", f"({in_words(content.cut_bytes)} were cut out of what it printed)")


def _diff_line(line: str, paint: Paint) -> str:
    shown = safe(line.encode(errors="replace")).replace("\n", " ")
    kinds = {"+": "good", "-": "bad", "@": "dim"}
    return paint(kinds[shown[0]], shown) if shown[:1] in kinds else shown


def _cluster(cluster: Failures, paint: Paint) -> str:
    said = f": {clean(cluster.last_line)}" if cluster.last_line else ""
    ended = paint(_kind(cluster), cause(cluster))
    return f"{counted(cluster.count, 'host')} {ended}{said} — {hosts(cluster)}"


# --- While it goes on ---------------------------------------------------------------------


def progress_line(progress: Progress) -> str:
    """Say in one line how far a job is."""
    parts = [f"{progress.done:,}/{progress.total:,} done"]
    kinds = {"failed": progress.failed, "running": progress.running, "waiting": progress.waiting}
    parts += [f"{number:,} {name}" for name, number in kinds.items() if number]
    if progress.done < progress.total:
        if progress.rate_per_s:
            parts.append(f"{progress.rate_per_s:.3g}/s")
        if progress.left_s is not None:
            parts.append(f"{_span(progress.left_s)} left")
    return " · ".join(parts)


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


def live(view: Groups, *, width: int, height: int, colour: bool) -> list[str]:
    """Return the lines that show how it stands, each narrower than *width*."""
    paint = Paint(colour=colour)
    room = max(0, min(LIVE_GROUPS, height - 3))
    wave = [f"wave {spreading.stand(view.rollout)}"] if view.rollout else []
    lines = [clipped(" · ".join([progress_line(view.progress), *wave]), width)]
    shown = view.groups[:room]
    first = max((len(f"{group.count:,}") for group in shown), default=0)
    second = max((len(cause(group)) for group in shown), default=0)
    third = min(NAMES_COLUMNS, width // 3, max((len(hosts(group)) for group in shown), default=0))
    for group in shown:
        count, ended = f"{group.count:,}".rjust(first), cause(group).ljust(second)
        names = clipped(hosts(group), third + 1).ljust(third)
        plain = clipped(f"{count}  {ended}  {names}  {_gist(group)}", width)
        behind = len(count) + 2 + len(ended)
        lines.append(
            plain[: first + 2] + paint(_kind(group), plain[first + 2 : behind]) + plain[behind:]
        )
    if (more := len(view.groups) + view.more_groups - len(shown)) and shown:
        lines.append(clipped(f"… and {counted(more, 'more group')}", width))
    return lines


def _gist(group: Group) -> str:
    """The first line that a group printed, or what was said of it."""
    content = group.stdout if group.stdout.stored else group.stderr
    if content.binary:
        return "(binary)"
    line = next((line for line in safe(content.data[:400]).split("\n") if line.strip()), "")
    return clean((line or group.message).replace("\t", " "))


def clipped(text: str, width: int) -> str:
    """Cut *text* to less than *width* columns, wide characters and all."""
    used = 0
    for place, sign in enumerate(text):
        used += 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        if used >= max(1, width):
            return f"{text[: max(0, place - 1)]}…" if width > 1 else ""
    return text


# --- What it comes to ---------------------------------------------------------------------


def exit_code_of(view: Groups, *, interrupted: bool = False) -> int:
    """Return what `farhand run` exits with after this last view."""
    if not view.progress.failed:
        return Exit.OK
    states = {cluster.state for cluster in view.failures}
    if interrupted and "cancelled" in states:
        return Exit.INTERRUPTED
    if view.progress.total == 1 and view.groups:
        one = view.groups[0]
        run = Run(
            id=one.run,
            agent=one.agent,
            state=one.state,
            why=one.why,
            exit_code=one.exit_code,
            signal=one.signal,
        )
        return exit_code([run])
    told = sum(cluster.count for cluster in view.failures)
    if states <= UNREACHED and told == view.progress.total:
        return Exit.NONE_REACHED
    return Exit.SOME_FAILED


def summary(view: Groups) -> str:
    """Say in one line how the job ended."""
    progress = view.progress
    ended = [f"{progress.done - progress.failed:,} succeeded"]
    if progress.failed:
        ended.append(f"{progress.failed:,} did not")
    total = len(view.groups) + view.more_groups
    kinds = f"{counted(total, 'group')} of equal answers"
    return f"{counted(progress.total, 'host')}: {', '.join(ended)}; {kinds}"


def as_json(view: Groups) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield kind and value of each line that tells a whole view to a program."""
    for group in view.groups:
        printed = {
            stream: _json_content(content)
            for stream, content in (("stdout", group.stdout), ("stderr", group.stderr))
        }
        yield "group", {**group.raw, **printed}
    for cluster in view.failures:
        yield "failures", dict(cluster.raw)
    yield "end", {"job": view.job, "state": view.state, **_json_rest(view)}


def _json_content(content: Content) -> dict[str, object] | None:
    if not content.stored and not content.data:
        return None
    told: dict[str, object] = dict(encoded(content.data))
    return {
        **told,
        "stored": content.stored,
        "truncated": content.truncated,
        "cut_bytes": content.cut_bytes,
    }


def _json_rest(view: Groups) -> dict[str, object]:
    return {
        "progress": json_progress(view.progress),
        "more_groups": view.more_groups,
        "more_runs": view.more_runs,
        "more_failures": view.more_failures,
    }


def json_progress(progress: Progress) -> dict[str, object]:
    """Return how far a job is, for programs."""
    names: Sequence[str] = ("total", "done", "failed", "running", "waiting", "rate_per_s", "left_s")
    return {name: getattr(progress, name) for name in names}
