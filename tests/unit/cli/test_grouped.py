"""Answers in groups as text."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.cli.grouped import (
    LIVE_GROUPS,
    as_json,
    clipped,
    exit_code_of,
    live,
    progress_line,
    report,
    safe,
    summary,
)
from farhand.client import Content, Failures, Group, Groups, Progress, Rollout

OK = Group(
    state="succeeded",
    why="exit",
    exit_code=0,
    count=41,
    hosts="web[1-40,52]",
    run="run_1",
    agent="web1",
    majority=True,
    stdout=Content(data=b"a\nb\n", stored=4),
)
DONE = Progress(total=41, done=41)


def said(*groups: Group, **more: object) -> list[str]:
    view = Groups(job="job_1", groups=groups, **more)  # type: ignore[arg-type]  # of tests
    return list(report(view, colour=False))


def test_a_group_is_its_hosts_how_it_ended_and_what_it_printed() -> None:
    assert ["── web[1-40,52] (41 hosts) exit 0 ──", "a", "b"] == said(OK)


def test_a_smaller_group_is_its_difference() -> None:
    other = replace(
        OK,
        count=1,
        hosts="web7",
        majority=False,
        stderr=Content(data=b"oh\n", stored=3),
        diff={"stdout": ["@ line 1", "-a", "+x"]},
    )

    assert [
        "── web7 (1 host) exit 0 · differs ──",
        "@ line 1",
        "-a",
        "+x",
        "stderr:",
        "oh",
    ] == said(other)


def test_the_same_output_is_not_shown_again() -> None:
    other = replace(OK, exit_code=1, state="failed", diff={"stdout": [], "stderr": []})

    assert ["── web[1-40,52] (41 hosts) exit 1 ──", "(the same output as the majority's)"] == said(
        other
    )


def test_binary_long_and_cut_outputs_say_so() -> None:
    binary = replace(OK, stdout=Content(data=b"\xff", stored=2048, binary=True))
    long = replace(OK, partial=True, stdout=Content(data=b"a", stored=1025, cut_bytes=2048))

    assert ["(binary, 2.0 KiB; `farhand runs output run_1` has it)"] == said(binary)[1:]
    assert [
        "(compared by the beginnings of what they printed)",
        "a",
        "… 1.0 KiB more; `farhand runs output run_1` has it all",
        "(2.0 KiB were cut out of what it printed)",
    ] == said(long)[1:]


def test_who_gave_no_answer_is_told_with_the_reason() -> None:
    away = Group(
        state="expired", why="queue_ttl", count=1_200, hosts="db1", hosts_cut=True, message="late"
    )

    assert ["── db1,… (1,200 hosts) expired: queue ttl ──", "late"] == said(away)


def test_what_is_not_shown_is_counted_and_failures_are_clustered() -> None:
    full = Failures(
        state="failed", why="exit", exit_code=1, last_line="disk full", count=2, hosts="db[1-2]"
    )
    killed = Failures(state="failed", why="signal", signal=9, count=1, hosts="db3")
    lines = said(OK, failures=(full, killed), more_groups=4_980, more_runs=4_990, more_failures=1)

    assert [
        "… and 4,980 more groups with 4,990 hosts; `farhand runs --job job_1` lists them",
        "── failures ──",
        "2 hosts exit 1: disk full — db[1-2]",
        "1 host signal 9 — db3",
        "… and 1 more kind of failure",
    ] == lines[3:]


def test_colours_are_farhands_alone() -> None:
    red = replace(OK, stdout=Content(data=b"\x1b[31mred\x1b[0m", stored=12))
    coloured = "\n".join(report(Groups(job="j", groups=(red,)), colour=True))

    assert ["red"] == said(red)[1:]
    assert "\x1b[32mexit 0\x1b[0m" in coloured
    assert "\x1b[31m" not in coloured


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"a\tb\r\nc", "a\tb\nc"),
        (b"\x1b[2J\x1b]0;title\x07", "�[2J�]0;title�"),
        (b"50%\r100%", "50%�100%"),
        (b"\x9b31m\xff", "�31m�"),
        ("\u202eevil \u00a0平成 é".encode(), "�evil  平成 é"),
        ("👩\u200d💻".encode(), "👩\u200d💻"),
    ],
)
def test_output_cannot_steer_the_terminal(printed: bytes, shown: str) -> None:
    assert shown == safe(printed)


@given(st.binary())
def test_no_bytes_become_a_control_character(data: bytes) -> None:
    assert all(sign in "\n\t\u200d\ufe0f" or sign.isprintable() for sign in safe(data))


def test_names_and_messages_cannot_either() -> None:
    evil = replace(
        OK, hosts="web\x1b[2J", message="a\nb", diff={"stdout": ["+\x1b[2J"], "stderr": []}
    )
    lines = said(
        evil,
        OK,
        failures=(Failures(state="failed\x07", why="x", last_line="\x1b]", count=1, hosts="\n"),),
    )

    assert not any(sign < " " for line in lines for sign in line)


def test_progress_is_one_line() -> None:
    going = Progress(
        total=5_000, done=371, failed=9, running=40, waiting=4_589, rate_per_s=12.54, left_s=369.1
    )

    assert (
        "371/5,000 done · 9 failed · 40 running · 4,589 waiting · 12.5/s · 6 min left"
        == progress_line(going)
    )
    assert "41/41 done" == progress_line(replace(DONE, rate_per_s=3.0, left_s=0.0))


def test_while_it_goes_on_the_largest_groups_are_a_line_each() -> None:
    small = [replace(OK, count=1, hosts=f"db{n}", exit_code=n, state="failed") for n in range(9)]
    view = Groups(job="j", progress=DONE, groups=(OK, *small), more_groups=3)
    lines = live(view, width=60, height=24, colour=False)

    assert "41/41 done" == lines[0]
    assert "41  exit 0  web[1-40,52]  a" == lines[1]
    assert " 1  exit 0  db0           a" == lines[2]
    assert "… and 7 more groups" == lines[-1]
    assert LIVE_GROUPS + 2 == len(lines)
    assert ["41/41 done"] == live(view, width=60, height=3, colour=False)


@given(st.integers(20, 200), st.integers(1, 50), st.text(max_size=50), st.text(max_size=50))
def test_live_lines_fit_the_terminal(width: int, height: int, hosts: str, out: str) -> None:
    group = replace(OK, hosts=hosts, stdout=Content(data=out.encode(errors="replace"), stored=9))
    view = Groups(job="j", progress=DONE, groups=(group,) * 9)
    lines = live(view, width=width, height=height, colour=False)

    assert all(len(line) < width for line in lines)
    assert len(lines) <= max(1, height - 1)


def test_wide_characters_count_twice() -> None:
    assert "平成" == clipped("平成", 5)
    assert "平…" == clipped("平成年", 5)
    assert "" == clipped("ab", 1)


def test_the_summary_says_how_many_answers_there_were() -> None:
    view = Groups(job="j", progress=replace(DONE, failed=1), groups=(OK,), more_groups=2)

    assert "41 hosts: 40 succeeded, 1 did not; 3 groups of equal answers" == summary(view)


@pytest.mark.parametrize(
    ("progress", "failures", "interrupted", "code"),
    [
        (DONE, (), False, 0),
        (replace(DONE, failed=1), (Failures(state="failed", count=1),), False, 1),
        (replace(DONE, failed=1), (Failures(state="cancelled", count=1),), True, 130),
        (replace(DONE, failed=1), (Failures(state="cancelled", count=1),), False, 1),
        (replace(DONE, failed=41), (Failures(state="expired", count=41),), False, 2),
        (replace(DONE, failed=40), (Failures(state="expired", count=40),), False, 1),
    ],
)
def test_the_exit_code_is_by_the_rule_for_several_hosts(
    progress: Progress, failures: tuple[Failures, ...], interrupted: bool, code: int
) -> None:
    view = Groups(job="j", progress=progress, groups=(OK,), failures=failures)

    assert code == exit_code_of(view, interrupted=interrupted)


def test_one_host_gives_its_own_exit_code() -> None:
    one = replace(OK, state="failed", exit_code=7, count=1)
    view = Groups(job="j", progress=Progress(total=1, done=1, failed=1), groups=(one,))

    assert 7 == exit_code_of(view)


def test_programs_get_a_line_for_each_group_and_the_end() -> None:
    group = replace(OK, raw={"state": "succeeded", "stdout": "digest"})
    kinds = dict(as_json(Groups(job="j", state="done", progress=DONE, groups=(group,))))

    assert {"text": "a\nb\n", "stored": 4, "truncated": False, "cut_bytes": 0} == kinds["group"][
        "stdout"
    ]
    assert kinds["group"]["stderr"] is None
    assert ("j", "done") == (kinds["end"]["job"], kinds["end"]["state"])


def test_the_live_line_tells_the_wave_and_what_it_waits_for() -> None:
    rollout = Rollout(phase="held", sizes=(1, 40), wave=1, by="admin")
    view = Groups(job="job_1", progress=Progress(total=41, done=1), rollout=rollout)

    assert ["1/41 done · wave 1 of 2, held by admin; `farhand jobs resume` goes on"] == live(
        view, width=100, height=10, colour=False
    )
