import re
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.cli.outcome import LINES, NAMED, Exit, exit_code, last_tries, notes
from farhand.client._shapes import Run, StreamEnd

ROOT = Path(__file__).parents[3]


def run(
    state: str,
    why: str | None = None,
    *,
    name: str = "web-1",
    code: int | None = None,
    signal: int | None = None,
    message: str = "",
    **streams: StreamEnd,
) -> Run:
    return Run(
        id=f"run_{name}",
        agent=name,
        state=state,
        why=why,
        exit_code=code,
        signal=signal,
        message=message,
        streams=streams,
    )


OK = run("succeeded", "exit", code=0)


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (OK, 0),
        (run("failed", "exit", code=7), 7),
        (run("failed", "exit", code=255), 255),
        (run("failed", "signal", signal=9), 137),
        (run("failed", "signal"), 128),
        (run("failed", "program_not_found"), 127),
        (run("failed", "not_executable"), 126),
        (run("failed", "no_such_directory"), 125),
        (run("failed", "agent_restarted"), 125),
        (run("failed", "output_corrupt", code=0), 125),
        (run("timed_out", "time_limit", signal=15), 124),
        (run("cancelled", "cancelled", signal=15), 130),
        (run("refused", "policy"), 125),
        (run("expired", "queue_ttl"), 125),
        (run("lost", "contact_lost"), 125),
    ],
)
def test_one_host_gives_its_own_exit_code(only: Run, expected: int) -> None:
    assert expected == exit_code([only])


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([OK, OK], 0),
        ([OK, run("failed", "exit", code=7)], 1),
        ([run("refused"), run("refused")], 1),
        ([OK, run("expired")], 1),
        ([run("expired"), run("lost")], 2),
    ],
)
def test_several_hosts_have_a_rule(runs: list[Run], expected: int) -> None:
    assert expected == exit_code(runs)


def test_interrupted_counts_only_where_something_was_cut_off() -> None:
    cancelled = run("cancelled")

    assert Exit.INTERRUPTED == exit_code([OK, cancelled], interrupted=True)
    assert Exit.OK == exit_code([OK, OK], interrupted=True)
    assert Exit.SOME_FAILED == exit_code([OK, cancelled])


def test_one_host_that_ends_by_itself_needs_no_words() -> None:
    assert [] == notes("job_1", [OK])
    assert [] == notes("job_1", [run("failed", "exit", code=7)])


def test_what_a_person_cannot_see_is_said() -> None:
    assert ["web-1: killed by signal 9"] == notes("j", [run("failed", "signal", signal=9)])
    assert ["web-1: killed by signal ?"] == notes("j", [run("failed", "signal")])
    (line,) = notes("j", [run("expired", "queue_ttl")])
    assert line.startswith("web-1: expired [queue_ttl]; ")
    assert "--queue-ttl" in line


def test_the_words_of_the_agent_come_before_ours() -> None:
    refused = run("refused", "policy", message="argv is not allowed here; use --allow argv")

    assert ["web-1: refused: argv is not allowed here; use --allow argv [policy]"] == (
        notes("j", [refused])
    )


def test_several_hosts_are_summed_up_and_the_same_is_said_once() -> None:
    failed = [run("failed", "exit", code=3, name=name) for name in ("b", "c")]

    assert ["3 hosts: 2 failed, 1 succeeded", "b, c: exit code 3"] == notes("j", [OK, *failed])


def test_a_fleet_that_fails_does_not_fill_the_screen() -> None:
    alike = [run("failed", "exit", code=1, name=f"n{n}") for n in range(10_000)]
    apart = [run("failed", "exit", code=n % 250 + 1, name=f"n{n}") for n in range(10_000)]

    assert f" and {10_000 - NAMED} more: exit code 1" in notes("j", alike)[1]
    assert 1 + LINES + 1 == len(notes("j", apart))
    assert "`farhand runs --job j`" in notes("j", apart)[-1]


def test_bytes_that_were_cut_out_are_named() -> None:
    (line,) = notes("j", [run("succeeded", "exit", stdout=StreamEnd(cut_bytes=3 << 20, cut_at=9))])

    assert "web-1: 3.0 MiB were cut out of stdout" in line


def test_every_exit_code_is_in_the_docs() -> None:
    table = (ROOT / "docs/reference/exit-codes.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d+) ", table, re.MULTILINE)}

    assert set() == {int(code) for code in Exit} - {Exit.SIGNALLED} - documented


def test_of_a_host_the_last_try_counts() -> None:
    failed, again = run("failed", "exit", code=1), run("succeeded", "exit", name="web-1b")
    again = replace(again, retry_of=failed.id)

    assert [again] == last_tries([failed, again])
    assert 0 == exit_code(last_tries([failed, again]))
