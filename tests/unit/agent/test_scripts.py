"""Where a script lies while it runs."""

import stat
from pathlib import Path

import pytest

from farhand.agent.scripts import ScriptFiles
from farhand.domain.ids import RunId
from farhand.domain.job import JobSpec, NamespaceKind, NamespacesOf, Script
from farhand.errors import LaunchFailed

RUN = RunId("run_01h455vb4pex5vsknk084sn02q")
PLAIN = JobSpec(what=Script("echo hi\n"))


def test_a_script_without_a_first_line_is_run_by_the_shell(tmp_path: Path) -> None:
    argv = ScriptFiles(tmp_path / "scripts").put(RUN, PLAIN)

    assert "/bin/sh" == argv[0]
    assert "echo hi\n" == Path(argv[-1]).read_text()


def test_a_first_line_names_the_interpreter_and_one_argument(tmp_path: Path) -> None:
    spec = JobSpec(what=Script("#! /usr/bin/env python3 -u\npass\n"))
    argv = ScriptFiles(tmp_path).put(RUN, spec)

    assert ("/usr/bin/env", "python3 -u") == argv[:2]


def test_only_the_agents_user_can_read_it_and_it_can_be_removed(tmp_path: Path) -> None:
    scripts = ScriptFiles(tmp_path / "scripts")
    path = Path(scripts.put(RUN, PLAIN)[-1])
    mode = stat.S_IMODE((tmp_path / "scripts").stat().st_mode)
    scripts.remove(RUN)
    scripts.remove(RUN)

    assert 0o700 == mode
    assert not path.exists()


@pytest.mark.parametrize(
    "elsewhere", [{"user": "nobody"}, {"namespaces_of": NamespacesOf(1, (NamespaceKind.MNT,))}]
)
def test_for_others_a_script_travels_in_an_argument(
    tmp_path: Path, elsewhere: dict[str, object]
) -> None:
    spec = JobSpec(what=Script("echo hi\n"), **elsewhere)  # type: ignore[arg-type]

    assert ("/bin/sh", "-c", "echo hi\n") == ScriptFiles(tmp_path).put(RUN, spec)


def test_a_script_that_others_could_not_see_is_refused(tmp_path: Path) -> None:
    spec = JobSpec(what=Script("#!/usr/bin/python3\n"), user="nobody")

    with pytest.raises(LaunchFailed, match="cannot be seen"):
        ScriptFiles(tmp_path).put(RUN, spec)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LaunchFailed, match="file"):
        ScriptFiles(tmp_path / "file").put(RUN, PLAIN)
