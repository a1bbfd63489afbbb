"""The documentation holds together: its links, its settings and the commands it shows."""

import ast
import json
import re
import shlex
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from farhand.agent.catalogue import load_catalogue
from farhand.boot import agent as agent_process
from farhand.boot import controller as controller_process
from farhand.boot.config import AgentConfig, ControllerConfig, load
from farhand.cli.completion import whole
from farhand.errors import FarhandError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The files that a page links to, with the anchors in them."""
    for target in _LINK.findall(prose(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def anchors(page: Path) -> set[str]:
    """The anchors that headings make: lower case, spaces as dashes, no punctuation."""
    headings = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def blocks(kind: str) -> list[tuple[str, str]]:
    """Every fenced block whose info begins with *kind*: the page's name with the info, the text."""
    return [
        (f"{page.relative_to(ROOT)}: {info}", text)
        for page in PAGES
        for info, text in _FENCE.findall(page.read_text(encoding="utf-8"))
        if info.split()[:1] == [kind]
    ]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every `$ farhand …` that is shown, but for those that are shown for their usage error."""
    for where, text in blocks("console"):
        for shown in re.split(r"^[$#] ", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
            line, _, answer = shown.partition("\n")
            if line.startswith("farhand ") and "[usage]" not in answer:
                lexer = shlex.shlex(line, posix=True, punctuation_chars="|;>&")
                lexer.whitespace_split = True
                words = takewhile(lambda word: word[0] not in "|;>&", lexer)
                yield where, [word for word in words if word != "…"][1:]


def test_every_link_leads_to_a_file() -> None:
    broken = {
        f"{page.relative_to(ROOT)} → {target.name}"
        for page in PAGES
        for target, _ in links(page)
        if not target.exists()
    }

    assert set() == broken


def test_every_anchor_is_a_heading() -> None:
    broken = {
        f"{page.relative_to(ROOT)} → {target.name}#{anchor}"
        for page in PAGES
        for target, anchor in links(page)
        if anchor and target.suffix == ".md" and target.exists() and anchor not in anchors(target)
    }

    assert set() == broken


def test_every_page_can_be_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [DOCS / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.is_file():
            reached.add(page)
            waiting += [target for target, _ in links(page)] if page.suffix == ".md" else []

    assert set() == {str(page.relative_to(DOCS)) for page in set(DOCS.rglob("*.md")) - reached}


def test_settings_that_are_shown_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "shown.toml"
    readers: dict[str, Callable[[Path], object]] = {
        "controller": lambda path: load(
            ControllerConfig, prefix="-", env={}, given={}, file=path
        ).checked(),
        "agent": lambda path: load(AgentConfig, prefix="-", env={}, given={}, file=path),
        "catalogue": load_catalogue,
    }
    wrong = {}
    for where, text in blocks("toml"):
        file.write_text(text, encoding="utf-8")
        try:
            readers[where.rsplit(maxsplit=1)[-1]](file)
        except FarhandError as exc:
            wrong[where] = str(exc)

    assert {} == wrong


def test_every_setting_stands_on_the_page_of_settings() -> None:
    page = (DOCS / "reference/configuration.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)` \| .*`(FARHAND_(?:AGENT|CONTROLLER)_\w+)`", page, re.MULTILINE)
    known = {
        (name, f"FARHAND_{process}_{name.upper()}")
        for process, kind in (("CONTROLLER", ControllerConfig), ("AGENT", AgentConfig))
        for name in kind.__dataclass_fields__
        if name != "limits"
    }

    assert known == set(told)


def test_json_and_python_that_are_shown_can_be_read() -> None:
    wrong = {}
    readers: tuple[tuple[str, Callable[[str], object]], ...] = (
        ("json", json.loads),
        ("python", ast.parse),
    )
    for kind, read in readers:
        for where, text in blocks(kind):
            try:
                read(text)
            except (ValueError, SyntaxError) as exc:
                wrong[where] = str(exc)

    assert {} == wrong


def test_commands_that_are_shown_can_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    parsers = {
        "controller": controller_process.parser(),
        "agent": agent_process.parser(),
    }
    wrong = {}
    for where, words in commands():
        own = words[: words.index("--")] if "--" in words else words
        try:
            if own[0] in parsers:
                parsers[own[0]].parse_args(own[1:])
            elif own != ["--version"]:
                whole().parse_args(own)
        except SystemExit:
            wrong[f"{where}: farhand {shlex.join(words)}"] = capsys.readouterr().err

    assert {} == wrong
