import os

import pytest

from farhand.agent.probe.host import cpu_line, cpu_times, io, kernel_log, memory, uptime
from farhand.agent.probe.main import ProbeFailed

Capture = pytest.CaptureFixture[str]


def test_memory_adds_up(capsys: Capture) -> None:
    memory()
    rows = {row.split()[0]: row.split() for row in capsys.readouterr().out.splitlines()}

    assert "100.0%" == rows["MemTotal"][-1]
    assert {"MemAvailable", "SwapTotal"} <= rows.keys()


def test_uptime_tells_load_and_processors(capsys: Capture) -> None:
    uptime()
    said = capsys.readouterr().out

    assert f"{os.cpu_count()} CPUs" in said
    assert "load" in said


def test_cpu_shares_are_of_what_was_spent() -> None:
    assert "idle 75.0%" in cpu_line([0] * 8, [25, 0, 0, 75, 0, 0, 0, 0])
    assert "idle 0.0%" in cpu_line([7] * 8, [7] * 8)
    assert 8 == len(cpu_times())


def test_devices_are_listed(capsys: Capture) -> None:
    io(seconds="0.01")

    assert capsys.readouterr().out.startswith("DEVICE")


def test_the_newest_messages_of_the_kernel_are_listed(capsys: Capture) -> None:
    try:
        kernel_log(limit="2", level="debug")
    except ProbeFailed as exc:
        pytest.skip(str(exc))

    assert len(capsys.readouterr().out.splitlines()) <= 2
