"""A seed draws the same faults and the same jobs each time, and others draw others."""

import subprocess
from collections import Counter
from pathlib import Path

from farhand.api.reading import JOB_BODY
from tests.chaos.faults import Kind, draw
from tests.chaos.program import end_mark
from tests.chaos.work import Drawer, Work

AGENTS = ("host-1", "host-2", "host-3")


def jobs(seed: str, count: int, marks: Path = Path("/marks")) -> list[Work]:
    drawer = Drawer(seed, AGENTS, marks)
    return [drawer.next() for _ in range(count)]


def test_the_same_seed_draws_the_same_faults_and_jobs() -> None:
    assert draw("1", AGENTS, for_s=60) == draw("1", AGENTS, for_s=60)
    assert draw("1", AGENTS, for_s=60) != draw("2", AGENTS, for_s=60)
    assert [work.body for work in jobs("1", 30)] == [work.body for work in jobs("1", 30)]
    assert [work.body for work in jobs("1", 30)] != [work.body for work in jobs("2", 30)]


def test_every_kind_of_fault_comes_before_any_comes_again() -> None:
    kinds = Counter(fault.kind for fault in draw("1", AGENTS, for_s=600)[: 2 * len(Kind)])

    assert {2} == set(kinds.values())
    assert set(Kind) == kinds.keys()


def test_every_job_that_is_drawn_is_one_that_the_api_takes() -> None:
    drawn = jobs("1", 200)

    assert len({work.kind for work in drawn}) > 10
    for work in drawn:
        JOB_BODY.validate_python(work.body)


def test_a_program_leaves_the_marks_and_prints_the_bytes_that_are_expected_of_it(
    tmp_path: Path,
) -> None:
    drawn = {work.kind: work for work in jobs("1", 100, tmp_path)}
    for kind in ("quick", "exit", "chatter", "stdin", "cut"):
        work = drawn[kind]
        done = subprocess.run(
            work.what["argv"],
            check=False,
            input=work.stdin,
            capture_output=True,
            env={"FARHAND_RUN": kind},
        )
        assert (work.out, work.err) == (done.stdout, done.stderr)
        assert work.how == f"exit-{done.returncode}"
        started, ended = (tmp_path / kind).read_text().splitlines()
        assert f"start {work.nonce}" == started
        assert end_mark(work.how, work.out, work.err) == ended
