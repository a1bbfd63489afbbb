"""What a person types, from the built wheel, on real processes."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.plant import Plant, alive, plant, until

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def here(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A controller with web-1, web-2 and db-1."""
    with plant(installed, tmp_path_factory.mktemp("plant")) as built:
        built.controller()
        for name, role in (("web-1", "web"), ("web-2", "web"), ("db-1", "db")):
            built.agent(name, "--label", f"role={role}")
        yield built


def test_output_and_exit_code_of_one_host_are_the_programs_own(here: Plant) -> None:
    done = here.farhand("run", "web-1", "--", "sh", "-c", "echo out; echo err >&2; exit 7")

    assert (7, b"out\n") == (done.returncode, done.stdout)
    assert b"err\n" in done.stderr


def test_success_is_silent_but_for_the_output(here: Plant) -> None:
    done = here.farhand("run", "web-1", "--", "true")

    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)


def test_bytes_come_through_as_they_are(here: Plant) -> None:
    done = here.farhand("run", "web-1", "--", "printf", r"\377\000\n\001")

    assert b"\xff\x00\n\x01" == done.stdout


def test_stdin_comes_from_the_caller(here: Plant) -> None:
    data = os.urandom(300_000)
    done = here.farhand("run", "--stdin", "-", "web-1", "--", "cat", stdin=data)

    assert data == done.stdout


def test_a_script_runs_with_its_interpreter(here: Plant, tmp_path: Path) -> None:
    script = tmp_path / "s"
    script.write_text("#!/usr/bin/env python3\nimport sys\nprint('py', sys.version_info[0])\n")
    done = here.farhand("run", "--script", str(script), "web-1")

    assert b"py 3\n" == done.stdout


def test_a_catalogue_command_takes_its_parameters(here: Plant) -> None:
    port = here.url.rsplit(":", 1)[1]
    params = ("-p", "host=127.0.0.1", "-p", f"port={port}")
    done = here.farhand("run", "--command", "tcp-connect", *params, "web-1")

    assert 0 == done.returncode, done.stderr


def test_environment_and_working_directory_are_the_jobs(here: Plant) -> None:
    argv = ("--env", "A=b c", "--cwd", "/usr", "web-1", "--", "sh", "-c", 'echo "$A"; pwd')
    done = here.farhand("run", *argv)

    assert b"b c\n/usr\n" == done.stdout


def test_several_hosts_are_told_apart(here: Plant) -> None:
    done = here.farhand("run", "-l", "role=web", "--", "echo", "hi")

    assert {b"web-1 | hi", b"web-2 | hi"} == set(done.stdout.splitlines())
    assert 0 == done.returncode


def test_equal_answers_are_told_once(here: Plant) -> None:
    answer = 'case "$FARHAND_AGENT_NAME" in db-1) echo odd >&2; exit 3;; *) echo same; date;; esac'
    argv = ("--group", "--normalise", "times", "--all", "--", "sh", "-c", answer)
    done = here.farhand("run", *argv)
    job = json.loads(here.farhand("jobs", "--json", "-n", "1").stdout)["id"]
    later = here.farhand("jobs", "groups", "--normalise", "times", job)
    lines = done.stdout.decode().splitlines()

    assert 1 == done.returncode
    assert ("── web-[1-2] (2 hosts) exit 0 ──", "same") == (lines[0], lines[1])
    assert "── db-1 (1 host) exit 3 ──" in lines
    assert "1 host exit 3: odd — db-1" == lines[-1]
    assert (0, done.stdout) == (later.returncode, later.stdout)


def test_some_failed_is_told_by_host_and_exit_code(here: Plant) -> None:
    fail = 'case "$FARHAND_AGENT_NAME" in web-1) exit 3;; esac'
    done = here.farhand("run", "--all", "--", "sh", "-c", fail)

    assert 1 == done.returncode
    assert b"web-1" in done.stderr


def test_json_is_one_object_a_line(here: Plant) -> None:
    done = here.farhand("run", "--json", "--all", "--", "echo", "hi")
    kinds = [json.loads(line) for line in done.stdout.splitlines()]

    assert 0 == done.returncode
    assert len(kinds) >= 5


def test_output_is_live(here: Plant) -> None:
    with here.popen("run", "web-1", "--", "sh", "-c", "echo first; exec sleep 31557") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        running = alive("31557") or process.poll() is None
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)

    assert b"first\n" == first
    assert running


def test_ctrl_c_cancels_the_job_and_leaves_nothing_behind(here: Plant) -> None:
    process = here.popen("run", "web-1", "--", "sh", "-c", "sleep 31558 & setsid sleep 31558")
    until(lambda: len(alive("31558")) == 2, "both sleeps run")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    until(lambda: not alive("31558"), "nothing is left")

    assert 130 == process.returncode


def test_a_second_ctrl_c_leaves_at_once(here: Plant) -> None:
    stubborn = "trap '' TERM; sleep 31559 & wait; sleep 31559"
    with here.popen("run", "web-1", "--", "sh", "-c", stubborn) as process:
        until(lambda: alive("31559"), "it runs")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)

        assert 130 == process.wait(10)
    until(lambda: not alive("31559"), "nothing is left", 30)


def test_the_time_limit_ends_everything_the_run_started(here: Plant) -> None:
    began = time.monotonic()
    argv = ("--timeout", "500ms", "web-1", "--", "sh", "-c", "sleep 31560 & sleep 31560")
    done = here.farhand("run", *argv)

    assert 124 == done.returncode
    assert [] == alive("31560")
    assert time.monotonic() - began < 20


def test_what_the_leader_left_behind_is_killed_at_its_end(here: Plant) -> None:
    left = "setsid sleep 31561 >/dev/null 2>&1 & sleep 31561 & exit 0"
    done = here.farhand("run", "web-1", "--", "sh", "-c", left)

    assert 0 == done.returncode
    assert [] == alive("31561")


def test_detach_gives_an_id_that_jobs_and_runs_know(here: Plant) -> None:
    job = here.farhand("run", "--detach", "web-1", "--", "echo", "later").stdout.decode().strip()
    assert re.fullmatch(r"job_\w{26}", job)
    until(lambda: here.lines("jobs", "show", job)[0]["state"] == "done", "the job ends")
    (run,) = here.lines("runs", "--job", job)
    done = here.farhand("runs", "output", run["id"])

    assert b"later\n" == done.stdout


def test_a_held_job_waits_for_its_release(here: Plant) -> None:
    held = here.farhand("run", "--hold", "web-1", "--", "echo", "released")
    job = held.stdout.decode().strip()
    before = here.lines("runs", "--job", job)[0]["state"]
    assert 0 == here.farhand("jobs", "release", job).returncode
    done = here.farhand("jobs", "follow", job)

    assert "held" == before
    assert b"released\n" == done.stdout


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (("run", "web-9", "--", "true"), 66, "web-1"),
        (("run", "web-1", "--command", "uptme"), 66, "uptme"),
        (("run", "web-1", "--command", "ping", "-p", "host=-f"), 65, "host"),
        (("run", "web-1", "--", "no-such-program"), 127, "no-such-program"),
        (("run", "web-1", "--", "/etc/hostname"), 126, "hostname"),
        (("run", "--cwd", "/nowhere", "web-1", "--", "true"), None, "/nowhere"),
        (("run", "-l", "role=(", "--", "true"), 65, "^"),
        (("run", "-l", "role=none", "--", "true"), None, "role=none"),
        (("rnu", "web-1", "--", "true"), 64, "run"),
        (("run", "--tiemout", "3", "web-1", "--", "true"), 64, "--tiemout"),
        (("jobs", "show", "job_x"), 66, "job_x"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(
    here: Plant, argv: tuple[str, ...], code: int | None, says: str
) -> None:
    done = here.farhand(*argv)

    assert says in done.stderr.decode()
    assert done.returncode == code if code is not None else done.returncode != 0
    assert b"Traceback" not in done.stderr


def test_a_wrong_token_is_refused(here: Plant) -> None:
    done = here.farhand("agents", FARHAND_TOKEN="wrong")

    assert 77 == done.returncode
    assert b"unauthenticated" in done.stderr


def test_a_controller_that_is_not_there_is_named(here: Plant) -> None:
    done = here.farhand("agents", FARHAND_URL="http://127.0.0.1:9")

    assert 69 == done.returncode
    assert b"127.0.0.1:9" in done.stderr


def test_the_local_controller_needs_no_setting(here: Plant) -> None:
    done = here.farhand("agents", "--json", FARHAND_URL="", FARHAND_TOKEN="")

    assert 3 == len(done.stdout.splitlines()), done.stderr


def test_namespaces_of_the_host_are_listed(here: Plant) -> None:
    kinds = {line["kind"] for line in here.lines("namespaces", "web-1")}

    assert {"mnt", "net", "pid", "user", "uts", "ipc", "cgroup"} <= kinds


def test_doctor_finds_nothing_wrong(here: Plant) -> None:
    done = here.farhand("doctor")

    assert 0 == done.returncode, done.stdout


def test_a_renamed_drained_and_relabelled_agent_shows_it(here: Plant) -> None:
    assert 0 == here.farhand("agents", "rename", "db-1", "db-main").returncode
    assert 0 == here.farhand("agents", "label", "db-main", "role=database").returncode
    assert 0 == here.farhand("agents", "drain", "db-main").returncode
    refused = here.farhand("run", "db-main", "--", "true")
    assert 0 == here.farhand("agents", "undrain", "db-main").returncode
    done = here.farhand("run", "-l", "role=database", "--", "echo", "back")

    assert b"drained" in refused.stderr
    assert b"back\n" == done.stdout


def test_strangers_on_the_agents_port_are_let_go_and_cost_nothing(here: Plant) -> None:
    host, port = here.agents_at.rsplit(":", 1)
    for data in (os.urandom(4096), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(200)):
        with socket.create_connection((host, int(port)), timeout=15) as stranger:
            stranger.sendall(data)
            while stranger.recv(4096):
                pass
    done = here.farhand("run", "web-1", "--", "echo", "still here")

    assert b"still here\n" == done.stdout
