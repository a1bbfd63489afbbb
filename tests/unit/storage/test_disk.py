"""What is flushed when, counted where it is done."""

import os
from pathlib import Path

import pytest

from farhand.ports import Durability
from farhand.storage.disk import Disk, sync_directory
from farhand.storage.files import OutputFiles
from tests.contract.storing import OUT


def test_each_flush_is_counted(tmp_path: Path) -> None:
    disk = Disk()
    with (tmp_path / "a").open("wb") as file:
        disk.keep_file(file.fileno())
    disk.keep_names(tmp_path)

    assert 2 == disk.flushes


def test_relaxed_nothing_is_flushed(tmp_path: Path) -> None:
    disk = Disk(Durability.PROCESS)
    disk.keep_file(-1)  # it is not even looked at
    disk.keep_names(tmp_path / "none")

    assert 0 == disk.flushes


def test_what_cannot_be_flushed_is_an_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with pytest.raises(OSError, match="Invalid argument"):
        Disk().keep_file(writer)
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "none")
    os.close(reader)
    os.close(writer)


class Watched(Disk):
    """A disk that remembers what was flushed, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[str] = []
        self.names: list[str] = []

    def keep_file(self, fd: int) -> None:
        super().keep_file(fd)
        self.files.append(Path(f"/proc/self/fd/{fd}").readlink().name)

    def keep_names(self, directory: Path) -> None:
        super().keep_names(directory)
        self.names.append(directory.name if directory.name == "output" else "below")


def test_a_file_and_every_new_name_on_the_way_to_it_are_flushed(tmp_path: Path) -> None:
    disk = Watched()
    files = OutputFiles(tmp_path / "output", disk)
    files.write("run_1", OUT, 0, b"abc")
    files.sync()
    first = (disk.files[:], sorted(disk.names))
    files.write("run_1", OUT, 3, b"def")
    files.sync()
    files.sync()
    files.close()

    assert (["run_1.stdout"], ["below", "output"]) == first
    assert ["run_1.stdout"] * 2 == disk.files
    assert 2 == len(disk.names)


def test_a_name_that_a_crash_left_unflushed_is_flushed_with_the_first_bytes(tmp_path: Path) -> None:
    crashed = OutputFiles(tmp_path / "output", Disk(Durability.PROCESS))
    crashed.write("run_1", OUT, 0, b"never counted")
    crashed.close()
    disk = Watched()
    files = OutputFiles(tmp_path / "output", disk)
    files.write("run_1", OUT, 0, b"abc")
    files.sync()
    files.close()

    assert (["run_1.stdout"], ["below"]) == (disk.files, disk.names)


def test_a_descriptor_that_is_given_up_early_is_flushed_first(tmp_path: Path) -> None:
    disk = Watched()
    files = OutputFiles(tmp_path / "output", disk)
    for n in range(70):
        files.write(f"run_{n}", OUT, 0, b"x")
    files.sync()
    files.close()

    assert sorted(f"run_{n}.stdout" for n in range(70)) == sorted(disk.files)
