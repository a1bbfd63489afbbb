import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from bench.figures import AtLeast, AtMost, BenchError, Figure, median, quantile
from bench.machine import machine
from bench.numbers import summed, writes
from bench.plot import ratio, svg
from bench.report import Measured, as_json, block
from bench.storm import Return

ROOT = Path(__file__).parents[2]


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_tiny_run_prints_a_table_and_writes_the_same_figures_as_json(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"

    done = bench(
        *("spawn", "first-byte", "--quick", "--json", str(path), "--publish", str(tmp_path))
    )

    assert (0, "") == (done.returncode, done.stderr), done.stdout
    found = json.loads(path.read_text())
    assert "quick" == found["scale"]
    assert ["spawn", "first-byte"] == [each["bench"] for each in found["benches"]]
    for each in found["benches"]:
        assert all(figure["what"] in done.stdout for figure in each["figures"])
        assert all(figure["value"] > 0 for figure in each["figures"])
    assert {"at most": 20} == found["benches"][1]["figures"][0]["aim"]
    assert found["benches"][1]["figures"][0]["fdatasync_ms"] > 0
    assert path.read_text() == (tmp_path / "figures.json").read_text()
    assert "first byte of a run" in (tmp_path / "figures.md").read_text()
    assert "first byte of a run" in (tmp_path / "figures.svg").read_text()


def test_a_bench_that_nobody_wrote_is_refused_with_those_there_are(tmp_path: Path) -> None:
    done = bench("speed", "--json", str(tmp_path / "figures.json"))

    assert 2 == done.returncode
    assert "there is no bench speed; there are disk, spawn, " in done.stderr


@pytest.mark.parametrize(
    ("aim", "value", "verdict"),
    [
        (AtMost(20), 20, "met"),
        (AtMost(20), 20.1, "not met"),
        (AtLeast(50), 50, "met"),
        (AtLeast(50), 49.9, "not met"),
        (None, 1, ""),
    ],
)
def test_a_figure_stands_beside_its_aim(
    aim: AtMost | AtLeast | None, value: float, verdict: str
) -> None:
    assert verdict == Figure(what="it", value=value, unit="ms", aim=aim).verdict


def test_a_quantile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]

    assert (50.0, 99.0, 100.0) == (median(values), quantile(values, 0.99), quantile(values, 1.0))
    assert 3.0 == median([3.0])


def test_nothing_measured_has_no_median() -> None:
    with pytest.raises(BenchError, match="nothing was measured"):
        median([])


def test_the_disk_stands_beside_what_waits_for_it_alone() -> None:
    figures = (
        Figure(what="stored", value=4.2, unit="ms", aim=AtMost(5), durable=True),
        Figure(what="started", value=120, unit="ms"),
    )

    _, stored, started = block(
        Measured(name="it", took_s=1.0, flush_ms=0.25, figures=figures)
    ).splitlines()

    assert ["stored", "4.20", "ms", "≤", "5", "met", "0.25", "ms"] == stored.split()
    assert ["started", "120", "ms"] == started.split()


def test_a_plot_is_small_and_shows_aims_and_spreads() -> None:
    figures = [
        Figure(what="fast <enough>", value=2, unit="ms", aim=AtMost(4)),
        Figure(what="none lost", value=0, unit="", aim=AtMost(0)),
        Figure(what="some lost", value=3, unit="", aim=AtMost(0)),
        Figure(what="too few", value=50, unit="1/s", aim=AtLeast(100)),
        Figure(what="it, p50", value=4, unit="ms"),
        Figure(what="it, p99", value=9, unit="ms"),
    ]
    told = [figure.as_json() for figure in figures]

    drawn = svg(
        {
            "benches": [{"bench": "it", "figures": told}],
            "measured_on": {"cores": 2, "cpu": "some", "python": "3", "date": "today"},
        }
    )

    assert [0.5, 1 / 16, 4.0, 2.0] == [ratio(figure) for figure in told[:4]]
    ET.fromstring(drawn)
    assert "it: fast &lt;enough&gt;" in drawn
    assert "4 … 9" in drawn
    assert len(drawn) < 10_000


def test_what_could_not_be_measured_says_why(tmp_path: Path) -> None:
    failed = Measured(name="it", took_s=1.0, flush_ms=0.25, error="the agent did not come")

    found = json.loads(as_json(machine(tmp_path), [failed], scale="full"))

    assert "not measured: the agent did not come" in block(failed)
    assert "the agent did not come" == found["benches"][0]["error"]
    assert {"cpu", "cores", "kernel", "python", "date"} <= found["measured_on"].keys()


def test_the_densest_second_of_a_return_is_found_wherever_it_lies() -> None:
    seen = [(0.0, 0), (0.5, 10), (1.0, 20), (1.2, 90), (1.9, 100), (2.6, 120), (9.0, 125)]
    took = Return(seen=seen, answers_ms=[1.0])

    assert (80, 9.0) == (took.densest, took.back_s)


def test_numbers_are_read_as_a_scraper_reads_them() -> None:
    text = """# HELP farhand_runs_moved_total Runs that came into a state.
# TYPE farhand_runs_moved_total counter
farhand_runs_moved_total{org="o",state="running"} 3.0
farhand_runs_moved_total{org="o",state="lost, or {so}"} 2.0
process_open_fds 12.0
"""

    assert {"runs_moved_total": 5.0, "process_open_fds": 12.0} == summed(text)


def test_what_the_store_did_is_told_by_second_and_by_commit() -> None:
    names = ("commits", "flushes", "changes", "commit_seconds")
    before = {f"store_{name}_total": 10.0 for name in names}
    after = {
        "store_commits_total": 60.0,
        "store_flushes_total": 110.0,
        "store_changes_total": 1010.0,
        "store_commit_seconds_total": 10.1,
    }

    found = [round(figure.value, 3) for figure in writes("load", before, after, 2.0)]

    assert [25.0, 50.0, 20.0, 2.0] == found
    assert [0.0, 0.0, 0.0, 0.0] == [each.value for each in writes("rest", before, before, 2.0)]
