import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

from farhand.agent.namespaces import belongs_to, list_namespaces
from farhand.domain.job import NamespaceKind
from tests.unit.agent.procroot import Process, write

ID: Final = "0123456789abcdef" * 4
POD: Final = "1b2c3d4e-0000-1111-2222-333344445555"
POD_: Final = POD.replace("-", "_")
BESTEFFORT: Final = f"kubepods-besteffort-pod{POD_}"
KUBE: Final = "/kubepods.slice/kubepods-burstable.slice"

PLACES: Final = {
    "docker, cgroupfs": (f"12:pids:/docker/{ID}", ID, ""),
    "docker, systemd": (f"0::/system.slice/docker-{ID}.scope", ID, ""),
    "docker in docker": (f"0::/docker/{ID[::-1]}/docker/{ID}", ID, ""),
    "containerd, systemd": (
        f"0::{KUBE}/kubepods-burstable-pod{POD_}.slice/cri-containerd-{ID}.scope", ID, POD,
    ),
    "containerd, cgroupfs": (f"0::/kubepods/burstable/pod{POD}/{ID}", ID, POD),
    "containerd, guaranteed": (f"0::/kubepods/pod{POD}/{ID}", ID, POD),
    "containerd, drivers that disagree": (
        f"0::/system.slice/containerd.service/{BESTEFFORT}.slice:cri-containerd:{ID}", ID, POD,
    ),
    "a static pod": (
        f"0::/kubepods.slice/kubepods-pod{ID[:32]}.slice/cri-containerd-{ID}.scope", ID, ID[:32],
    ),
    "kind, a cluster in docker": (
        f"0::/docker/{ID[::-1]}/kubelet/kubepods/besteffort/pod{POD}/{ID}", ID, POD,
    ),
    "cri-o": (f"0::{KUBE}/kubepods-burstable-pod{POD_}.slice/crio-{ID}.scope", ID, POD),
    "cri-o, its monitor": (
        f"0::{KUBE}/kubepods-burstable-pod{POD_}.slice/crio-conmon-{ID}.scope", "", POD,
    ),
    "podman": (f"0::/machine.slice/libpod-{ID}.scope/container", ID, ""),
    "podman, its monitor": (f"0::/machine.slice/libpod-conmon-{ID}.scope", "", ""),
    "podman, without root": (
        f"0::/user.slice/user-1000.slice/user@1000.service/libpod-{ID}.scope/container", ID, "",
    ),
    "nerdctl": (f"0::/system.slice/nerdctl-{ID}.scope", ID, ""),
    "lxc": ("0::/lxc.payload.web-1/system.slice/nginx.service", "web-1", ""),
    "a pod without a container": (f"0::{KUBE}/kubepods-burstable-pod{POD_}.slice", "", POD),
    "a service": ("0::/system.slice/nginx.service", "", ""),
    "nothing": ("0::/", "", ""),
    "an id that is too short": (f"0::/docker/{ID[:-1]}", "", ""),
    "several hierarchies": (f"5:cpu:/\n4:memory:/docker/{ID}\n1:name=systemd:/\n0::/", ID, ""),
    "no lines": ("", "", ""),
}  # fmt: skip


@pytest.mark.parametrize(("cgroups", "container", "pod"), PLACES.values(), ids=PLACES)
def test_a_cgroup_tells_container_and_pod(cgroups: str, container: str, pod: str) -> None:
    assert (container, pod) == belongs_to(cgroups)


def test_each_namespace_is_listed_once_with_its_oldest_process(tmp_path: Path) -> None:
    write(
        tmp_path,
        Process(pid=2, started=1, flags=0x00200000, ns={"net": 1, "mnt": 5}),
        Process(pid=900, started=10, cmdline=b"/sbin/init\0--x\0", ns={"net": 1, "mnt": 5}),
        Process(pid=901, started=20, ns={"net": 7, "mnt": 5}),
        Process(
            pid=30, started=15, uid=4_000_000, comm="pause", cgroup=f"0::/docker/{ID}\n",
            ns={"net": 7, "mnt": 6, "pid_for_children": 99},
        ),
    )  # fmt: skip
    listed = list_namespaces(str(tmp_path))

    assert [
        ("mnt", 5, 900, 3, "root", "/sbin/init --x", ""),
        ("mnt", 6, 30, 1, "4000000", "[pause]", ID),
        ("net", 1, 900, 2, "root", "/sbin/init --x", ""),
        ("net", 7, 30, 2, "4000000", "[pause]", ID),
    ] == [
        (each.kind, each.id, each.pid, each.processes, each.owner, each.command, each.container)
        for each in listed
    ]


def test_what_vanishes_or_may_not_be_seen_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, Process(pid=5, ns={"net": 1}), Process(pid=6), Process(pid=7, ns={"net": 1}))
    (tmp_path / "7/stat").unlink()
    (tmp_path / "8").mkdir()
    (tmp_path / "5/cmdline").write_bytes(b"sh\0-c\0echo \x1b[31m\xff\n\0")
    (found,) = list_namespaces(str(tmp_path))

    assert (1, 5, 1, "sh -c echo ?[31m\ufffd") == (
        *(found.id, found.pid, found.processes, found.command),
    )


def test_this_process_is_in_what_is_listed() -> None:
    inodes = {
        (kind, Path(f"/proc/self/ns/{kind}").stat().st_ino)
        for kind in NamespaceKind
        if Path(f"/proc/self/ns/{kind}").exists()
    }

    assert inodes <= {(each.kind, each.id) for each in list_namespaces()}


def test_a_new_namespace_is_listed() -> None:
    command = ["unshare", "--user", "--map-root-user", "--uts", "sh", "-c", "echo; exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        made = child.stdout.readline() == b"\n"
        shown = {each.kind: each for each in list_namespaces() if each.pid == child.pid}
        child.kill()
    if not made:
        pytest.skip("this host gives nobody user namespaces")

    assert {NamespaceKind.USER, NamespaceKind.UTS} == set(shown)
    assert (1, "sleep 600") == (
        shown[NamespaceKind.UTS].processes,
        shown[NamespaceKind.UTS].command,
    )


def test_without_proc_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=os.strerror(2)):
        list_namespaces(str(tmp_path / "nowhere"))
