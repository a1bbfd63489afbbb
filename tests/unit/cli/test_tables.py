import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from farhand.cli import tables

COLUMNS: tables.Columns[dict[str, str]] = {"a": lambda row: row["a"], "bc": lambda row: row["b"]}
ROWS = [{"a": "1", "b": "x"}, {"a": "22\x1b[31m", "b": ""}]


def show(rows: list[dict[str, str]], *, as_json: bool = False) -> None:
    tables.show(rows, COLUMNS, lambda row: row, as_json=as_json, empty="nothing here")


def test_columns_are_aligned_and_foreign_signs_are_harmless(
    capfd: pytest.CaptureFixture[str],
) -> None:
    show(ROWS)

    assert "A        BC\n1        x\n22\ufffd[31m\n" == capfd.readouterr().out


def test_json_is_one_object_a_line_and_whole(capfd: pytest.CaptureFixture[str]) -> None:
    show(ROWS, as_json=True)

    assert ROWS == [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_an_empty_list_says_so_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    show([])
    show([], as_json=True)

    assert ("", "farhand: nothing here\n") == tuple(capfd.readouterr())


def test_facts_leave_out_what_is_not_known(capfd: pytest.CaptureFixture[str]) -> None:
    tables.facts({"name": "web-1", "ip": "", "labels": "a=1"})

    assert "name    web-1\nlabels  a=1\n" == capfd.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5, "5 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7_300, "2 h ago"), (-5, "0 s ago")],
)
def test_times_are_said_as_people_do(seconds: float, said: str) -> None:
    assert said == tables.ago(datetime.now(UTC) - timedelta(seconds=seconds))


def test_never_is_empty() -> None:
    assert ("", "") == (tables.ago(None), tables.at(None))


def test_a_terminal_gets_a_table_with_states_in_colour() -> None:
    columns = "{'name': str, 'state': lambda row: 'online'}"
    code = (
        "from farhand.cli import tables\n"
        f"tables.show(['web-1[red]'], {columns}, lambda row: {{}}, as_json=False, empty='')"
    )
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "COLORTERM": ""}
    subprocess.run([sys.executable, "-c", code], stdout=theirs, env=env, check=True)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)

    assert "web-1[red]" in shown  # a name is never taken for markup
    assert "\x1b[32monline" in shown
