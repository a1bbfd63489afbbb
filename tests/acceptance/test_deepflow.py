"""A real agent that speaks DeepFlow's protocol, at a real controller that serves such agents."""

import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import httpx
import pytest

from farhand.client import Client, JobOptions, Run
from farhand.domain.limits import MIB
from farhand.http.deepflow.cipher import Cipher
from tests.acceptance.plant import START_S, Plant, Process, alive, plant, until

pytestmark = pytest.mark.acceptance

DATE = "system_d2e"
CIPHER = Cipher(1, 1)

# What this host offers beside DeepFlow's commands.
COMMANDS = """
[[command]]
ident = "flood"
argv = [{python}, "-I", "-S", "-c", {flood}, "{{megabytes}}"]
[[command.param]]
name = "megabytes"
type = "int"
required = true

[[command]]
ident = "gate"
argv = [{python}, "-I", "-S", "-c", {gate}, "{home}/{{name}}"]
[[command.param]]
name = "name"
required = true

[[command]]
ident = "doze"
argv = ["sleep", "31581"]
"""
FLOOD = "import sys\nfor n in range(int(sys.argv[1])): sys.stdout.write('%01048575d\\n' % n)"
GATE = """import os, sys, time
open(sys.argv[1] + ".mark", "a").write("started\\n")
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
print("through")"""


@dataclass
class House:
    """A controller, the agent at it, and programs that leave marks."""

    plant: Plant
    agent: Process
    name: str

    def dial(self) -> None:
        """Start the agent (again)."""
        home = self.plant.home
        argv = ["farhand", "agent", "--protocol", "deepflow", "--controller", self.plant.agents_at]
        argv += ["--commands", str(home / "commands.toml"), "--config", str(home / "agent.toml")]
        self.agent = self.plant.spawn("deepflow", argv)
        self.name = self.agent.says(r"connected to \S+ as (\S+)")[1]

    def submit(self, ident: str, name: str = "", **limits: Unpack[JobOptions]) -> str:
        """Ask for a command, with *limits*; return the run."""
        options: JobOptions = {**limits, "names": self.name, "command": ident}
        if name:
            options["params"] = {"name": name}
        with Client(self.plant.url, self.plant.token) as client:
            return client.submit(**options).runs[0].id

    def run(self, run: str) -> Run:
        with Client(self.plant.url, self.plant.token) as client:
            return client.get_run(run)

    def state(self, run: str, state: str) -> Run:
        """The run once it is there."""
        until(lambda: self.run(run).state == state, f"{run} is {state}", START_S)
        return self.run(run)

    def started(self, name: str) -> int:
        """How often the gate of this name was stood before."""
        mark = self.plant.home / f"{name}.mark"
        return len(mark.read_text().splitlines()) if mark.exists() else 0

    def open(self, name: str) -> None:
        """Let through whatever stands before the gate of this name."""
        (self.plant.home / name).touch()


@pytest.fixture(scope="module")
def it(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    home = tmp_path_factory.mktemp("deepflow")
    quoted = {"python": json.dumps(sys.executable), "home": str(home)}
    written = COMMANDS.format(flood=json.dumps(FLOOD), gate=json.dumps(GATE), **quoted)
    (home / "commands.toml").write_text(written)
    limits = f"[limits]\ndeepflow_output_bytes = {128 * MIB}\ndeepflow_run_s = 120.0\n"
    (home / "agent.toml").write_text(limits)
    with plant(installed, home) as here:
        process = here.controller("--deepflow-agents", "--deepflow-api")
        house = House(here, process, "")
        house.dial()
        yield house


# --- the same verbs -----------------------------------------------------------------------


def test_a_person_sees_and_runs_what_it_offers(it: House) -> None:
    commands = it.plant.lines("commands", it.name)
    done = it.plant.farhand("run", it.name, "--command", DATE)
    namespaces = it.plant.lines("namespaces", it.name)
    it.plant.farhand("agents", "rename", it.name, "old-1")
    renamed = it.plant.farhand("run", "old-1", "--command", DATE)

    assert ("date", "system") in {(each["label"], each["group"]) for each in commands}
    assert {"flood", "gate"} <= {each["ident"] for each in commands}
    assert (0, b"") == (done.returncode, done.stderr)
    assert re.search(rb"\d\d:\d\d:\d\d", done.stdout)
    assert {"net"} == {each["kind"] for each in namespaces}
    assert 0 == renamed.returncode


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--", "ls"), "a program or a script of one's own"),
        (("--env", "A=1", "--command", DATE), "environment variables"),
        (("--ns-pid", "1", "--ns", "mnt", "--command", DATE), "namespaces other than"),
        (("--command", "nope"), "has no command 'nope'"),
        (("--command", "flood", "-p", "megabytes=much"), "does not match"),
        (("--command", "flood"), "megabytes"),
    ],
)
def test_what_cannot_be_is_refused_and_says_why(it: House, words: list[str], told: str) -> None:
    done = it.plant.farhand("run", it.name, *words)

    assert done.returncode
    assert told in done.stderr.decode()


def test_a_hundred_mebibytes_arrive_as_they_were_printed(it: House) -> None:
    printed = hashlib.sha256()
    for number in range(100):
        printed.update(b"%01048575d\n" % number)
    done = it.plant.farhand("run", it.name, "--command", "flood", "-p", "megabytes=100")

    assert (0, b"") == (done.returncode, done.stderr)
    assert (100 * MIB, printed.hexdigest()) == (
        len(done.stdout),
        hashlib.sha256(done.stdout).hexdigest(),
    )


def test_deepflows_own_api_lists_and_runs_its_commands(it: House) -> None:
    body = CIPHER.sealed(json.dumps({"cmd": "date", "command_ident": DATE}).encode())
    headers = {"Authorization": f"Bearer {it.plant.token}"}
    with httpx.Client(base_url=f"{it.plant.url}/v1/agent/{it.name}", headers=headers) as client:
        listed = client.get("/cmd").json()
        ran = client.post("/cmd/run", content=body).json()
        probes = client.get("/cmd?type=profile").json()["DATA"]
        stranger = client.post("/cmd/run", content=body, headers={"Authorization": ""})

    assert "SUCCESS" == listed["OPT_STATUS"] == ran["OPT_STATUS"]
    first = {"cmd": "lsns", "output_format": 0, "ident": "system_l2s", "type_name": "system"}
    assert first == listed["DATA"]["remote_commands"][0]
    assert {"net"} == {each["ns_type"] for each in listed["DATA"]["linux_namespaces"]}
    assert re.search(rb"\d\d:\d\d:\d\d", CIPHER.opened(ran["DATA"].encode()))
    assert {"ps"} == {each["cmd"] for each in probes["remote_commands"]}
    assert 401 == stranger.status_code


# --- what the protocol cannot do ----------------------------------------------------------


def test_cancelling_what_runs_is_refused_plainly_and_what_waits_is_taken_back(it: House) -> None:
    running = it.submit("gate", "cancel")
    until(lambda: it.started("cancel"), "it runs")
    waiting = it.submit("gate", "never")
    refused = it.plant.farhand("runs", "cancel", running)
    it.plant.farhand("runs", "cancel", waiting)
    cancelled = it.state(waiting, "cancelled")
    it.open("cancel")
    ended = it.state(running, "succeeded")

    assert refused.returncode
    assert b"protocol cannot cancel" in refused.stderr
    assert b"[cannot-cancel]" in refused.stderr
    assert (1, 0) == (it.started("cancel"), it.started("never"))
    assert ("exit", "cancelled") == (ended.why, cancelled.why)


def test_a_run_past_its_limit_is_lost_and_the_lane_is_taken_until_the_answer(it: House) -> None:
    late = it.submit("gate", "late", timeout_s=0.5)
    lost = it.state(late, "lost")
    hurried = it.submit(DATE, queue_ttl_s=0.5)
    patient = it.submit(DATE)
    expired = it.state(hurried, "expired")
    meanwhile = it.run(patient).state
    it.open("late")
    answered, ran = it.state(late, "succeeded"), it.state(patient, "succeeded")
    with Client(it.plant.url, it.plant.token) as client:
        printed = b"".join(client.output(late))

    assert ("no_cancel", "queue_ttl", "sent") == (lost.why, expired.why, meanwhile)
    assert ("exit", b"through\n") == (answered.why, printed)
    assert "exit" == ran.why
    assert 1 == it.started("late")


def test_the_streams_end_frees_the_lane_and_what_waited_runs_once_at_the_next(it: House) -> None:
    late = it.submit("doze", timeout_s=0.5)
    it.state(late, "lost")
    waiting = it.submit("gate", "next")
    it.open("next")
    assert alive("31581")
    it.agent.stop(signal.SIGKILL)
    gone = it.state(late, "failed")
    it.dial()
    ran = it.state(waiting, "succeeded")
    for left in alive("31581"):  # nobody was there to end it
        os.kill(left, signal.SIGKILL)

    assert ("no_answer", "exit") == (gone.why, ran.why)
    assert 1 == it.started("next")


def test_an_agent_that_is_asked_to_stop_ends_what_it_started_and_says_so(it: House) -> None:
    run = it.submit("gate", "stopped")
    until(lambda: it.started("stopped"), "it runs")
    assert 0 == it.agent.stop()
    ended = it.state(run, "failed")
    with Client(it.plant.url, it.plant.token) as client:
        told = b"".join(client.output(run, "stderr")).decode()
    it.dial()

    assert "killed, because the agent stops" in f"{told}{ended.message}"
    assert 0 == it.plant.farhand("run", it.name, "--command", DATE).returncode
