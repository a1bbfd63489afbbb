"""Lines that are drawn again and again."""

import io
import os

import pytest

from farhand.cli.region import ERASED, Region


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2


def terminal(patch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 80 by 24 as stderr."""
    made = Terminal()
    patch.setattr("sys.stderr", made)
    patch.setattr("os.get_terminal_size", lambda fd: os.terminal_size((80, 24)))
    return made


def test_lines_take_the_place_of_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    region = Region({"TERM": "xterm"})
    region.draw(lambda size: ["a", f"{size.columns}"])
    region.draw(lambda size: ["b"])
    region.clear()
    region.clear()

    gone = f"\x1b[2A\r{2 * ERASED}\x1b[2A", f"\x1b[1A\r{ERASED}\x1b[1A"
    assert f"a\n80\n{gone[0]}b\n{gone[1]}" == screen.getvalue()


def test_a_note_stays_above_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    region = Region({"TERM": "xterm"})
    region.draw(lambda size: ["a"])
    region.note("look")

    assert f"a\n\x1b[1A\r{ERASED}\x1b[1Afarhand: look\na\n" == screen.getvalue()


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {}])
def test_nothing_is_drawn_where_the_cursor_cannot_move(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str]
) -> None:
    screen = terminal(monkeypatch)
    region = Region(env)
    region.draw(lambda size: ["a"])
    region.note("look")

    assert "farhand: look\n" == screen.getvalue()


def test_nothing_is_drawn_that_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = terminal(monkeypatch)
    Region({"TERM": "xterm"}, wanted=False).draw(lambda size: ["a"])

    assert "" == screen.getvalue()


def test_nothing_is_drawn_into_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr("sys.stderr", file)
    region = Region({"TERM": "xterm"})
    region.draw(lambda size: ["a"])

    assert "" == file.getvalue()
    assert not region.able
