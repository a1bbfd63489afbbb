"""A real agent keeps its word: through its own death, a lost file and a full disk."""

import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from farhand.agent.journal import Entry, Journal
from farhand.agent.spoolfile import DATA_AT
from farhand.client import Client, Run
from farhand.domain.ids import RunId
from farhand.domain.limits import KIB, MIB
from farhand.domain.messages import HeldState
from tests.acceptance.plant import START_S, Plant, Process, alive, plant, until

pytestmark = pytest.mark.acceptance

JOURNAL = ("journal", "journal.twin")
FINAL = ("succeeded", "failed", "timed_out", "cancelled", "refused", "expired")

# Leaves a mark, prints a line, waits for a gate, prints the rest, and ends or stays.
PROGRAM = """
import os, sys, time
mark, gate, size, stay = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
with open(mark, "a") as file:
    file.write("started\\n")
text = b"".join(b"%07d\\n" % number for number in range(size // 8))
sys.stdout.buffer.write(text[:8])
sys.stdout.flush()
while not os.path.exists(gate):
    time.sleep(0.01)
sys.stdout.buffer.write(text[8:])
sys.stdout.flush()
if stay:
    os.execvp("sleep", ["sleep", stay])
sys.exit(3)
"""


def text(size: int) -> bytes:
    return b"".join(b"%07d\n" % number for number in range(size // 8))


@dataclass
class House:
    """A plant with one agent, and programs that leave marks."""

    plant: Plant
    controller: Process
    agent: Process
    options: tuple[str, ...]
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.plant.home / "web-1"

    def client(self) -> Client:
        return Client(self.plant.url, self.plant.token)

    def mark(self, name: str) -> Path:
        return self.plant.home / f"{name}.mark"

    def gate(self, name: str) -> Path:
        return self.plant.home / f"{name}.gate"

    def submit(self, name: str, size: int, *, stay: str = "") -> str:
        """Start a run that prints *size* bytes, all but its first line behind its gate."""
        argv = [sys.executable, "-I", "-S", "-c", PROGRAM]
        argv += [str(self.mark(name)), str(self.gate(name)), str(size), stay]
        with self.client() as client:
            (run,) = client.submit(argv, names="web-1").runs
        self.runs[name] = run.id
        return run.id

    def started(self, name: str, size: int, *, stay: str = "") -> str:
        """The same, and its first line is stored."""
        run = self.submit(name, size, stay=stay)
        until(lambda: self.output(name), f"{name} has printed")
        return run

    def run(self, name: str) -> Run:
        with self.client() as client:
            return client.get_run(self.runs[name])

    def rest(self, name: str, within_s: float = START_S) -> Run:
        """Wait until the run has a state that is final."""
        until(lambda: self.run(name).state in FINAL, f"{name} has ended", within_s)
        return self.run(name)

    def output(self, name: str) -> bytes:
        with self.client() as client:
            return b"".join(client.output(self.runs[name]))

    def starts(self, name: str) -> int:
        mark = self.mark(name)
        return len(mark.read_text().splitlines()) if mark.exists() else 0

    def spool(self, name: str) -> Path:
        return self.state / "spool" / f"{self.runs[name]}.stdout"

    def read(self, name: str) -> int:
        """How many bytes the agent has read, as its disk says."""
        file = self.spool(name)
        return file.stat().st_size - DATA_AT if file.exists() else 0

    def has_ended(self, name: str) -> bool:
        """The agent's journal says so."""
        said = f'{{"run":"{self.runs[name]}","state":"ended"'.encode()
        return any(said in (self.state / each).read_bytes() for each in JOURNAL)

    def ends_unheard(self, *names: str) -> None:
        """Kill the controller, and let runs end of which the agent can tell nobody."""
        self.controller.stop(signal.SIGKILL)
        for name in names:
            self.gate(name).touch()
        for name in names:
            until(partial(self.has_ended, name), f"{name} has ended")

    def controller_again(self) -> None:
        http = self.plant.url.rsplit("/", 1)[1]
        self.controller = self.plant.controller(http=http, agents=self.plant.agents_at)

    def agent_again(self) -> None:
        self.agent = self.plant.agent("web-1", *self.options)


@pytest.fixture(scope="module")
def it(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house for all: each test leaves it as it was."""
    home = tmp_path_factory.mktemp("word")
    config = home / "agent.toml"
    config.write_text("[limits]\njournal_bytes = 65536\n")
    options = ("--config", str(config))
    with plant(installed, home) as here:
        controller = here.controller()
        yield House(here, controller, here.agent("web-1", *options), options)


# --- kill -9 ------------------------------------------------------------------------------


def test_an_agent_that_is_killed_while_its_controller_is_dead_tells_all_it_had_read(
    it: House,
) -> None:
    it.started("ended", 5 * MIB)  # more than memory holds
    it.started("interrupted", MIB, stay="31571")
    it.gate("interrupted").touch()
    it.ends_unheard("ended")
    until(lambda: it.read("interrupted") >= MIB and alive("31571"), "the other has printed")
    it.agent.stop(signal.SIGKILL)
    assert alive("31571"), "the agent had no time to end it"
    it.controller_again()
    it.agent_again()
    ended, interrupted = it.rest("ended"), it.rest("interrupted")

    assert ("exit", 3) == (ended.why, ended.exit_code)
    assert text(5 * MIB) == it.output("ended")
    assert "agent_restarted" == interrupted.why
    assert text(MIB) == it.output("interrupted")
    assert [] == alive("31571")
    assert (1, 1) == (it.starts("ended"), it.starts("interrupted"))
    until(lambda: not list((it.state / "spool").iterdir()), "what is stored is given back")


def test_an_agent_that_is_killed_beside_a_frozen_controller_tells_what_that_had_not_stored(
    it: House,
) -> None:
    it.started("frozen", 8 * MIB, stay="31572")
    it.controller.popen.send_signal(signal.SIGSTOP)
    it.gate("frozen").touch()
    until(lambda: it.read("frozen") >= 3 * MIB, "it prints")
    it.agent.stop(signal.SIGKILL)
    read = it.read("frozen")
    it.controller.popen.send_signal(signal.SIGCONT)
    it.agent_again()
    interrupted, printed = it.rest("frozen"), it.output("frozen")

    assert "agent_restarted" == interrupted.why
    assert read == len(printed)
    assert text(8 * MIB).startswith(printed)
    assert [] == alive("31572")
    assert 1 == it.starts("frozen")


def test_what_was_sent_to_an_agent_that_died_before_the_start_is_started_once_or_not_at_all(
    it: House,
) -> None:
    """Named in the journal it is never started; not named it was never reached, and is."""
    it.agent.popen.send_signal(signal.SIGSTOP)
    names = ("named", "not named")
    for name in names:
        it.gate(name).touch()
        it.submit(name, KIB)
    until(lambda: {"sent"} == {it.run(name).state for name in names}, "they are sent")
    it.agent.stop(signal.SIGKILL)
    journal = Journal.open(it.state / "journal", size=64 * KIB, ids=10)
    journal.note(Entry(run=RunId(it.runs["named"]), state=HeldState.ACCEPTED))
    journal.close()
    it.agent_again()
    told = {name: (it.rest(name).why, it.starts(name), it.output(name)) for name in names}

    expected = {"named": ("agent_restarted", 0, b""), "not named": ("exit", 1, text(KIB))}
    assert expected == told


# --- a disk that loses --------------------------------------------------------------------


def test_bytes_that_the_agents_disk_lost_are_named_at_once(it: House) -> None:
    names = ("shorter", "empty", "foreign")
    for name in names:
        it.started(name, 3 * MIB)
    it.ends_unheard(*names)
    it.agent.stop(signal.SIGKILL)
    os.truncate(it.spool("shorter"), DATA_AT + MIB)
    os.truncate(it.spool("empty"), 0)
    it.spool("foreign").write_bytes(b"farhand spool 9\n" + bytes(500))
    it.controller_again()
    it.agent_again()
    began = time.monotonic()
    ends = [it.rest(name) for name in names]
    took = time.monotonic() - began

    assert [("output_corrupt", 3)] * 3 == [(end.why, end.exit_code) for end in ends]
    assert [text(MIB), text(8), text(8)] == [it.output(name) for name in names]
    missing = [2 * MIB, 3 * MIB - 8, 3 * MIB - 8]
    assert [str(size) in end.message for size, end in zip(missing, ends, strict=True)] == [True] * 3
    assert took < 10
    it.agent.says(r"WARNING .*not a spool file of this version")
    aside = it.spool("foreign").with_suffix(".stdout.aside")
    assert [aside] == list(aside.parent.iterdir())
    aside.unlink()


def test_an_agent_whose_spool_cannot_be_made_runs_in_memory_until_it_can(it: House) -> None:
    it.agent.stop()
    spool = it.state / "spool"
    spool.rmdir()
    spool.write_text("a file where the directory should be")
    it.agent_again()
    it.agent.says(r"WARNING .*the spool \S+ fails: Not a directory")
    it.gate("in memory").touch()
    it.submit("in memory", 6 * MIB)
    without = it.rest("in memory")
    spool.unlink()
    it.gate("on disk").touch()
    it.submit("on disk", KIB)
    it.rest("on disk")

    assert "exit" == without.why
    assert text(6 * MIB) == it.output("in memory")
    it.agent.says(r"the spool \S+ can be written again")


# --- a full disk --------------------------------------------------------------------------


@contextmanager
def largest_file(agent: Process, size: int) -> Iterator[None]:
    """The kernel lets the agent write no file beyond *size*, as on a disk that is full."""
    pid = agent.popen.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_output_is_complete_and_the_next_run_uses_the_disk_again(
    it: House,
) -> None:
    it.started("under way", 12 * MIB)
    it.gate("on a full disk").touch()
    it.gate("afterwards").touch()
    with largest_file(it.agent, 64 * KIB):
        it.gate("under way").touch()
        it.submit("on a full disk", 12 * MIB)
        ends = [it.rest("under way"), it.rest("on a full disk")]
    it.submit("afterwards", KIB)
    ends.append(it.rest("afterwards"))

    assert [("exit", 3)] * 3 == [(end.why, end.exit_code) for end in ends]
    assert text(12 * MIB) == it.output("under way") == it.output("on a full disk")
    it.agent.says(r"WARNING .*the spool \S+ fails: (No space left|File too large)(.|\n)* again")


def test_with_a_journal_that_cannot_be_written_nothing_starts_and_what_runs_ends_truly(
    it: House,
) -> None:
    it.started("before", MIB)
    for name in ("within", "after"):
        it.gate(name).touch()
    with largest_file(it.agent, 0):
        it.submit("within", KIB)
        refused = it.rest("within")
        it.gate("before").touch()
        ended = it.rest("before")
    it.submit("after", KIB)
    after = it.rest("after")

    assert ("journal_full", "exit", "exit") == (refused.why, ended.why, after.why)
    assert (text(MIB), text(KIB)) == (it.output("before"), it.output("after"))
    assert (1, 0, 1) == (it.starts("before"), it.starts("within"), it.starts("after"))
    it.agent.stop(signal.SIGKILL)
    it.agent_again()
    assert [ended, refused, after] == [it.run(name) for name in ("before", "within", "after")]
