import os
import shutil
import subprocess

import pytest

from farhand.agent.probe.main import ProbeFailed
from farhand.agent.probe.processes import environment, namespaces, open_files, ps, strace, top

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("by", ["cpu", "memory", "time", "start", "pid"])
def test_processes_are_listed_up_to_a_limit(by: str, capsys: Capture) -> None:
    ps(by=by, limit="3")
    head, *rows = capsys.readouterr().out.splitlines()

    assert ["PID", "PPID", "USER"] == head.split()[:3]
    assert 1 <= len(rows) <= 3


def test_the_newest_process_comes_first(capsys: Capture) -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        ps(by="start", limit="1000")
        child.kill()
    pids = [int(row.split()[0]) for row in capsys.readouterr().out.splitlines()[1:]]

    assert pids.index(child.pid) < pids.index(os.getpid())


def test_processes_of_nobody_known_are_none(capsys: Capture) -> None:
    ps(by="cpu", limit="3", user="nobody-at-all")

    assert 1 == len(capsys.readouterr().out.splitlines())


def test_top_tells_of_the_host_and_of_processes(capsys: Capture) -> None:
    top(seconds="0.05", limit="1")
    said = capsys.readouterr().out

    assert ["up", "cpu", "memory", "COMMAND"] == [
        word for word in ("up", "cpu", "memory", "COMMAND") if word in said
    ]


def test_open_files_are_named(capsys: Capture) -> None:
    read, write = os.pipe()
    open_files(pid=str(os.getpid()), limit="10000")
    os.close(read)
    os.close(write)

    assert "pipe:[" in capsys.readouterr().out


def test_secrets_of_an_environment_are_not_shown(capsys: Capture) -> None:
    env = {
        "PATH": "/usr/bin:/bin",
        "API_TOKEN": "hunter1",
        "db_password": "hunter2",
        "DATABASE_URL": "postgres://shop:hunter3@db/shop",
        "LANG": "C",
    }
    command = ["sh", "-c", "echo; read forever"]
    with subprocess.Popen(command, env=env, stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()  # before, its environment may not be there
        environment(pid=str(child.pid))
        child.kill()
    said = capsys.readouterr().out

    assert "hunter" not in said
    assert [
        "API_TOKEN=(not shown)",
        "DATABASE_URL=postgres://shop:***@db/shop",
        "LANG=C",
        "PATH=/usr/bin:/bin",
        "db_password=(not shown)",
    ] == said.splitlines()


def test_a_process_that_is_not_there_is_named() -> None:
    with pytest.raises(ProbeFailed, match="4194305"):
        environment(pid="4194305")
    with pytest.raises(ProbeFailed, match="4194305"):
        open_files(pid="4194305", limit="1")


def test_namespaces_are_listed_with_this_one(capsys: Capture) -> None:
    namespaces()
    said = capsys.readouterr().out

    assert "KIND" == said.split()[0]
    assert str(os.stat("/proc/self/ns/net").st_ino) in said  # noqa: PTH116  # an inode, no path


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_system_calls_are_printed_for_a_time(capfd: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen(["sh", "-c", "while :; do sleep 0.01; done"]) as child:
        try:
            strace(pid=str(child.pid), seconds="0.3")
        except ProbeFailed:
            pytest.skip("this user may not trace")
        finally:
            alive = child.poll()
            child.kill()

    assert "wait4(" in capfd.readouterr().out
    assert None is alive
