"""The page of DeepFlow's claims and faults is whole, and each row names a test that exists."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/reference/deepflow-claims.md"
CLAIMS = [str(number) for number in range(1, 96)]
FAULTS = [f"S{number}" for number in range(1, 10)] + [f"B{number}" for number in range(1, 19)]

_ROW = re.compile(r"^\| ([SB]?\d+) \|.*\| ([^|]+) \|$", re.MULTILINE)
_TEST = re.compile(r"\[(\w+)\]\(([^)]+)\)")

ROWS = {first: _TEST.findall(last) for first, last in _ROW.findall(PAGE.read_text("utf-8"))}


def test_the_page_has_95_claims_and_all_the_faults() -> None:
    assert CLAIMS + FAULTS == [first for first, _ in _ROW.findall(PAGE.read_text("utf-8"))]


@pytest.mark.parametrize("row", CLAIMS + FAULTS)
def test_each_row_names_tests_that_exist(row: str) -> None:
    missing = {
        name
        for name, file in ROWS[row]
        if not re.search(rf"^((async )?def {name}\(|{name} = )", text(file), re.MULTILINE)
    }

    assert ROWS[row]
    assert set() == missing


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_a_test_of_its_own_name(fault: str) -> None:
    assert any(name.startswith(f"test_{fault.lower()}_") for name, _ in ROWS[fault])


def text(file: str) -> str:
    return (PAGE.parent / file).resolve().read_text("utf-8")
