"""Show whom a job would be for: `farhand run --preview`."""

from farhand.cli import tables
from farhand.cli.screen import json_line, note, write
from farhand.client._targets import Preview


def show(found: Preview, *, as_json: bool) -> None:
    """Tell how many and which on stdout; what to do with it on stderr."""
    if as_json:
        json_line(None, found.raw)
        return
    _line(f"{_hosts(found.count)}: {found.hosts}")
    if found.away.count:
        _line(f"  {found.away.count} away, would be waited for: {found.away.hosts}")
    for group in found.refusing:
        _line(f"  {group.count} would refuse ({group.why}): {group.hosts}")
        _line(f"    {group.message}")
    if found.drained.count:
        _line(f"  passed over, drained: {found.drained.hosts}")
    at = found.until.astimezone().strftime("%H:%M") if found.until else ""
    note(f"nothing was started; `--bind {found.id}` runs it on exactly these, until {at}")


def _hosts(count: int) -> str:
    return "1 host" if count == 1 else f"{count} hosts"


def _line(text: str) -> None:
    write("stdout", f"{tables.clean(text)}\n".encode(errors="backslashreplace"))
