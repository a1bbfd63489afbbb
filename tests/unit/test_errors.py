"""The error tree: drawn as it is, a code for each, and every code on its page of the docs."""

import inspect
import json
import re
from pathlib import Path

import pytest

from farhand import errors
from farhand.boot.process import EXIT_CONFIG, EXIT_ERROR, complain
from farhand.domain.run import Why
from farhand.errors import FarhandError, LaunchFailed, NoTargets, TooManyTargets
from farhand.http.answer import problem

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/farhand"
PAGE = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")

KINDS = [
    found
    for found in vars(errors).values()
    if inspect.isclass(found) and issubclass(found, FarhandError)
]
BY_CODE = {kind.code: kind for kind in KINDS}
EACH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def made(kind: type[FarhandError]) -> FarhandError:
    """An error with the facts that its answer needs."""
    if kind is LaunchFailed:
        return LaunchFailed(Why.SPAWN_FAILED, "it could not be started")
    return kind(None, allow="GET", length=0)


# --- the tree -----------------------------------------------------------------------------


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    drawn: dict[str, str] = {}
    above = ["FarhandError"]
    for line in str(errors.__doc__).splitlines():
        if found := re.match(r"([│├└─ ]+)(\w+)", line):
            depth = len(found[1]) // 4
            drawn[found[2]] = above[depth - 1]
            above[depth:] = [found[2]]

    assert {kind.__name__: kind.__base__.__name__ for kind in KINDS[1:] if kind.__base__} == drawn


def test_every_class_has_a_code_of_its_own() -> None:
    assert len(KINDS) == len(BY_CODE)


@EACH
def test_a_code_is_made_of_small_words(kind: type[FarhandError]) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code)


@EACH
def test_an_error_without_words_tells_what_its_class_says(kind: type[FarhandError]) -> None:
    said = (kind.__doc__ or "").split("\n", maxsplit=1)[0]

    assert said.endswith(".")
    assert kind is LaunchFailed or said == str(kind())  # that one has words of its own always


def test_facts_for_programs_stand_beside_the_message() -> None:
    error = TooManyTargets("11 targets", count=11, limit=10)

    assert ("11 targets", {"count": 11, "limit": 10}) == (str(error), error.details)
    assert {} == NoTargets().details


def test_what_could_not_be_started_says_which_way() -> None:
    error = LaunchFailed(Why.NOT_EXECUTABLE, "no")

    assert (Why.NOT_EXECUTABLE, "no") == (error.why, str(error))


# --- the page -----------------------------------------------------------------------------

HEADINGS = {
    "answers": "In answers of the API",
    "starting": "When a process starts",
    "link": "Between agents and controllers",
}


def rows_under(heading: str) -> list[list[str]]:
    """The cells of the table below *heading*, without its head."""
    below = PAGE.split(f"\n## {heading}\n", maxsplit=1)[1].split("\n## ", maxsplit=1)[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


ROWS = {name: rows_under(heading) for name, heading in HEADINGS.items()}


def codes(name: str) -> list[str]:
    return [row[0].strip("`") for row in ROWS[name]]


def refused_by_connections() -> dict[str, str]:
    """Codes of requests that never became one, with their status."""
    text = (SOURCE / "http/connection.py").read_text(encoding="utf-8")
    return {code: status for status, code in re.findall(r'_refuse\((\d+), "([a-z-]+)"', text)}


def test_every_code_stands_once_on_the_page() -> None:
    told = [code for name in ROWS for code in codes(name)]

    assert sorted(told) == sorted({*BY_CODE, *refused_by_connections()})


def test_the_page_says_the_status_of_every_answer() -> None:
    status = {code: str(problem(made(kind)).status_code) for code, kind in BY_CODE.items()}
    told = {row[0].strip("`"): row[1] for row in ROWS["answers"]}

    assert told == {code: (status | refused_by_connections())[code] for code in told}


def test_answers_are_sorted_by_their_status() -> None:
    told = [row[1] for row in ROWS["answers"]]

    assert sorted(told) == told


def test_the_page_says_the_status_with_which_a_process_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = {code: complain(made(BY_CODE[code])) for code in codes("starting")}
    capsys.readouterr()

    assert {EXIT_CONFIG, EXIT_ERROR} == set(status.values())
    assert {code: str(number) for code, number in status.items()} == {
        row[0].strip("`"): row[1] for row in ROWS["starting"]
    }


@pytest.mark.parametrize("name", ["answers", "starting", "link"])
def test_every_row_says_what_happened_and_what_to_do(name: str) -> None:
    assert [] == [row for row in ROWS[name] if len(row) != 4 or not all(row)]


def test_every_error_is_named_by_some_code() -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for path in SOURCE.rglob("*.py")
        if path != SOURCE / "errors.py" and "client" not in path.parts
    )
    unnamed = [k.code for k in KINDS if not re.search(rf"\b{k.__name__}\b", text)]

    assert [] == unnamed


def test_the_answer_that_is_shown_is_one_that_comes() -> None:
    shown = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    message = "10001 targets; one job takes at most 10000"
    answer = problem(TooManyTargets(message, count=10_001, limit=10_000))

    assert shown is not None
    assert json.loads(shown[1]) == json.loads(bytes(answer.body))
