import stat
from pathlib import Path

import pytest

from farhand.storage.files import OutputFiles
from tests.contract.storing import ERR, OUT, run_id


def only_file(root: Path) -> Path:
    (found,) = (path for path in root.rglob("*") if path.is_file())
    return found


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_bytes_are_read_from_where_they_were_put(tmp_path: Path) -> None:
    files = OutputFiles(tmp_path / "output")
    files.write("run_1", OUT, 0, b"abc")
    files.write("run_1", ERR, 0, b"xyz")
    files.write("run_1", OUT, 3, memoryview(b"def"))
    files.sync()

    assert b"bcde" == files.read("run_1", OUT, 1, 4)
    assert b"f" == files.read("run_1", OUT, 5, 100)
    assert b"xyz" == files.read("run_1", ERR, 0, 3)
    assert b"" == files.read("run_2", OUT, 0, 3)
    files.close()


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    files = OutputFiles(tmp_path / "output")
    files.write("run_1", OUT, 0, b"abc")
    files.close()
    made = only_file(tmp_path)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (made, made.parent, made.parent.parent)]

    assert [0o600, 0o700, 0o700] == modes


def test_what_a_crash_left_behind_the_end_is_cut_off(tmp_path: Path) -> None:
    before = OutputFiles(tmp_path / "output")
    before.write("run_1", OUT, 0, b"abc--not committed--")
    before.close()
    files = OutputFiles(tmp_path / "output")
    files.write("run_1", OUT, 3, b"de")
    files.close()

    assert b"abcde" == only_file(tmp_path).read_bytes()


def test_what_was_abandoned_is_written_over(tmp_path: Path) -> None:
    files = OutputFiles(tmp_path / "output")
    files.write("run_1", OUT, 0, b"abcdef")
    files.abandon()
    files.write("run_1", OUT, 2, b"x")
    files.sync()
    files.close()

    assert b"abx" == only_file(tmp_path).read_bytes()


def test_many_streams_need_few_descriptors(tmp_path: Path) -> None:
    files = OutputFiles(tmp_path / "output")
    before = open_descriptors()
    for turn in range(2):
        for n in range(70):
            files.write(run_id(n), OUT, turn, b"%d" % turn)
    during = open_descriptors() - before
    files.sync()
    files.close()

    assert 0 < during <= 64
    assert {b"01"} == {files.read(run_id(n), OUT, 0, 9) for n in range(70)}
    assert before == open_descriptors()


def test_a_deleted_run_has_no_files(tmp_path: Path) -> None:
    files = OutputFiles(tmp_path / "output")
    files.write("run_1", OUT, 0, b"abc")
    files.delete("run_1")
    files.delete("run_2")
    files.sync()

    assert b"" == files.read("run_1", OUT, 0, 3)
    assert [] == [path for path in tmp_path.rglob("*") if path.is_file()]
    files.write("run_1", OUT, 0, b"new")
    files.close()
    assert b"new" == only_file(tmp_path).read_bytes()


@pytest.mark.parametrize("run", ["", "..", "../run_1", "a/b", "run_1\0", "run 1", "x" * 200])
def test_no_path_can_be_made_of_an_id(tmp_path: Path, run: str) -> None:
    files = OutputFiles(tmp_path / "output")

    with pytest.raises(ValueError, match="cannot be the name of a file"):
        files.write(run, OUT, 0, b"abc")
