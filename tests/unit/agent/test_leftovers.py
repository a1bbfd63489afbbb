import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from farhand.agent import procfs
from farhand.agent.leftovers import MARK, Trace, end
from farhand.agent.procfs import Stat
from farhand.domain.ids import RunId
from tests.unit.agent.procroot import Process, write

RUN: Final = RunId("run_01h455vb4pex5vsknk084sn02q")
MARKED: Final = f"A=1\0{MARK}={RUN}\0B=2\0".encode()
KERNEL: Final = 0x00200000


def leader(root: Path) -> Stat:
    """The run's leader, process 100, which began at 1000 and may have ended."""
    write(root, Process(pid=100, sid=100, started=1000, environ=MARKED))
    found = procfs.stat(100, str(root))
    assert found is not None
    return found


async def living(trace: Trace) -> set[int]:
    return {one.pid for one in await trace.living()}


async def test_marks_sessions_groups_and_parents_tell_what_belongs_to_a_run(
    tmp_path: Path,
) -> None:
    trace = Trace(RUN, leader(tmp_path), root=str(tmp_path))
    write(
        tmp_path,
        Process(pid=101, sid=100, started=1001),
        Process(pid=102, sid=5, pgid=100, started=1001),
        Process(pid=103, sid=103, started=1002, environ=MARKED),
        Process(pid=104, sid=103, started=1003, environ=None),  # in the session of a marked one
        Process(pid=105, sid=105, ppid=104, started=1004),  # a child of one of these
        Process(pid=106, sid=106, ppid=105, started=1004),
    )

    assert {100, 101, 102, 103, 104, 105, 106} == await living(trace)


async def test_others_do_not_belong_to_it(tmp_path: Path) -> None:
    trace = Trace(RUN, leader(tmp_path), root=str(tmp_path))
    other = MARKED.replace(b"02q", b"02r")
    write(
        tmp_path,
        Process(pid=1, environ=MARKED),
        Process(pid=os.getpid(), environ=MARKED, started=2000),
        Process(pid=50, sid=100, started=999),  # before the leader: its session was another one
        Process(pid=60, environ=other, started=2000),
        Process(pid=61, environ=b"X" + MARKED.replace(MARK.encode(), b"NO"), started=2000),
        Process(pid=62, environ=MARKED, state="Z", started=2000),
        Process(pid=63, environ=MARKED, flags=KERNEL, started=2000),
        Process(pid=64, environ=b"", started=2000),
    )

    assert {100} == await living(trace)


async def test_the_id_of_a_leader_that_ended_may_belong_to_another(tmp_path: Path) -> None:
    trace = Trace(RUN, leader(tmp_path), root=str(tmp_path))
    (tmp_path / "100").rename(tmp_path / "gone")
    write(
        tmp_path,
        Process(pid=100, sid=100, started=5000),
        Process(pid=101, sid=100, started=5001),
    )

    assert set() == await living(trace)


async def test_without_a_leader_the_mark_alone_counts(tmp_path: Path) -> None:
    write(tmp_path, Process(pid=7, environ=MARKED, started=1), Process(pid=8, sid=7, started=1))

    assert {7, 8} == await living(Trace(RUN, root=str(tmp_path)))


async def test_few_new_ids_are_asked_one_by_one(tmp_path: Path) -> None:
    """What has no new id is not even looked at."""
    trace = Trace(RUN, leader(tmp_path), root=str(tmp_path))
    write(
        tmp_path,
        Process(pid=90, environ=MARKED, started=2000),
        Process(pid=110, environ=MARKED, started=2000),
    )
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/ns_last_pid").write_text("120\n")
    (tmp_path / "sys/kernel/pid_max").write_text("32768\n")

    assert {100, 110} == {one.pid for one in await trace.living(age_s=0.01)}
    assert {90, 100, 110} == {one.pid for one in await trace.living(age_s=1.0)}


async def test_an_id_given_out_just_before_the_look_is_looked_at(tmp_path: Path) -> None:
    """The kernel tells the newest id, then its largest one; a child comes about between these."""
    trace = Trace(RUN, leader(tmp_path), root=str(tmp_path))
    (tmp_path / "100").rename(tmp_path / "ended")
    kernel = tmp_path / "sys/kernel"
    kernel.mkdir(parents=True)
    (kernel / "ns_last_pid").write_text("100\n")
    os.mkfifo(kernel / "pid_max")

    def bear() -> None:
        with (kernel / "pid_max").open("w") as asked:
            write(tmp_path, Process(pid=101, sid=100, started=1001))
            (kernel / "ns_last_pid").write_text("101\n")
            asked.write("32768\n")

    with ThreadPoolExecutor(1) as kernel_thread:
        born = kernel_thread.submit(bear)
        found = await trace.living(age_s=0.01)
        born.result()

    assert {101} == {one.pid for one in found}


@pytest.mark.parametrize("last", ["99", "30000", "no number"])
async def test_ids_that_may_have_wrapped_or_are_many_are_all_looked_at(
    tmp_path: Path, last: str
) -> None:
    trace = Trace(RUN, leader(tmp_path), root=str(tmp_path))
    write(tmp_path, Process(pid=90, environ=MARKED, started=2000))
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/ns_last_pid").write_text(last)
    (tmp_path / "sys/kernel/pid_max").write_text("32768\n")

    assert {90, 100} == {one.pid for one in await trace.living(age_s=0.01)}


def test_a_signal_reaches_only_the_process_that_was_seen() -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        seen = procfs.stat(child.pid)
        assert seen is not None
        trace = Trace(RUN)
        trace.tell(earlier(seen), signal.SIGKILL)
        spared = child.poll()
        trace.tell(seen, signal.SIGKILL)
        child.wait()
        trace.tell(seen, signal.SIGKILL)  # gone: nothing happens

    assert (None, -signal.SIGKILL) == (spared, child.returncode)


def earlier(seen: Stat) -> Stat:
    """A process that had the same id before."""
    return Stat(**{name: getattr(seen, name) for name in Stat.__slots__} | {"started": 1})


async def test_what_does_not_die_is_given_up_in_the_end(tmp_path: Path) -> None:
    """A process inside the kernel does not die when it is told to."""
    write(tmp_path, Process(pid=(1 << 22) + 7, environ=MARKED, state="D", started=1))
    await end(Trace(RUN, root=str(tmp_path)), grace_s=0.01, kill_s=0.05)

    assert 1 == len(await Trace(RUN, root=str(tmp_path)).living())
