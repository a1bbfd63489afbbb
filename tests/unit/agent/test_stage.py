import errno
import marshal
import subprocess
import sys
from pathlib import Path

import pytest

from farhand.agent import stage
from farhand.agent.stage import Order, directory_failed, explained
from farhand.domain.job import NamespaceKind
from farhand.domain.run import Why


def test_its_codes_are_those_of_a_run() -> None:
    texts = {value for value in vars(stage).values() if isinstance(value, str)}
    codes = texts & set(Why)

    assert {
        *{Why.PROGRAM_NOT_FOUND, Why.NOT_EXECUTABLE, Why.NO_SUCH_DIRECTORY},
        *{Why.SPAWN_FAILED, Why.NAMESPACES},
    } == codes


def test_it_can_enter_every_kind_of_namespace() -> None:
    assert set(NamespaceKind) == set(stage._CLONE)


def test_an_order_arrives_as_it_was_given() -> None:
    order = Order(argv=(b"\xff", b"x"), env={b"A": b"\xfe"}, nice=3, namespaces=[("net", 7)])

    assert vars(order) == vars(Order(**marshal.loads(order.packed())))
    assert order.entered("net")
    assert not order.entered("mnt")


@pytest.mark.parametrize(
    ("number", "program", "why"),
    [
        (errno.ENOENT, b"x", Why.PROGRAM_NOT_FOUND),
        (errno.ENOENT, b"/bin/sh", Why.PROGRAM_NOT_FOUND),  # it is there: its interpreter is not
        (errno.ENOTDIR, b"/x/y", Why.PROGRAM_NOT_FOUND),
        (errno.EACCES, b"/etc", Why.NOT_EXECUTABLE),
        (errno.EACCES, b"/bin/sh", Why.NOT_EXECUTABLE),
        (errno.ENOEXEC, b"/bin/sh", Why.NOT_EXECUTABLE),
        (errno.E2BIG, b"/bin/sh", Why.SPAWN_FAILED),
        (errno.EAGAIN, b"/bin/sh", Why.SPAWN_FAILED),
        (errno.ENOMEM, b"/bin/sh", Why.SPAWN_FAILED),
    ],
)
def test_every_error_has_a_code_and_a_sentence(number: int, program: bytes, why: Why) -> None:
    failed = explained(number, program, None)

    assert why == failed.why
    assert failed.text


def test_a_directory_that_cannot_be_entered_is_named() -> None:
    failed = directory_failed(errno.EACCES, b"/srv/\xff")

    assert Why.NO_SUCH_DIRECTORY == failed.why
    assert "/srv/" in failed.text


def test_it_loads_little() -> None:
    """Its start is a part of every start with a limit, a user or a namespace."""
    code = "import sys; sys.path.append(sys.argv[1]); import stage; print(*sys.modules)"
    folder = str(Path(stage.__file__).parent)
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, folder], check=True, capture_output=True, text=True
    ).stdout.split()

    assert set() == {"contextlib", "ctypes", "json", "pathlib", "re", "typing"} & set(loaded)
