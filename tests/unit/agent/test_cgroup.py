import os
import subprocess
from pathlib import Path

import pytest

from farhand.agent.cgroup import Cgroups, _place
from tests.runs import new_run

needs_cgroups = pytest.mark.skipif(
    Cgroups.found() is None, reason="this user may not make control groups"
)
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
HYBRID = "31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 none rw"
INSIDE = "99 23 0:26 /system.slice/x.service /sys/fs/cgroup ro - cgroup2 cgroup rw"
OTHERS = "22 23 0:21 / /proc rw - proc proc rw", "24 23 0:9 / /sys/fs/cgroup/cpu rw - cgroup c rw"


@pytest.mark.parametrize(
    ("mount", "group", "place"),
    [
        (V2, "0::/system.slice/x.service", "/sys/fs/cgroup/system.slice/x.service"),
        (HYBRID, "0::/", "/sys/fs/cgroup/unified"),
        (INSIDE, "0::/system.slice/x.service/sub", "/sys/fs/cgroup/sub"),
        (INSIDE, "0::/system.slice/x.service", "/sys/fs/cgroup"),
        (INSIDE, "0::/system.slice/x.service2", None),
        (INSIDE, "0::/", None),
        (V2, "1:cpu:/", None),
        (OTHERS[0], "0::/", None),
    ],
)
def test_the_place_is_below_the_agents_own_control_group(
    mount: str, group: str, place: str | None
) -> None:
    found = _place([*OTHERS, mount], ["4:memory:/x", group])

    assert (None if place is None else Path(place)) == found


def test_without_a_place_there_are_none(tmp_path: Path) -> None:
    assert None is Cgroups.found(str(tmp_path))

    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(V2.replace("/sys/fs/cgroup", "/no/such/place"))
    (tmp_path / "self/cgroup").write_text("0::/\n")

    assert None is Cgroups.found(str(tmp_path))


def test_what_cannot_be_done_is_left(tmp_path: Path) -> None:
    (tmp_path / "farhand.run_left").mkdir()
    cgroups = Cgroups(tmp_path)
    group = cgroups.of(new_run())
    group.join(os.getpid())
    group.kill()
    group.remove()

    assert set() == group.pids()
    assert [] == list(tmp_path.iterdir())
    assert None is Cgroups(tmp_path / "nowhere").made(new_run())


@needs_cgroups
def test_who_joined_is_in_and_all_are_killed_at_once() -> None:
    cgroups = Cgroups.found()
    assert cgroups is not None
    group = cgroups.made(new_run())
    assert group is not None
    with subprocess.Popen(["sleep", "600"]) as child:
        group.join(child.pid)
        inside = group.pids()
        group.remove()  # not while somebody is in
        group.kill()
    emptied = group.pids()
    group.remove()

    assert {child.pid} == inside
    assert set() == emptied
    assert -9 == child.returncode
